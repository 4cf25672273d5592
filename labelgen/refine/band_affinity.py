"""Affinities of near cells of a grid: by their features or colours, or by the boundaries between them."""

import numpy as np
from jaxtyping import Float, Float32, Int64

__all__ = ["boundary_affinity", "cells_between", "cosine_affinity", "l1_affinity", "standardised"]


def l1_affinity(
    features: Float[np.ndarray, "h w D"], offsets: Int64[np.ndarray, "K 2"]
) -> Float32[np.ndarray, "K h w"]:
    """`a_ij = exp(-mean_d |f_id - f_jd|)` of each cell i and the cell j at each offset; 0 where j is outside the grid.

    References
    ----------
    .. [1] Ahn & Kwak, "Learning Pixel-level Semantic Affinity with Image-level Supervision for Weakly Supervised
       Semantic Segmentation", CVPR 2018, arXiv 1803.10464, eq. 3, with the mean of the code in place of the norm.

    Examples
    --------
    >>> l1_affinity(np.array([[[0.0], [0.0], [2.0]]]), np.array([[0, 1]])).round(3).tolist()
    [[[1.0, 0.13500000536441803, 0.0]]]
    """
    return _of_pairs(features, offsets, lambda a, b: np.exp(-np.abs(a - b).mean(axis=2)))


def cosine_affinity(
    features: Float[np.ndarray, "h w D"], offsets: Int64[np.ndarray, "K 2"]
) -> Float32[np.ndarray, "K h w"]:
    """The cosine of the features of both cells, at least 0; 0 where a cell is outside the grid or has no feature.

    Examples
    --------
    >>> cosine_affinity(np.array([[[2.0, 0], [0, 1], [0, 3]]]), np.array([[0, 1]])).tolist()
    [[[0.0, 1.0, 0.0]]]
    """
    lengths = np.linalg.norm(features, axis=2, keepdims=True)
    unit = np.divide(features, lengths, out=np.zeros_like(features), where=lengths > 0)
    return _of_pairs(unit, offsets, lambda a, b: np.clip((a * b).sum(axis=2), 0, 1))


def boundary_affinity(
    boundary: Float[np.ndarray, "h w"], offsets: Int64[np.ndarray, "K 2"]
) -> Float32[np.ndarray, "K h w"]:
    """`a_ij = 1 - max_k B_k` over the cells k on the line from i to j, both ends among them; 0 outside the grid.

    That nothing leaves the grid is what the papers get by padding it with B = 1.

    Parameters
    ----------
    boundary
        How sure a boundary runs through each cell, in [0, 1].

    References
    ----------
    .. [1] Ahn, Cho & Kwak, "Weakly Supervised Learning of Instance Segmentation with Inter-pixel Relations", CVPR
       2019, arXiv 1904.05044, eq. 9.

    Examples
    --------
    >>> boundary_affinity(np.array([[0, 0.25, 1, 0]]), np.array([[0, 1], [0, 3]])).tolist()
    [[[0.75, 0.0, 0.0, 0.0]], [[0.0, 0.0, 0.0, 0.0]]]
    """
    affinity = np.zeros((len(offsets), *boundary.shape), np.float32)
    for k, offset in enumerate(offsets):
        on_line = [_window(boundary, offset, cell) for cell in cells_between(int(offset[0]), int(offset[1]))]
        _window(affinity[k], offset, (0, 0))[:] = 1 - np.max(on_line, axis=0)
    return affinity


def cells_between(row: int, col: int) -> list[tuple[int, int]]:
    """Cells on the line from (0, 0) to (row, col): those between the two whose centre is nearer to it than 1.

    The line is wide enough that none slips diagonally through a boundary of cells that touch only at corners.

    Examples
    --------
    >>> cells_between(0, 2)
    [(0, 0), (0, 1), (0, 2)]
    >>> cells_between(1, -1)
    [(0, -1), (0, 0), (1, -1), (1, 0)]
    """
    length = np.hypot(row, col)
    return [
        (r, c)
        for r in range(min(0, row), max(0, row) + 1)
        for c in range(min(0, col), max(0, col) + 1)
        if abs(row * c - col * r) < length
    ]


def standardised(features: Float[np.ndarray, "h w D"]) -> Float32[np.ndarray, "h w D"]:
    """Features less their mean over the grid, in units of their standard deviation over grid and channels.

    Differences of features then mean the same for every network and image. Where all are equal, all are zero.
    """
    centred = features - features.mean(axis=(0, 1))
    scale = np.sqrt((centred**2).mean())
    # equal features leave no more than the rounding of their mean
    is_flat = scale <= 1e-6 * max(1.0, float(np.abs(features).max()))
    return (np.zeros_like(centred) if is_flat else centred / scale).astype(np.float32)


def _of_pairs(features: np.ndarray, offsets: np.ndarray, affinity_of) -> np.ndarray:
    affinity = np.zeros((len(offsets), *features.shape[:2]), np.float32)
    for k, offset in enumerate(offsets):
        first, second = _window(features, offset, (0, 0)), _window(features, offset, offset)
        _window(affinity[k], offset, (0, 0))[:] = affinity_of(first, second)
    return affinity


def _window(grid: np.ndarray, offset: np.ndarray, cell: tuple[int, int] | np.ndarray) -> np.ndarray:
    """The cells at `cell` from each cell that has another inside the grid at `offset`."""
    slices = []
    for size, reach, shift in zip(grid.shape[:2], offset, cell, strict=True):
        start = max(0, -reach) + shift
        slices.append(slice(start, start + max(size - abs(reach), 0)))
    return grid[tuple(slices)]
