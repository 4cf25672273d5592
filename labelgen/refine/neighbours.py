"""Scores averaged, step by step, over a fixed set of neighbours: of PAMR, PAR and the random walk."""

from collections.abc import Callable, Sequence

import numpy as np
from jaxtyping import Bool, Float, Float32, Int64, UInt8

__all__ = ["among_voters", "average_neighbours", "colour_affinity", "dilated_ring", "vote_averages"]

MAX_PLANES = 16
"""Averaged at once; the memory of wide vocabularies is then that of their result."""


def dilated_ring(dilations: Sequence[int]) -> Int64[np.ndarray, "K 2"]:
    """The eight neighbours at each dilation, as (rows, columns) from the pixel.

    Examples
    --------
    >>> dilated_ring([3]).tolist()[:4]
    [[-3, -3], [-3, 0], [-3, 3], [0, -3]]
    """
    ring = [(row, col) for row in (-1, 0, 1) for col in (-1, 0, 1) if row or col]
    return np.array([(row * d, col * d) for d in dilations for row, col in ring], np.int64).reshape(-1, 2)


def colour_affinity(
    image: UInt8[np.ndarray, "H W 3"], offsets: Int64[np.ndarray, "K 2"], *, centres: int, share: float, power: int
) -> Float32[np.ndarray, "H K W"]:
    """Weights of the neighbours of each pixel by colour; they sum to 1.

    `softmax_k -mean_c (|I_c - I_ck| / (1e-8 + share std_c)) ** power`; beyond its edge the image repeats its last
    pixel.

    Parameters
    ----------
    centres
        How often the pixel itself is among the samples of the (unbiased) standard deviation.
    share
        Of the standard deviation.

    Returns
    -------
    ndarray
        K lies between the sides of the image, as `average_neighbours` reads it.
    """
    from labelgen.refine.neighbour_kernels import colour_weights

    pad = _reach(offsets)
    padded = np.pad(image.astype(np.int64), ((pad, pad), (pad, pad), (0, 0)), mode="edge")
    weights = np.empty((image.shape[0], len(offsets), image.shape[1]), np.float32)
    colour_weights(padded, offsets, pad, centres, share, power, weights)
    return weights


def average_neighbours(
    planes: Float[np.ndarray, "C H W"],
    weights: Float[np.ndarray, "H K W"],
    offsets: Int64[np.ndarray, "K 2"],
    *,
    steps: int,
) -> Float[np.ndarray, "C H W"]:
    """Replace each value by the weighted sum of its neighbours, `steps` times.

    A neighbour beyond the edge is the nearest place inside. Planes are handled a few at a time; besides weights and
    result this takes the memory of `2 MAX_PLANES` planes.

    Examples
    --------
    >>> right = np.ones((1, 1, 3), np.float32)
    >>> average_neighbours(np.array([[[1, 2, 3]]], np.float32), right, np.array([[0, 1]]), steps=1).tolist()
    [[[2.0, 3.0, 3.0]]]
    """
    from labelgen.refine.neighbour_kernels import neighbour_sums

    pad = _reach(offsets)
    result = np.empty_like(planes)
    inside = (slice(None), slice(pad, pad + planes.shape[1]), slice(pad, pad + planes.shape[2]))
    for start in range(0, len(planes), MAX_PLANES):
        source = np.pad(planes[start : start + MAX_PLANES], ((0, 0), (pad, pad), (pad, pad)), mode="edge")
        target = np.empty_like(source)
        for _ in range(steps):
            neighbour_sums(source, target, weights, offsets, pad)
            _repeat_edges(target, pad)
            source, target = target, source
        result[start : start + MAX_PLANES] = source[inside]
    return result


def among_voters(
    average: Callable[[Float[np.ndarray, "C H W"]], Float[np.ndarray, "C H W"]], scores: Float32[np.ndarray, "C H W"]
) -> Float32[np.ndarray, "C H W"]:
    """Average scores over the places that do not abstain, that is where some class has a score.

    A place that no vote reaches abstains. See `vote_averages`.

    Examples
    --------
    >>> def both(planes):
    ...     return planes.mean(axis=2, keepdims=True).repeat(2, axis=2)
    >>> among_voters(both, np.array([[[0.75, 0.0]]], np.float32)).tolist()
    [[[0.75, 0.75]]]
    """
    return vote_averages(average, scores, scores.max(axis=0) > 0)[0] if scores.size else scores


def vote_averages(
    average: Callable[[Float[np.ndarray, "C H W"]], Float[np.ndarray, "C H W"]],
    scores: Float32[np.ndarray, "C H W"],
    votes: Bool[np.ndarray, "H W"],
) -> tuple[Float32[np.ndarray, "C H W"], Bool[np.ndarray, "H W"]]:
    """Average scores over the places that have a vote, by a linear `average` of planes.

    The votes travel as one more plane and divide the result in the end; where every place votes nothing is divided.

    Returns
    -------
    tuple
        Scores, and where any vote came.
    """
    if votes.all():
        return average(scores).astype(np.float32, copy=False), votes
    averages = average(np.concatenate([scores, votes[None].astype(np.float32)]))
    weight = averages[-1]
    reached = weight > np.finfo(np.float32).tiny  # denormal numbers have too few digits to divide by
    means = np.divide(averages[:-1], weight, out=np.zeros_like(averages[:-1]), where=reached)
    return means.astype(np.float32, copy=False), reached


def _reach(offsets: np.ndarray) -> int:
    return int(np.abs(offsets).max())


def _repeat_edges(padded: np.ndarray, pad: int) -> None:
    """Overwrite the padding by the nearest place inside."""
    if pad:
        padded[:, pad:-pad, :pad] = padded[:, pad:-pad, pad : pad + 1]
        padded[:, pad:-pad, -pad:] = padded[:, pad:-pad, -pad - 1 : -pad]
        padded[:, :pad] = padded[:, pad : pad + 1]
        padded[:, -pad:] = padded[:, -pad - 1 : -pad]
