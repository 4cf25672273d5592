"""Shrink and drop as the settings of a run say."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from jaxtyping import Float

from labelgen.geometry.fate import choose_dropped, shrink_strokes
from labelgen.methods.scribble import ScribbleConfig
from labelgen.strokes import Stroke

__all__ = ["meet_fate"]


def meet_fate(
    strokes: Sequence[Stroke], numbers: Float[np.ndarray, "N 2"], config: ScribbleConfig
) -> tuple[Stroke, ...]:
    """Shrink all strokes and mark those that are dropped.

    Parameters
    ----------
    numbers
        Uniform numbers in [0, 1): the luck of each stroke, and where its window lies with random anchors.
    """
    count = len(strokes)
    anchors = {"center": np.full(count, 0.5), "start": np.zeros(count), "random": numbers[:, 1]}
    shrunk = shrink_strokes(strokes, config.shrink, anchors=anchors[config.shrink_anchor])
    dropped = choose_dropped(
        [stroke.class_id for stroke in shrunk],
        numbers[:, 0],
        drop=config.drop,
        exact=config.drop_mode == "exact",
        keep_one_per_class=config.keep_one_per_class,
    )
    return tuple(replace(stroke, dropped=bool(gone)) for stroke, gone in zip(shrunk, dropped, strict=True))
