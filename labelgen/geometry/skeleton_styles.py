"""Strokes along the skeleton of a region: its longest path with a limb or two, or every limb."""

import numpy as np

from labelgen.geometry.curve_styles import draw_curve
from labelgen.geometry.hand import Hand, finish, smooth
from labelgen.geometry.interior import Interior
from labelgen.geometry.polyline import cumulative_length

__all__ = ["draw_path", "draw_skeleton"]

COMPACT = 1.1
"""Below this length over sqrt(area) the skeleton of a disc-like region says nothing about how to cross it."""

LIMBS = 1000
"""More limbs than any skeleton has."""

SKELETON_SIGMA = 3.0
"""Smoothing of full skeletons in pixels: takes the staircase away and little else."""


def draw_path(interior: Interior, hand: Hand, rng: np.random.Generator) -> list[np.ndarray]:
    """Draw along the longest path of the skeleton, then into the longest limbs.

    A compact region, whose skeleton is a mere dot, gets a slightly bent line across instead.
    """
    paths = interior.paths(branches=hand.branches)
    if cumulative_length(paths[0])[-1] < COMPACT * interior.area**0.5:
        return draw_curve(interior, hand, rng)
    return [finish(path, interior, hand, rng) for path in paths]


def draw_skeleton(interior: Interior, hand: Hand, rng: np.random.Generator) -> list[np.ndarray]:
    """Draw every limb of the skeleton that is longer than the region is wide where it begins; no randomness."""
    paths = interior.paths(branches=LIMBS, min_branch=0.0)
    return [smooth(path, interior, hand, sigma=SKELETON_SIGMA) for path in paths]
