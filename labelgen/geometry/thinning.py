"""Thin a region to a skeleton one pixel wide, visiting only the pixels at its shrinking boundary."""

from typing import no_type_check

import numpy as np
from jaxtyping import Bool

from labelgen.geometry.compiled import compiled

__all__ = ["thin"]


def thin(region: Bool[np.ndarray, "H W"]) -> Bool[np.ndarray, "H W"]:
    """Thin a region with the parallel algorithm of Zhang and Suen.

    Two half-steps alternate: a boundary pixel goes when its ring of eight neighbours holds two to six pixels in one
    connected run, and it lies at the south-east (first half-step) or north-west (second) side. The result has the
    8-connectivity of the region. Instead of scanning the image in each half-step, a work list holds the pixels whose
    neighbourhood changed, so the cost grows with the area, not with area times thickness.

    Returns
    -------
    Bool[np.ndarray, "H W"]
        Subset of the region. Unlike in the original, a 2 x 2 block does not vanish: the last pixel of a piece stays.

    References
    ----------
    .. [1] T. Y. Zhang and C. Y. Suen, "A fast parallel algorithm for thinning digital patterns", Communications of
       the ACM 27(3), 1984.

    Examples
    --------
    >>> thin(np.ones((3, 7), bool)).astype(int)
    array([[0, 0, 0, 0, 0, 0, 0],
           [0, 1, 1, 1, 1, 0, 0],
           [0, 0, 0, 0, 0, 0, 0]])
    """
    height, width = region.shape
    padded = np.zeros((height + 2, width + 2), np.uint8)
    padded[1:-1, 1:-1] = region
    _thin(padded.reshape(-1), width + 2, REMOVABLE)
    return padded[1:-1, 1:-1].astype(bool)


def _removable_table() -> np.ndarray:
    """For each ring of neighbours (bit k = neighbour k clockwise from north): bit 0 and 1 = goes in half-step 0, 1."""
    table = np.zeros(256, np.uint8)
    for code in range(256):
        ring = [code >> k & 1 for k in range(8)]
        runs = sum(ring[k] == 0 and ring[(k + 1) % 8] == 1 for k in range(8))
        if not (2 <= sum(ring) <= 6 and runs == 1):
            continue
        north, east, south, west = ring[0], ring[2], ring[4], ring[6]
        table[code] |= not (north and east and south) and not (east and south and west)
        table[code] |= 2 * (not (north and east and west) and not (north and south and west))
    return table


REMOVABLE = _removable_table()


@compiled
@no_type_check
def _thin(pixels, stride, removable):
    """Thin flat padded pixels in place; 1 = in the region."""
    # neighbour k, clockwise from north, and the bit that a pixel has in the ring of that neighbour
    ring = np.array([-stride, 1 - stride, 1, 1 + stride, stride, stride - 1, -1, -1 - stride])
    seen_from = np.array([16, 32, 64, 128, 1, 2, 4, 8], np.uint8)
    codes, current, count = _codes(pixels, stride)
    # 1 = in the list of the next half-step
    queued = np.zeros(pixels.size, np.bool_)
    later = np.empty(pixels.size, np.int32)
    doomed = np.empty(pixels.size, np.int32)
    # age: half-steps that a pixel survived without a change around it
    age = np.zeros(pixels.size, np.uint8)
    half = 0
    while count:
        gone = 0
        for i in range(count):
            pixel = current[i]
            queued[pixel] = False
            if removable[codes[pixel]] >> half & 1:
                doomed[gone] = pixel
                gone += 1
        for i in range(gone):
            pixels[doomed[i]] = 0
        gone = _revive(pixels, doomed, gone, ring)
        left = 0
        for i in range(gone):
            for k in range(8):
                near = doomed[i] + ring[k]
                codes[near] &= ~seen_from[k]
                if pixels[near]:
                    age[near] = 0
                    if not queued[near]:
                        queued[near] = True
                        later[left] = near
                        left += 1
        for i in range(count):
            pixel = current[i]
            if pixels[pixel] and not queued[pixel]:
                age[pixel] += 1
                if age[pixel] < 2:
                    queued[pixel] = True
                    later[left] = pixel
                    left += 1
        current, later = later, current
        count = left
        half = 1 - half


@compiled
@no_type_check
def _codes(pixels, stride):
    """The ring of neighbours of each pixel as bits, and a list of the pixels with a neighbour outside the region."""
    codes = np.zeros(pixels.size, np.uint8)
    listed = np.empty(pixels.size, np.int32)
    count = 0
    for row in range(1, pixels.size // stride - 1):
        start = row * stride
        above, here, below = pixels[start - stride : start], pixels[start : start + stride], pixels[start + stride :]
        for col in range(1, stride - 1):
            codes[start + col] = (
                above[col] | above[col + 1] << 1 | here[col + 1] << 2 | below[col + 1] << 3
                | below[col] << 4 | below[col - 1] << 5 | here[col - 1] << 6 | above[col - 1] << 7
            )  # fmt: skip
        for col in range(1, stride - 1):
            if here[col] and codes[start + col] != 255:
                listed[count] = start + col
                count += 1
    return codes, listed, count


@compiled
@no_type_check
def _revive(pixels, doomed, gone, ring):
    """Bring back one pixel of each 2 x 2 block that went at once; the number of pixels that stay gone."""
    stay = 0
    for i in range(gone):
        pixel = doomed[i]
        alone = True
        for k in range(8):
            if pixels[pixel + ring[k]]:
                alone = False
                break
        # a pixel with no pixel left around it was part of a block that vanished whole
        if alone:
            pixels[pixel] = 1
        else:
            doomed[stay] = pixel
            stay += 1
    return stay
