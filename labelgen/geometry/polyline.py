"""Polylines: measure, resample, and cut to a share of their arc length."""

import math
from typing import no_type_check

import numpy as np
from jaxtyping import Float

from labelgen.geometry.compiled import compiled

__all__ = ["cumulative_length", "cut", "resample", "shrink_polyline"]


def cumulative_length(points: Float[np.ndarray, "N 2"]) -> Float[np.ndarray, "N"]:
    """Arc length from the first vertex to each vertex, in pixels.

    Examples
    --------
    >>> cumulative_length(np.array([[0.0, 0.0], [3.0, 4.0], [3.0, 6.0]])).tolist()
    [0.0, 5.0, 7.0]
    """
    return _cumulative_length(np.ascontiguousarray(points, np.float64))


def cut(points: Float[np.ndarray, "N 2"], start: float, end: float) -> Float[np.ndarray, "M 2"]:
    """Keep the part of a polyline between two arc lengths, with interpolated end vertices.

    Corners in between stay exactly where they are, and so does everything else: nothing but the ends is new.

    Parameters
    ----------
    start, end
        Arc lengths from the first vertex in pixels, start <= end; clipped to the polyline.

    Returns
    -------
    Float[np.ndarray, "M 2"]
        One vertex when start equals end or the polyline is a dot.

    Examples
    --------
    >>> corner = np.array([[0.0, 0.0], [0.0, 4.0], [4.0, 4.0]])
    >>> cut(corner, 2.0, 6.0).tolist()
    [[0.0, 2.0], [0.0, 4.0], [2.0, 4.0]]
    """
    return _cut(np.ascontiguousarray(points, np.float64), start, end)


def shrink_polyline(
    points: Float[np.ndarray, "N 2"], shrink: float, *, anchor: float = 0.5
) -> Float[np.ndarray, "M 2"]:
    """Remove the share `shrink` of a polyline's arc length.

    With L the length, the part between `a = anchor * shrink * L` and `a + (1 - shrink) * L` stays, so that smaller
    values of `shrink` give supersets.

    Parameters
    ----------
    shrink
        Share of the arc length removed, in [0, 1]: 0 keeps the polyline as it is, 1 leaves one dot.
    anchor
        Share of the removed length that goes at the first end, in [0, 1]: 0.5 trims both ends equally and keeps the
        arc-length midpoint, 0 keeps the start.

    Examples
    --------
    >>> line = np.array([[0.0, 0.0], [0.0, 8.0]])
    >>> shrink_polyline(line, 0.5).tolist(), shrink_polyline(line, 1.0).tolist()
    ([[0.0, 2.0], [0.0, 6.0]], [[0.0, 4.0]])
    """
    if shrink <= 0 or len(points) == 1:
        return points
    length = cumulative_length(points)[-1]
    start = anchor * shrink * length
    return cut(points, start, start + (1 - shrink) * length if shrink < 1 else start)


def resample(points: Float[np.ndarray, "N 2"], spacing: float) -> Float[np.ndarray, "M 2"]:
    """Place vertices at equal arc lengths, about `spacing` pixels apart; both ends stay.

    Examples
    --------
    >>> resample(np.array([[0.0, 0.0], [0.0, 4.0]]), 2.0).tolist()
    [[0.0, 0.0], [0.0, 2.0], [0.0, 4.0]]
    """
    points = np.ascontiguousarray(points, np.float64)
    along = _cumulative_length(points)
    if along[-1] <= 0:
        return points[:1]
    return _spread(points, along, max(2, round(along[-1] / spacing) + 1))


@compiled
@no_type_check
def _cumulative_length(points):
    along = np.zeros(len(points))
    for i in range(1, len(points)):
        along[i] = along[i - 1] + math.hypot(points[i, 0] - points[i - 1, 0], points[i, 1] - points[i - 1, 1])
    return along


@compiled
@no_type_check
def _cut(points, start, end):
    along = _cumulative_length(points)
    start, end = max(start, 0.0), min(end, along[-1])
    first = np.searchsorted(along, start, side="right")
    last = max(first, np.searchsorted(along, end, side="left"))
    kept = np.empty((last - first + 2, 2))
    _put(points, along, start, first - 1, kept[0])
    if end - start <= 0:
        return kept[:1].copy()
    kept[1:-1] = points[first:last]
    _put(points, along, end, np.searchsorted(along, end, side="right") - 1, kept[-1])
    return kept


@compiled
@no_type_check
def _spread(points, along, count):
    """Vertices at equal arc lengths, both ends included."""
    spread = np.empty((count, 2))
    step, before = along[-1] / (count - 1), 0
    for i in range(count):
        where = along[-1] if i == count - 1 else i * step
        while before + 1 < len(along) and along[before + 1] <= where:
            before += 1
        _put(points, along, where, before, spread[i])
    return spread


@compiled
@no_type_check
def _put(points, along, where, before, place):
    """Write the position at arc length `where`, which is at vertex `before` or between it and the next one."""
    for axis in range(2):
        place[axis] = points[before, axis]
        if before + 1 < len(along) and along[before] != where:
            slope = (points[before + 1, axis] - points[before, axis]) / (along[before + 1] - along[before])
            place[axis] = slope * (where - along[before]) + points[before, axis]
