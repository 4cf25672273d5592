"""Outlines that are too simple, too rough, or out of place."""

from typing import Any

import cv2
import numpy as np
from jaxtyping import Bool, Float32

from labelgen.masks import LabelMap
from labelgen.methods.corruptions.scene import Scene, distance_within

__all__ = ["box", "jitter", "polygon", "shift"]

POLYGON_TOLERANCE = 0.05  # of the perimeter, at level 1: a coarse annotator; a tight one leaves .005
JITTER_AMPLITUDE = 1 / 3  # standard deviation of the displacement at level 1, in radii of the object
JITTER_GRAIN = 0.8  # correlation length of the displacement, in radii of the object
JITTER_LIMIT = 2.5  # standard deviations
CUBIC_SPREAD = 0.854  # measured: what cubic interpolation leaves of the spread of independent values
SHIFT_SHARE = 0.1  # of the image's longer side, at level 1


def polygon(scene: Scene, level: float, rng: np.random.Generator) -> tuple[LabelMap, dict[str, Any]]:
    """Draw each outline as a polygon (Douglas and Peucker) that strays by at most `level` / 20 of its perimeter."""
    objects = scene.objects
    outlines = []
    for index in objects.indices:
        crop = objects.crop(index)
        mask = (objects.ids[crop] == index).astype(np.uint8)
        contours, _ = cv2.findContours(mask, cv2.RETR_CCOMP, cv2.CHAIN_APPROX_NONE)
        tolerance = level * POLYGON_TOLERANCE * max(cv2.arcLength(contour, True) for contour in contours)
        simple = [_simplified(contour, tolerance) for contour in contours]
        # Even-odd filling leaves the holes open; a hole that shrank to a line closes.
        drawn = cv2.fillPoly(np.zeros_like(mask), simple, 1)
        outlines.append((index, crop, drawn.view(bool)))
    return scene.repaint(outlines), {}


def _simplified(contour: np.ndarray, tolerance: float) -> np.ndarray:
    """The polygon within the tolerance; within less where it would have fewer than three corners."""
    polygon = cv2.approxPolyDP(contour, tolerance, True)
    while len(polygon) < 3 and tolerance > 0.5:
        tolerance /= 2
        polygon = cv2.approxPolyDP(contour, tolerance, True)
    return polygon


def box(scene: Scene, level: float, rng: np.random.Generator) -> tuple[LabelMap, dict[str, Any]]:
    """Fill each bounding box from the outline on, up to `level` times the way to its farthest corner."""
    objects = scene.objects
    outlines = []
    for index in objects.indices:
        crop = objects.crop(index)
        away = distance_within(objects.ids[crop] != index)
        outlines.append((index, crop, away <= level * away.max()))
    return scene.repaint(outlines), {}


def jitter(scene: Scene, level: float, rng: np.random.Generator) -> tuple[LabelMap, dict[str, Any]]:
    """Move each outline in and out by smooth noise: `level` thirds of the object's radius (standard deviation)."""
    objects = scene.objects
    outlines = []
    for index in objects.indices:
        amplitude = level * JITTER_AMPLITUDE * float(objects.radii[index])
        crop = objects.crop(index, margin=int(np.ceil(JITTER_LIMIT * amplitude)) + 1)
        mask = objects.ids[crop] == index
        noise = smooth_noise(mask.shape, grain=max(3.0, JITTER_GRAIN * float(objects.radii[index])), rng=rng)
        outlines.append((index, crop, signed_distance(mask) + amplitude * noise > 0))
    return scene.repaint(outlines), {}


def signed_distance(mask: Bool[np.ndarray, "h w"]) -> Float32[np.ndarray, "h w"]:
    """Distance in pixels to the outline between pixels, positive inside; infinite where there is no outline.

    Examples
    --------
    >>> signed_distance(np.array([[False, True, True]])).tolist()
    [[-0.5, 0.5, 1.5]]
    """
    return np.where(mask, distance_within(mask) - 0.5, 0.5 - distance_within(~mask))


def smooth_noise(size: tuple[int, ...], *, grain: float, rng: np.random.Generator) -> Float32[np.ndarray, "h w"]:
    """Normal noise that varies over `grain` pixels, about unit variance, cut at 2.5 standard deviations."""
    rows, cols = (int(length / grain) + 3 for length in size)
    coarse = rng.standard_normal((rows, cols), np.float32)
    fine = cv2.resize(coarse, (int(cols * grain) + 1, int(rows * grain) + 1), interpolation=cv2.INTER_CUBIC)
    start_row, start_col = (int(v) for v in rng.integers(0, max(1, int(grain)), 2))
    noise = fine[start_row : start_row + size[0], start_col : start_col + size[1]] / CUBIC_SPREAD
    return np.clip(noise, -JITTER_LIMIT, JITTER_LIMIT)


def shift(scene: Scene, level: float, rng: np.random.Generator) -> tuple[LabelMap, dict[str, Any]]:
    """Move the whole map by up to `level` tenths of the longer side along both axes; the edge rows are repeated."""
    height, width = scene.labels.shape
    limit = int(np.floor(level * SHIFT_SHARE * max(height, width) + 0.5))
    down, right = (int(v) for v in rng.integers(-limit, limit + 1, 2))
    rows = np.clip(np.arange(height) - down, 0, height - 1)
    cols = np.clip(np.arange(width) - right, 0, width - 1)
    return scene.labels[rows[:, None], cols[None]], {"shift": [down, right]}
