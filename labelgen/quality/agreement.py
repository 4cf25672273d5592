"""Agreement of two label maps where both say something, without any truth."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float64, Int64, Integer

from labelgen.masks import IGNORE
from labelgen.quality.confusion import mean_of_numbers, pair_counts, ratio, single_ratio

__all__ = ["Agreement", "agreement_counts", "agreement_of"]


@dataclass(frozen=True)
class Agreement:
    """How far two sources of labels agree; fractions, nan without an answer. Neither of them is taken for right.

    Parameters
    ----------
    pixel
        Share of the pixels labelled by both that have the same label.
    iou
        By class, over the pixels labelled by both; nan where neither has the class.
    miou
        Mean of `iou` over the classes that either has.
    num_classes
        How many those are.
    both
        Pixels labelled by both.
    """

    pixel: float
    iou: Float64[np.ndarray, " C"]
    miou: float
    num_classes: int
    both: int


def agreement_counts(
    first: Integer[np.ndarray, "*size"],
    second: Integer[np.ndarray, "*second_size"],
    *,
    num_classes: int,
    ignore: int = IGNORE,
    where: str = "",
) -> Int64[np.ndarray, "{num_classes} {num_classes}"]:
    """Count the pairs of labels at pixels that both label; counts of several images add up.

    Raises
    ------
    ShapeError
        When the maps differ in size.
    DataError
        When an id is neither a class nor `ignore`.

    Examples
    --------
    >>> agreement_counts(np.array([[0, 0, 255]], np.uint8), np.array([[0, 1, 1]], np.uint8), num_classes=2)
    array([[1, 1],
           [0, 0]])
    """
    counts = pair_counts(first, second, num_classes=num_classes, truth_ignore=ignore, label_ignore=ignore, where=where)
    return counts[:-1, :-1]


def agreement_of(counts: Int64[np.ndarray, "C C"]) -> Agreement:
    """Turn counts into shares; the order of the two sources does not matter.

    Examples
    --------
    >>> found = agreement_of(np.array([[2, 0], [1, 1]]))
    >>> found.pixel, found.miou.__round__(3), found.both
    (0.75, 0.583, 4)
    """
    same = np.diagonal(counts)
    iou = ratio(same, counts.sum(axis=0) + counts.sum(axis=1) - same)
    both = int(counts.sum())
    return Agreement(single_ratio(same.sum(), both), iou, mean_of_numbers(iou), int(np.isfinite(iou).sum()), both)
