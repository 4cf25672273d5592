"""Distance of each pixel of a region to the region's boundary."""

import math
from typing import no_type_check

import numpy as np
from jaxtyping import Bool, Float32, UInt8

from labelgen.geometry.compiled import compiled

__all__ = ["ALL_SIDES", "NO_SIDES", "Sides", "boundary_distance", "distance_to_zero"]


Sides = tuple[bool, bool, bool, bool]
"""Top, bottom, left, right."""

ALL_SIDES: Sides = (True, True, True, True)
NO_SIDES: Sides = (False, False, False, False)


def boundary_distance(region: Bool[np.ndarray, "H W"], *, sides: Sides = ALL_SIDES) -> Float32[np.ndarray, "H W"]:
    """Measure the exact Euclidean distance from each pixel of a region to the nearest pixel outside it, in pixels.

    Parameters
    ----------
    sides
        Which sides of the array (top, bottom, left, right) count as outside the region. Without them, a region that
        is cut by the image border has its middle on that border, and strokes are attracted to it.

    Returns
    -------
    Float32[np.ndarray, "H W"]
        0 outside, >= 1 inside; H + W everywhere when there is no outside.

    Examples
    --------
    >>> boundary_distance(np.ones((3, 3), bool))
    array([[1., 1., 1.],
           [1., 2., 1.],
           [1., 1., 1.]], dtype=float32)
    """
    mask = np.ascontiguousarray(region).view(np.uint8)
    if not any(sides) and mask.all():
        return np.full(mask.shape, sum(mask.shape), np.float32)
    return _distances(mask, sides)


def distance_to_zero(mask: UInt8[np.ndarray, "H W"]) -> Float32[np.ndarray, "H W"]:
    """Euclidean distance from each pixel to the nearest pixel that is zero, the same bits on every machine.

    Squared distances on a grid are whole numbers, and no other number enters but their root, which is rounded to
    float32. H + W everywhere when no pixel is zero.

    Examples
    --------
    >>> distance_to_zero(np.array([[0, 1, 1], [1, 1, 1]], np.uint8)).round(3)
    array([[0.   , 1.   , 2.   ],
           [1.   , 1.414, 2.236]], dtype=float32)
    """
    return boundary_distance(mask != 0, sides=NO_SIDES)


def _distances(mask: np.ndarray, sides: Sides) -> np.ndarray:
    """Columns first, then the lower envelope of parabolas along each row."""
    height, width = mask.shape
    distances = np.empty(mask.shape, np.float32)
    if mask.size:
        steps = _column_steps(mask, sides[0], sides[1], height + width + 1)
        half_inverse = 0.5 / np.maximum(np.arange(width + 2), 1)
        _row_distances(steps, sides[2], sides[3], half_inverse, distances)
    return distances


@compiled
@no_type_check
def _column_steps(mask, top, bottom, far):
    """Pixels up or down to the nearest one outside, in the same column; at least `far` where there is none."""
    height, width = mask.shape
    steps = np.empty((height, width), np.int32)
    for col in range(width):
        steps[0, col] = (1 if top else far) if mask[0, col] else 0
    for row in range(1, height):
        for col in range(width):
            steps[row, col] = steps[row - 1, col] + 1 if mask[row, col] else 0
    if bottom:
        for col in range(width):
            steps[height - 1, col] = min(steps[height - 1, col], 1)
    for row in range(height - 2, -1, -1):
        for col in range(width):
            steps[row, col] = min(steps[row, col], steps[row + 1, col] + 1)
    return steps


@compiled
@no_type_check
def _row_distances(steps, left, right, half_inverse, distances):
    """Fill in the distances, run by run of pixels inside: what lies beyond the ends of a run is never nearer.

    Each column is a parabola, its steps squared at its vertex; those of the lower envelope are kept with where each
    begins. Beginnings are rounded by far less than the grid is wide, so that no pixel gets another parabola than the
    lowest, or one as low.

    References
    ----------
    .. [1] P. Felzenszwalb and D. Huttenlocher, "Distance Transforms of Sampled Functions", Theory of Computing 8,
       2012.
    """
    height, width = steps.shape
    vertex = np.empty(width + 2, np.int64)
    constant = np.empty(width + 2, np.int64)
    begin = np.empty(width + 3)
    squares = np.zeros(width)
    for row in range(height):
        col = 0
        while col < width:
            if steps[row, col] == 0:
                squares[col] = 0
                col += 1
                continue
            first = col
            while col < width and steps[row, col] > 0:
                col += 1
            top = -1
            for place in range(first - 1, col + 1):
                if (place < 0 and not left) or (place == width and not right):
                    continue
                low = np.int64(steps[row, place]) if first <= place < col else np.int64(0)
                value = low * low + place * place
                start = -np.inf
                while top >= 0:
                    start = (value - constant[top]) * half_inverse[place - vertex[top]]
                    if start > begin[top]:
                        break
                    top -= 1
                top += 1
                vertex[top], constant[top] = place, value
                begin[top] = start if top else -np.inf
            begin[top + 1] = np.inf
            lowest = 0
            for place in range(first, col):
                while begin[lowest + 1] < place:
                    lowest += 1
                squares[place] = constant[lowest] + place * (place - 2 * vertex[lowest])
        for place in range(width):
            distances[row, place] = math.sqrt(squares[place])
