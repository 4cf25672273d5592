import itertools

import numpy as np
import pytest

from labelgen.errors import ConfigError, DataError
from labelgen.masks import harden
from labelgen.seeds.background_scores import background_plane, set_against, undecided
from labelgen.seeds.backgrounds import (
    DUAL_PRESETS,
    FIXED_PRESETS,
    Channel,
    Dual,
    Fixed,
    Power,
    Saliency,
    alpha_to_threshold,
    parse_background,
    threshold_to_alpha,
)

EQUIVALENTS = {1: 0.500, 2: 0.382, 4: 0.276, 6: 0.222, 8: 0.188, 16: 0.123, 24: 0.094, 32: 0.077}


def random_maps(classes=3, seed=0):
    return np.random.default_rng(seed).random((classes, 20, 30), np.float32)


def labels_of(maps, rule, **planes):
    ids = (3, 7, 15, 20)[: len(maps)]
    return harden(set_against(maps, ids, rule, background=0, **planes))


@pytest.mark.parametrize(("alpha", "threshold"), EQUIVALENTS.items())
def test_alphas_have_the_published_thresholds(alpha, threshold):
    assert alpha_to_threshold(alpha) == pytest.approx(threshold, abs=5e-4)
    exact = alpha_to_threshold(alpha)
    assert exact == pytest.approx((1 - exact) ** alpha, abs=1e-12)


@pytest.mark.parametrize("threshold", [0.001, 0.05, 0.2, 0.26, 0.5, 0.9])
def test_thresholds_and_alphas_convert_both_ways(threshold):
    assert alpha_to_threshold(threshold_to_alpha(threshold)) == pytest.approx(threshold, abs=1e-12)


@pytest.mark.parametrize("classes", [1, 3])
@pytest.mark.parametrize("alpha", EQUIVALENTS)
def test_power_labels_as_the_threshold_of_its_alpha(alpha, classes):
    maps = random_maps(classes)
    np.testing.assert_array_equal(labels_of(maps, Power(alpha)), labels_of(maps, Fixed(alpha_to_threshold(alpha))))


def test_power_is_weaker_the_larger_alpha():
    maps = random_maps()
    planes = [background_plane(maps, Power(alpha)) for alpha in (1, 2, 8, 32)]
    for one, next_one in itertools.pairwise(planes):
        assert (next_one <= one).all() and (next_one < one).any()


def test_power_is_one_minus_the_best_class():
    maps = np.array([[[0.1, 0.8]], [[0.4, 0.3]]], np.float32)
    np.testing.assert_allclose(background_plane(maps, Power(1)), [[0.6, 0.2]], atol=1e-6)


def test_foreground_shrinks_as_the_threshold_grows():
    maps = random_maps()
    areas = [int((labels_of(maps, Fixed(t)) != 0).sum()) for t in np.linspace(0.01, 1, 25)]
    assert areas == sorted(areas, reverse=True) and areas[0] > areas[-1] == 0


def test_a_tie_goes_to_background():
    maps = np.array([[[0.5, 0.25, 0.75]]], np.float32)
    assert labels_of(maps, Fixed(0.5)).tolist() == [[0, 0, 3]]


def test_the_strongest_class_wins_and_planes_are_kept_as_they_are():
    maps = np.array([[[0.9, 0.3]], [[0.5, 0.4]]], np.float32)
    mask = set_against(maps, (3, 7), Fixed(0.2), background=0)
    assert mask.class_ids == (0, 3, 7)
    np.testing.assert_array_equal(mask.scores, np.concatenate([np.full((1, 1, 2), 0.2, np.float32), maps]))
    assert harden(mask).tolist() == [[3, 7]]


def test_planes_lie_in_the_order_of_ids_wherever_background_is():
    maps = np.stack([np.full((1, 1), 0.9, np.float32), np.full((1, 1), 0.1, np.float32)])
    mask = set_against(maps, (3, 7), Fixed(0.2), background=5)
    assert mask.class_ids == (3, 5, 7)
    np.testing.assert_allclose(mask.scores[:, 0, 0], [0.9, 0.2, 0.1])


@pytest.mark.parametrize("rule", ["fixed:0.2", "power:6", "dual:psa"])
def test_without_a_class_all_is_background(rule):
    mask = set_against(np.zeros((0, 2, 3), np.float32), (), parse_background(rule), background=0)
    assert mask.class_ids == (0,) and (harden(mask) == 0).all()


def test_saliency_is_what_background_is_not_and_claims_of_nobody_stay_open():
    saliency = np.array([[1.0, 1.0, 0.0, 0.4]], np.float32)
    maps = np.array([[[0.7, 0.0, 0.9, 0.5]]], np.float32)
    np.testing.assert_allclose(background_plane(maps, Saliency(), saliency=saliency), [[0, 0, 1, 0.6]], atol=1e-6)
    assert labels_of(maps, Saliency(), saliency=saliency).tolist() == [[3, 255, 0, 0]]


