"""How sure a mean IoU is: intervals over images drawn anew."""

from typing import Any

import numpy as np
from jaxtyping import Int64

__all__ = ["class_counts", "miou_intervals"]

LEVEL = 0.95
RESAMPLES = 1000
AT_ONCE = 100  # resamples at a time, so that memory stays small
ROWS = {"miou": 1, "miou_labelled": 2}  # figure: which union of `class_counts` it is over


def class_counts(matrices: Int64[np.ndarray, "N C C+1"]) -> Int64[np.ndarray, "N 3 C"]:
    """Intersection, union with unlabelled pixels as misses, and union over labelled pixels, of each image and class.

    Examples
    --------
    >>> class_counts(np.array([[[1, 0, 1], [0, 2, 0]]]))[0]
    array([[1, 2],
           [2, 2],
           [1, 2]])
    """
    both = np.diagonal(matrices[..., :-1], axis1=1, axis2=2)
    labelled = matrices[..., :-1].sum(axis=2) + matrices[..., :-1].sum(axis=1) - both
    return np.stack([both, labelled + matrices[..., -1], labelled], axis=1)


def miou_intervals(counts: Int64[np.ndarray, "N 3 C"], *, resamples: int = RESAMPLES, seed: int = 0) -> dict[str, Any]:
    """95 % intervals of `miou` and `miou_labelled`: percentiles over images drawn with replacement.

    Pixels of an image depend on each other and images do not, so images are drawn. A class that is in no image of a
    draw is left out of the mean of that draw.

    Parameters
    ----------
    seed
        Of the draws; the same counts give the same intervals.

    Returns
    -------
    dict
        Figure to `[low, high]`, None where no draw has a value; `level`, `resamples` and `over`.

    References
    ----------
    .. [1] Efron, "Bootstrap methods: another look at the jackknife", The Annals of Statistics 7 (1979); the percentile
       interval.

    Examples
    --------
    >>> counts = class_counts(np.array([[[4, 0, 0], [0, 2, 2]]] * 3))
    >>> miou_intervals(counts, resamples=10)["miou"]
    [0.75, 0.75]
    """
    rng, images = np.random.default_rng(seed), len(counts)
    flat = counts.reshape(images, -1).astype(np.float64)
    draws: list[np.ndarray] = []
    for start in range(0, resamples, AT_ONCE):
        size = min(AT_ONCE, resamples - start)
        times = rng.multinomial(images, np.full(images, 1 / images), size=size)
        draws.append((times @ flat).reshape(size, *counts.shape[1:]))
    sums = np.concatenate(draws)
    found: dict[str, Any] = {figure: _interval(sums[:, 0], sums[:, row]) for figure, row in ROWS.items()}
    return {**found, "level": LEVEL, "resamples": resamples, "over": "images"}


def _interval(both: np.ndarray, union: np.ndarray) -> list[float] | None:
    known = (union > 0).sum(axis=1)
    means = (both / np.maximum(union, 1)).sum(axis=1)[known > 0] / known[known > 0]
    if not means.size:
        return None
    return [float(edge) for edge in np.quantile(means, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])]
