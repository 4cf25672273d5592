"""From painted polygons to pixels: twofold supersampling, integer arithmetic from the polygon corners on."""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Bool, Float, Integer, UInt8

from labelgen.demo.shapes import Part, ellipse
from labelgen.demo.textures import TILE_SIZE, tiles

OVERSAMPLING = 2  # subpixels along each side of a pixel
SUBPIXEL_BITS = 4  # polygon corners are rounded to 1/16 of a subpixel
SHADOW_PERCENT = 66  # brightness of the ground below an object
OUTLINE_PERCENT = 62  # brightness of the drawn contour between two parts
FIXED_BITS = 14  # of the fixed-point steps from subpixels to object units


def placement(
    row: float, col: float, *, scale: float, flip: bool, tilt: float, shear: float, stretch: float
) -> Float[np.ndarray, "2 3"]:
    """Return the affine map from object units (row, col) to pixels (row, col).

    Parameters
    ----------
    row, col
        Pixel of the object's origin, the middle of its ground line.
    scale
        Pixels per object unit.
    flip
        Whether the object looks to the left.
    tilt
        Rotation in degrees, nose up for positive values before flipping.
    shear
        Sideways lean of the upright, in columns per row.
    stretch
        Extra factor along the columns.
    """
    angle = np.deg2rad(tilt)
    rotation = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    linear = rotation @ np.array([[1.0, 0.0], [shear, stretch]]) * scale
    if flip:
        linear = np.diag([1.0, -1.0]) @ linear
    return np.concatenate([linear, [[row], [col]]], axis=1)


