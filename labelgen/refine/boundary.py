"""How sure a boundary runs through each cell of a grid: from the image, from features, or from a folder of maps."""

from pathlib import Path

import numpy as np
from jaxtyping import Float, Float32, UInt8

from labelgen.data.inputs import InputFile
from labelgen.data.unit_maps import read_unit_map
from labelgen.nets.geometry import Geometry

__all__ = ["feature_edges", "image_gradient", "largest_in_cells", "read_boundaries"]

SIGMA = 1.5
"""Of the Gaussian in pixels whose derivative is the gradient: grain of photographs is about one pixel wide."""

SURE = 0.95
"""Share of the cells below those that count as sure boundaries. Edges of images without training are only relative."""

ROUNDING = 1e-5
"""Edges no higher than this are the rounding of equal features."""


def image_gradient(image: UInt8[np.ndarray, "H W 3"], geometry: Geometry) -> Float32[np.ndarray, "h w"]:
    """The steepest change of any colour inside each cell, over that of the steepest twentieth of the cells.

    Returns
    -------
    ndarray
        In [0, 1]; 0 everywhere in an image of one colour.
    """
    from scipy.ndimage import gaussian_gradient_magnitude

    steepness = [
        gaussian_gradient_magnitude(image[:, :, channel].astype(np.float32), SIGMA, mode="nearest")
        for channel in range(image.shape[2])
    ]
    return _relative(largest_in_cells(np.max(steepness, axis=0), geometry))


def feature_edges(features: Float[np.ndarray, "h w D"]) -> Float32[np.ndarray, "h w"]:
    """The largest distance `1 - cosine` of each cell to one beside it, over that of the farthest twentieth.

    Returns
    -------
    ndarray
        In [0, 1]; 0 everywhere where all features point the same way, or are zero.
    """
    lengths = np.linalg.norm(features, axis=2, keepdims=True)
    unit = np.divide(features, lengths, out=np.zeros_like(features), where=lengths > 0)
    edges = np.zeros(features.shape[:2], np.float32)
    for first, second in (
        ((slice(None, -1), slice(None)), (slice(1, None), slice(None))),
        ((slice(None), slice(None, -1)), (slice(None), slice(1, None))),
    ):
        both = (lengths[first] > 0) & (lengths[second] > 0)
        distance = np.where(both[:, :, 0], 1 - (unit[first] * unit[second]).sum(axis=2), 0)
        for cells in (first, second):
            edges[cells] = np.maximum(edges[cells], distance)
    return _relative(edges)


def largest_in_cells(values: Float32[np.ndarray, "H W"], geometry: Geometry) -> Float32[np.ndarray, "h w"]:
    """The largest value among the pixels of each cell, so that a wall one pixel wide is a wall of cells.

    The geometry must not resize.

    Examples
    --------
    >>> geometry = Geometry(size=(2, 3), resized=(2, 3), pad=(0, 0), grid=(1, 2), stride=2)
    >>> largest_in_cells(np.array([[0, 1, 2], [5, 0, 3]], np.float32), geometry).tolist()
    [[5.0, 3.0]]
    """
    (top, left), (height, width), stride = geometry.pad, geometry.size, geometry.stride
    padded = np.zeros(geometry.padded, np.float32)
    padded[top : top + height, left : left + width] = values
    rows, cols = geometry.grid
    return padded.reshape(rows, stride, cols, stride).max(axis=(1, 3))


def read_boundaries(
    folder: Path, sample_id: str, size: tuple[int, int]
) -> tuple[Float32[np.ndarray, "H W"], InputFile]:
    """Read the boundary map of one image, 1 for a sure one, and the file that held it; see `read_unit_map`."""
    return read_unit_map(folder, sample_id, size, what="boundary map")


def _relative(edges: np.ndarray) -> np.ndarray:
    """Over a high quantile; where that is 0 there are too few edges to have one, and the largest takes its place."""
    edges = np.where(edges > ROUNDING, edges, 0)
    sure = float(np.quantile(edges, SURE)) or float(edges.max())
    return np.clip(edges / sure, 0, 1).astype(np.float32) if sure > 0 else edges.astype(np.float32)
