import numpy as np
import pytest

from labelgen.errors import DataError
from labelgen.masks import SoftMask
from labelgen.nets.zeroshot.calibrate import BINS, choose_ids, otsu_threshold, quantile_thresholds, score_histograms


def test_a_part_of_the_ids_is_the_same_for_everyone():
    ids = tuple(f"image_{i:03d}" for i in range(50))
    assert choose_ids(ids, 0) == choose_ids(ids, 99) == ids
    some = choose_ids(ids, 10)
    assert len(some) == 10 and some == choose_ids(ids[::-1], 10) and some != ids[:10]
    assert set(choose_ids(ids, 5)) < set(some)


def test_histograms_count_the_winning_score_of_labelled_pixels():
    scores = np.array([[[0.5, 0.1, 0.0]], [[0.25, 1.0, 0.0]]], np.float32)
    counts = score_histograms([SoftMask(scores, (0, 2))] * 2, num_classes=3)
    assert counts.shape == (3, BINS) and counts.sum() == 4
    assert counts[0, 512] == 2 and counts[2, BINS - 1] == 2
    assert score_histograms([SoftMask(np.zeros((0, 2, 2), np.float32), ())], num_classes=3).sum() == 0


def test_quantiles_keep_the_share_that_is_asked_for():
    rng = np.random.default_rng(0)
    values = rng.beta(2, 5, 20000).astype(np.float32).reshape(1, 100, 200)
    counts = score_histograms([SoftMask(values, (1,))], num_classes=2)
    for quantile in (0.1, 0.2, 0.5):
        threshold = quantile_thresholds(counts, quantile=quantile)[1]
        below = float((values < np.float32(threshold)).mean())
        assert quantile - 0.01 < below <= quantile
        assert threshold * BINS == int(threshold * BINS)


def test_a_hundred_pixels_of_a_class_stay_in_any_case():
    counts = np.zeros((3, BINS), np.int64)
    counts[0, [10, 500]] = 400, 150
    counts[1, [10, 500]] = 400, 90
    counts[2, 30] = 50
    assert quantile_thresholds(counts, quantile=0.9) == {0: 500 / BINS}
    assert quantile_thresholds(np.zeros((2, BINS), np.int64), quantile=0.5) == {}


def test_equal_scores_are_never_cut():
    counts = np.zeros((1, BINS), np.int64)
    counts[0, 100] = 10_000  # background made by a threshold has one score
    assert quantile_thresholds(counts, quantile=0.2) == {}


def test_otsu_against_brute_force():
    rng = np.random.default_rng(1)
    values = np.concatenate([rng.normal(0.2, 0.05, 3000), rng.normal(0.7, 0.1, 2000)]).clip(0, 0.999)
    counts = np.bincount((values * BINS).astype(int), minlength=BINS)
    middles = (np.arange(BINS) + 0.5) / BINS

    def between(edge):
        low, high = counts[:edge], counts[edge:]
        if not low.sum() or not high.sum():
            return 0.0
        means = (low * middles[:edge]).sum() / low.sum(), (high * middles[edge:]).sum() / high.sum()
        return low.sum() * high.sum() * (means[0] - means[1]) ** 2

    best = max(between(edge) for edge in range(1, BINS))
    threshold = otsu_threshold(counts)
    assert between(round(threshold * BINS)) == pytest.approx(best, rel=1e-9)
    assert 0.35 < threshold < 0.55


def test_otsu_needs_two_values():
    with pytest.raises(DataError, match="all alike"):
        otsu_threshold(np.bincount([5, 5], minlength=BINS))
