import numba
import numpy as np
import pytest

from labelgen.refine import lanes as vectors
from labelgen.refine.lanes import EIGHT, FOUR

load, store = vectors.load, vectors.store


@numba.njit
def combine(array, others, results):
    first, second = load(array, 1), load(others, 0)
    store(results, 0, vectors.exponential(first))
    store(results, 1, vectors.add_scaled(first, np.float32(0.5), second))
    store(results, 2, vectors.greatest(first, second))
    store(results, 3, vectors.plus(first, vectors.scaled(second, np.float32(3))))
    store(results, 4, vectors.minus(first, np.float32(2)))
    return vectors.largest(first), vectors.total(first)


@pytest.mark.slow  # compiled anew in every run
@pytest.mark.parametrize("item", [FOUR, EIGHT])
def test_each_instruction_does_what_it_says_in_every_lane(item, rng):
    count = item.itemsize // 4
    x = np.float32([-1000, -60.5, -59.5, -11.3, -0.7, -1e-3, -1e-9, 0][-count:])
    x = x[::-1].copy()
    y = rng.random(count, np.float32) - 20
    results = np.zeros(5 * count, np.float32)
    largest, total = combine(np.concatenate([y, x]).view(item), y.view(item), results.view(item))
    exponentials, *others = results.reshape(5, count)
    wanted = np.where(x > -60, np.exp(x.astype(np.float64)), 0)
    np.testing.assert_allclose(exponentials, wanted, rtol=4e-7, atol=0)
    for got, expected in zip(others, (x + y / 2, np.maximum(x, y), x + 3 * y, x - 2), strict=True):
        np.testing.assert_allclose(got, expected, rtol=1e-6)
    assert largest == 0 and total == pytest.approx(x.sum(dtype=np.float64), rel=1e-6)
