"""Run lengths of COCO: how many pixels are off, on, off, ... down the columns, as a list or as text."""

from collections.abc import Sequence

import numpy as np
from jaxtyping import UInt8

__all__ = ["fill_runs", "run_lengths"]

FIRST_CHARACTER = 48  # "0"
VALUE_BITS = 5
SIGN, MORE = 0x10, 0x20
MOST_BITS = 60


def run_lengths(text: str | bytes) -> list[int]:
    """Lengths of the runs of a text of COCO: groups of 5 bits, lowest first; from the fourth run on what is stored is
    the difference from the last but one.

    Raises
    ------
    ValueError
        When a character is none of the code, or the last number is cut off.

    Examples
    --------
    >>> run_lengths("122N")
    [1, 2, 2, 0]
    """
    runs: list[int] = []
    value = shift = 0
    for code in text.encode("ascii") if isinstance(text, str) else text:
        group = code - FIRST_CHARACTER
        if not 0 <= group < 2 * MORE:
            raise ValueError(f"run lengths cannot hold the character {chr(code)!r}")
        value |= (group & (SIGN | (SIGN - 1))) << shift
        shift += VALUE_BITS
        if group & MORE:
            if shift > MOST_BITS:  # numbers without an end would take time by the square of their length
                raise ValueError(f"a run length must have at most {MOST_BITS} bits")
            continue
        value -= (group & SIGN and 1) << shift
        runs.append(value + runs[-2] if len(runs) > 2 else value)
        value = shift = 0
    if shift:
        raise ValueError("run lengths end within a number")
    return runs


def fill_runs(counts: str | bytes | Sequence[int], size: tuple[int, int]) -> UInt8[np.ndarray, "H W"]:
    """Pixels of run lengths, 1 where they are on.

    pycocotools leaves pixels that no run reaches as they were in memory, so runs are counted here first.

    Raises
    ------
    ValueError
        When the runs are malformed or do not fill the image exactly.

    Examples
    --------
    >>> fill_runs([1, 2, 3], (2, 3))
    array([[0, 1, 0],
           [1, 0, 0]], dtype=uint8)
    """
    runs = run_lengths(counts) if isinstance(counts, str | bytes) else list(counts)
    if any(not isinstance(run, int) or isinstance(run, bool) or run < 0 for run in runs):
        raise ValueError("run lengths must be whole numbers >= 0")
    if sum(runs) != size[0] * size[1]:
        raise ValueError(f"run lengths must fill {size[0]} x {size[1]} pixels, got {sum(runs)}")
    values = np.arange(len(runs)) % 2
    return np.repeat(values.astype(np.uint8), runs).reshape(size[1], size[0]).T
