"""The part of a region that strokes keep to, with what every style asks about it."""

from dataclasses import dataclass
from functools import cached_property

import cv2
import numpy as np
from jaxtyping import Bool, Float, Float32

from labelgen.geometry.distance import ALL_SIDES, Sides, boundary_distance
from labelgen.geometry.regions import largest_component
from labelgen.geometry.skeleton_path import skeleton_paths
from labelgen.geometry.thinning import thin

__all__ = ["Interior", "interior_of"]

REDUCE_ABOVE = 8_000
"""Regions of more pixels than this are thinned on a coarser grid of at most about so many cells, ..."""

LEAST_KEPT = 0.8
"""... if the cells that lie wholly inside cover this share of it; a region of thin limbs is thinned pixel by pixel."""

PULL = 1.0
"""Preference of the skeleton's path for wide passages around loops; see `skeleton_paths`."""


@dataclass(frozen=True)
class Interior:
    """One connected region, in its own coordinates.

    Parameters
    ----------
    mask
        Pixels that strokes may run through.
    distance
        Distance to the boundary in pixels; 0 outside.
    area
        Pixels of the whole region, before any margin.
    """

    mask: Bool[np.ndarray, "h w"]
    distance: Float32[np.ndarray, "h w"]
    area: int

    @cached_property
    def widest(self) -> float:
        """Radius of the largest disc inside, in pixels."""
        return float(self.distance.max())

    @property
    def centre(self) -> Float[np.ndarray, "2"]:
        """(row, col) of the pixel farthest from the boundary, the first in reading order."""
        return np.array(np.unravel_index(int(self.distance.argmax()), self.distance.shape), np.float64)

    def paths(self, *, branches: int, min_branch: float = 0.4) -> list[Float[np.ndarray, "N 2"]]:
        """Longest geodesic path of the skeleton, then the longest branches; at least one dot."""
        factor = max(1, round((self.area / REDUCE_ABOVE) ** 0.5))
        mask, distance = self.mask, self.distance
        if factor > 1:
            mask, distance = coarse_cells(self.distance, factor)
            if np.count_nonzero(mask) * factor**2 < LEAST_KEPT * np.count_nonzero(self.mask):
                mask, distance, factor = self.mask, self.distance, 1
        paths = skeleton_paths(thin(mask), branches=branches, min_branch=min_branch, distance=distance, pull=PULL)
        shift = (factor - 1) / 2
        return [path * float(factor) + shift for path in paths] or [self.centre[None]]


def interior_of(
    mask: Bool[np.ndarray, "h w"], *, margin: float = 0.0, sides: Sides = ALL_SIDES, connected: bool = False
) -> Interior:
    """Keep the largest connected part of a region that is farther than a margin from its boundary.

    Parameters
    ----------
    margin
        Share of the largest distance to the boundary, in [0, 1); 0.1 to 0.25 for a timid annotator. When nothing is
        left the whole region stays.
    sides
        Which sides of the array count as boundary; see `boundary_distance`.
    connected
        True when the mask is known to be one 8-connected piece, which spares looking for pieces.

    Examples
    --------
    >>> interior_of(np.ones((5, 9), bool), margin=0.5).mask.sum()
    np.int64(21)
    """
    area = int(np.count_nonzero(mask))
    distance = boundary_distance(mask, sides=sides)
    if margin > 0:
        inner = distance > margin * distance.max()
        if inner.any():
            mask = inner
    kept = mask if connected and margin <= 0 else largest_component(mask)
    if kept is not mask or margin > 0:
        distance = boundary_distance(kept, sides=sides)
    return Interior(kept, distance, area)


def coarse_cells(
    distance: Float32[np.ndarray, "h w"], factor: int
) -> tuple[Bool[np.ndarray, "a b"], Float32[np.ndarray, "a b"]]:
    """Cells of `factor` x `factor` pixels that lie wholly inside, the largest connected part, and their distances.

    The straight line between the centres of two neighbouring cells runs inside both, so a path of cells never leaves
    the region.
    """
    height, width = (side // factor for side in distance.shape)
    inside = (distance[: height * factor, : width * factor] > 0).view(np.uint8)
    full = cv2.resize(inside * np.uint8(255), (width, height), interpolation=cv2.INTER_AREA) == 255
    middle = factor // 2
    centres = np.ascontiguousarray(distance[middle : height * factor : factor, middle : width * factor : factor])
    kept = largest_component(full)
    return kept, np.where(kept, centres, np.float32(0)) / factor
