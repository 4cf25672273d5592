"""How well a score ranks: rank correlation with a quality, and the area under the curve of finding marked images."""

import numpy as np
from jaxtyping import Bool, Float64

__all__ = ["auroc", "average_ranks", "spearman"]


def average_ranks(values: Float64[np.ndarray, " N"]) -> Float64[np.ndarray, " N"]:
    """Rank of each value from 1, equal values sharing the mean of their ranks.

    Examples
    --------
    >>> average_ranks(np.array([0.3, 0.1, 0.3]))
    array([2.5, 1. , 2.5])
    """
    _, group, counts = np.unique(values, return_inverse=True, return_counts=True)
    ends = counts.cumsum()
    return (ends - (counts - 1) / 2)[group]


def spearman(first: Float64[np.ndarray, " N"], second: Float64[np.ndarray, " N"]) -> float:
    """Spearman's rank correlation; pairs with nan are left out, nan when fewer than two are left or one is constant.

    Examples
    --------
    >>> spearman(np.array([1.0, 2.0, 3.0, np.nan]), np.array([9.0, 4.0, 1.0, 7.0]))
    -1.0
    """
    known = np.isfinite(first) & np.isfinite(second)
    ranks = [average_ranks(values[known]) for values in (first, second)]
    centred = [rank - rank.mean() if rank.size else rank for rank in ranks]
    spread = float(np.sqrt((centred[0] ** 2).sum() * (centred[1] ** 2).sum()))
    return float((centred[0] * centred[1]).sum()) / spread if spread > 0 else float("nan")


def auroc(scores: Float64[np.ndarray, " N"], marked: Bool[np.ndarray, " N"]) -> float:
    """Probability that a marked image scores higher than another one, ties counting half: the area under the ROC curve.

    Images whose score is nan are left out; nan when all or none of the others are marked.

    References
    ----------
    .. [1] Hanley and McNeil, "The meaning and use of the area under a ROC curve", Radiology 1982.

    Examples
    --------
    >>> auroc(np.array([0.9, 0.4, 0.4, 0.1]), np.array([True, True, False, False]))
    0.875
    """
    known = np.isfinite(scores)
    ranks, marks = average_ranks(scores[known]), marked[known]
    positives, negatives = int(marks.sum()), int((~marks).sum())
    if not positives or not negatives:
        return float("nan")
    return float((ranks[marks].sum() - positives * (positives + 1) / 2) / (positives * negatives))
