"""Connected components of all classes of a label map in one pass."""

from typing import no_type_check

import numpy as np
from jaxtyping import Int32, Int64, Integer

from labelgen.geometry.compiled import compiled

__all__ = ["label_components"]


def label_components(
    labels: Integer[np.ndarray, "H W"], *, ignore: int
) -> tuple[Int32[np.ndarray, "H W"], Int64[np.ndarray, "N 6"]]:
    """Number the 8-connected components of equal ids, in reading order of their first pixels.

    Rows are cut into runs of equal ids, and runs that touch a run of the same id in the row above are united, so that
    the work grows with the number of runs.

    Returns
    -------
    Int32[np.ndarray, "H W"]
        Number of the component of each pixel; -1 where the id is `ignore`.
    Int64[np.ndarray, "N 6"]
        By component: id, top, left, bottom, right (all inclusive), area.

    Examples
    --------
    >>> numbers, facts = label_components(np.array([[7, 0, 7], [0, 7, 255]], np.uint8), ignore=255)
    >>> numbers.tolist(), facts.tolist()
    ([[0, 1, 0], [1, 0, -1]], [[7, 0, 0, 1, 2, 3], [0, 0, 0, 1, 1, 2]])
    """
    labels = np.ascontiguousarray(labels)
    numbers = np.empty(labels.shape, np.int32)
    return numbers, _label(labels, ignore, numbers)


@compiled
@no_type_check
def _label(labels, ignore, numbers):
    height, width = labels.shape
    runs = 0
    for row in range(height):
        for col in range(width):
            if col == 0 or labels[row, col] != labels[row, col - 1]:
                runs += 1
    starts, ends = np.empty(runs, np.int32), np.empty(runs, np.int32)
    rows, parent = np.empty(runs, np.int32), np.arange(runs)
    run, above = 0, 0
    for row in range(height):
        first = run
        col = 0
        while col < width:
            start, value = col, labels[row, col]
            while col < width and labels[row, col] == value:
                col += 1
            starts[run], ends[run], rows[run] = start, col, row
            if row and value != ignore:
                # runs above that end before this one begins, corners included, cannot touch a later one either
                while above < first and ends[above] < start:
                    above += 1
                other = above
                while other < first and starts[other] <= col:
                    if labels[row - 1, starts[other]] == value:
                        _unite(parent, run, other)
                    other += 1
            run += 1
        above = first
    return _collect(labels, ignore, numbers, starts, ends, rows, parent)


@compiled
@no_type_check
def _unite(parent, one, other):
    """Join two trees under the root of the earlier run."""
    one, other = _root(parent, one), _root(parent, other)
    if one < other:
        parent[other] = one
    else:
        parent[one] = other


@compiled
@no_type_check
def _root(parent, run):
    while parent[run] != run:
        parent[run] = parent[parent[run]]
        run = parent[run]
    return run


@compiled
@no_type_check
def _collect(labels, ignore, numbers, starts, ends, rows, parent):
    """Fill `numbers` and gather id, box and area of each component."""
    number_of = np.full(len(starts), -1, np.int32)
    facts = np.empty((len(starts), 6), np.int64)
    count = 0
    for run in range(len(starts)):
        row, start, end = rows[run], starts[run], ends[run]
        if labels[row, start] == ignore:
            numbers[row, start:end] = -1
            continue
        root = _root(parent, run)
        if number_of[root] < 0:
            number_of[root] = count
            facts[count, 0] = labels[row, start]
            facts[count, 1], facts[count, 2], facts[count, 3], facts[count, 4] = row, start, row, end - 1
            facts[count, 5] = 0
            count += 1
        number = number_of[root]
        numbers[row, start:end] = number
        facts[number, 2] = min(facts[number, 2], start)
        facts[number, 3] = row
        facts[number, 4] = max(facts[number, 4], end - 1)
        facts[number, 5] += end - start
    return facts[:count].copy()
