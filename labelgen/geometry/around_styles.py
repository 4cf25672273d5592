"""Strokes at a constant distance from the boundary: a loop deep inside, or a stretch along the contour."""

import cv2
import numpy as np
from jaxtyping import Float

from labelgen.geometry.hand import Hand, finish
from labelgen.geometry.interior import Interior
from labelgen.geometry.polyline import cumulative_length, cut
from labelgen.geometry.regions import largest_component

__all__ = ["draw_contour", "draw_loop", "level_line"]

LOOP_DEPTH = (0.3, 0.65)
"""Distance of a loop from the boundary, as a share of the largest in the region."""

CONTOUR_DEPTH = (0.12, 0.35)
"""The same for a stretch along the contour."""

CONTOUR_SHARE = (0.15, 1.0)
"""Share of the contour that the stretch follows."""


def draw_loop(interior: Interior, hand: Hand, rng: np.random.Generator) -> list[np.ndarray]:
    """Draw around once, deep in the interior, without quite closing the loop."""
    depth, start = float(rng.uniform(*LOOP_DEPTH)) * interior.widest, float(rng.uniform())
    return [finish(level_line(interior, depth, start=start), interior, hand, rng)]


def draw_contour(interior: Interior, hand: Hand, rng: np.random.Generator) -> list[np.ndarray]:
    """Follow a stretch of the contour at some distance inside."""
    depth, start = float(rng.uniform(*CONTOUR_DEPTH)) * interior.widest, float(rng.uniform())
    share = float(rng.uniform(*CONTOUR_SHARE))
    line = level_line(interior, max(depth, hand.room(interior)), start=start)
    return [finish(cut(line, 0.0, share * cumulative_length(line)[-1]), interior, hand, rng)]


def level_line(interior: Interior, depth: float, *, start: float) -> Float[np.ndarray, "N 2"]:
    """Outer line of the largest part that is at least `depth` pixels from the boundary, once around.

    Parameters
    ----------
    start
        Where on the closed line the stroke begins, as a share of its length.

    Returns
    -------
    Float[np.ndarray, "N 2"]
        Positions of successive pixels, the first one again at the end; a dot when that part is a single pixel.
    """
    deep = largest_component(interior.distance >= min(depth, interior.widest))
    outlines, _ = cv2.findContours(deep.view(np.uint8), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    outline = outlines[0][:, 0, ::-1].astype(np.float64)
    turned = np.roll(outline, -int(start * len(outline)), axis=0)
    return np.concatenate([turned, turned[:1]]) if len(turned) > 2 else turned
