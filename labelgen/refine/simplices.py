"""Kernels that find, for each pixel, the vertices of the permutohedral lattice around it and its weights for them."""

from typing import no_type_check

import numpy as np

from labelgen.geometry.compiled import compiled

__all__ = ["enclose_rows", "link_along", "merge_keys"]

NO_KEY = np.int64(np.iinfo(np.int64).min)
FIRST_SLOTS = 2**14
SPREADING = np.uint64(0x9E3779B97F4A7C15)
"""2^64 over the golden ratio: Fibonacci hashing (Knuth, "The Art of Computer Programming", volume 3, section 6.4)."""


@compiled
@no_type_check
def _find(slots, ids, key):
    """The id of a key in an open-addressing table, or -1 - the free slot where it belongs."""
    slot = np.int64((np.uint64(key) * SPREADING) >> np.uint64(32)) & (slots.size - 1)
    while slots[slot] != key:
        if slots[slot] == NO_KEY:
            return -1 - slot
        slot = (slot + 1) & (slots.size - 1)
    return np.int64(ids[slot])


@compiled
@no_type_check
def _grown(slots, ids):
    """The table with four times the room."""
    new_slots, new_ids = np.full(4 * slots.size, NO_KEY), np.empty(4 * slots.size, np.int32)
    for slot in range(slots.size):
        if slots[slot] != NO_KEY:
            free = -1 - _find(new_slots, new_ids, slots[slot])
            new_slots[free], new_ids[free] = slots[slot], ids[slot]
    return new_slots, new_ids


@compiled
@no_type_check
def _elevate(image, columns, rows, levels, row, elevated):
    """Place one row of pixels on the plane of the lattice, one row of `elevated` per coordinate (Adams 2010, p. 5).

    Coordinates are those of the features times the scale of their axis, looked up in tables. Sums run as in
    densecrf, in float32, because ties of ranks are broken by the last bit.
    """
    width, axes = image.shape[1], 2 + image.shape[2]
    sums = elevated[0]
    sums[:] = 0
    for axis in range(axes, 0, -1):
        factor, target = np.float32(axis), elevated[axis]
        for x in range(width):
            if axis > 2:
                value = levels[axis - 3, image[row, x, axis - 3]]
            elif axis == 2:
                value = rows[row]
            else:
                value = columns[x]
            target[x] = sums[x] - factor * value
            sums[x] = sums[x] + value


@compiled
@no_type_check
def _enclose(elevated, nearest, ranks, level):
    """The simplex around each pixel of a row: its vertex of remainder 0, and the order of the differences to it.

    Coordinates are rounded to multiples of d + 1; the rank of a coordinate is the number of larger differences.
    Where the rounded point lies off the plane, it is moved along the coordinates that were rounded worst.
    """
    size, width = elevated.shape
    step, part = np.float32(size), np.float32(1) / np.float32(size)
    level[:] = 0
    for i in range(size):
        for x in range(width):
            whole = np.rint(part * elevated[i, x])
            nearest[i, x] = whole * step
            level[x] += np.int32(whole)
            ranks[i, x] = 0
    for i in range(size - 1):
        for j in range(i + 1, size):
            for x in range(width):
                less = np.int32(elevated[i, x] - nearest[i, x] < elevated[j, x] - nearest[j, x])
                ranks[i, x] += less
                ranks[j, x] += np.int32(1) - less
    for i in range(size):
        for x in range(width):
            rank = ranks[i, x] + level[x]
            turn = np.int32(rank < 0) - np.int32(rank >= size)
            ranks[i, x] = rank + turn * np.int32(size)
            nearest[i, x] += np.float32(turn) * step


@compiled
@no_type_check
def _weigh(elevated, nearest, ranks, strides, keys, shares, chosen):
    """Keys and barycentric weights of the vertices around each pixel of a row, in the place of `keys` and `shares`.

    From one remainder to the next every coordinate grows by 1, but that of the next lower rank by 1 - (d + 1). The
    weight of a remainder is the difference of two neighbours in the order of ranks (Adams 2010, p. 10).
    """
    size, width = elevated.shape
    part, whole = np.float32(1) / np.float32(size), strides[size]
    keys[0] = 0
    for i in range(size):
        for x in range(width):
            keys[0, x] += np.int64(nearest[i, x]) * strides[i]
            elevated[i, x] = (elevated[i, x] - nearest[i, x]) * part
    for rank in range(size):
        share, stride = shares[rank], chosen[rank]
        for i in range(size):
            step = size * strides[i]
            for x in range(width):
                if i == 0 or ranks[i, x] == rank:
                    share[x] = elevated[i, x]
                    stride[x] = step
    for remainder in range(1, size):
        for x in range(width):
            keys[remainder, x] = keys[remainder - 1, x] + whole - chosen[size - remainder, x]


