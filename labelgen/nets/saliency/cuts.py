"""Foreground by cuts of a graph of tokens: a single one, or all together with the border as background."""

from typing import Literal

import numpy as np
from jaxtyping import Bool, Float32, Float64

__all__ = ["border_of", "border_saliency", "cut_saliency", "likeness_share", "unit_features"]

WEAK_EDGE = 1e-5  # as TokenCut: keeps the graph connected
NOTHING = 1e-9  # below it a spread of values is rounding


def unit_features(features: Float32[np.ndarray, "N D"], *, centre: bool) -> Float64[np.ndarray, "N D"]:
    """Features of unit length, after their mean is subtracted if `centre`; features that are all the same become zero.

    Examples
    --------
    >>> unit_features(np.array([[3, 4], [0, 2]], np.float32), centre=False).tolist()
    [[0.6, 0.8], [0.0, 1.0]]
    """
    values = features.astype(np.float64)
    scale = np.linalg.norm(values, axis=1).max(initial=0.0)
    values = values - values.mean(axis=0) if centre else values
    lengths = np.linalg.norm(values, axis=1, keepdims=True)
    return np.where(lengths > 1e-6 * scale, values / np.maximum(lengths, NOTHING), 0.0)  # float32 noise is no direction


def border_of(grid: tuple[int, int]) -> Bool[np.ndarray, "N"]:
    """Which tokens of a grid, in reading order, lie at its border.

    Examples
    --------
    >>> border_of((3, 3)).reshape(3, 3).astype(int).tolist()
    [[1, 1, 1], [1, 0, 1], [1, 1, 1]]
    """
    border = np.ones(grid, bool)
    border[1:-1, 1:-1] = False
    return border.reshape(-1)


def border_saliency(
    unit: Float64[np.ndarray, "N D"], grid: tuple[int, int], *, gamma: float, steps: int, spread: float
) -> Float32[np.ndarray, "h w"]:
    """Saliency of tokens whose region of the image does not reach far along its border.

    The cuts of a graph with weights `W = exp(gamma (cos - 1))` are the eigenvectors of the random walk
    `P = D^-1 W` [1]_. Instead of one of them, a walk of a few steps, `S = P^steps`, takes all with their eigenvalues'
    powers as weights: after it two tokens are near when most cuts leave them together. Scaled so that the largest of
    each row is 1, `S_ij` says how much token j belongs to the region of token i, which has the area
    `A_i = sum_j S_ij` and along the border the length `L_i = sum_(j at the border) S_ij`. Objects have a small
    `L_i / sqrt(A_i)`, backgrounds a large one however many there are [2]_; saliency is
    `exp(-(L_i / sqrt(A_i))^2 / (2 spread^2))`.

    Parameters
    ----------
    unit
        Features of the tokens in reading order; see `unit_features`.
    gamma
        How fast weights fall with the cosine.
    steps
        Of the walk, >= 1; more make larger regions.
    spread
        Border connectivity that is salient to `exp(-1/2)`.

    Returns
    -------
    ndarray
        In [0, 1], scaled by the extremes of the image; zeros where all tokens are alike.

    References
    ----------
    .. [1] Meila and Shi, "A Random Walks View of Spectral Segmentation", AISTATS 2001.
    .. [2] Zhu et al., "Saliency Optimization from Robust Background Detection", CVPR 2014, equations 1 to 4, with
       geodesic distances of colours there and a spread of 1.

    Examples
    --------
    >>> inside = (~border_of((5, 5))).astype(float)
    >>> border_saliency(np.stack([inside, 1 - inside], 1), (5, 5), gamma=9.0, steps=1, spread=1.0)[2].round(2).tolist()
    [0.0, 1.0, 1.0, 1.0, 0.0]
    """
    weights = np.exp(gamma * (unit @ unit.T - 1))
    walk = np.linalg.matrix_power(weights / weights.sum(axis=1, keepdims=True), steps)
    region = walk / walk.max(axis=1, keepdims=True)
    connectivity = region[:, border_of(grid)].sum(axis=1) / np.sqrt(region.sum(axis=1))
    return _unit_range(np.exp(-(connectivity**2) / (2 * spread**2))).reshape(grid).astype(np.float32)


