"""What the student and the teacher see of an image: a centre crop, and its tiles at several scales."""

from collections.abc import Sequence
from itertools import pairwise

import numpy as np
from jaxtyping import Bool, Int64, UInt8

from labelgen.nets.geometry import fitted_size, resize_image

__all__ = ["centre_crop", "tile_boxes", "tile_members", "tiles_of"]


def centre_crop(image: UInt8[np.ndarray, "H W 3"], side: int) -> UInt8[np.ndarray, "side side 3"]:
    """Resize the short side of an image to `side` pixels and cut out the middle square.

    Examples
    --------
    >>> centre_crop(np.zeros((10, 30, 3), np.uint8), 20).shape
    (20, 20, 3)
    """
    image = resize_image(image, fitted_size((image.shape[0], image.shape[1]), policy="keep", side=side, max_side=0))
    top, left = (image.shape[0] - side) // 2, (image.shape[1] - side) // 2
    return image[top : top + side, left : left + side]


def tile_boxes(size: tuple[int, int], grids: Sequence[int]) -> Int64[np.ndarray, "T 4"]:
    """Boxes of r x r equal tiles for each r, row by row; together the tiles of one r cover the image once.

    Where a length is not a multiple of r, tiles differ by one pixel at the most.

    Parameters
    ----------
    size
        `(H, W)` in pixels, not below the largest r.

    Returns
    -------
    ndarray
        Top, left, bottom, right; the last two exclusive.

    Examples
    --------
    >>> tile_boxes((4, 5), (1, 2)).tolist()
    [[0, 0, 4, 5], [0, 0, 2, 2], [0, 2, 2, 5], [2, 0, 4, 2], [2, 2, 4, 5]]
    """
    boxes = []
    for parts in grids:
        rows, cols = ([(length * i) // parts for i in range(parts + 1)] for length in size)
        boxes += [(top, left, bottom, right) for top, bottom in pairwise(rows) for left, right in pairwise(cols)]
    return np.array(boxes, np.int64)


def tile_members(grid: int, patch: int, grids: Sequence[int]) -> Bool[np.ndarray, "T N"]:
    """Which patches of a square image have their centre in which tile.

    Parameters
    ----------
    grid
        Patches along a side.
    patch
        Side of a patch in pixels.

    Examples
    --------
    >>> tile_members(2, 8, (1, 2)).astype(int).tolist()
    [[1, 1, 1, 1], [1, 0, 0, 0], [0, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]]
    """
    boxes = tile_boxes((grid * patch, grid * patch), grids)
    centres = (np.arange(grid) + 0.5) * patch
    rows, cols = ((centres >= boxes[:, [first]]) & (centres < boxes[:, [last]]) for first, last in ((0, 2), (1, 3)))
    return (rows[:, :, None] & cols[:, None, :]).reshape(len(boxes), -1)


def tiles_of(
    image: UInt8[np.ndarray, "H W 3"], grids: Sequence[int], *, size: tuple[int, int]
) -> UInt8[np.ndarray, "T height width 3"]:
    """The tiles of an image, each resized to `size` as a CLIP model takes it, by an antialiased bicubic filter."""
    boxes = tile_boxes((image.shape[0], image.shape[1]), grids)
    return np.stack([resize_image(image[top:bottom, left:right], size) for top, left, bottom, right in boxes])