def paint_object(
    image: UInt8[np.ndarray, "H W 3"], parts: Sequence[Part], matrix: Float[np.ndarray, "2 3"], *, offset: int
) -> Bool[np.ndarray, "H W"]:
    """Paint an object into the image, in place, and return the pixels that are now its own.

    A pixel belongs to the object if the object covers at least half of it; its colour is mixed by the covered share.

    Parameters
    ----------
    image
        Changed in place.
    parts
        The object; later parts cover earlier ones.
    matrix
        From object units to pixels, see `placement`.
    offset
        Where in the periodic tiles the object's texture begins.
    """
    height, width = image.shape[:2]
    owned = np.zeros((height, width), dtype=bool)
    corners = [_to_subpixels(part.outline, matrix) for part in parts]
    window = _window(corners, height, width)
    if window is None:
        return owned
    top, left, bottom, right = window
    numbers = _fill(corners, top, left, bottom - top, right - left)
    colours = _colours(parts, numbers, matrix, top, left, offset)
    cover, mixed = _shrink(colours, numbers > 0)
    region = (slice(top // 2, bottom // 2), slice(left // 2, right // 2))
    below = image[region].astype(np.int32) * (4 - cover)[..., None]
    image[region] = ((below + mixed + 2) // 4).astype(np.uint8)
    owned[region] = cover >= 2
    return owned


def paint_shadow(
    image: UInt8[np.ndarray, "H W 3"], row: float, col: float, *, half_height: float, half_width: float
) -> None:
    """Darken an ellipse of the ground, in place."""
    mask = np.zeros(image.shape[:2], dtype=np.uint8)
    outline = ellipse(row, col, half_height, half_width)
    _fill_polygon(mask, np.rint(outline * (1 << SUBPIXEL_BITS)).astype(np.int32), 1)
    shaded = mask > 0
    image[shaded] = (image[shaded].astype(np.int32) * SHADOW_PERCENT // 100).astype(np.uint8)


def _to_subpixels(outline: Float[np.ndarray, "N 2"], matrix: Float[np.ndarray, "2 3"]) -> Integer[np.ndarray, "N 2"]:
    """Corners in 1/16 of a subpixel, rounded."""
    pixels = outline @ matrix[:, :2].T + matrix[:, 2]
    return np.rint(pixels * (OVERSAMPLING << SUBPIXEL_BITS)).astype(np.int32)


def _window(corners: list[np.ndarray], height: int, width: int) -> tuple[int, int, int, int] | None:
    """Smallest window of whole pixels around the corners, in subpixels, or None outside the image."""
    everything = np.concatenate(corners) >> SUBPIXEL_BITS
    top, left = (int(edge) - 1 & ~1 for edge in everything.min(axis=0))
    bottom, right = (int(edge) + 3 & ~1 for edge in everything.max(axis=0))
    top, left = max(top, 0), max(left, 0)
    bottom, right = min(bottom, height * OVERSAMPLING), min(right, width * OVERSAMPLING)
    return (top, left, bottom, right) if top < bottom and left < right else None


def _fill(corners: list[np.ndarray], top: int, left: int, height: int, width: int) -> UInt8[np.ndarray, "h w"]:
    """Number of the uppermost part at each subpixel, counted from 1; 0 outside the object."""
    numbers = np.zeros((height, width), dtype=np.uint8)
    origin = np.array([top, left], dtype=np.int32) << SUBPIXEL_BITS
    for number, points in enumerate(corners, start=1):
        _fill_polygon(numbers, points - origin, number)
    return numbers


def _fill_polygon(numbers: UInt8[np.ndarray, "h w"], points: Integer[np.ndarray, "N 2"], number: int) -> None:
    """Write `number` wherever a cell's centre lies inside the polygon (even-odd rule), in integers alone.

    cv2.fillPoly fills other borders in other releases of OpenCV; the truth must not depend on that.
    """
    cell, half = 1 << SUBPIXEL_BITS, 1 << SUBPIXEL_BITS >> 1
    low, high = (points.min(axis=0) >> SUBPIXEL_BITS).clip(0), (points.max(axis=0) >> SUBPIXEL_BITS) + 1
    top, left = int(low[0]), int(low[1])
    height, width = min(int(high[0]), numbers.shape[0]) - top, min(int(high[1]), numbers.shape[1]) - left
    if height <= 0 or width <= 0:
        return
    here, there = points.astype(np.int64), np.roll(points, -1, axis=0).astype(np.int64)
    sloped = here[:, 0] != there[:, 0]
    (row, col), (row_step, col_step) = here[sloped].T, (there - here)[sloped].T
    centres = (np.arange(top, top + height, dtype=np.int64) * cell + half)[:, None]
    crossed = (centres >= row) != (centres >= row + row_step)
    line, edge = np.nonzero(crossed)
    crossing = col[edge] + col_step[edge] * (centres[line, 0] - row[edge]) // row_step[edge]
    first = np.clip((crossing + half - 1 >> SUBPIXEL_BITS) - left, 0, width)
    toggles = np.bincount(line * (width + 1) + first, minlength=height * (width + 1)).astype(np.uint8)
    inside = np.bitwise_xor.accumulate(toggles.reshape(height, width + 1) & 1, axis=1)[:, :width].view(bool)
    numbers[top : top + height, left : left + width][inside] = number


def _colours(
    parts: Sequence[Part],
    numbers: UInt8[np.ndarray, "h w"],
    matrix: Float[np.ndarray, "2 3"],
    top: int,
    left: int,
    offset: int,
) -> Integer[np.ndarray, "h w 3"]:
    """Textured colour of each subpixel, with contours between the parts."""
    down, across = _object_coordinates(numbers.shape, matrix, top, left)
    paints = [part.paint for part in parts]
    pitch = np.array([0] + [paint.pitch * 1024 // 100 for paint in paints], dtype=np.int32)[numbers]
    tile = np.array([0] + [paint.tile for paint in paints], dtype=np.intp)[numbers]
    rows = ((down * pitch >> 16) + offset) & (TILE_SIZE - 1)
    cols = ((across * pitch >> 16) + offset) & (TILE_SIZE - 1)
    turned = np.array([False] + [paint.turned for paint in paints])
    if turned.any():
        swap = turned[numbers]
        rows, cols = np.where(swap, cols, rows), np.where(swap, rows, cols)
    value = tiles().ravel()[(tile * TILE_SIZE + rows) * TILE_SIZE + cols] >> 2
    base = np.array([(0, 0, 0)] + [paint.base for paint in paints], dtype=np.int32)[:, None]
    other = np.array([(0, 0, 0)] + [paint.other for paint in paints], dtype=np.int32)[:, None]
    blends = base + ((other - base) * np.arange(64, dtype=np.int32)[:, None] >> 6)  # part, value, channel
    mixed = np.take(blends.reshape(-1, 3).astype(np.uint16), numbers.astype(np.intp) * 64 + value, axis=0)
    edge = _contour(numbers)
    mixed[edge] = mixed[edge] * OUTLINE_PERCENT // 100
    return mixed


def _object_coordinates(
    shape: tuple[int, ...], matrix: Float[np.ndarray, "2 3"], top: int, left: int
) -> tuple[Integer[np.ndarray, "h w"], Integer[np.ndarray, "h w"]]:
    """Row and column of each subpixel in the object's own units, in 1/64 of a unit."""
    inverse = np.linalg.inv(matrix[:, :2] * OVERSAMPLING)
    steps = np.rint(inverse * (1 << FIXED_BITS)).astype(np.int32)
    start = -np.rint(inverse @ (matrix[:, 2] * OVERSAMPLING) * (1 << FIXED_BITS)).astype(np.int32)
    rows = np.arange(top, top + shape[0], dtype=np.int32)[:, None]
    cols = np.arange(left, left + shape[1], dtype=np.int32)[None, :]
    down, across = (step[0] * rows + step[1] * cols + first for step, first in zip(steps, start, strict=True))
    return down >> (FIXED_BITS - 6), across >> (FIXED_BITS - 6)


def _contour(numbers: UInt8[np.ndarray, "h w"]) -> Bool[np.ndarray, "h w"]:
    """Subpixels whose upper or left neighbour belongs to another part."""
    edge = np.zeros(numbers.shape, dtype=bool)
    edge[1:] |= numbers[1:] != numbers[:-1]
    edge[:, 1:] |= numbers[:, 1:] != numbers[:, :-1]
    return edge & (numbers > 0)


def _shrink(
    colours: Integer[np.ndarray, "h w 3"], covered: Bool[np.ndarray, "h w"]
) -> tuple[Integer[np.ndarray, "h2 w2"], Integer[np.ndarray, "h2 w2 3"]]:
    """Number of covered subpixels of each pixel (0 to 4) and the sum of their colours."""
    visible = np.concatenate([colours * covered[..., None], covered[..., None]], axis=2, dtype=np.uint16)
    pairs = visible[0::2] + visible[1::2]
    summed = pairs[:, 0::2] + pairs[:, 1::2]
    return summed[..., 3].astype(np.int32), summed[..., :3].astype(np.int32)
