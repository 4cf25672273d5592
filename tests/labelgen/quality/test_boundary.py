"""Boundary IoU and trimap bands: examples by hand, one-step erosions, void rings."""

import numpy as np
import pytest

from labelgen.errors import ConfigError, ShapeError
from labelgen.quality.boundary import (
    band_confusions,
    boundary_counts,
    boundary_distance,
    complete_void,
    contour_distance,
    inner_edge,
)
from labelgen.quality.confusion import confusion_matrix, scores_from_confusion
from tests.reference import loop_boundary, loop_contour_distance


def square(size, top, left, side, class_id=1):
    labels = np.zeros(size, np.uint8)
    labels[top : top + side, left : left + side] = class_id
    return labels


def boundary_iou(truth, labels, num_classes=2, **options):
    both, either, *_ = boundary_counts(truth, labels, num_classes=num_classes, **options)
    return both / either


def with_ring(truth, width):
    """Void on both sides of each contour."""
    ringed = truth.copy()
    ringed[contour_distance(truth) <= width] = 255
    return ringed


def test_distance_is_a_rounded_share_of_the_diagonal_and_at_least_one():
    assert boundary_distance((100, 100)) == 3  # 2.83
    assert boundary_distance((10, 10)) == 1  # 0.28
    assert boundary_distance((375, 500)) == 12  # 12.5, to even


@pytest.mark.parametrize("distance", [1, 2, 3])
def test_edge_equals_step_by_step_erosion_of_each_class(distance, rng):
    labels = np.repeat(np.repeat(rng.integers(0, 3, (4, 5)), 5, axis=0), 4, axis=1).astype(np.uint8)
    labels[0, 0] = 255
    edge = inner_edge(labels, distance=distance)
    for class_id in (0, 1, 2, 255):
        mask = labels == class_id
        np.testing.assert_array_equal(edge & mask, loop_boundary(mask, distance))


def test_equal_maps_give_one():
    truth = square((60, 80), 10, 20, 25)
    assert boundary_iou(truth, truth).tolist() == [1.0, 1.0]


def test_shifted_square_scores_lower_than_its_iou():
    truth, labels = square((150, 150), 40, 40, 60), square((150, 150), 43, 43, 60)
    iou = scores_from_confusion(confusion_matrix(truth, labels, num_classes=2)).iou
    assert boundary_iou(truth, labels)[1] < iou[1] - 0.2


def test_object_thinner_than_twice_the_distance_gives_its_iou():
    truth, labels = square((100, 100), 40, 40, 6), square((100, 100), 41, 42, 6)
    iou = scores_from_confusion(confusion_matrix(truth, labels, num_classes=2)).iou
    assert boundary_iou(truth, labels)[1] == pytest.approx(iou[1])


def test_image_edge_is_a_contour():
    truth = np.ones((50, 50), np.uint8)
    both, _either, in_truth, _ = boundary_counts(truth, truth, num_classes=2)
    assert both[1] == in_truth[1] == 50 * 50 - 48 * 48


def test_counts_equal_set_arithmetic(rng):
    truth = np.repeat(np.repeat(rng.integers(0, 3, (5, 6)), 4, axis=0), 4, axis=1).astype(np.uint8)
    labels = np.roll(truth, 1, axis=1)
    labels[rng.random(labels.shape) < 0.05] = 255
    counts = boundary_counts(truth, labels, num_classes=3, fraction=0.07)
    for class_id in range(3):
        in_truth = loop_boundary(truth == class_id, 2)
        in_labels = loop_boundary(labels == class_id, 2)
        expected = [(in_truth & in_labels).sum(), (in_truth | in_labels).sum(), in_truth.sum(), in_truth.sum()]
        assert counts[:, class_id].tolist() == expected


def test_void_is_completed_from_the_nearest_id():
    truth = np.array([[3, 255, 255, 5], [255, 255, 255, 5]], np.uint8)
    labels = np.array([[3, 255, 9, 255], [0, 255, 255, 5]], np.uint8)
    full_truth, full_labels = complete_void(truth, labels, truth_ignore=255, label_ignore=255)
    assert full_truth.tolist() == [[3, 3, 5, 5], [3, 3, 5, 5]]
    assert full_labels.tolist() == [[3, 3, 9, 255], [0, 3, 5, 5]]
    alone = np.full((2, 4), 255, np.uint8)
    assert complete_void(alone, labels, truth_ignore=255, label_ignore=255)[0] is alone


