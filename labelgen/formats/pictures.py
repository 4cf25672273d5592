"""PNG files that hold colours or segment ids rather than class ids, and colours that can be told apart."""

import io

import numpy as np
from jaxtyping import Integer, UInt8

from labelgen.errors import DataError
from labelgen.untrusted import opened_picture
from labelgen.vocab import Colour, Vocabulary, colour_map

__all__ = ["UNLABELLED_COLOUR", "decode_picture", "distinct_colours", "encode_rgb", "packed"]

UNLABELLED_COLOUR = (224, 224, 192)
"""Of the void ring in the masks of PASCAL VOC: entry 255 of its colour map."""


def encode_rgb(pixels: UInt8[np.ndarray, "H W 3"]) -> bytes:
    """Encode a picture as PNG."""
    from PIL import Image

    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, format="PNG", compress_level=6)
    return stream.getvalue()


def decode_picture(content: bytes, *, where: str) -> np.ndarray:
    """Decode a PNG as it is stored: `(H, W, 3)` for colours, `(H, W)` for ids, never one made of the other.

    Raises
    ------
    DataError
        When it cannot be read, or is neither.
    """
    from labelgen.masks import MASK_FORMATS, decode_mask

    try:
        with opened_picture(content, formats=MASK_FORMATS) as picture:
            if picture.mode not in ("RGB", "RGBA"):
                return decode_mask(content, where=where)
            pixels = np.array(picture)
    except ValueError as error:
        if isinstance(error, DataError):
            raise
        raise DataError(f"mask cannot be read: {where} ({error})", hint="the file is truncated or not a PNG") from error
    if pixels.shape[2] == 4 and (pixels[..., 3] != 255).any():
        raise DataError(f"a mask of colours must be opaque, got transparent pixels in {where}", hint="save it as RGB")
    return np.ascontiguousarray(pixels[..., :3])


def packed(pixels: UInt8[np.ndarray, "H W 3"]) -> Integer[np.ndarray, "H W"]:
    """Red + 256 green + 65536 blue of each pixel.

    Examples
    --------
    >>> packed(np.array([[[1, 2, 0]]], np.uint8)).tolist()
    [[513]]
    """
    red, green, blue = (pixels[..., channel].astype(np.int32) for channel in range(3))
    return red | green << 8 | blue << 16


def distinct_colours(vocabulary: Vocabulary, *, taken: tuple[Colour, ...] = ()) -> tuple[Colour, ...]:
    """The colours of the classes; one that was taken, or stands for a class before it, gives way to a free one.

    Examples
    --------
    >>> vocabulary = Vocabulary("v", ("a", "b"), palette=((9, 9, 9), (9, 9, 9)))
    >>> distinct_colours(vocabulary)
    ((9, 9, 9), (128, 0, 0))
    """
    wanted, used, found = vocabulary.colours, set(taken), []
    spare = (colour for colour in colour_map(2 * len(wanted) + len(taken) + 1)[1:] if colour not in set(wanted))
    for colour in wanted:
        chosen = colour if colour not in used else next(c for c in spare if c not in used)
        used.add(chosen)
        found.append(chosen)
    return tuple(found)