@compiled
@no_type_check
def _number_row(keys_of_row, slots, ids, keys, count, vertices):
    """Numbers of the vertices of a row of pixels; new ones are added to `keys`. Returns how many there are then."""
    size, width = keys_of_row.shape
    mask = slots.size - 1
    for remainder in range(size):
        before, number = NO_KEY, np.int32(0)
        for x in range(width):
            key = keys_of_row[remainder, x]
            if key != before:  # neighbouring pixels mostly lie in the same simplex
                before = key
                slot = np.int64((np.uint64(key) * SPREADING) >> np.uint64(32)) & mask
                while slots[slot] != key and slots[slot] != NO_KEY:
                    slot = (slot + 1) & mask
                if slots[slot] == NO_KEY:
                    slots[slot], ids[slot], keys[count] = key, count, key
                    count += 1
                number = ids[slot]
            vertices[x, remainder] = number
    return count


@compiled
@no_type_check
def enclose_rows(image, columns, rows, levels, first, last, strides, vertices, weights):
    """Number the vertices around the pixels of the rows `first` to `last`, in the order in which they are met.

    Parameters
    ----------
    image
        `(H, W, 3)` uint8, or `(H, W, 0)` where only the place counts.
    columns, rows, levels
        Scaled feature of each column, of each row, of each level of the colours `(3, 256)`; float32.
    strides
        A vertex has the key `sum of strides * coordinates`, int64; the last coordinate follows from the others.
    vertices, weights
        To be filled, `(H * W, d + 1)` int32 and float32: numbers of vertices, and barycentric weights.

    Returns
    -------
    tuple
        Keys of the vertices by their number.
    """
    size, width = 3 + image.shape[2], image.shape[1]
    elevated, nearest = np.empty((size, width), np.float32), np.empty((size, width), np.float32)
    ranks, level = np.empty((size, width), np.int32), np.empty(width, np.int32)
    keys_of_row, chosen = np.empty((size, width), np.int64), np.empty((size, width), np.int64)
    shares = np.empty((size, width), np.float32)
    slots, ids = np.full(FIRST_SLOTS, NO_KEY), np.empty(FIRST_SLOTS, np.int32)
    keys = np.empty((last - first) * width * size, np.int64)
    count = 0
    for row in range(first, last):
        _elevate(image, columns, rows, levels, row, elevated)
        _enclose(elevated, nearest, ranks, level)
        _weigh(elevated, nearest, ranks, strides, keys_of_row, shares, chosen)
        while 2 * (count + size * width) > slots.size:
            slots, ids = _grown(slots, ids)
        pixel = row * width
        count = _number_row(keys_of_row, slots, ids, keys, count, vertices[pixel : pixel + width])
        for x in range(width):
            weights[pixel + x, 0] = shares[size - 1, x] + (np.float32(1) - shares[0, x])
            for remainder in range(1, size):
                weights[pixel + x, remainder] = shares[size - 1 - remainder, x] - shares[size - remainder, x]
    return keys[:count].copy()


@compiled
@no_type_check
def merge_keys(keys, number_of):
    """Number equal keys alike, in the order of their first; returns the keys by number."""
    slots, ids = np.full(FIRST_SLOTS, NO_KEY), np.empty(FIRST_SLOTS, np.int32)
    merged = np.empty(keys.size, np.int64)
    count = 0
    for place in range(keys.size):
        number = _find(slots, ids, keys[place])
        if number < 0:
            slots[-1 - number], ids[-1 - number], merged[count] = keys[place], count, keys[place]
            number = count
            count += 1
            if 2 * count > slots.size:
                slots, ids = _grown(slots, ids)
        number_of[place] = number
    return merged[:count].copy()


@compiled
@no_type_check
def link_along(keys, step, neighbours):
    """Fill `(M, 2)` int32: the vertices with the key less and plus `step`, M where there is none; keys ascend."""
    count = keys.size
    neighbours[:] = count
    other = 0
    for vertex in range(count):
        while other < count and keys[other] < keys[vertex] + step:
            other += 1
        if other < count and keys[other] == keys[vertex] + step:
            neighbours[vertex, 1] = other
            neighbours[other, 0] = vertex
