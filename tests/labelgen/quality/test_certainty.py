"""Confidence, margin, entropy and agreement: literal arrays, one pixel at a time, invariances."""

import math

import numpy as np
import pytest

from labelgen.errors import ConfigError, DataError, ShapeError
from labelgen.masks import SoftMask
from labelgen.quality.agreement import agreement_counts, agreement_of
from labelgen.quality.certainty import certainty, pixel_certainty, probabilities_of
from labelgen.quality.confusion import confusion_matrix, scores_from_confusion


def random_mask(rng, classes=(0, 2, 5), size=(7, 9)):
    scores = rng.gamma(1.0, size=(len(classes), *size)).astype(np.float32)
    scores[:, 0, :3] = 0
    return SoftMask(scores, classes)


def test_figures_equal_a_loop_over_pixels(rng):
    mask = random_mask(rng)
    rows = []
    for column in mask.scores.reshape(3, -1).T.astype(float):
        if column.sum() > 0:
            p = sorted(column / column.sum(), reverse=True)
            rows.append((p[0], p[0] - p[1], -sum(v * math.log(v) for v in p if v) / math.log(21)))
    found = certainty(mask, num_classes=21)
    expected = np.mean(rows, axis=0)
    np.testing.assert_allclose((found.confidence, found.margin, found.entropy), expected, rtol=1e-5)
    assert found.pixels == len(rows) == 7 * 9 - 3


def test_scale_and_order_of_classes_change_nothing(rng):
    mask = random_mask(rng)
    other = SoftMask(mask.scores[::-1] * np.float32(4), mask.class_ids)
    first, second = certainty(mask, num_classes=6), certainty(other, num_classes=6)
    assert first.confidence == pytest.approx(second.confidence) and first.entropy == pytest.approx(second.entropy)


def test_one_class_is_certain_and_no_class_has_no_answer():
    sure = certainty(SoftMask(np.ones((1, 2, 2), np.float32), (3,)), num_classes=21)
    assert (sure.confidence, sure.margin, sure.entropy, sure.pixels) == (1.0, 1.0, 0.0, 4)
    for scores, ids in ((np.zeros((1, 2, 2), np.float32), (3,)), (np.zeros((0, 2, 2), np.float32), ())):
        empty = certainty(SoftMask(scores, ids), num_classes=21)
        assert empty.pixels == 0 and math.isnan(empty.confidence) and math.isnan(empty.entropy)


def test_equal_probabilities_have_entropy_one_over_all_classes():
    mask = SoftMask(np.ones((4, 1, 1), np.float32), (0, 1, 2, 3))
    assert certainty(mask, num_classes=4).entropy == pytest.approx(1.0)
    assert certainty(mask, num_classes=16).entropy == pytest.approx(0.5)


def test_too_few_classes_are_refused(rng):
    with pytest.raises(ConfigError, match="at least the 3 planes, got 2"):
        pixel_certainty(probabilities_of(random_mask(rng)), num_classes=2)


def test_agreement_equals_scores_over_pixels_that_both_label(rng):
    first = rng.integers(0, 4, (9, 11)).astype(np.uint8)
    second = np.where(rng.random(first.shape) < 0.7, first, rng.integers(0, 4, first.shape)).astype(np.uint8)
    first[rng.random(first.shape) < 0.2] = 255
    second[rng.random(first.shape) < 0.2] = 255
    found = agreement_of(agreement_counts(first, second, num_classes=4))
    reference = scores_from_confusion(confusion_matrix(first, second, num_classes=4), unlabelled="exclude")
    both = (first != 255) & (second != 255)
    np.testing.assert_allclose(found.iou, reference.iou)
    assert found.miou == pytest.approx(reference.miou) and found.both == both.sum()
    assert found.pixel == pytest.approx((first == second)[both].mean())
    turned = agreement_of(agreement_counts(second, first, num_classes=4))
    assert (turned.miou, turned.pixel) == pytest.approx((found.miou, found.pixel))


def test_maps_without_a_common_pixel_have_no_agreement():
    nothing = agreement_of(
        agreement_counts(np.array([[0, 255]], np.uint8), np.array([[255, 1]], np.uint8), num_classes=2)
    )
    assert nothing.both == 0 and math.isnan(nothing.miou) and math.isnan(nothing.pixel)


def test_other_sizes_and_foreign_ids_are_refused():
    one = np.zeros((2, 2), np.uint8)
    with pytest.raises(ShapeError, match="in x"):
        agreement_counts(one, np.zeros((2, 3), np.uint8), num_classes=2, where="x")
    with pytest.raises(DataError, match="got 9 in x"):
        agreement_counts(one, one + np.uint8(9), num_classes=2, where="x")
