"""From painted polygons to pixels: twofold supersampling, integer arithmetic from the polygon corners on."""

from collections.abc import Sequence

import cv2
import numpy as np
from jaxtyping import Bool, Float, Int, UInt8

from labelgen.demo.shapes import Part
from labelgen.demo.textures import TILE_SIZE, tiles

OVERSAMPLING = 2  # subpixels along each side of a pixel
SUBPIXEL_BITS = 4  # polygon corners are rounded to 1/16 of a subpixel
OUTLINE_PERCENT = 62  # brightness of the drawn contour between two parts
FIXED = 1 << 14  # one object unit in the fixed-point texture coordinates


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


def _to_subpixels(outline: Float[np.ndarray, "N 2"], matrix: Float[np.ndarray, "2 3"]) -> Int[np.ndarray, "N 2"]:
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
        # cv2 takes (column, row)
        cv2.fillPoly(numbers, [np.ascontiguousarray((points - origin)[:, ::-1])], number, cv2.LINE_8, SUBPIXEL_BITS)
    return numbers


def _colours(
    parts: Sequence[Part],
    numbers: UInt8[np.ndarray, "h w"],
    matrix: Float[np.ndarray, "2 3"],
    top: int,
    left: int,
    offset: int,
) -> Int[np.ndarray, "h w 3"]:
    """Textured colour of each subpixel, with contours between the parts."""
    inverse = np.linalg.inv(matrix[:, :2] * OVERSAMPLING)
    steps = np.rint(inverse * FIXED).astype(np.int64)
    start = -np.rint(inverse @ (matrix[:, 2] * OVERSAMPLING) * FIXED).astype(np.int64)
    rows = np.arange(top, top + numbers.shape[0])[:, None]
    cols = np.arange(left, left + numbers.shape[1])[None, :]
    down = steps[0, 0] * rows + steps[0, 1] * cols + start[0]
    across = steps[1, 0] * rows + steps[1, 1] * cols + start[1]

    paints = [part.paint for part in parts]
    pitch = np.array([0] + [paint.pitch for paint in paints])[numbers]
    turned = np.array([False] + [paint.turned for paint in paints])[numbers]
    tile = np.array([0] + [paint.tile for paint in paints])[numbers]
    texel = [(coordinate * pitch // (100 * FIXED) + offset) & (TILE_SIZE - 1) for coordinate in (down, across)]
    value = tiles()[tile, np.where(turned, texel[1], texel[0]), np.where(turned, texel[0], texel[1])].astype(np.int32)
    base = np.array([(0, 0, 0)] + [paint.base for paint in paints], dtype=np.int32)[numbers]
    other = np.array([(0, 0, 0)] + [paint.other for paint in paints], dtype=np.int32)[numbers]
    mixed = base + (((other - base) * value[..., None]) >> 8)
    mixed[_contour(numbers)] = mixed[_contour(numbers)] * OUTLINE_PERCENT // 100
    return mixed


def _contour(numbers: UInt8[np.ndarray, "h w"]) -> Bool[np.ndarray, "h w"]:
    """Subpixels whose upper or left neighbour belongs to another part."""
    edge = np.zeros(numbers.shape, dtype=bool)
    edge[1:] |= numbers[1:] != numbers[:-1]
    edge[:, 1:] |= numbers[:, 1:] != numbers[:, :-1]
    return edge & (numbers > 0)


def _shrink(
    colours: Int[np.ndarray, "h w 3"], covered: Bool[np.ndarray, "h w"]
) -> tuple[Int[np.ndarray, "h2 w2"], Int[np.ndarray, "h2 w2 3"]]:
    """Number of covered subpixels of each pixel (0 to 4) and the sum of their colours."""
    height, width = covered.shape[0] // 2, covered.shape[1] // 2
    cover = covered.reshape(height, 2, width, 2).sum(axis=(1, 3), dtype=np.int32)
    visible = colours * covered[..., None]
    return cover, visible.reshape(height, 2, width, 2, 3).sum(axis=(1, 3), dtype=np.int32)
