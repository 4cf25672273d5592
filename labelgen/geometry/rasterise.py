"""Draw polylines: a pixel belongs to a stroke when its centre lies within half the pen's width of the line."""

from typing import no_type_check

import cv2
import numpy as np
from jaxtyping import Bool, Float

from labelgen.geometry.compiled import compiled

__all__ = ["draw_inside", "draw_polyline"]

GRAIN = 0.1
"""Added to half the pen's width, in pixels: human scribbles drawn with width 3 measure 3.2 to 3.5 pixels across."""


def draw_polyline(points: Float[np.ndarray, "N 2"], *, width: float, size: tuple[int, int]) -> Bool[np.ndarray, "H W"]:
    """Draw a polyline with a round pen; a single vertex gives a disc.

    The set of pixels is exact, so that a part of a polyline covers a subset of the pixels of the whole.

    Parameters
    ----------
    points
        (row, col) vertices, pixel centres at integers; may lie outside the image.
    width
        Diameter of the pen in pixels. Pens below sqrt(2) also mark the pixel of each vertex, so that something is
        always drawn.
    size
        (H, W) of the image.

    Examples
    --------
    >>> draw_polyline(np.array([[1.0, 1.0], [1.0, 3.0]]), width=1.0, size=(3, 5)).astype(int)
    array([[0, 0, 0, 0, 0],
           [0, 1, 1, 1, 0],
           [0, 0, 0, 0, 0]])
    """
    canvas = np.zeros(size, np.uint8)
    _draw(np.ascontiguousarray(points, np.float64), 0.5 * width + GRAIN, canvas)
    return canvas.view(bool)


def draw_inside(
    points: Float[np.ndarray, "N 2"], *, width: float, region: Bool[np.ndarray, "H W"]
) -> Bool[np.ndarray, "H W"]:
    """Draw a polyline but leave out what falls outside the region.

    Where the region is thinner than the pen, bits beyond the boundary may reappear in a neighbouring limb of the
    region; only pieces that the line itself runs through are kept. When nothing is left, the line is drawn one pixel
    wide; when even that misses the region, its pixel nearest to the middle vertex is marked.

    Returns
    -------
    Bool[np.ndarray, "H W"]
        Not empty unless the region is.

    Examples
    --------
    >>> region = np.array([[1, 1, 1], [0, 0, 0], [1, 1, 1]], bool)
    >>> draw_inside(np.array([[0.0, 0.0], [0.0, 2.0]]), width=4.0, region=region).astype(int)
    array([[1, 1, 1],
           [0, 0, 0],
           [0, 0, 0]])
    """
    full = draw_polyline(points, width=width, size=region.shape)
    drawn = full & region
    if np.array_equal(full, drawn):
        return drawn if drawn.any() else _nearest_pixel(points, region)
    thin = draw_polyline(points, width=1.0, size=region.shape) & region
    if not thin.any():
        return drawn if drawn.any() else _nearest_pixel(points, region)
    pieces = cv2.connectedComponents(drawn.view(np.uint8), connectivity=8)[1]
    touched = np.unique(pieces[thin])
    return np.isin(pieces, touched[touched > 0]) | thin


def _nearest_pixel(points: np.ndarray, region: np.ndarray) -> np.ndarray:
    drawn = np.zeros(region.shape, bool)
    pixels = np.argwhere(region)
    if len(pixels):
        nearest = np.square(pixels - points[len(points) // 2]).sum(axis=1).argmin()
        drawn[tuple(pixels[nearest])] = True
    return drawn


@compiled
@no_type_check
def _draw(points, radius, canvas):
    """Mark every pixel within `radius` of a segment; the tolerance keeps ties from depending on rounding."""
    height, width = canvas.shape
    limit = radius * radius + 1e-9
    for i in range(max(1, len(points) - 1)):
        j = min(i + 1, len(points) - 1)
        row, col = points[i, 0], points[i, 1]
        down, right = points[j, 0] - row, points[j, 1] - col
        square = down * down + right * right
        first_row = max(0, int(np.ceil(min(row, row + down) - radius - 1e-6)))
        last_row = min(height - 1, int(np.floor(max(row, row + down) + radius + 1e-6)))
        first_col = max(0, int(np.ceil(min(col, col + right) - radius - 1e-6)))
        last_col = min(width - 1, int(np.floor(max(col, col + right) + radius + 1e-6)))
        for r in range(first_row, last_row + 1):
            for c in range(first_col, last_col + 1):
                share = 0.0
                if square > 0:
                    share = min(1.0, max(0.0, ((r - row) * down + (c - col) * right) / square))
                off_row, off_col = r - row - share * down, c - col - share * right
                if off_row * off_row + off_col * off_col <= limit:
                    canvas[r, c] = 1
    if radius < 0.7072:
        for i in range(len(points)):
            r, c = int(np.floor(points[i, 0] + 0.5)), int(np.floor(points[i, 1] + 0.5))
            if 0 <= r < height and 0 <= c < width:
                canvas[r, c] = 1
