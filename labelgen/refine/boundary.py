"""How sure a boundary runs through each cell of a grid: from the image, from features, or from a folder of maps."""

import io
from pathlib import Path

import numpy as np
from jaxtyping import Float, Float32, UInt8

from labelgen.data.inputs import InputFile
from labelgen.errors import DataError, ShapeError
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
    """Read the boundary map of one image, an 8-bit grey `<id>.png`: 0 is no boundary, 255 a sure one.

    Returns
    -------
    tuple
        The map in [0, 1] and the file that held it.

    Raises
    ------
    DataError
        When the file is missing or not an 8-bit grey picture.
    ShapeError
        When it has another size than its image.
    """
    from PIL import Image, UnidentifiedImageError

    path = folder / f"{sample_id}.png"
    try:
        file = InputFile.read(path)
        with Image.open(io.BytesIO(file.content)) as picture:
            if picture.mode not in ("L", "1"):
                raise DataError(
                    f"a boundary map must be an 8-bit grey PNG, got mode {picture.mode} in {path}",
                    hint="convert it, for instance with Pillow: Image.open(PATH).convert('L')",
                )
            boundary = np.array(picture.convert("L"), np.float32) / 255
    except FileNotFoundError as error:
        raise DataError(
            f"no boundary map of {sample_id!r}: {path} not found", hint="name each file after its image: ID.png"
        ) from error
    except (UnidentifiedImageError, OSError, SyntaxError) as error:
        why = "no kind of picture" if isinstance(error, UnidentifiedImageError) else error
        raise DataError(f"boundary map cannot be read: {path} ({why})", hint="make it anew") from error
    if boundary.shape != size:
        raise ShapeError(
            f"a boundary map must have the size {size} of its image, got {boundary.shape} in {path}",
            hint="nothing is resized silently; make the files agree",
        )
    return boundary, file


def _relative(edges: np.ndarray) -> np.ndarray:
    """Over a high quantile; where that is 0 there are too few edges to have one, and the largest takes its place."""
    edges = np.where(edges > ROUNDING, edges, 0)
    sure = float(np.quantile(edges, SURE)) or float(edges.max())
    return np.clip(edges / sure, 0, 1).astype(np.float32) if sure > 0 else edges.astype(np.float32)
