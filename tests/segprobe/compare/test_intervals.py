import numpy as np
import pytest

from labelgen.errors import ConfigError
from segprobe.compare.intervals import difference_interval, miou_of, seed_miou_interval


def random_counts(seeds=3, images=12, classes=4, seed=0):
    rng = np.random.default_rng(seed)
    true, predicted = rng.integers(1, 50, (2, seeds, images, classes))
    true = np.broadcast_to(true[:1], true.shape)  # seeds share the images
    correct = np.minimum(true, predicted) // 2
    return np.stack([correct, true, predicted], axis=2)


def slow_miou(counts):
    ious = [c / (t + p - c) for c, t, p in counts.T if t + p - c > 0]
    return sum(ious) / len(ious)


def test_mean_iou_by_hand_and_over_leading_axes():
    counts = random_counts()
    sums = counts.sum(1)
    assert miou_of(sums) == pytest.approx([slow_miou(one) for one in sums])


def test_a_class_that_is_nowhere_is_left_out_and_nothing_at_all_is_nan():
    counts = np.array([[3, 0], [4, 0], [5, 0]])
    assert miou_of(counts) == pytest.approx(0.5)
    assert np.isnan(miou_of(np.zeros((3, 2), int)))


def test_interval_of_the_mean_over_seeds_equals_a_plain_bootstrap():
    counts = random_counts()
    low, high = seed_miou_interval(counts, resamples=4000)
    rng = np.random.default_rng(7)
    means = []
    for _ in range(4000):
        images = rng.integers(counts.shape[1], size=counts.shape[1])
        seeds = rng.integers(counts.shape[0], size=counts.shape[0])
        means.append(np.mean([slow_miou(counts[s, images].sum(0)) for s in seeds]))
    assert (low, high) == pytest.approx(np.quantile(means, [0.025, 0.975]), abs=0.004)
    assert low < float(np.mean(miou_of(counts.sum(1)))) < high


def test_one_image_and_one_seed_have_no_spread():
    low, high = seed_miou_interval(random_counts(1, 1))
    assert low == high


def test_a_constant_lead_is_certain_though_images_differ():
    counts = random_counts(1, 30)
    worse = counts.copy()
    worse[:, :, 0] = (worse[:, :, 0] * 0.8).astype(int)
    low, high = difference_interval(counts, worse)
    wide = seed_miou_interval(counts)
    assert 0 < low < high
    assert high - low < 0.5 * (wide[1] - wide[0])  # what images have in common cancels


def test_difference_needs_the_same_images():
    with pytest.raises(ConfigError, match="same images, got 12 and 11"):
        difference_interval(random_counts(), random_counts(images=11))


def test_nothing_to_draw_from():
    with pytest.raises(ConfigError, match="images and seeds, got 0 and 3"):
        seed_miou_interval(np.zeros((3, 0, 3, 2), int))