def test_channel_is_the_plane_of_the_network():
    channel = np.array([[0.8, 0.1]], np.float32)
    assert labels_of(np.array([[[0.7, 0.7]]], np.float32), Channel(), channel=channel).tolist() == [[0, 3]]


@pytest.mark.parametrize("rule", [Saliency(), Channel()])
def test_planes_that_are_missing_or_do_not_fit_are_refused(rule):
    maps, name = random_maps(), str(rule)
    with pytest.raises(DataError, match=f"rule {name} needs a plane"):
        background_plane(maps, rule)
    with pytest.raises(DataError, match=f"the {name} must lie in"):
        background_plane(maps, rule, **{name: np.full((20, 30), 1.5, np.float32)})
    with pytest.raises(DataError, match=f"the {name} must lie in"):
        background_plane(maps, rule, **{name: np.full((20, 30), np.nan, np.float32)})


def test_two_backgrounds_leave_what_only_one_takes_without_label():
    maps = np.array([[[0.02, 0.2, 0.9, 0.0]], [[0.01, 0.25, 0.1, 0.4]]], np.float32)
    assert labels_of(maps, parse_background("dual:irn")).tolist() == [[0, 255, 3, 7]]


@pytest.mark.parametrize("rule", DUAL_PRESETS.values(), ids=str)
def test_the_band_agrees_with_two_hardened_maps(rule):
    maps = random_maps() * np.linspace(0, 1, 30, dtype=np.float32)
    high, low = labels_of(maps, rule.high), labels_of(maps, rule.low)
    expected = high.copy()
    expected[high == 0] = 255
    expected[(high == 0) & (low == 0)] = 0
    found = labels_of(maps, rule)
    np.testing.assert_array_equal(found, expected)
    assert set(np.unique(found)) == {0, 3, 7, 15, 255}
    np.testing.assert_array_equal(undecided(maps, rule), found == 255)


def test_a_wider_gap_leaves_more_open():
    maps = random_maps(1)
    shares = [int((labels_of(maps, Dual(Power(alpha), Power(4))) == 255).sum()) for alpha in (5, 8, 24, 100)]
    assert shares == sorted(shares) and 0 < shares[0] < shares[-1]


@pytest.mark.parametrize(
    ("text", "rule"),
    [
        ("fixed:0.2", Fixed(0.2)),
        ("fixed:irn-walk", Fixed(0.25)),
        (" power:6 ", Power(6)),
        ("saliency", Saliency()),
        ("channel", Channel()),
        ("dual:power:4/power:24", Dual(Power(24), Power(4))),
        ("dual:power:24/power:4", Dual(Power(24), Power(4))),
        ("dual:fixed:0.05/fixed:0.3", Dual(Fixed(0.05), Fixed(0.3))),
        ("dual:fixed:seam/power:24", Dual(Power(24), Fixed(0.26))),
        ("dual:toco", Dual(Fixed(0.25), Fixed(0.7))),
    ],
)
def test_rules_are_read_and_written(text, rule):
    assert parse_background(text) == rule
    assert parse_background(str(rule)) == rule


def test_every_preset_has_a_name_that_is_read():
    assert [parse_background(f"fixed:{name}") for name in FIXED_PRESETS] == [Fixed(t) for t in FIXED_PRESETS.values()]
    assert [parse_background(f"dual:{name}") for name in DUAL_PRESETS] == list(DUAL_PRESETS.values())


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "unknown background rule ''"),
        ("median:3", "unknown background rule"),
        ("fixed", "unknown background rule"),
        ("saliency:0.5", "unknown background rule"),
        ("fixed:high", "needs a number"),
        ("fixed:0", r"must lie in \(0, 1\]"),
        ("fixed:nan", r"must lie in \(0, 1\]"),
        ("power:-1", "must be above 0"),
        ("power:inf", "must be above 0 and finite"),
        ("dual:power:4", "unknown background rule"),
        ("dual:power:4,power:24", "unknown background rule"),
        ("dual:saliency/power:4", "made of fixed: and power:"),
        ("dual:power:4/power:4", "must be weaker"),
    ],
)
def test_what_is_no_rule_is_refused(text, message):
    with pytest.raises(ConfigError, match=message):
        parse_background(text)


def test_numbers_out_of_range_are_refused():
    with pytest.raises(ConfigError, match="alpha"):
        alpha_to_threshold(0)
    with pytest.raises(ConfigError, match=r"\(0, 1\)"):
        threshold_to_alpha(1)
