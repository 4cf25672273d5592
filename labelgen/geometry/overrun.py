"""Let a stroke run out over the contour of its region, as hasty annotators do."""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Bool, Float

__all__ = ["run_over"]

REACH = 30
"""An end is drawn on only if the contour is no farther than this, in pixels."""

OVERSHOOT = (3.0, 15.0)
"""How far beyond the contour the stroke goes, in pixels."""


def run_over(
    points: Float[np.ndarray, "N 2"], region: Bool[np.ndarray, "H W"], *, overshoot: Sequence[float]
) -> Float[np.ndarray, "M 2"]:
    """Draw both ends of a stroke straight on until they are past the region's contour.

    Parameters
    ----------
    overshoot
        For the first and the last end: how far past it, 0 for the least, 1 for the most.

    Returns
    -------
    Float[np.ndarray, "M 2"]
        One more vertex per end that was drawn on; a dot, or an end that would leave the array, stays as it is.

    Examples
    --------
    >>> region = np.array([[1] * 8 + [0] * 8], bool)
    >>> run_over(np.array([[0.0, 2.0], [0.0, 5.0]]), region, overshoot=(0.0, 0.0)).tolist()
    [[0.0, 2.0], [0.0, 5.0], [0.0, 11.0]]
    """
    if len(points) < 2:
        return points
    first = _beyond(points[:5][::-1], region, float(overshoot[0]))
    last = _beyond(points[-5:], region, float(overshoot[1]))
    return np.concatenate([first, points, last])


def _beyond(tail: np.ndarray, region: np.ndarray, share: float) -> np.ndarray:
    """The new end beyond the last vertex, shape (1, 2), or (0, 2) when there is none."""
    direction = tail[-1] - tail[0]
    length = np.hypot(*direction)
    if length == 0:
        return tail[:0]
    direction = direction / length
    for step in range(1, REACH + 1):
        row, col = np.floor(tail[-1] + step * direction + 0.5).astype(int)
        if not (0 <= row < region.shape[0] and 0 <= col < region.shape[1]):
            return tail[:0]
        if not region[row, col]:
            end = tail[-1] + (step + OVERSHOOT[0] + share * (OVERSHOOT[1] - OVERSHOOT[0])) * direction
            inside = (end >= -0.5).all() and (end < np.array(region.shape) - 0.5).all()
            return end[None] if inside else tail[:0]
    return tail[:0]
