"""What becomes of full strokes: which are dropped and how much of each is left. Nested by construction."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from jaxtyping import Bool, Float

from labelgen.geometry.polyline import shrink_polyline
from labelgen.strokes import Stroke

__all__ = ["choose_dropped", "shrink_strokes"]


def choose_dropped(
    class_ids: Sequence[int],
    luck: Float[np.ndarray, "N"],
    *,
    drop: float,
    exact: bool = False,
    keep_one_per_class: bool = False,
) -> Bool[np.ndarray, "N"]:
    """Decide which strokes of an image are dropped.

    The decision rests on one uniform number per stroke alone, so with the same numbers a larger `drop` takes a
    superset.

    Parameters
    ----------
    class_ids
        Class of each stroke.
    luck
        A uniform number in [0, 1) for each stroke; the unluckiest (smallest) go first.
    drop
        Probability that a stroke is dropped; with `exact` the share of strokes that is dropped, rounded down.
    keep_one_per_class
        Spare the luckiest stroke of each class, so that no class is lost; `exact` then takes others instead, as long
        as there are any.

    Examples
    --------
    >>> choose_dropped([0, 15, 15], np.array([0.1, 0.3, 0.6]), drop=0.5)
    array([ True,  True, False])
    >>> choose_dropped([0, 15, 15], np.array([0.1, 0.3, 0.6]), drop=0.5, exact=True, keep_one_per_class=True)
    array([False,  True, False])
    """
    count = len(class_ids)
    spared = np.zeros(count, bool)
    if keep_one_per_class:
        for class_id in set(class_ids):
            members = np.flatnonzero(np.asarray(class_ids) == class_id)
            spared[members[luck[members].argmax()]] = True
    if not exact:
        return (luck < drop) & ~spared
    dropped = np.zeros(count, bool)
    order = np.argsort(luck, kind="stable")
    # 1e-9: 0.29 * 100 is 28.999999999999996
    dropped[order[~spared[order]][: int(drop * count + 1e-9)]] = True
    return dropped


def shrink_strokes(strokes: Sequence[Stroke], shrink: float, *, anchors: Float[np.ndarray, "N"]) -> tuple[Stroke, ...]:
    """Remove the share `shrink` of the arc length of each stroke; the full vertices stay on record.

    Parameters
    ----------
    anchors
        Share of the removed part that goes at the first end of each stroke; see `shrink_polyline`.

    Examples
    --------
    >>> stroke = Stroke(15, np.array([[0.0, 0.0], [0.0, 8.0]]))
    >>> shrunk = shrink_strokes([stroke], 0.5, anchors=np.array([0.5]))[0]
    >>> shrunk.points.tolist(), shrunk.full.tolist()
    ([[0.0, 2.0], [0.0, 6.0]], [[0.0, 0.0], [0.0, 8.0]])
    """
    if shrink <= 0:
        return tuple(strokes)
    return tuple(
        replace(
            stroke,
            points=shrink_polyline(stroke.full, shrink, anchor=float(anchor)).round(2),
            full_points=stroke.full,
        )
        for stroke, anchor in zip(strokes, anchors, strict=True)
    )
