"""Ways to draw a scribble into a region; each returns polylines in the region's own coordinates."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import cv2
import numpy as np

from labelgen.geometry.freehand import relax, stop_short, wobble
from labelgen.geometry.interior import Interior
from labelgen.geometry.polyline import cumulative_length
from labelgen.geometry.regions import largest_component

__all__ = ["STYLES", "Hand", "Style", "draw_loop", "draw_path", "finish"]

SMOOTHING = 0.04
"""Standard deviation of the smoothing along a stroke, as a share of its length ..."""

MOST_SMOOTHING = 25.0
"""... and at most, in pixels."""


@dataclass(frozen=True)
class Hand:
    """How an annotator draws, apart from where.

    Parameters
    ----------
    width
        Diameter of the pen in pixels.
    branches
        Most strokes beside the main one.
    jitter
        Unsteadiness, 0 to 1; see `wobble`.
    """

    width: float = 3.0
    branches: int = 1
    jitter: float = 0.5

    @property
    def keep_clear(self) -> float:
        """Clearance in pixels that strokes keep where the region is wide enough: the pen stays inside."""
        return 0.5 * self.width + 1.0


Style = Callable[[Interior, Hand, np.random.Generator], list[np.ndarray]]


def draw_path(interior: Interior, hand: Hand, rng: np.random.Generator) -> list[np.ndarray]:
    """Draw along the longest path of the skeleton, and into limbs of some length.

    The line is smoothed, stops short of the ends and wobbles a little.
    """
    strokes = []
    for path in interior.paths(branches=hand.branches):
        points = finish(path, interior, hand, rng)
        strokes.append(points)
    return strokes


def finish(path: np.ndarray, interior: Interior, hand: Hand, rng: np.random.Generator) -> np.ndarray:
    """Smooth, stop short, wobble."""
    shares = (float(rng.uniform()), float(rng.uniform()))
    length = cumulative_length(path)[-1]
    sigma = min(SMOOTHING * length, MOST_SMOOTHING)
    points = relax(path, interior.distance, sigma=sigma, keep_clear=hand.keep_clear)
    points = stop_short(points, interior.distance, shares=shares)
    return wobble(points, interior.distance, amount=hand.jitter, keep_clear=hand.keep_clear, rng=rng)


def draw_loop(interior: Interior, hand: Hand, rng: np.random.Generator) -> list[np.ndarray]:
    """Draw around in the interior, at a constant distance from the boundary."""
    depth = float(rng.uniform(0.3, 0.7)) * interior.widest
    points = level_line(interior, depth, start=float(rng.uniform()))
    return [finish(points, interior, hand, rng)]


def level_line(interior: Interior, depth: float, *, start: float) -> np.ndarray:
    """Outer line of the largest part that is at least `depth` pixels from the boundary, once around.

    Parameters
    ----------
    start
        Where on the closed line the stroke begins, as a share of its length.
    """
    deep = largest_component(interior.distance >= min(depth, interior.widest))
    outlines, _ = cv2.findContours(deep.view(np.uint8), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    outline = max(outlines, key=len)[:, 0, ::-1].astype(np.float64)
    turned = np.roll(outline, -int(start * len(outline)), axis=0)
    return np.concatenate([turned, turned[:1]]) if len(turned) > 2 else turned


STYLES: Mapping[str, Style] = {"path": draw_path, "loop": draw_loop}
