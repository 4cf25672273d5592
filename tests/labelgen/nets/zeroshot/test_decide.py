import numpy as np
import pytest

from labelgen.errors import ConfigError
from labelgen.masks import harden
from labelgen.nets.zeroshot.decide import Rules, decide
from labelgen.prompts import UNLABELLED


def planes(**rows):
    """Planes by class, written as `c8=[[0.2, 0.3]]`; `away` is a negative prompt."""
    names = {"away": UNLABELLED}
    return {names.get(k) or int(k[1:]): np.array(v, np.float32) for k, v in rows.items()}


def labels(given, rules, **more):
    size = next(iter(given.values())).shape
    return harden(decide(given, rules, size=size, **more)).tolist()


def test_the_best_class_wins_and_only_winners_are_kept():
    mask = decide(planes(c3=[[0.6, 0.1]], c8=[[0.3, 0.5]], c9=[[0.1, 0.4]]), Rules(), size=(1, 2))
    assert mask.class_ids == (3, 8) and harden(mask).tolist() == [[3, 8]]
    np.testing.assert_allclose(mask.scores[:, 0], [[0.6, 0.1], [0.3, 0.5]], atol=1e-7)


def test_nothing_is_nothing():
    mask = decide({}, Rules(), size=(2, 3))
    assert mask.class_ids == () and mask.size == (2, 3)
    low = decide({}, Rules(background=0, threshold=0.1), size=(2, 3))
    assert low.class_ids == (0,) and (harden(low) == 0).all()


def test_a_threshold_gives_background_and_grows_with_it():
    given = planes(c1=[[0.05, 0.3, 0.6, 1.0]], c2=[[0.01, 0.2, 0.1, 0.0]])
    for threshold, expected in ((0, [1, 1, 1, 1]), (0.3, [0, 0, 1, 1]), (0.6, [0, 0, 0, 1]), (1, [0, 0, 0, 0])):
        assert labels(given, Rules(background=0, threshold=threshold)) == [expected]
        last = Rules(background=7, threshold=threshold)  # a background that is not the first class
        assert labels(given, last) == [[7 if c == 0 else c for c in expected]]
    rng = np.random.default_rng(0)
    noise = {c: rng.random((6, 6)).astype(np.float32) for c in (1, 2, 3)}
    sizes = [np.sum(np.array(labels(noise, Rules(background=0, threshold=t))) == 0) for t in (0, 0.5, 0.7, 0.9, 1)]
    assert sizes == sorted(sizes) and sizes[0] == 0 and sizes[-1] == 36


def test_words_and_threshold_go_together():
    given = planes(c0=[[0.5, 0.1, 0.05]], c1=[[0.3, 0.6, 0.08]])
    mask = decide(given, Rules(background=0, threshold=0.1), size=(1, 3))
    assert harden(mask).tolist() == [[0, 1, 0]]
    np.testing.assert_allclose(mask.scores[0], [[0.5, 0.1, 0.1]], atol=1e-7)


def test_ignore_is_not_background():
    given = planes(c0=[[0.2, 0.5, 0.05]], c1=[[0.1, 0.3, 0.3]])
    assert labels(given, Rules(background=0, ignore_threshold=0.4)) == [[255, 0, 255]]
    # what the lower threshold has made background stays background; what lies between is unlabelled
    both = Rules(background=0, threshold=0.2, ignore_threshold=0.4)
    assert labels(given, both) == [[0, 0, 255]]
    share = decide(given, both, size=(1, 3)).details
    assert share == {"uncertain": pytest.approx(1 / 3, abs=1e-6)}


def test_thresholds_by_class():
    given = planes(c1=[[0.5, 0.3, 0.1]], c2=[[0.1, 0.1, 0.4]])
    assert labels(given, Rules(class_thresholds={1: 0.4, 9: 0.9})) == [[1, 255, 2]]
    assert labels(given, Rules(class_thresholds={2: 0.5}, ignore_threshold=0.4)) == [[1, 255, 255]]


def test_small_classes_are_removed_by_their_share_of_the_foreground():
    one = [0.9] * 9 + [0.1] * 11
    given = planes(c0=[[0.2] * 10 + [0.95] * 10], c1=[one], c2=[[0.05] * 9 + [0.8] + [0.0] * 10])
    assert labels(given, Rules(background=0)) == [[1] * 9 + [2] + [0] * 10]
    mask = decide(given, Rules(background=0, area=0.1), size=(1, 20))  # 1 of 10 foreground pixels: at the limit
    assert harden(mask).tolist() == [[1] * 9 + [0] + [0] * 10]
    assert mask.details["too_small"] == [2]
    assert labels(given, Rules(background=0, area=0.09)) == [[1] * 9 + [2] + [0] * 10]


def test_small_components_go_to_the_next_best():
    c1 = np.full((4, 6), 0.2, np.float32)
    c1[0, 0] = c1[2, 3] = c1[3, 4] = 0.9  # a single pixel, and two that touch at a corner
    c2 = np.full((4, 6), 0.5, np.float32)
    expected = np.full((4, 6), 2)
    expected[2, 3] = expected[3, 4] = 1
    given = {1: c1, 2: c2}
    mask = decide(given, Rules(min_component=2), size=(4, 6))
    assert (harden(mask) == expected).all() and mask.details["components_removed"] == 1
    assert (harden(decide(given, Rules(min_component=3), size=(4, 6))) == 2).all()
    island = {0: c1, 2: c2}  # background may be as small as it likes
    assert harden(decide(island, Rules(background=0, min_component=2), size=(4, 6)))[0, 0] == 0


def test_negative_prompts_take_pixels_away():
    given = planes(c1=[[0.6, 0.2]], away=[[0.3, 0.7]])
    mask = decide(given, Rules(), size=(1, 2))
    assert harden(mask).tolist() == [[1, 255]] and mask.class_ids == (1,)
    assert mask.details == {"taken_away": 0.5}
    only = decide(planes(away=[[0.3, 0.7]]), Rules(ignore_threshold=0.5), size=(1, 2))
    assert only.class_ids == ()


def test_saliency_makes_background_of_what_is_neither_salient_nor_certain():
    given = planes(c1=[[0.6, 0.6, 0.995]])
    saliency = np.array([[0.9, 0.2, 0.2]], np.float32)
    mask = decide(given, Rules(background=0, certainty=0.99), size=(1, 3), saliency=saliency)
    assert harden(mask).tolist() == [[1, 0, 1]]
    np.testing.assert_allclose(mask.scores[0], [[0, 0.8, 0]], atol=1e-6)


def test_no_id_is_ever_ignore_and_hardening_agrees_with_brute_force():
    rng = np.random.default_rng(3)
    given = {c: rng.random((5, 7)).astype(np.float32) for c in (0, 4, 20)}
    rules = Rules(background=0, threshold=0.6, ignore_threshold=0.8)
    mask = decide(given, rules, size=(5, 7))
    assert 255 not in mask.class_ids
    found = harden(mask)
    for row in range(5):
        for col in range(7):
            best = max(given, key=lambda c: given[c][row, col])
            p = given[best][row, col]
            expected = 0 if p <= 0.6 else 255 if p < 0.8 else best
            assert found[row, col] == expected


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"area": 1.5}, r"area must lie in \[0, 1\], got 1.5"),
        ({"threshold": 0.5}, "needs a background class, got 0.5 without one"),
        ({"min_component": -1}, "min_component must be >= 0 pixels"),
    ],
)
def test_rules_out_of_range(settings, message):
    with pytest.raises(ConfigError, match=message):
        Rules(**settings)
