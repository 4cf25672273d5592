"""How an annotator draws, apart from where: the pen, the steadiness, and what turns a chain of pixels into a stroke."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from labelgen.geometry.freehand import relax, stop_short, wobble
from labelgen.geometry.interior import Interior
from labelgen.geometry.polyline import cumulative_length

__all__ = ["Hand", "Style", "finish", "smooth"]

SMOOTHING = 0.04
"""Standard deviation of the smoothing along a stroke, as a share of its length ..."""

MOST_SMOOTHING = 25.0
"""... and at most, in pixels."""


@dataclass(frozen=True)
class Hand:
    """How an annotator draws.

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
        """Clearance in pixels that strokes keep where the region is wide enough, so that the pen stays inside."""
        return 0.5 * self.width + 1.0

    def room(self, interior: Interior) -> float:
        """Clearance in pixels that is asked for in this region: less where the region is thin throughout."""
        return min(self.keep_clear, 0.6 * interior.widest)


Style = Callable[[Interior, Hand, np.random.Generator], list[np.ndarray]]
"""A way to draw a scribble into a region: polylines in the region's own coordinates, the main one first."""


def finish(
    points: Float[np.ndarray, "N 2"], interior: Interior, hand: Hand, rng: np.random.Generator
) -> Float[np.ndarray, "M 2"]:
    """Smooth a chain of positions, stop short of its ends, and wobble a little."""
    shares = (float(rng.uniform()), float(rng.uniform()))
    sigma = min(SMOOTHING * cumulative_length(points)[-1], MOST_SMOOTHING)
    points = smooth(points, interior, hand, sigma=sigma)
    points = stop_short(points, interior.distance, shares=shares)
    return wobble(points, interior.distance, amount=hand.jitter, keep_clear=hand.room(interior), rng=rng)


def smooth(
    points: Float[np.ndarray, "N 2"], interior: Interior, hand: Hand, *, sigma: float
) -> Float[np.ndarray, "M 2"]:
    """Smooth without stopping short or wobbling; `sigma` in pixels of arc length."""
    return relax(points, interior.distance, sigma=sigma, keep_clear=hand.room(interior))
