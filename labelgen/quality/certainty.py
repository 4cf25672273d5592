"""How sure scores are of themselves: confidence, margin and entropy, by pixel and over an image."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float32, Float64

from labelgen.errors import ConfigError
from labelgen.masks import SoftMask

__all__ = ["FIGURES", "Certainty", "certainty", "pixel_certainty", "probabilities_of"]

FIGURES = ("confidence", "margin", "entropy")


@dataclass(frozen=True)
class Certainty:
    """Means over the pixels of an image that have a score; nan where none has.

    Parameters
    ----------
    confidence
        Of the largest probability, in [0, 1].
    margin
        Of the largest less the second largest probability, in [0, 1].
    entropy
        Of the entropy over the logarithm of the number of classes, in [0, 1]; 1 where all classes are equally likely.
    pixels
        How many have a score.
    """

    confidence: float
    margin: float
    entropy: float
    pixels: int


def probabilities_of(mask: SoftMask) -> Float32[np.ndarray, "C H W"]:
    """Scores over their sum at each pixel; 0 where all scores are 0.

    Examples
    --------
    >>> mask = SoftMask(np.array([[[3.0, 0.0]], [[1.0, 0.0]]], np.float32), (0, 4))
    >>> probabilities_of(mask).tolist()
    [[[0.75, 0.0]], [[0.25, 0.0]]]
    """
    total = mask.scores.sum(axis=0)
    return np.divide(mask.scores, total, out=np.zeros_like(mask.scores), where=total > 0)


def pixel_certainty(
    probabilities: Float32[np.ndarray, "C H W"], *, num_classes: int
) -> tuple[Bool[np.ndarray, "H W"], Float64[np.ndarray, "figures N"]]:
    """Confidence, margin and normalised entropy of every pixel that has a score.

    Parameters
    ----------
    probabilities
        Summing to 1, or 0 everywhere at a pixel without a score.
    num_classes
        Of the vocabulary; classes without a plane have probability 0.

    Returns
    -------
    tuple
        Which pixels have a score, and three rows: confidence, margin and entropy of those pixels, in reading order.

    Raises
    ------
    ConfigError
        When there are fewer classes than planes.

    Examples
    --------
    >>> _, rows = pixel_certainty(np.array([[[0.5]], [[0.25]], [[0.25]]], np.float32), num_classes=4)
    >>> rows.tolist()
    [[0.5], [0.25], [0.75]]
    """
    if num_classes < len(probabilities):
        raise ConfigError(f"num_classes must be at least the {len(probabilities)} planes, got {num_classes}")
    scored = np.asarray(probabilities.any(axis=0))
    values = probabilities[:, scored].astype(np.float64)
    if not values.size:
        return scored, np.zeros((len(FIGURES), 0))
    best = values.max(axis=0)
    second = np.partition(values, -2, axis=0)[-2] if len(values) > 1 else np.zeros_like(best)
    logs = np.log(values, out=np.zeros_like(values), where=values > 0)
    entropy = -(values * logs).sum(axis=0) / np.log(max(num_classes, 2))
    return scored, np.stack([best, best - second, np.clip(entropy, 0, 1)])


def certainty(mask: SoftMask, *, num_classes: int) -> Certainty:
    """Mean confidence, margin and normalised entropy over the pixels of an image that have a score.

    Scores that are no probabilities are divided by their sum first.

    Examples
    --------
    >>> mask = SoftMask(np.array([[[0.9, 0.6, 0.0]], [[0.1, 0.2, 0.0]]], np.float32), (0, 4))
    >>> found = certainty(mask, num_classes=2)
    >>> round(found.confidence, 3), round(found.margin, 3), found.pixels
    (0.825, 0.65, 2)
    """
    _, rows = pixel_certainty(probabilities_of(mask), num_classes=num_classes)
    pixels = rows.shape[1]
    confidence, margin, entropy = (float(row.mean()) if pixels else float("nan") for row in rows)
    return Certainty(confidence, margin, entropy, pixels)
