"""Run lengths of brush masks in Label Studio: the bit stream of thi.ng/rle-pack over the RGBA bytes of a mask."""

import numpy as np
from jaxtyping import Bool

from labelgen.errors import DataError

__all__ = ["decode_brush", "encode_brush"]

WORD_BITS = 8
LENGTH_BITS = (3, 4, 8, 16)  # of the four kinds of runs, as Label Studio writes them
CHANNELS = 4  # a pixel that is on is 255 in each of red, green, blue and alpha
HEADER_BITS = 32 + 5 + 4 * 4


def encode_brush(mask: Bool[np.ndarray, "H W"]) -> list[int]:
    """The bytes that Label Studio keeps of a mask.

    Examples
    --------
    >>> encode_brush(np.array([[True]]))
    [0, 0, 0, 4, 57, 27, 252, 127, 224]
    """
    pixels = mask.reshape(-1)
    starts = np.flatnonzero(np.r_[True, pixels[1:] != pixels[:-1]]) if pixels.size else np.zeros(0, int)
    lengths = np.diff(np.r_[starts, pixels.size]) * CHANNELS
    bits = [f"{CHANNELS * pixels.size:032b}{WORD_BITS - 1:05b}", *(f"{width - 1:04b}" for width in LENGTH_BITS)]
    for start, length in zip(starts.tolist(), lengths.tolist(), strict=True):
        word = "1" * WORD_BITS if pixels[start] else "0" * WORD_BITS
        bits += [_run(part, word) for part in _parts(length)]
    text = "".join(bits)
    return list(int(text.ljust(-(-len(text) // 8) * 8, "0"), 2).to_bytes(-(-len(text) // 8), "big"))


def _parts(length: int) -> list[int]:
    """A run in pieces that can be written."""
    longest = 2 ** LENGTH_BITS[-1]
    return [longest] * (length // longest) + ([length % longest] if length % longest else [])


def _run(length: int, word: str) -> str:
    """One repeated word: a 1, the kind of its length, the length - 1, and the word."""
    kind = next(k for k, width in enumerate(LENGTH_BITS) if length <= 2**width)
    return f"1{kind:02b}{length - 1:0{LENGTH_BITS[kind]}b}{word}"


def decode_brush(content: list[int], size: tuple[int, int], *, where: str) -> Bool[np.ndarray, "H W"]:
    """The mask of such bytes; a pixel is on where its alpha is not 0.

    Raises
    ------
    DataError
        When they are malformed or hold another number of pixels.

    Examples
    --------
    >>> decode_brush(encode_brush(np.array([[True, False]])), (1, 2), where="here")
    array([[ True, False]])
    """
    if not all(isinstance(byte, int) and 0 <= byte <= 255 for byte in content):
        raise DataError(f"a brush mask must be bytes, got other numbers in {where}")
    bits = "".join(f"{byte:08b}" for byte in content)
    total = size[0] * size[1] * CHANNELS
    if len(bits) < HEADER_BITS or int(bits[:32], 2) != total:
        found = int(bits[:32] or "0", 2) // CHANNELS
        raise DataError(f"a brush mask must hold {total // CHANNELS} pixels as its image, got {found} in {where}")
    word = int(bits[32:37], 2) + 1
    widths = [int(bits[37 + 4 * kind : 41 + 4 * kind], 2) + 1 for kind in range(4)]
    values = np.zeros(total, np.uint8)
    try:
        _fill(values, bits, word, widths)
    except ValueError as error:
        raise DataError(f"a brush mask is cut off or malformed in {where}", hint="export it again") from error
    return values.reshape(*size, CHANNELS)[..., -1] > 0


def _fill(values: np.ndarray, bits: str, word: int, widths: list[int]) -> None:
    """Fill in the values run by run; ValueError where the bits end too soon or say too much."""
    place, cursor = 0, HEADER_BITS
    while place < len(values):
        width = widths[int(bits[cursor + 1 : cursor + 3], 2)]
        count = int(bits[cursor + 3 : cursor + 3 + width], 2) + 1
        is_run = bits[cursor] == "1"
        cursor += 3 + width
        end = cursor + word * (1 if is_run else count)
        if end > len(bits) or place + count > len(values):
            raise ValueError("a run leads out of the mask")
        if is_run:
            values[place : place + count] = int(bits[cursor:end], 2) & 255
        else:
            values[place : place + count] = [
                int(bits[start : start + word], 2) & 255 for start in range(cursor, end, word)
            ]
        place, cursor = place + count, end
