"""Thresholds from the scores of a data set, without any truth: Otsu's for the background, quantiles by class."""

import hashlib
from collections.abc import Iterable, Sequence

import numpy as np
from jaxtyping import Int64

from labelgen.errors import DataError
from labelgen.masks import IGNORE, WIDE_IGNORE, SoftMask, harden

__all__ = ["BINS", "choose_ids", "otsu_threshold", "quantile_thresholds", "score_histograms"]

BINS = 1024
"""Bins of scores in [0, 1]; a power of two, so that a score lies below an edge exactly when its bin does."""

KEPT_PIXELS = 100
"""Pixels of a class that quantiles leave labelled in any case."""


def choose_ids(ids: Sequence[str], count: int) -> tuple[str, ...]:
    """A part of the ids that looks random but is the same for everyone: the first by the sha256 of the id.

    Parameters
    ----------
    count
        How many; 0 for all.

    Examples
    --------
    >>> choose_ids(("a", "b", "c", "d"), 2) == choose_ids(("d", "c", "b", "a"), 2)
    True
    """
    if not count or count >= len(ids):
        return tuple(sorted(ids))
    return tuple(sorted(sorted(ids, key=lambda i: hashlib.sha256(i.encode()).digest())[:count]))


def score_histograms(
    masks: Iterable[SoftMask], *, num_classes: int, background: int | None = None, threshold: float = 0.0
) -> Int64[np.ndarray, "C bins"]:
    """How often each class wins with which score.

    Parameters
    ----------
    background, threshold
        Background pixels whose score does not exceed the threshold are left out: a rule made them background, and no
        word was found likely there, so that their score says nothing about certainty.
    """
    counts = np.zeros((num_classes, BINS), np.int64)
    ignore = IGNORE if num_classes <= IGNORE else WIDE_IGNORE
    for mask in masks:
        labels = harden(mask, ignore=ignore)
        best = mask.scores.max(axis=0, initial=0)
        labelled = (labels != ignore) & ~((labels == background) & (best <= np.float32(threshold)))
        best = best[labelled]
        bins = np.minimum((best * np.float32(BINS)).astype(np.int64), BINS - 1)
        flat = labels[labelled].astype(np.int64) * BINS + bins
        counts += np.bincount(flat, minlength=counts.size).reshape(counts.shape)
    return counts


def quantile_thresholds(counts: Int64[np.ndarray, "C bins"], *, quantile: float) -> dict[int, float]:
    """Scores below which at most this share of the pixels of each class lies, and above which at least 100 pixels do.

    Returns
    -------
    dict of int to float
        Multiples of 1 / 1024; only classes for which something lies below.

    Examples
    --------
    >>> counts = np.zeros((2, 1024), np.int64)
    >>> counts[1, [100, 900]] = 200, 800
    >>> quantile_thresholds(counts, quantile=0.2)[1] == 900 / 1024
    True
    >>> quantile_thresholds(counts, quantile=0.1)
    {}
    """
    thresholds = {}
    for class_id, row in enumerate(counts):
        total = int(row.sum())
        below = np.concatenate([[0], np.cumsum(row)[:-1]])  # pixels below the lower edge of each bin
        allowed = min(quantile * total, max(total - KEPT_PIXELS, 0))
        edge = int(np.flatnonzero(below <= allowed)[-1]) if total else 0
        if below[edge]:
            thresholds[class_id] = edge / BINS
    return thresholds


def otsu_threshold(counts: Int64[np.ndarray, "bins"]) -> float:
    """The edge between bins that splits scores into two classes of the largest variance between them.

    Ties, as over empty bins between two groups, go to the middle of the tied edges.

    Raises
    ------
    DataError
        When all scores lie in one bin.

    References
    ----------
    .. [1] Otsu, "A threshold selection method from gray-level histograms", IEEE Trans. SMC 9(1), 1979.

    Examples
    --------
    >>> counts = np.zeros(1024, np.int64)
    >>> counts[[99, 300]] = 50, 50
    >>> otsu_threshold(counts) == 200 / 1024
    True
    """
    if np.count_nonzero(counts) < 2:
        raise DataError("the scores are all alike, so no threshold divides them", hint="give one as a number")
    weights = counts.astype(np.float64)
    middles = (np.arange(len(counts)) + 0.5) / len(counts)
    low, low_sum = np.cumsum(weights)[:-1], np.cumsum(weights * middles)[:-1]
    high, high_sum = weights.sum() - low, (weights * middles).sum() - low_sum
    both = (low > 0) & (high > 0)
    between = np.zeros(len(low))
    between[both] = low[both] * high[both] * (low_sum[both] / low[both] - high_sum[both] / high[both]) ** 2
    tied = np.flatnonzero(between >= between.max() * (1 - 1e-12))
    return float(tied[len(tied) // 2] + 1) / len(counts)
