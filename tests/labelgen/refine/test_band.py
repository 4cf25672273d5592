import dataclasses

import numpy as np
import pytest

from labelgen.data.dataset import DataSpec
from labelgen.data.sample import Sample
from labelgen.errors import ConfigError, ShapeError
from labelgen.masks import SoftMask, harden
from labelgen.refine import make_refiner, parse_refiners, settle_refiners
from labelgen.refine.band import BandConfig, decided, make_band
from labelgen.seeds.background_scores import set_against
from labelgen.seeds.backgrounds import Power, alpha_to_threshold
from labelgen.vocab import load_vocabulary


def seeds(maps, *, background=0.2, class_ids=(7,)):
    maps = np.array(maps, np.float32)
    plane = np.full((1, *maps.shape[1:]), background, np.float32)
    return SoftMask(np.concatenate([plane, maps]), (0, *class_ids), warnings=("odd",), details={"n": 1})


def banded(text, mask, image=None):
    sample = Sample("a", mask.size, image=image)
    (step,) = settle_refiners(parse_refiners(text), DataSpec("demo"), vocabulary=load_vocabulary("voc"))
    return make_refiner(step)(sample, mask)


@pytest.mark.parametrize(
    ("rule", "low", "high"),
    [
        ("irn", 0.05, 0.30),
        ("toco", 0.25, 0.70),
        ("psa", alpha_to_threshold(32), alpha_to_threshold(4)),
        ("seam", alpha_to_threshold(24), alpha_to_threshold(4)),
        ("fixed:0.1/fixed:0.4", 0.1, 0.4),
        ("dual:power:2/power:8", alpha_to_threshold(8), alpha_to_threshold(2)),
    ],
)
def test_what_lies_between_the_thresholds_gets_no_label(rule, low, high):
    eps = 1e-3
    mask = seeds([[[0, low - eps, low + eps, high - eps, high + eps, 1]]])
    result = banded(f"band:{rule}", mask)
    assert harden(result).tolist() == [[0, 0, 255, 255, 7, 7]]
    assert not result.scores[:, 0, 2:4].any() and (result.scores[:, 0, [0, 1, 4, 5]].max(axis=0) > 0).all()
    assert result.warnings == ("odd",) and result.details == {"n": 1}


def test_raw_seeds_are_as_against_both_backgrounds(rng):
    mask = seeds(rng.random((2, 9, 11)) * rng.random((1, 9, 11)), class_ids=(3, 7))
    labels = harden(banded("band:seam", mask))
    high, low = (harden(set_against(mask.scores[1:], (3, 7), Power(alpha), background=0)) for alpha in (4, 24))
    wanted = np.where(high != 0, high, np.where(low == 0, 0, 255))
    np.testing.assert_array_equal(labels, wanted)
    assert len({*np.unique(labels)} & {0, 3, 7, 255}) == 4


def test_a_wider_gap_leaves_more_open(rng):
    mask = seeds(rng.random((1, 20, 20)))
    shares = [(harden(banded(f"band:power:4/power:{alpha}", mask)) == 255).mean() for alpha in (6, 12, 24, 48)]
    assert shares == sorted(shares) and shares[0] > 0 and shares[0] < shares[-1]


def test_abstaining_pixels_stay_so_and_the_old_background_has_no_say():
    mask = seeds([[[0.9, 0.0, 0.0]]])
    silent = dataclasses.replace(mask, scores=mask.scores * np.array([1, 0, 1], np.float32))
    assert harden(banded("band:irn", silent)).tolist() == [[7, 255, 0]]
    strong = seeds([[[0.9, 0.0, 0.0]]], background=5.0)
    assert harden(banded("band:irn", strong)).tolist() == [[7, 0, 0]]
    nothing = SoftMask(np.full((1, 1, 3), 0.2, np.float32), (0,))
    assert harden(banded("band:irn", nothing)).tolist() == [[0, 0, 0]]


def test_both_versions_can_be_refined_first(rng):
    image = np.zeros((20, 30, 3), np.uint8)
    image[:, 15:] = 200
    maps = np.zeros((1, 20, 30), np.float32)
    maps[0, :, :13] = 0.9
    maps[0, 4:9, 4:9] = 0.2  # a hole that is undecided
    plain, refined = (harden(banded(text, seeds(maps), image)) for text in ("band:irn", "band:irn,refine=pamr:10"))
    assert (plain[4:9, 4:9] == 255).all() and (plain[:, 13:15] == 0).all()
    assert (refined[4:9, 4:9] == 7).all() and (refined[:, 13:15] == 7).all() and (refined[:, 15:] == 0).all()


def test_foreground_of_the_high_background_stays_where_refined_sides_disagree():
    def scores(*winners):
        return SoftMask(np.eye(2, dtype=np.float32)[list(winners)].T[:, None] * 0.5, (0, 7))

    result = decided(scores(1, 1, 0, 0), scores(0, 1, 1, 0), background=0)
    assert harden(result).tolist() == [[7, 7, 255, 0]]


def test_scores_of_the_background_are_those_of_the_side_that_decides():
    result = banded("band:irn", seeds([[[0.0, 0.9]]]))
    np.testing.assert_allclose(result.scores[0, 0], [0.05, 0.30])


def test_the_background_is_that_of_the_vocabulary():
    voc = load_vocabulary("voc")
    shifted = dataclasses.replace(voc, background=4)
    (step,) = settle_refiners(parse_refiners("band"), DataSpec("demo"), vocabulary=shifted)
    assert step.config.background_id == 4
    (step,) = settle_refiners(parse_refiners("walk:colour,preset=psa"), DataSpec("demo"), vocabulary=shifted)
    assert step.config.background_id == 4
    (step,) = settle_refiners(parse_refiners("band:psa,background-id=2"), DataSpec("demo"), vocabulary=shifted)
    assert step.config.background_id == 2
    without = dataclasses.replace(voc, background=None)
    for text in ("band", "walk:colour,background=power:6"):
        with pytest.raises(ConfigError, match="needs a background class, but vocabulary 'voc' has none"):
            settle_refiners(parse_refiners(text), DataSpec("demo"), vocabulary=without)
    settle_refiners(parse_refiners("walk:colour"), DataSpec("demo"), vocabulary=without)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"rule": "voc"}, "unknown background rule 'dual:voc'"),
        ({"rule": "power:6"}, "unknown background rule 'dual:power:6'"),
        ({"rule": "power:4/power:4"}, "low background must be weaker than the high one"),
        ({"refine": "blur"}, "unknown refiner 'blur'"),
        ({"refine": "affinity"}, "a band cannot refine by affinity"),
        ({"refine": "band"}, "a band cannot refine by band"),
    ],
)
def test_wrong_settings_are_refused(settings, message):
    with pytest.raises(ConfigError, match=message):
        BandConfig(**settings)


def test_versions_that_do_not_fit_are_refused():
    mask = seeds([[[0.5]]])
    for other, background in ((dataclasses.replace(mask, class_ids=(0, 8)), 0), (mask, 3)):
        with pytest.raises(ShapeError, match=f"same classes and size, and background {background}"):
            decided(mask, other, background=background)
    assert make_band(BandConfig())(Sample("a", (1, 1)), mask).class_ids == (0, 7)
