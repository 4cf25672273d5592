"""Distance of each pixel of a region to the region's boundary."""

import cv2
import numpy as np
from jaxtyping import Bool, Float32, UInt8

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
    height, width = mask.shape
    if not any(sides) and mask.all():
        return np.full(mask.shape, height + width, np.float32)
    top, bottom, left, right = (int(side) for side in sides)
    mask = cv2.copyMakeBorder(mask, top, bottom, left, right, cv2.BORDER_CONSTANT, value=0)
    distance = distance_to_zero(mask)
    return np.ascontiguousarray(distance[top : top + height, left : left + width])


def distance_to_zero(mask: UInt8[np.ndarray, "H W"]) -> Float32[np.ndarray, "H W"]:
    """Euclidean distance from each pixel to the nearest pixel that is zero, the same bits on every machine.

    The last bit of OpenCV's result depends on the number of threads and on the alignment of memory. Squared distances
    on a grid are whole numbers, so rounding them gives the exact root (up to 1,600 pixels; beyond, to the last bit).
    H + W everywhere when no pixel is zero.

    Examples
    --------
    >>> distance_to_zero(np.array([[0, 1, 1], [1, 1, 1]], np.uint8)).round(3)
    array([[0.   , 1.   , 2.   ],
           [1.   , 1.414, 2.236]], dtype=float32)
    """
    if mask.all():
        return np.full(mask.shape, sum(mask.shape), np.float32)
    distance = cv2.distanceTransform(mask, cv2.DIST_L2, cv2.DIST_MASK_PRECISE)
    np.multiply(distance, distance, out=distance)
    np.rint(distance, out=distance)
    return np.sqrt(distance, out=distance)
