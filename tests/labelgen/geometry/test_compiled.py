import numba
import numpy as np

from labelgen.geometry import compiled as module
from labelgen.geometry.components import label_components


def test_without_a_folder_for_the_cache_it_compiles_anyway(monkeypatch):
    real = numba.njit

    def njit(*args, **kwargs):
        if kwargs.get("cache"):
            raise RuntimeError("cannot cache function: no locator available")
        return real(*args, **kwargs)

    monkeypatch.setattr(module.numba, "njit", njit)
    assert module.compiled(lambda value: value + 1)(2) == 3


def test_components_equal_a_flood_fill(rng):
    for _ in range(30):
        labels = rng.integers(0, 3, size=tuple(rng.integers(1, 15, 2))).astype(np.uint8)
        numbers, facts = label_components(labels, ignore=2)
        expected = np.full(labels.shape, -1)
        count = 0
        for start in np.ndindex(labels.shape):
            if labels[start] == 2 or expected[start] >= 0:
                continue
            stack = [start]
            while stack:
                row, col = stack.pop()
                inside = 0 <= row < labels.shape[0] and 0 <= col < labels.shape[1]
                if inside and labels[row, col] == labels[start] and expected[row, col] < 0:
                    expected[row, col] = count
                    stack += [(row + down, col + right) for down in (-1, 0, 1) for right in (-1, 0, 1)]
            count += 1
        assert np.array_equal(numbers, expected)
        for number, (class_id, top, left, bottom, right, area) in enumerate(facts):
            rows, cols = np.nonzero(expected == number)
            assert (top, left, bottom, right) == (rows.min(), cols.min(), rows.max(), cols.max())
            assert area == len(rows)
            assert class_id == labels[rows[0], cols[0]]
