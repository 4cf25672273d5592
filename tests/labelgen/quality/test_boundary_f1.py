"""Boundary F1: all pairs of pixels, void rings, one-sided contours."""

import math

import numpy as np
import pytest

from labelgen.errors import ConfigError, ShapeError
from labelgen.quality.boundary_f1 import boundary_f1, boundary_f1_counts, class_contours, tolerance_in_pixels


def loop_contour(labels, ignore=255):
    H, W = labels.shape
    found = set()
    for r in range(H):
        for c in range(W):
            around = [(r + i, c + j) for i, j in ((0, 1), (1, 0), (0, -1), (-1, 0))]
            near = [labels[p] for p in around if 0 <= p[0] < H and 0 <= p[1] < W]
            if labels[r, c] != ignore and any(n not in (labels[r, c], ignore) for n in near):
                found.add((r, c))
    return found


def loop_counts(truth, labels, num_classes, tolerance):
    """Without void: distances of all pairs of contour pixels."""
    sides = [
        {k: [p for p in loop_contour(map_) if map_[p] == k] for k in range(num_classes)} for map_ in (labels, truth)
    ]
    counts = np.zeros((4, num_classes), int)
    for k in range(num_classes):
        of_labels, of_truth = (side[k] for side in sides)
        counts[0, k] = sum(any(math.dist(p, q) <= tolerance for q in of_truth) for p in of_labels)
        counts[2, k] = sum(any(math.dist(p, q) <= tolerance for q in of_labels) for p in of_truth)
        counts[1, k], counts[3, k] = len(of_labels), len(of_truth)
    return counts


def blocky(rng, classes=3):
    return np.repeat(np.repeat(rng.integers(0, classes, (4, 5)), 4, axis=0), 4, axis=1).astype(np.uint8)


@pytest.mark.parametrize("tolerance", [1, 1.5, 2.3, 4])
def test_counts_equal_all_pairs_of_pixels(tolerance, rng):
    truth, labels = blocky(rng), blocky(rng)
    labels[rng.random(labels.shape) < 0.1] = 255
    found = boundary_f1_counts(truth, labels, num_classes=3, tolerance=tolerance)
    np.testing.assert_array_equal(found, loop_counts(truth, labels, 3, tolerance))


def test_contours_equal_a_loop_with_unlabelled_pixels(rng):
    labels = blocky(rng)
    labels[rng.random(labels.shape) < 0.2] = 255
    assert {tuple(p) for p in np.argwhere(class_contours(labels)).tolist()} == loop_contour(labels)


def square(top, left, side=20, size=(60, 70)):
    labels = np.zeros(size, np.uint8)
    labels[top : top + side, left : left + side] = 1
    return labels


def test_equal_maps_give_one_and_a_shift_is_forgiven_within_the_tolerance():
    truth = square(20, 20)
    assert boundary_f1(boundary_f1_counts(truth, truth, num_classes=2, tolerance=1)).f1.tolist() == [1.0, 1.0]
    shifted = square(20, 23)
    near = boundary_f1(boundary_f1_counts(truth, shifted, num_classes=2, tolerance=3))
    far = boundary_f1(boundary_f1_counts(truth, shifted, num_classes=2, tolerance=1))
    assert near.mean == 1.0 and far.mean < 0.7


def test_turning_truth_and_labels_round_turns_precision_and_recall_round(rng):
    truth, labels = blocky(rng), blocky(rng)
    one = boundary_f1(boundary_f1_counts(truth, labels, num_classes=3, tolerance=2))
    other = boundary_f1(boundary_f1_counts(labels, truth, num_classes=3, tolerance=2))
    np.testing.assert_array_equal(one.precision, other.recall)
    np.testing.assert_allclose(one.f1, other.f1)


def test_a_class_without_contours_has_no_answer_and_a_missed_one_has_zero():
    flat = np.zeros((20, 20), np.uint8)
    assert np.isnan(boundary_f1(boundary_f1_counts(flat, flat, num_classes=2)).f1).all()
    found = boundary_f1(boundary_f1_counts(square(5, 5), np.zeros((60, 70), np.uint8), num_classes=3))
    assert found.f1[:2].tolist() == [0.0, 0.0] and np.isnan(found.f1[2]) and np.isnan(found.precision[1])


def test_contours_run_in_the_middle_of_a_void_ring():
    truth, ringed = square(20, 20), square(20, 20)
    ringed[18:42, 18:42][(truth[18:42, 18:42] == 0) | (np.pad(np.zeros((16, 16)), 4, constant_values=1) > 0)] = 255
    assert {0, 1, 255} == set(np.unique(ringed).tolist())
    assert boundary_f1(boundary_f1_counts(ringed, truth, num_classes=2, tolerance=2.5)).mean == 1.0
    # at one pixel nobody knows where in the ring the contour is: it is left out
    assert boundary_f1_counts(ringed, truth, num_classes=2, tolerance=1)[3].sum() == 0


def test_contours_deep_in_void_are_left_out():
    truth = square(20, 20)
    truth[:, 45:] = 255
    labels = truth.copy()
    labels[:, 45:] = 0
    labels[:10, 60:] = 1
    found = boundary_f1_counts(truth, labels, num_classes=2, tolerance=3)
    np.testing.assert_array_equal(found[0], found[1])


def test_unlabelled_truth_contours_are_misses_unless_excluded():
    truth, labels = square(20, 20), square(20, 20)
    labels[:30] = 255
    miss = boundary_f1(boundary_f1_counts(truth, labels, num_classes=2, tolerance=2))
    left_out = boundary_f1(boundary_f1_counts(truth, labels, num_classes=2, tolerance=2, exclude_unlabelled=True))
    assert miss.recall[1] < 0.7 and left_out.f1.tolist() == [1.0, 1.0] and miss.precision[1] == 1.0


def test_tolerances():
    assert tolerance_in_pixels(0.0075, (375, 500)) == pytest.approx(4.6875)
    for bad in (0, -1.0, math.inf, math.nan):
        with pytest.raises(ConfigError, match="must be above 0"):
            tolerance_in_pixels(bad, (3, 4))
    with pytest.raises(ShapeError, match="size"):
        boundary_f1_counts(np.zeros((2, 2), np.uint8), np.zeros((2, 3), np.uint8), num_classes=1)
