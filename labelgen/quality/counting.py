"""Count pairs of (truth id, label id) over an image: the one loop over pixels behind every figure."""

from typing import no_type_check

import numpy as np
from jaxtyping import Int64, Integer

from labelgen.geometry.compiled import compiled

__all__ = ["count_pairs"]

LANES = 8
"""Pixels that one 64-bit comparison covers."""


def count_pairs(
    truth: Integer[np.ndarray, "*size"],
    labels: Integer[np.ndarray, "*label_size"],
    *,
    num_classes: int,
    truth_ignore: int,
    label_ignore: int,
) -> Int64[np.ndarray, "{num_classes}+2 {num_classes}+2"]:
    """Count how often each truth id meets each label id.

    Label maps are made of long runs, so pixels are compared eight at a time and counted one by one only where
    something changes.

    Returns
    -------
    Int64[np.ndarray, "{num_classes}+2 {num_classes}+2"]
        Rows truth, columns label: the classes, then `ignore`, then every id that is neither.

    Examples
    --------
    >>> truth, labels = np.array([0, 0, 255], np.uint8), np.array([0, 1, 9], np.uint8)
    >>> count_pairs(truth, labels, num_classes=2, truth_ignore=255, label_ignore=255)
    array([[1, 1, 0, 0],
           [0, 0, 0, 0],
           [0, 0, 0, 1],
           [0, 0, 0, 0]])
    """
    if truth.dtype == np.uint8 and labels.dtype == np.uint8:
        side = num_classes + 2
        tables = np.zeros((2, side * side), np.int64)
        flat_truth, flat_labels = _flat(truth), _flat(labels)
        whole = flat_truth.size // LANES * LANES
        _count_bytes(
            flat_truth,
            flat_labels,
            flat_truth[:whole].view(np.uint64),
            flat_labels[:whole].view(np.uint64),
            _index_of_byte(num_classes, truth_ignore) * side,
            _index_of_byte(num_classes, label_ignore),
            tables,
        )
        return tables.sum(axis=0).reshape(side, side)
    rows = _index_of_wide(truth, num_classes, truth_ignore)
    columns = _index_of_wide(labels, num_classes, label_ignore)
    side = num_classes + 2
    return np.bincount(rows * side + columns, minlength=side * side).reshape(side, side).astype(np.int64, copy=False)


def _flat(array: np.ndarray) -> np.ndarray:
    """One axis, in memory order, at an address that 64-bit reads allow."""
    flat = np.ascontiguousarray(array).reshape(-1)
    return flat if flat.ctypes.data % LANES == 0 else flat.copy()


def _index_of_byte(num_classes: int, ignore: int) -> np.ndarray:
    table = np.full(256, num_classes + 1, np.int64)
    known = min(num_classes, 256)
    table[:known] = np.arange(known)
    if ignore < 256:
        table[ignore] = num_classes
    return table


def _index_of_wide(array: np.ndarray, num_classes: int, ignore: int) -> np.ndarray:
    flat = array.reshape(-1).astype(np.int64)
    index = np.where((flat >= 0) & (flat < num_classes), flat, num_classes + 1)
    index[flat == ignore] = num_classes
    return index


@compiled
@no_type_check
def _count_bytes(truth, labels, truth_lanes, label_lanes, row_of, column_of, tables):  # pragma: no cover - compiled
    """Count into two tables in turn: a processor waits for a cell that it has just written."""
    if truth.size == 0:
        return
    even, odd = tables[0], tables[1]
    repeat = np.uint64(0x0101010101010101)
    truth_pattern, label_pattern = np.uint64(truth[0]) * repeat, np.uint64(labels[0]) * repeat
    cell = row_of[truth[0]] + column_of[labels[0]]
    run = 0
    for block in range(truth_lanes.size):
        if truth_lanes[block] == truth_pattern and label_lanes[block] == label_pattern:
            run += 8
            continue
        even[cell] += run
        run = 0
        for pixel in range(8 * block, 8 * block + 8, 2):
            even[row_of[truth[pixel]] + column_of[labels[pixel]]] += 1
            cell = row_of[truth[pixel + 1]] + column_of[labels[pixel + 1]]
            odd[cell] += 1
        last = 8 * block + 7
        truth_pattern, label_pattern = np.uint64(truth[last]) * repeat, np.uint64(labels[last]) * repeat
    even[cell] += run
    for pixel in range(8 * truth_lanes.size, truth.size):
        even[row_of[truth[pixel]] + column_of[labels[pixel]]] += 1
