"""Outlines of the demo objects: polygons in object units, and the paint of each.

Object units: an object is about 100 units long. Points are (row, col); row 0 is the ground the object stands on
and rows above it are negative; col 0 is the middle of the object, which looks towards positive columns.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple, TypeVar

import numpy as np
from jaxtyping import Float

Colour = tuple[int, int, int]
Item = TypeVar("Item")
ROUND_POINTS = 18  # corners of the polygon that stands for an ellipse: round enough at 100 pixels


class Paint(NamedTuple):
    """How a part is coloured: a texture tile mixes two colours.

    `pitch` is the number of texels per 100 object units; `turned` exchanges the axes of the tile.
    """

    base: Colour
    other: Colour
    tile: int = 0
    pitch: int = 64
    turned: bool = False


@dataclass(frozen=True)
class Part:
    """One painted polygon of an object; later parts cover earlier ones."""

    outline: Float[np.ndarray, "N 2"]
    paint: Paint


def pick(rng: np.random.Generator, items: Sequence[Item]) -> Item:
    """Return one item, all equally likely."""
    return items[int(rng.integers(len(items)))]


def between(rng: np.random.Generator, low: float, high: float) -> float:
    """Return a uniform number in [low, high)."""
    return low + (high - low) * float(rng.random())


def polygon(*points: tuple[float, float]) -> Float[np.ndarray, "N 2"]:
    """Return the corners (row, col) as an array."""
    return np.array(points, dtype=np.float64)


def box(top: float, left: float, bottom: float, right: float) -> Float[np.ndarray, "4 2"]:
    """Return an upright rectangle.

    Examples
    --------
    >>> box(-2, 0, 0, 3).tolist()
    [[-2.0, 0.0], [-2.0, 3.0], [0.0, 3.0], [0.0, 0.0]]
    """
    return polygon((top, left), (top, right), (bottom, right), (bottom, left))


def ellipse(
    row: float, col: float, half_height: float, half_width: float, *, tilt: float = 0.0
) -> Float[np.ndarray, "N 2"]:
    """Return an ellipse as a polygon; `tilt` in degrees, clockwise."""
    angle = np.arange(ROUND_POINTS) * (2 * math.pi / ROUND_POINTS)
    rows, cols = half_height * np.sin(angle), half_width * np.cos(angle)
    cosine, sine = math.cos(math.radians(tilt)), math.sin(math.radians(tilt))
    return np.stack([row + rows * cosine + cols * sine, col + cols * cosine - rows * sine], axis=1)


def cloud(
    row: float, col: float, half_height: float, half_width: float, *, bumps: int, depth: float
) -> Float[np.ndarray, "N 2"]:
    """Return an ellipse whose edge has `bumps` round bumps of the relative height `depth`."""
    angle = np.arange(bumps * 6) * (2 * math.pi / (bumps * 6))
    reach = 1.0 + depth * np.abs(np.sin(angle * bumps / 2))
    return np.stack([row + half_height * reach * np.sin(angle), col + half_width * reach * np.cos(angle)], axis=1)


def limb(
    start: tuple[float, float], end: tuple[float, float], start_width: float, end_width: float
) -> Float[np.ndarray, "4 2"]:
    """Return a tapered bar from `start` to `end` (row, col)."""
    direction = np.subtract(end, start)
    across = np.array([-direction[1], direction[0]]) / max(float(np.hypot(*direction)), 1e-6) / 2
    return np.stack(
        [
            start + across * start_width,
            end + across * end_width,
            end - across * end_width,
            start - across * start_width,
        ]
    )


def ribbon(points: Sequence[tuple[float, float]], start_width: float, end_width: float) -> Float[np.ndarray, "N 2"]:
    """Return a curved, tapering band along the points (row, col): tails, necks, stalks."""
    line = _spline(np.array(points, dtype=np.float64), closed=False)
    direction = np.gradient(line, axis=0)
    length = np.maximum(np.hypot(direction[:, 0], direction[:, 1]), 1e-6)
    across = np.stack([-direction[:, 1], direction[:, 0]], axis=1) / length[:, None]
    half = np.linspace(start_width / 2, end_width / 2, len(line))[:, None]
    return np.concatenate([line + across * half, (line - across * half)[::-1]])


def smooth(*points: tuple[float, float]) -> Float[np.ndarray, "N 2"]:
    """Return a closed curve through the points (row, col)."""
    return _spline(np.array(points, dtype=np.float64), closed=True)


def moved(outline: Float[np.ndarray, "N 2"], row: float, col: float, *, turn: float = 0.0) -> Float[np.ndarray, "N 2"]:
    """Turn an outline about its origin by `turn` degrees (clockwise), then move it."""
    cosine, sine = math.cos(math.radians(turn)), math.sin(math.radians(turn))
    rotation = np.array([[cosine, sine], [-sine, cosine]])
    return outline @ rotation.T + np.array([row, col])


def _spline(points: Float[np.ndarray, "N 2"], *, closed: bool) -> Float[np.ndarray, "M 2"]:
    """Catmull-Rom curve through the points, four pieces a span."""
    if closed:
        padded = np.concatenate([points[-1:], points, points[:2]])
    else:
        padded = np.concatenate([points[:1], points, points[-1:]])
    before, here, there, after = padded[:-3], padded[1:-2], padded[2:-1], padded[3:]
    pieces = []
    for step in (0.0, 0.25, 0.5, 0.75):
        pieces.append(
            0.5
            * (
                2 * here
                + (there - before) * step
                + (2 * before - 5 * here + 4 * there - after) * step**2
                + (3 * here - before - 3 * there + after) * step**3
            )
        )
    curve = np.stack(pieces, axis=1).reshape(-1, 2)
    return curve if closed else np.concatenate([curve, points[-1:]])
