import numpy as np
import pytest

from labelgen.errors import ConfigError, DataError
from labelgen.seeds.normalise import NORMALISATIONS, normalise


@pytest.fixture(params=NORMALISATIONS)
def how(request):
    return request.param


def random_maps(seed=0, shape=(3, 5, 7)):
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


def test_minmax_gives_the_reference_values():
    maps = np.array([[[0.5, -1], [2, 1]], [[0, 4], [1, 3]]], np.float32)
    expected = [[[0.249994, 0], [0.999990, 0.499992]], [[0, 0.999995], [0.249997, 0.749996]]]
    np.testing.assert_allclose(normalise(maps, how="minmax"), expected, rtol=1e-4, atol=1e-7)


def test_max_divides_by_the_largest_and_leaves_out_what_is_negative():
    maps = np.array([[[-4, 0.5], [2, 1]]], np.float32)
    np.testing.assert_allclose(normalise(maps, how="max"), [[[0, 0.25], [1, 0.5]]], atol=1e-5)


def test_minmax0_starts_at_the_smallest_value_even_where_that_is_negative():
    maps = np.array([[[-4, 0], [4, 2]]], np.float32)
    np.testing.assert_allclose(normalise(maps, how="minmax0"), [[[0, 0.5], [1, 0.75]]], atol=1e-6)


def test_each_class_is_scaled_on_its_own(how):
    maps = random_maps()
    planes = [normalise(maps[c : c + 1], how=how) for c in range(3)]
    np.testing.assert_array_equal(normalise(maps, how=how), np.concatenate(planes))


def test_range_is_zero_to_one_and_the_largest_comes_close_to_one(how):
    scaled = normalise(random_maps(), how=how)
    assert scaled.dtype == np.float32
    assert scaled.min() >= 0 and scaled.max() <= 1
    np.testing.assert_allclose(scaled.max(axis=(1, 2)), 1, atol=1e-3)


def test_a_factor_changes_nothing(how):
    maps = random_maps()
    np.testing.assert_allclose(normalise(37 * maps, how=how), normalise(maps, how=how), atol=1e-4)


def test_minmax0_does_not_see_a_shift_while_max_does():
    maps = random_maps()
    np.testing.assert_allclose(normalise(maps + 3, how="minmax0"), normalise(maps, how="minmax0"), atol=1e-5)
    assert abs(normalise(maps + 3, how="max") - normalise(maps, how="max")).max() > 0.1


def test_twice_is_as_once(how):
    once = normalise(random_maps(), how=how)
    np.testing.assert_allclose(normalise(once, how=how), once, atol=1e-3)


def test_zero_maps_stay_zero(how):
    assert not normalise(np.zeros((2, 3, 4), np.float32), how=how).any()


@pytest.mark.parametrize("value", [3.0, 1e-3, 1e6])
def test_a_constant_says_everywhere_to_max_and_nothing_to_the_others(how, value):
    scaled = normalise(np.full((1, 3, 4), value, np.float32), how=how)
    expected = value / (value + 1e-5) if how == "max" else 0
    np.testing.assert_allclose(scaled, expected, rtol=1e-6)


def test_a_negative_constant_is_nothing_to_any(how):
    assert not normalise(np.full((1, 3, 4), -2, np.float32), how=how).any()


def test_no_class_and_the_input_are_left_alone(how):
    assert normalise(np.zeros((0, 3, 4), np.float32), how=how).shape == (0, 3, 4)
    maps = random_maps()
    normalise(maps, how=how)
    np.testing.assert_array_equal(maps, random_maps())


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_a_value_that_is_no_number_names_the_image(how, bad):
    maps = random_maps()
    maps[1, 2, 3] = bad
    with pytest.raises(DataError, match="1 of 105 values NaN or infinite in 2007_000032"):
        normalise(maps, how=how, where="2007_000032")


def test_an_unknown_way_is_refused():
    with pytest.raises(ConfigError, match="unknown normalisation 'softmax'") as caught:
        normalise(random_maps(), how="softmax")
    assert "minmax0" in caught.value.hint
