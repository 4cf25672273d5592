"""Clusters of directions: k-means by cosine."""

import numpy as np
from jaxtyping import Float32, Int64

__all__ = ["nearest", "spherical_kmeans"]


def spherical_kmeans(
    unit: Float32[np.ndarray, "N D"], count: int, *, rng: np.random.Generator, rounds: int = 25
) -> Float32[np.ndarray, "K D"]:
    """Centres, of length 1, of clusters of features of length 1.

    The first centres are drawn as in k-means++, far ones more likely. A cluster that loses all its features keeps its
    centre.

    Parameters
    ----------
    count
        Of clusters; no more than there are different features are made.
    rounds
        At most; it ends when nothing moves.

    References
    ----------
    .. [1] Dhillon & Modha, "Concept Decompositions for Large Sparse Text Data using Clustering", Machine Learning 42,
       2001: the means. Arthur & Vassilvitskii, "k-means++", SODA 2007: the beginning.

    Examples
    --------
    >>> unit = np.array([[1, 0], [0, 1], [1, 0]], np.float32)
    >>> sorted(spherical_kmeans(unit, 2, rng=np.random.default_rng(0)).tolist())
    [[0.0, 1.0], [1.0, 0.0]]
    """
    centres = _far_apart(unit, count, rng)
    labels = np.full(len(unit), -1)
    for _ in range(rounds):
        before, labels = labels, nearest(unit, centres)
        if (before == labels).all():
            break
        sums = np.zeros_like(centres)
        np.add.at(sums, labels, unit)
        lengths = np.linalg.norm(sums, axis=1, keepdims=True)
        centres = np.where(lengths > 0, sums / np.maximum(lengths, np.finfo(np.float32).tiny), centres)
    return centres


def nearest(unit: Float32[np.ndarray, "N D"], centres: Float32[np.ndarray, "K D"]) -> Int64[np.ndarray, "N"]:
    """The centre of highest cosine for each feature; ties go to the first."""
    return (unit @ centres.T).argmax(axis=1)


ROUNDING = 1e-5
"""Squared distances of equal features are no more than this in float32."""


def _far_apart(unit: np.ndarray, count: int, rng: np.random.Generator) -> np.ndarray:
    chosen = [int(rng.integers(len(unit)))]
    distance = np.full(len(unit), np.inf)
    while len(chosen) < count:
        distance = np.minimum(distance, 2 - 2 * (unit @ unit[chosen[-1]]).astype(np.float64))
        weights = np.where(distance > ROUNDING, distance, 0)
        if not weights.any():
            break
        chosen.append(int(rng.choice(len(unit), p=weights / weights.sum())))
    return unit[chosen].copy()
