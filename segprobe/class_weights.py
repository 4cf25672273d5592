"""Weights of classes in the loss, from how many pixels are labelled with each."""

import numpy as np
from jaxtyping import Float64, Int64

from segprobe.labels import LabelSet

__all__ = ["balanced_weights", "class_weights"]

LOG_OFFSET = 1.02  # keeps the weight of a class that is everywhere finite, and that of a rare one below 51


def class_weights(rule: str, labels: LabelSet) -> Float64[np.ndarray, "C"]:
    """Weight of a pixel of each class of the vocabulary; see `balanced_weights`.

    Parameters
    ----------
    rule
        none, log, median or inverse.
    """
    counts = np.zeros(labels.vocabulary.num_classes, np.int64)
    around = counts.copy()
    if rule == "none":
        return np.ones(len(counts))
    for image in labels.images.values():
        found = np.bincount(image.labelled()[1], minlength=len(counts))
        counts += found
        around += np.where(found > 0, found.sum(), 0)
    return balanced_weights(rule, counts, around)


def balanced_weights(
    rule: str, counts: Int64[np.ndarray, "C"], around: Int64[np.ndarray, "C"]
) -> Float64[np.ndarray, "C"]:
    """Give rare classes more weight, such that the mean weight of a labelled pixel is 1.

    - log: `1 / log(1.02 + f)`, f being the share of the labelled pixels that the class has;
    - median: `median(g) / g`, g being that share among the images that show the class, so that a class that is rare
      because few images show it gains nothing;
    - inverse: `1 / f`: all classes weigh the same in the end.

    Parameters
    ----------
    counts
        Labelled pixels of each class.
    around
        Labelled pixels, of whatever class, of the images that show the class.

    Returns
    -------
    Array
        0 for classes without a labelled pixel.

    References
    ----------
    .. [1] Paszke et al., "ENet", 2016, arXiv 1606.02147, section 5 (log).
    .. [2] Eigen & Fergus, ICCV 2015, arXiv 1411.4734, section 4.3 (median).

    Examples
    --------
    >>> counts, around = np.array([85, 10, 5, 0]), np.array([100, 20, 100, 0])
    >>> for rule in ("log", "median", "inverse"):
    ...     balanced_weights(rule, counts, around).round(2).tolist()
    [0.54, 2.96, 4.96, 0.0]
    [0.53, 0.91, 9.09, 0.0]
    [0.39, 3.33, 6.67, 0.0]
    """
    weights = np.zeros(len(counts))
    present = counts > 0
    if not present.any():
        return weights
    share, among = counts[present] / counts.sum(), counts[present] / around[present]
    if rule == "log":
        raw = 1 / np.log(LOG_OFFSET + share)
    else:
        raw = 1 / share if rule == "inverse" else np.median(among) / among
    weights[present] = raw / (raw * share).sum()
    return weights
