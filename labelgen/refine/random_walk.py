"""Random walk of scores over a sparse band of affinities, without ever forming a matrix of all pairs."""

import numpy as np
from jaxtyping import Float, Float64, Int64

from labelgen.refine.neighbours import average_neighbours

__all__ = ["half_plane", "random_walk", "transitions"]


def half_plane(radius: float) -> Int64[np.ndarray, "K 2"]:
    """Offsets (rows, columns) of length below `radius`, one of each pair of opposite ones.

    Downwards, or level and to the right; 34 for the radius of 5 of the papers.

    Examples
    --------
    >>> half_plane(1.5).tolist()
    [[0, 1], [1, -1], [1, 0], [1, 1]]
    >>> len(half_plane(5))
    34
    """
    reach = int(np.ceil(radius))
    return np.array(
        [
            (row, col)
            for row in range(reach + 1)
            for col in range(-reach, reach + 1)
            if (row, col) > (0, 0) and row**2 + col**2 < radius**2
        ],
        np.int64,
    ).reshape(-1, 2)


def transitions(
    affinity: Float[np.ndarray, "K h w"], offsets: Int64[np.ndarray, "K 2"], *, beta: float
) -> tuple[Float64[np.ndarray, "h N w"], Int64[np.ndarray, "N 2"]]:
    """Columns of the transition matrix `T_ij = a_ij^beta / sum_i a_ij^beta`, of which only a band is not zero.

    Parameters
    ----------
    affinity
        In [0, 1], of each cell and the one at each offset from it; what lies outside the grid is left out. Affinities
        are symmetric, and 1 of a cell and itself.
    offsets
        As `half_plane` gives them: one of each pair of opposite ones.
    beta
        The higher, the less passes between cells that are not quite alike.

    Returns
    -------
    tuple
        For cell j at (row, col) the `N = 2 K + 1` values `T_ij`, at `[row, :, col]`, which sum to 1; and the offsets
        from j of the cells i.
    """
    count, height, width = affinity.shape
    weights = np.zeros((height, 2 * count + 1, width), np.float64)
    weights[:, 0] = 1
    for k, (down, right) in enumerate(offsets):
        rows, left = max(height - down, 0), max(0, -right)
        cols = max(width - abs(right), 0)
        values = affinity[k, :rows, left : left + cols].astype(np.float64) ** beta
        weights[:rows, 2 * k + 1, left : left + cols] = values
        weights[down : down + rows, 2 * k + 2, left + right : left + right + cols] = values
    weights /= weights.sum(axis=1, keepdims=True)
    both = np.stack([offsets, -offsets], axis=1).reshape(-1, 2)
    return weights, np.concatenate([np.zeros((1, 2), np.int64), both])


def random_walk(
    planes: Float[np.ndarray, "C h w"],
    affinity: Float[np.ndarray, "K h w"],
    offsets: Int64[np.ndarray, "K 2"],
    *,
    beta: float,
    steps: int,
) -> Float64[np.ndarray, "C h w"]:
    """Let scores walk: `v <- v T`, `steps` times, for each plane as a row vector.

    The same as `v T^steps`, which the papers' code gets by squaring a matrix of all pairs of cells; here a step costs
    `2 K + 1` products per cell and plane. As the columns of T sum to 1, each result is a weighted mean of the scores.

    Parameters
    ----------
    affinity, offsets, beta
        As for `transitions`.
    steps
        Number of steps; the papers give its logarithm to the base 2.

    References
    ----------
    .. [1] Ahn & Kwak, "Learning Pixel-level Semantic Affinity with Image-level Supervision for Weakly Supervised
       Semantic Segmentation", CVPR 2018, arXiv 1803.10464, section 3.3.

    Examples
    --------
    >>> affinity = np.array([[[1.0, 0.0, 0.0]]])  # the first two cells are alike, the third is not
    >>> random_walk(np.array([[[1.0, 0.0, 0.5]]]), affinity, np.array([[0, 1]]), beta=8, steps=1).tolist()
    [[[0.5, 0.5, 0.5]]]
    """
    weights, around = transitions(affinity, offsets, beta=beta)
    return average_neighbours(planes.astype(np.float64), weights, around, steps=steps)
