"""Polylines: measure, resample, and cut to a share of their arc length."""

import numpy as np
from jaxtyping import Float

__all__ = ["cumulative_length", "cut", "resample", "shrink_polyline"]


def cumulative_length(points: Float[np.ndarray, "N 2"]) -> Float[np.ndarray, "N"]:
    """Arc length from the first vertex to each vertex, in pixels.

    Examples
    --------
    >>> cumulative_length(np.array([[0.0, 0.0], [3.0, 4.0], [3.0, 6.0]])).tolist()
    [0.0, 5.0, 7.0]
    """
    steps = np.diff(points, axis=0)
    return np.concatenate([[0.0], np.cumsum(np.hypot(steps[:, 0], steps[:, 1]))])


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
    along = cumulative_length(points)
    start, end = max(start, 0.0), min(end, along[-1])
    ends = np.stack([_at(points, along, start), _at(points, along, end)])
    if end - start <= 0:
        return ends[:1]
    between = points[(along > start) & (along < end)]
    return np.concatenate([ends[:1], between, ends[1:]])


def _at(points: np.ndarray, along: np.ndarray, where: float) -> np.ndarray:
    return np.array([np.interp(where, along, points[:, 0]), np.interp(where, along, points[:, 1])])


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
    along = cumulative_length(points)
    if along[-1] <= 0:
        return points[:1]
    where = np.linspace(0.0, along[-1], max(2, round(along[-1] / spacing) + 1))
    return np.stack([np.interp(where, along, points[:, 0]), np.interp(where, along, points[:, 1])], axis=1)
