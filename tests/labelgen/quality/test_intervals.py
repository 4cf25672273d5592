"""Intervals of mIoU: over images, of the same draws each time, wide where images differ."""

import numpy as np
import pytest

from labelgen.quality.confusion import scores_from_confusion
from labelgen.quality.intervals import class_counts, miou_intervals


def matrices(rng, images=12, classes=4):
    return rng.integers(0, 50, (images, classes, classes + 1))


def test_counts_of_all_images_give_the_miou(rng):
    found = matrices(rng)
    both, miss, labelled = class_counts(found).sum(axis=0)
    assert np.allclose(both / miss, scores_from_confusion(found.sum(axis=0)).iou)
    assert np.allclose(both / labelled, scores_from_confusion(found.sum(axis=0), unlabelled="exclude").iou)


def test_an_interval_is_that_of_the_definition(rng):
    found = matrices(rng)
    counts = class_counts(found)
    draws = np.random.default_rng(0).multinomial(12, np.full(12, 1 / 12), size=50)
    mious = [scores_from_confusion(np.repeat(found, times, axis=0).sum(axis=0)).miou for times in draws]
    assert miou_intervals(counts, resamples=50)["miou"] == pytest.approx(np.quantile(mious, [0.025, 0.975]))


def test_it_holds_the_figure_and_shrinks_with_more_images(rng):
    few = class_counts(matrices(rng))
    edges, many = miou_intervals(few)["miou"], miou_intervals(np.tile(few, (16, 1, 1)))["miou"]
    both, miss, _ = few.sum(axis=0)
    assert edges[0] < (both / miss).mean() < edges[1]
    assert 3 < (edges[1] - edges[0]) / (many[1] - many[0]) < 5.5  # the square root of 16


def test_absent_classes_and_no_value_at_all():
    alone = class_counts(np.array([[[3, 0, 1], [0, 0, 0]]]))
    assert miou_intervals(alone)["miou"] == [0.75, 0.75]
    unlabelled = class_counts(np.array([[[0, 0, 4], [0, 0, 0]]]))
    assert miou_intervals(unlabelled)["miou"] == [0.0, 0.0] and miou_intervals(unlabelled)["miou_labelled"] is None


def test_one_image_has_no_width_and_the_seed_decides(rng):
    counts = class_counts(matrices(rng, images=1))
    assert np.ptp(miou_intervals(counts)["miou"]) == 0
    counts = class_counts(matrices(rng))
    assert miou_intervals(counts, seed=1) == miou_intervals(counts, seed=1) != miou_intervals(counts, seed=2)