@pytest.mark.parametrize("filled", [True, False])
def test_a_void_ring_costs_a_perfect_label_nothing(filled):
    whole = square((200, 200), 60, 60, 80)
    ringed = with_ring(whole, 2)
    counts = boundary_counts(ringed, whole if filled else ringed, num_classes=2)
    assert (counts[0] / counts[1] > 0.996).all()  # a corner in the middle of a ring is rounded
    share = counts[3] / counts[2]
    assert share[1] == pytest.approx(4 / 6, abs=0.03)  # the ring hides 2 of the 6 boundary pixels


def test_an_image_of_void_alone_counts_nothing():
    void = np.full((20, 20), 255, np.uint8)
    assert not boundary_counts(void, square((20, 20), 2, 2, 9), num_classes=2).any()
    assert not band_confusions(void, void, bands=(1, 5), num_classes=2).any()


def test_unlabelled_pixels_are_misses_unless_excluded():
    truth, labels = square((60, 60), 10, 10, 30), square((60, 60), 10, 10, 30)
    labels[:, 25:] = 255
    strict, lenient = boundary_iou(truth, labels), boundary_iou(truth, labels, exclude_unlabelled=True)
    assert strict[1] < 0.6 < lenient[1]


@pytest.mark.parametrize("void", [False, True])
def test_contour_distance_equals_all_pairs(void, rng):
    truth = np.repeat(np.repeat(rng.integers(0, 2, (3, 4)), 4, axis=0), 3, axis=1).astype(np.uint8)
    if void:
        truth[5:8, 2:9] = 255
    np.testing.assert_allclose(contour_distance(truth), loop_contour_distance(truth), rtol=1e-6)
    assert np.isinf(contour_distance(np.zeros((3, 3), np.uint8))).all()


def test_bands_are_nested_and_the_widest_holds_everything(rng):
    truth = square((40, 40), 10, 10, 18)
    labels = rng.integers(0, 2, truth.shape).astype(np.uint8)
    matrices = band_confusions(truth, labels, bands=(1, 3, 5, 60), num_classes=2)
    assert (np.diff(matrices, axis=0) >= 0).all()
    np.testing.assert_array_equal(matrices[-1], confusion_matrix(truth, labels, num_classes=2))
    distance = loop_contour_distance(truth)
    for matrix, band in zip(matrices, (1, 3, 5, 60), strict=True):
        inside = distance <= band
        np.testing.assert_array_equal(matrix, confusion_matrix(truth[inside], labels[inside], num_classes=2))


def test_void_ring_is_the_origin_of_bands_and_not_counted():
    # 0 0 0 void void 1 1 1: bands start at both rims of the void
    truth = np.array([[0, 0, 0, 255, 255, 1, 1, 1]], np.uint8)
    one, two = band_confusions(truth, truth, bands=(1, 2), num_classes=2)
    assert one.tolist() == [[1, 0, 0], [0, 1, 0]]
    assert two.tolist() == [[2, 0, 0], [0, 2, 0]]


@pytest.mark.parametrize("bands", [(), (0, 1), (3, 3), (5, 2)])
def test_refuses_bands_that_do_not_increase(bands):
    truth = np.zeros((2, 2), np.uint8)
    with pytest.raises(ConfigError, match="increasing widths"):
        band_confusions(truth, truth, bands=bands, num_classes=1)


def test_sixteen_bit_maps_count_the_same(rng):
    truth, labels = (rng.integers(0, 3, (20, 20)).astype(np.uint8) for _ in range(2))
    truth[3:6] = 255
    wide = boundary_counts(truth.astype(np.uint16), labels.astype(np.uint16), num_classes=3)
    np.testing.assert_array_equal(wide, boundary_counts(truth, labels, num_classes=3))


@pytest.mark.parametrize(
    "measure", [boundary_counts, lambda *maps, **options: band_confusions(*maps, bands=(1,), **options)]
)
def test_refuses_another_size(measure):
    with pytest.raises(ShapeError, match=r"must have the size \(2, 2\)"):
        measure(np.zeros((2, 2), np.uint8), np.zeros((2, 3), np.uint8), num_classes=1)
