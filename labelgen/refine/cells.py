"""Scores between pixels and the cells of a token grid: area averages one way, bilinear reading the other."""

import numpy as np
from jaxtyping import Bool, Float32, Float64

from labelgen.nets.geometry import Geometry

__all__ = ["cells_to_pixels", "grid_centres", "has_vote", "pixels_to_cells", "read_cells"]


def has_vote(scores: Float32[np.ndarray, "C H W"]) -> Bool[np.ndarray, "H W"]:
    """Where a pixel does not abstain, that is where some class has a score."""
    return scores.max(axis=0) > 0


def pixels_to_cells(
    scores: Float32[np.ndarray, "C H W"], geometry: Geometry, *, votes: Bool[np.ndarray, "H W"] | None = None
) -> tuple[Float32[np.ndarray, "C h w"], Float32[np.ndarray, "h w"]]:
    """Sum the scores of the pixels in each cell, in proportion to the area of the cell that a pixel covers.

    Parameters
    ----------
    votes
        Pixels that count; those with a score unless it is given.

    Returns
    -------
    tuple
        The sums, in shares of the area of a cell, and the share of each cell that pixels with a vote cover. The
        first over the second is the average over the pixels that do not abstain.

    Examples
    --------
    >>> geometry = Geometry(size=(1, 4), resized=(1, 4), pad=(0, 0), grid=(1, 2), stride=2)
    >>> sums, votes = pixels_to_cells(np.array([[[1, 1, 1, 0]]], np.float32), geometry)
    >>> sums[0].tolist(), votes.tolist()
    ([[0.5, 0.25]], [[0.5, 0.25]])
    """
    rows, cols = _overlaps(geometry, 0), _overlaps(geometry, 1)
    if votes is not None:
        scores = scores * votes
    counted = (has_vote(scores) if votes is None else votes).astype(np.float32)
    return rows @ scores @ cols.T, rows @ counted @ cols.T


def cells_to_pixels(
    sums: Float32[np.ndarray, "C h w"], votes: Float32[np.ndarray, "h w"], geometry: Geometry
) -> Float32[np.ndarray, "C H W"]:
    """Read cells bilinearly (align_corners False) at every pixel, over the cells that have a vote.

    A pixel abstains where all cells around it do.

    Examples
    --------
    >>> geometry = Geometry(size=(1, 4), resized=(1, 4), pad=(0, 0), grid=(1, 2), stride=2)
    >>> cells_to_pixels(np.array([[[0, 1]]], np.float32), np.ones((1, 2), np.float32), geometry)[0].tolist()
    [[0.0, 0.25, 0.75, 1.0]]
    """
    rows, cols = (_interpolation(geometry, axis, np.arange(float(geometry.size[axis]))) for axis in (0, 1))
    weight = rows @ votes @ cols.T
    read = rows @ sums @ cols.T
    return np.divide(read, weight, out=np.zeros_like(read), where=weight > 0)


def grid_centres(geometry: Geometry) -> tuple[Float64[np.ndarray, "h"], Float64[np.ndarray, "w"]]:
    """Rows and columns, in pixels of the original image, of the centres of the cells; they may lie in the padding.

    Examples
    --------
    >>> geometry = Geometry(size=(4, 4), resized=(4, 4), pad=(0, 1), grid=(2, 3), stride=2)
    >>> grid_centres(geometry)
    (array([0.5, 2.5]), array([-0.5,  1.5,  3.5]))
    """
    rows, cols = (
        ((np.arange(geometry.grid[axis]) + 0.5) * geometry.stride - geometry.pad[axis])
        * (geometry.size[axis] / geometry.resized[axis])
        - 0.5
        for axis in (0, 1)
    )
    return rows, cols


def read_cells(
    cells: Float32[np.ndarray, "C h w"],
    geometry: Geometry,
    rows: Float64[np.ndarray, "n"],
    cols: Float64[np.ndarray, "m"],
) -> Float32[np.ndarray, "C n m"]:
    """Read cells bilinearly at all crossings of these rows and columns of the original image.

    Examples
    --------
    >>> geometry = Geometry(size=(1, 4), resized=(1, 4), pad=(0, 0), grid=(1, 2), stride=2)
    >>> read_cells(np.array([[[0, 1]]], np.float32), geometry, np.array([0.0]), np.array([0.5, 1.5]))[0].tolist()
    [[0.0, 0.5]]
    """
    return _interpolation(geometry, 0, rows) @ cells @ _interpolation(geometry, 1, cols).T


def _overlaps(geometry: Geometry, axis: int) -> np.ndarray:
    """Length of each pixel inside each cell, `(cells, pixels)`, in sides of a cell."""
    scale = geometry.resized[axis] / geometry.size[axis]
    edges = (np.arange(geometry.size[axis] + 1) * scale + geometry.pad[axis]) / geometry.stride
    cells = np.arange(geometry.grid[axis])[:, None]
    lengths = np.minimum(cells + 1, edges[1:]) - np.maximum(cells, edges[:-1])
    return np.maximum(lengths, 0).astype(np.float32)


def _interpolation(geometry: Geometry, axis: int, pixels: np.ndarray) -> np.ndarray:
    """Weight of each cell at each of these pixels, `(pixels, cells)`; rows sum to 1."""
    other = np.zeros_like(pixels)
    rows, cols = (pixels, other) if axis == 0 else (other, pixels)
    last = geometry.grid[axis] - 1
    places = np.clip(geometry.token_coordinates(rows, cols)[axis], 0, last)
    lower = np.floor(places).astype(int)
    share = (places - lower).astype(np.float32)
    weights = np.zeros((len(pixels), last + 1), np.float32)
    weights[np.arange(len(pixels)), lower] = 1 - share
    weights[np.arange(len(pixels)), np.minimum(lower + 1, last)] += share
    return weights
