"""Confident learning and overlap: one pixel at a time, streaming against one big array, classes without a plane."""

import math

import numpy as np
import pytest

from labelgen.quality.confident import ClassConfidence, given_probability, image_issues, softmin_score
from labelgen.quality.overlap import class_overlaps, relative_overlap, soft_iou

CLASSES = 5
IDS = (0, 2, 3)  # class 1 and 4 have no plane: the probe never saw them


def images(rng, count=4):
    """Probabilities and labels of several images; unlabelled pixels, and labels of classes without a plane."""
    found = []
    for _ in range(count):
        probabilities = rng.dirichlet([0.6] * len(IDS), (6, 8)).transpose(2, 0, 1).astype(np.float32)
        labels = rng.integers(0, CLASSES - 1, (6, 8)).astype(np.uint8)  # class 4 is nowhere
        labels[rng.random(labels.shape) < 0.25] = 255
        found.append((probabilities, labels))
    return found


def pixels(data):
    """(probabilities of all classes, label) of every labelled pixel of all images."""
    for probabilities, labels in data:
        for row in range(labels.shape[0]):
            for col in range(labels.shape[1]):
                if labels[row, col] != 255:
                    whole = dict.fromkeys(range(CLASSES), 0.0)
                    whole |= {k: float(probabilities[i, row, col]) for i, k in enumerate(IDS)}
                    yield whole, int(labels[row, col])


def loop_thresholds(data):
    sums = {k: [p[k] for p, label in pixels(data) if label == k] for k in range(CLASSES)}
    return np.array([sum(v) / len(v) if v else math.nan for v in sums.values()])


def streamed_thresholds(data):
    total = ClassConfidence.empty(CLASSES)
    for probabilities, labels in data:
        total.add(ClassConfidence.of(*given_probability(probabilities, IDS, labels), num_classes=CLASSES))
    return total.thresholds()


def test_thresholds_streamed_over_images_equal_means_over_all_pixels(rng):
    data = images(rng)
    np.testing.assert_allclose(streamed_thresholds(data), loop_thresholds(data), rtol=1e-6)
    assert streamed_thresholds(data)[1] == 0.0 and math.isnan(streamed_thresholds(data)[4])


def test_issues_and_joint_equal_a_loop_over_pixels(rng):
    data = images(rng)
    thresholds = streamed_thresholds(data)
    joint, issues = np.zeros((CLASSES, CLASSES), int), 0
    for p, label in pixels(data):
        reached = [k for k in IDS if not math.isnan(thresholds[k]) and p[k] >= thresholds[k]]
        if reached:
            confident = max(reached, key=lambda k: p[k])
            joint[label, confident] += 1
            issues += confident != label and max(p, key=lambda k: p[k]) != label
    found = [image_issues(probabilities, IDS, labels, thresholds) for probabilities, labels in data]
    np.testing.assert_array_equal(sum(image.joint for image in found), joint)
    assert sum(int(image.issues.sum()) for image in found) == issues > 10
    for image, (_, labels) in zip(found, data, strict=True):
        assert not image.issues[labels == 255].any()
        assert image.share == image.issues.sum() / (labels != 255).sum()


def test_a_label_that_is_the_most_probable_class_is_no_issue():
    probabilities = np.array([[[0.5]], [[0.3]], [[0.2]]], np.float32)
    thresholds = np.array([0.9, np.nan, 0.25, 0.9, np.nan])  # only class 2 is reached
    found = image_issues(probabilities, IDS, np.array([[0]], np.uint8), thresholds)
    assert found.joint[0, 2] == 1 and not found.issues.any()
    other = image_issues(probabilities, IDS, np.array([[3]], np.uint8), thresholds)
    assert other.joint[3, 2] == 1 and other.issues.all()


def test_probabilities_equal_to_the_threshold_reach_it():
    one_third = np.full((3, 1, 1), 1 / 3, np.float32)
    thresholds = np.array([1 / 3, np.nan, 1.0, 1.0, np.nan])
    assert image_issues(one_third, IDS, np.array([[0]], np.uint8), thresholds).joint[0, 0] == 1


def test_images_without_a_label_have_no_score():
    nothing = np.full((2, 2), 255, np.uint8)
    probabilities = np.full((3, 2, 2), 1 / 3, np.float32)
    classes, given = given_probability(probabilities, IDS, nothing)
    assert classes.size == 0 and math.isnan(softmin_score(given))
    assert math.isnan(image_issues(probabilities, IDS, nothing, np.full(CLASSES, 0.1)).share)
    overlaps = soft_iou(class_overlaps(probabilities, IDS, nothing, num_classes=CLASSES))
    assert np.isnan(overlaps).all() and np.isnan(relative_overlap(overlaps[None])).all()


def test_softmin_is_the_formula_and_lies_between_minimum_and_mean(rng):
    q = rng.random(50)
    weights = [math.exp((1 - v) / 0.1) for v in q]
    assert softmin_score(q) == pytest.approx(sum(w * v for w, v in zip(weights, q, strict=True)) / sum(weights))
    assert q.min() < softmin_score(q) < q.mean()
    assert softmin_score(q, temperature=1e6) == pytest.approx(q.mean(), abs=1e-5)
    assert softmin_score(q, temperature=1e-4) == pytest.approx(q.min(), abs=1e-6)
    assert softmin_score(q, temperature=1e-9) == pytest.approx(q.min())  # no overflow


def test_overlap_equals_a_loop_and_unlabelled_pixels_take_no_part(rng):
    probabilities, labels = images(rng, 1)[0]
    data = list(pixels([(probabilities, labels)]))
    found = soft_iou(class_overlaps(probabilities, IDS, labels, num_classes=CLASSES))
    for k in range(CLASSES):
        both = sum(p[k] for p, label in data if label == k)
        union = sum(label == k for _, label in data) + sum(p[k] for p, _ in data) - both
        expected = both / union if any(label == k for _, label in data) else math.nan
        np.testing.assert_allclose(found[k], expected, rtol=1e-6)
    changed = probabilities.copy()
    changed[:, labels == 255] = changed[::-1, labels == 255]
    again = soft_iou(class_overlaps(changed, IDS, labels, num_classes=CLASSES))
    np.testing.assert_array_equal(found, again)


def test_hard_predictions_give_the_hard_iou():
    labels, predicted = np.array([[0, 0, 2, 2]], np.uint8), np.array([[0, 2, 2, 2]])
    probabilities = (predicted == np.array(IDS)[:, None, None]).astype(np.float32)
    found = soft_iou(class_overlaps(probabilities, IDS, labels, num_classes=CLASSES))
    np.testing.assert_allclose(found[[0, 2]], [1 / 2, 2 / 3])


def test_relative_overlap_forgives_hard_classes_but_not_outliers():
    easy, hard = [0.9, np.nan, 0.9, 0.3, 0.9], [np.nan, 0.2, 0.2, 0.2, 0.0]
    found = relative_overlap(np.array([easy, hard]).T)
    assert found[1] > found[3] > found[4]  # hard as usual; easy class out of line; hard class gone
    assert relative_overlap(np.array([[0.5], [0.5]])).tolist() == [1.0, 1.0]
