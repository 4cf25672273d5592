"""Turn a chain of pixels into a line that a hand could have drawn, without leaving the region."""

import math
from typing import no_type_check

import numpy as np
from jaxtyping import Float, Float32

from labelgen.geometry.compiled import compiled
from labelgen.geometry.polyline import cumulative_length, cut, resample

__all__ = ["clearance", "relax", "stop_short", "wobble"]

SPACING = 3.0
"""Distance of the vertices of a finished stroke, in pixels."""

COARSE_VERTICES = 120
"""Long strokes are first smoothed with about this many vertices, which costs little and smooths widely."""


def clearance(points: Float[np.ndarray, "N 2"], distance: Float32[np.ndarray, "H W"]) -> Float[np.ndarray, "N"]:
    """Distance from each point to the region's boundary in pixels, bilinear; 0 where its pixel is outside.

    Examples
    --------
    >>> field = np.array([[0, 1, 2, 1]], np.float32)
    >>> clearance(np.array([[0.0, 1.5], [0.0, 0.2]]), field).tolist()
    [1.5, 0.0]
    """
    return _clearances(np.ascontiguousarray(points, np.float64), distance)


def relax(
    points: Float[np.ndarray, "N 2"],
    distance: Float32[np.ndarray, "H W"],
    *,
    sigma: float,
    keep_clear: float,
) -> Float[np.ndarray, "M 2"]:
    """Smooth a polyline like an elastic band that must not touch the region's boundary.

    Each vertex moves, again and again, towards the mean of its neighbours, which amounts to a Gaussian filter along
    the line; a move that would bring it nearer to the boundary than `keep_clear` is halved until it does not. So the
    line is smooth where there is room and follows the region where there is none. Both ends stay.

    Parameters
    ----------
    distance
        Distance to the boundary (`boundary_distance`).
    sigma
        Standard deviation of the filter in pixels of arc length.
    keep_clear
        Clearance in pixels below which no vertex sinks; one that starts below does not sink further.
    """
    length = cumulative_length(points)[-1]
    if length < 2 * SPACING:
        return resample(points, SPACING)
    spacing = max(2.0, length / COARSE_VERTICES)
    coarse = resample(points, spacing)
    _relax(coarse, distance, keep_clear, round(2 * (sigma / spacing) ** 2))
    fine = resample(coarse, SPACING)
    _relax(fine, distance, keep_clear, 8)
    return fine


def wobble(
    points: Float[np.ndarray, "N 2"],
    distance: Float32[np.ndarray, "H W"],
    *,
    amount: float,
    keep_clear: float,
    rng: np.random.Generator,
) -> Float[np.ndarray, "N 2"]:
    """Move vertices sideways by smooth noise, as an unsteady hand does.

    The amplitude is `amount * min(clearance / 4, 4)` pixels, the correlation length 15 to 30 pixels.

    Parameters
    ----------
    amount
        0 for a steady hand, 1 for the full amplitude.
    """
    count = len(points)
    noise = rng.standard_normal(count)
    correlation = rng.uniform(15, 30)
    if amount <= 0 or count < 3:
        return points
    reach = int(3 * correlation / SPACING)
    kernel = np.exp(-0.5 * (np.arange(-reach, reach + 1) * SPACING / correlation) ** 2)
    wrapped = noise.take(np.arange(-reach, count + reach), mode="wrap")
    smooth = np.convolve(wrapped, kernel, mode="valid") / np.sqrt((kernel**2).sum())
    return _sideways(np.ascontiguousarray(points, np.float64), smooth * amount, distance, keep_clear)


def stop_short(
    points: Float[np.ndarray, "N 2"],
    distance: Float32[np.ndarray, "H W"],
    *,
    shares: tuple[float, float],
    most: float = 0.1,
) -> Float[np.ndarray, "M 2"]:
    """Trim the ends, as nobody draws into the last corner.

    Parameters
    ----------
    shares
        For both ends: it goes back by this share of the region's half-width there (the clearance at the end, or a
        quarter of the stroke's median clearance where the end runs into a corner), and no further.
    most
        Largest share of the length that one end may lose.
    """
    length = cumulative_length(points)[-1]
    if length <= 0:
        return points
    room = clearance(points, distance)
    typical = 0.25 * _median(room)
    trims = [min(share * max(room[end], typical), most * length) for share, end in zip(shares, (0, -1), strict=True)]
    return cut(points, trims[0], length - trims[1])


@compiled
@no_type_check
def _clear(row, col, distance):
    """Bilinear clearance of one position; 0 where its nearest pixel is outside the region."""
    height, width = distance.shape
    near_row, near_col = int(np.floor(row + 0.5)), int(np.floor(col + 0.5))
    if near_row < 0 or near_col < 0 or near_row >= height or near_col >= width or distance[near_row, near_col] <= 0:
        return 0.0
    top, left = int(np.floor(row)), int(np.floor(col))
    total = 0.0
    for down in range(2):
        for right in range(2):
            weight = (1 - abs(row - top - down)) * (1 - abs(col - left - right))
            if 0 <= top + down < height and 0 <= left + right < width:
                total += weight * distance[top + down, left + right]
    return total


@compiled
@no_type_check
def _clearances(points, distance):
    values = np.empty(len(points))
    for i in range(len(points)):
        values[i] = _clear(points[i, 0], points[i, 1], distance)
    return values


@compiled
@no_type_check
def _try_move(row, col, down, right, distance, keep_clear):
    """The point after the largest of the moves 1, 1/2, ... 1/32 that keeps clear, or where it was."""
    floor = -1.0
    for _ in range(6):
        room = _clear(row + down, col + right, distance)
        if room >= keep_clear:
            return row + down, col + right
        if room > 0:
            if floor < 0:
                floor = _clear(row, col, distance)
            if room >= floor:
                return row + down, col + right
        down, right = 0.5 * down, 0.5 * right
    return row, col


@compiled
@no_type_check
def _relax(points, distance, keep_clear, rounds):
    """Laplacian smoothing in place, all vertices at once in each round."""
    count = len(points)
    moved = points.copy()
    for _ in range(rounds):
        for i in range(1, count - 1):
            down = 0.25 * (points[i - 1, 0] + points[i + 1, 0]) - 0.5 * points[i, 0]
            right = 0.25 * (points[i - 1, 1] + points[i + 1, 1]) - 0.5 * points[i, 1]
            moved[i, 0], moved[i, 1] = _try_move(points[i, 0], points[i, 1], down, right, distance, keep_clear)
        points[:] = moved


@compiled
@no_type_check
def _sideways(points, amounts, distance, keep_clear):
    """Move vertices at right angles to the line, by `amounts` in units of the amplitude that the room allows."""
    count = len(points)
    moved = points.copy()
    for i in range(count):
        before, after = max(i - 1, 0), min(i + 1, count - 1)
        down = (points[after, 0] - points[before, 0]) / (after - before)
        right = (points[after, 1] - points[before, 1]) / (after - before)
        length = max(math.hypot(down, right), 1e-9)
        amount = amounts[i] * min(_clear(points[i, 0], points[i, 1], distance) / 4, 4.0)
        moved[i, 0], moved[i, 1] = _try_move(
            points[i, 0], points[i, 1], right / length * amount, -down / length * amount, distance, keep_clear
        )
    return moved


@compiled
@no_type_check
def _median(values):
    ordered = np.sort(values)
    middle = len(ordered) // 2
    return ordered[middle] if len(ordered) % 2 else (ordered[middle - 1] + ordered[middle]) / 2