def likeness_share(
    unit: Float64[np.ndarray, "N D"], saliency: Float32[np.ndarray, "h w"], *, gamma: float
) -> Float32[np.ndarray, "h w"]:
    """Saliency decided again by what each token is like: the salient tokens of the image, or the others.

    With `K_ij = exp(gamma (cos - 1))` for `i != j`, a token is like the salient ones by the mean of K weighted by
    saliency, and like the others by that weighted by 1 - saliency. Their share, scaled by the extremes of the image, is
    squared, because a token that is no more like the one than like the other lies in the middle of it.

    Parameters
    ----------
    unit
        Features of the tokens in reading order; see `unit_features`.
    saliency
        In [0, 1].
    gamma
        How fast likeness falls with the cosine.

    Returns
    -------
    ndarray
        In [0, 1]; unchanged where all tokens are salient, or none.

    Examples
    --------
    >>> unit = np.array([[1.0, 0], [1, 0], [1, 0], [0, 1], [0, 1]])
    >>> first = np.array([[1.0, 0.9, 0.2, 0, 0]], np.float32)
    >>> bool(likeness_share(unit, first, gamma=8.0)[0, 2] > 0.5)
    True
    """
    weights = saliency.reshape(-1).astype(np.float64)
    if weights.sum() < NOTHING or (1 - weights).sum() < NOTHING:
        return saliency
    kernel = np.exp(gamma * (unit @ unit.T - 1))
    np.fill_diagonal(kernel, 0)
    salient, other = kernel @ weights / weights.sum(), kernel @ (1 - weights) / (1 - weights).sum()
    share = salient / np.maximum(salient + other, np.finfo(np.float64).tiny)
    return (_unit_range(share) ** 2).reshape(saliency.shape).astype(np.float32)


def cut_saliency(
    unit: Float64[np.ndarray, "N D"], grid: tuple[int, int], *, threshold: float, edges: Literal["binary", "cosine"]
) -> Float32[np.ndarray, "h w"]:
    """Saliency from the second smallest eigenvector of one normalised cut.

    `(D - W) x = lambda D x` with `W = 1` (or the cosine) where it is above the threshold, and next to nothing
    elsewhere. The two sides are those above and below the mean of the eigenvector; the foreground is the side that
    holds the smaller share of the border, and if both hold the same, the side of the entry that is largest in absolute
    value [1]_. All of the side counts, whether or not it hangs together, so that several objects can be found.

    Returns
    -------
    ndarray
        The eigenvector turned towards the foreground, scaled to [0, 1]; zeros where all tokens are alike.

    References
    ----------
    .. [1] Wang et al., "TokenCut: Segmenting Objects in Images and Videos with Self-supervised Transformer and
       Normalized Cut", CVPR 2022, arXiv 2202.11539. There, binary edges above .2, the side of the largest entry, and
       of it the one component that holds the entry.

    Examples
    --------
    >>> inside = (~border_of((4, 4))).astype(float)
    >>> unit = np.stack([inside, 1 - inside], 1)
    >>> cut_saliency(unit, (4, 4), threshold=0.2, edges="binary")[1].round(2).tolist()
    [0.0, 1.0, 1.0, 0.0]
    """
    from scipy.linalg import eigh

    cosine = unit @ unit.T
    if np.ptp(cosine) < NOTHING or len(unit) < 2:
        return np.zeros(grid, np.float32)
    weights = np.where(cosine > threshold, 1.0 if edges == "binary" else cosine, WEAK_EDGE)
    root = 1 / np.sqrt(weights.sum(axis=1))
    # the largest eigenvalues of D^-1/2 W D^-1/2 are the smallest of the problem above
    last = len(unit) - 2
    _, vectors = eigh(root[:, None] * weights * root, subset_by_index=[last, last])
    cut = vectors[:, 0] * root
    side, border = cut > cut.mean(), border_of(grid)
    shares = side[border].mean(), (~side)[border].mean()
    is_foreground = side[np.abs(cut).argmax()] if shares[0] == shares[1] else shares[0] < shares[1]
    return _unit_range(cut if is_foreground else -cut).reshape(grid).astype(np.float32)


def _unit_range(values: np.ndarray) -> np.ndarray:
    spread = np.ptp(values)
    return np.zeros_like(values) if spread < NOTHING else (values - values.min()) / spread
