"""The cell of a token: which part of the original image it covers, and what is averaged or counted in it."""

import numpy as np
from jaxtyping import Float, Float64, Int64

from labelgen.nets.geometry import Geometry
from segprobe.labels import ImageLabels

__all__ = ["cell_counts", "cell_means", "cells_of", "inside_box", "majority"]

LEAST_SHARE = 0.5  # of a cell must be image, or it is padding
MAJORITY = 0.7  # of the labelled pixels of a cell must agree
UNLABELLED = -1


def inside_box(geometry: Geometry) -> tuple[slice, slice]:
    """Rows and columns of the token grid that lie on the image and not on padding.

    A token is inside when at least half of its cell is image; where the image is so small that no cell is half full,
    those are that hold most of it. The image is a rectangle, so its tokens are one as well.

    Examples
    --------
    >>> inside_box(Geometry(size=(4, 8), resized=(4, 8), pad=(0, 0), grid=(2, 2), stride=4))
    (slice(0, 1, None), slice(0, 2, None))
    """
    rows, cols = (
        _inside(
            _overlaps(geometry, axis).sum(axis=1) * (geometry.resized[axis] / geometry.size[axis] / geometry.stride)
        )
        for axis in (0, 1)
    )
    return rows, cols


def _inside(share: Float64[np.ndarray, "n"]) -> slice:
    # The sums are of fractions of pixels; a cell that is exactly half full must not fall to rounding.
    places = np.flatnonzero(share >= LEAST_SHARE * share.max() - 1e-9)
    return slice(int(places[0]), int(places[-1]) + 1)


def cell_means(values: Float[np.ndarray, "H W *D"], geometry: Geometry) -> Float64[np.ndarray, "h w *D"]:
    """Average values over the part of the image that each token covers, pixels on the edge of a cell by their share.

    Mirroring, resizing and padding are followed; a token that lies on padding alone gets 0.

    Parameters
    ----------
    values
        At the pixels of the original image.

    Examples
    --------
    >>> geometry = Geometry(size=(2, 2), resized=(4, 4), pad=(0, 0), grid=(1, 2), stride=4)
    >>> cell_means(np.array([[1.0, 3.0], [1.0, 3.0]]), geometry).tolist()
    [[2.0, 0.0]]
    """
    rows, cols = (_averaging(_overlaps(geometry, axis)) for axis in (0, 1))
    tall = np.tensordot(rows, np.asarray(values, np.float64), axes=(1, 0))
    return np.moveaxis(np.tensordot(cols, tall, axes=(1, 1)), 0, 1)


def _averaging(overlaps: Float64[np.ndarray, "n N"]) -> Float64[np.ndarray, "n N"]:
    total = overlaps.sum(axis=1, keepdims=True)
    return np.divide(overlaps, total, out=np.zeros_like(overlaps), where=total > 0)


def _overlaps(geometry: Geometry, axis: int) -> Float64[np.ndarray, "n N"]:
    """Length, in pixels of the original image, that each cell and each pixel share along one axis."""
    length, tokens = geometry.size[axis], geometry.grid[axis]
    factor = length / geometry.resized[axis]
    edges = (np.arange(tokens + 1) * geometry.stride - geometry.pad[axis]) * factor
    pixels = np.arange(length)
    upper = np.minimum(edges[1:, None], pixels[None, :] + 1)
    lower = np.maximum(edges[:-1, None], pixels[None, :])
    shared = np.maximum(upper - lower, 0.0)
    return shared[:, ::-1] if axis == 1 and geometry.flip else shared


def cells_of(geometry: Geometry, pixels: Int64[np.ndarray, "K"]) -> Int64[np.ndarray, "K"]:
    """Index `i * w + j` of the token whose cell holds the centre of each pixel.

    Examples
    --------
    >>> geometry = Geometry(size=(2, 4), resized=(2, 4), pad=(0, 0), grid=(1, 2), stride=2, flip=True)
    >>> cells_of(geometry, np.array([0, 3]))
    array([1, 0])
    """
    rows, cols = np.divmod(pixels, geometry.size[1])
    u, v = geometry.token_coordinates(rows.astype(np.float64), cols.astype(np.float64))
    i = np.clip(np.floor(u + 0.5), 0, geometry.grid[0] - 1).astype(np.int64)
    j = np.clip(np.floor(v + 0.5), 0, geometry.grid[1] - 1).astype(np.int64)
    return i * geometry.grid[1] + j


def cell_counts(
    labels: ImageLabels, geometry: Geometry, column_of: Int64[np.ndarray, "V"]
) -> Int64[np.ndarray, "h w C"]:
    """Count the labelled pixels of each class in each cell.

    Parameters
    ----------
    column_of
        Column of each class of the vocabulary, -1 for classes that have none; their pixels are not counted.
    """
    pixels, classes = labels.labelled()
    columns = column_of[classes]
    known = columns != UNLABELLED
    height, width, depth = *geometry.grid, int(column_of.max(initial=UNLABELLED)) + 1
    places = cells_of(geometry, pixels[known]) * depth + columns[known]
    return np.bincount(places, minlength=height * width * depth).reshape(height, width, depth)


def majority(counts: Int64[np.ndarray, "h w C"]) -> Int64[np.ndarray, "h w"]:
    """Column that holds at least `MAJORITY` of the labelled pixels of a cell; -1 where none does or none is labelled.

    Examples
    --------
    >>> majority(np.array([[[0, 0], [0, 1], [7, 3], [6, 4]]]))
    array([[-1,  1,  0, -1]])
    """
    total = counts.sum(axis=-1)
    agreed = (total > 0) & (counts.max(axis=-1, initial=0) >= MAJORITY * total)
    if not counts.shape[-1]:
        return np.full(total.shape, UNLABELLED, np.int64)
    return np.where(agreed, counts.argmax(axis=-1), UNLABELLED)
