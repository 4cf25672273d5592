"""Panoptic quality: sets of pixels, torchmetrics, void, instances that touch."""

import numpy as np
import pytest
import torch

from labelgen.quality.panoptic import panoptic_counts, panoptic_quality, segments_of


def scene(rng, size=(40, 50), count=6):
    """Labels, instances and a background of 0; objects may touch and overlap."""
    labels, instances = np.zeros(size, np.uint8), np.zeros(size, np.int32)
    for number in range(1, count + 1):
        top, left = rng.integers(0, size[0] - 8), rng.integers(0, size[1] - 8)
        height, width = rng.integers(4, 14, 2)
        labels[top : top + height, left : left + width] = rng.integers(1, 4)
        instances[top : top + height, left : left + width] = number
    return labels, instances


def changed(labels, rng):
    """The same labels shifted a bit, some of them of another class."""
    found = np.roll(labels, rng.integers(-2, 3, 2), (0, 1))
    return np.where(found == 1, np.uint8(rng.integers(1, 3)), found)


def loop_counts(truth, labels, void, num_classes):
    counts = np.zeros((4, num_classes))
    sides = []
    for segments in (truth, labels):
        parts = [{*map(tuple, np.argwhere(segments.numbers == n).tolist())} for n in range(len(segments.class_ids))]
        sides.append(list(zip(parts, segments.class_ids.tolist(), strict=True)))
    hidden = {*map(tuple, np.argwhere(void).tolist())}
    used = set()
    for pixels, class_id in sides[0]:
        matches = [
            (n, len(pixels & other) / len(pixels | (other - hidden)))
            for n, (other, name) in enumerate(sides[1])
            if name == class_id
        ]
        matches = [(n, iou) for n, iou in matches if iou > 0.5]
        assert len(matches) <= 1
        if matches:
            used.add(matches[0][0])
            counts[:2, class_id] += matches[0][1], 1
        else:
            counts[3, class_id] += 1
    for n, (pixels, class_id) in enumerate(sides[1]):
        if n not in used and len(pixels & hidden) <= len(pixels) / 2:
            counts[2, class_id] += 1
    return counts


@pytest.mark.parametrize("seed", range(5))
def test_counts_equal_sets_of_pixels(seed):
    rng = np.random.default_rng(seed)
    labels, instances = scene(rng)
    labels[rng.random(labels.shape) < 0.1] = 255
    truth = segments_of(labels, instances, background=0)
    other = segments_of(changed(labels, rng), background=0)
    void = labels == 255
    found = panoptic_counts(truth, other, void, num_classes=4)
    np.testing.assert_allclose(found, loop_counts(truth, other, void, 4))


@pytest.mark.parametrize("with_void", [False, True])
@pytest.mark.parametrize("seed", range(3))
def test_quality_equals_torchmetrics(seed, with_void):
    from torchmetrics.detection import PanopticQuality

    rng = np.random.default_rng(seed)
    metric = PanopticQuality(things={1, 2, 3}, stuffs={0}, return_sq_and_rq=True, return_per_class=True)
    counts = np.zeros((4, 4))
    for _ in range(3):
        labels, instances = scene(rng)
        predicted_map = changed(labels, rng)
        if with_void:
            labels[:, 20:30] = 255
        truth, predicted = segments_of(labels, instances, background=0), segments_of(predicted_map, background=0)
        counts += panoptic_counts(truth, predicted, labels == 255, num_classes=4)
        # the background, a segment of its own there, is left out of the comparison; 255 is an unknown category there
        pairs = [
            np.stack([names, segments.numbers + 1], axis=-1)[None].astype(np.int64)
            for names, segments in ((predicted_map, predicted), (labels, truth))
        ]
        metric.update(*map(torch.tensor, pairs))
    found = panoptic_quality(counts)
    reference = metric.compute().numpy().reshape(-1, 3)[:3]  # things come first
    for column, ours in enumerate((found.pq, found.sq, found.rq)):
        np.testing.assert_allclose(np.nan_to_num(ours[1:]), reference[:, column], atol=1e-5)


def test_instances_that_touch_are_told_apart_and_merged_labels_pay_for_it():
    labels = np.full((6, 10), 2, np.uint8)
    instances = np.ones((6, 10), np.int32)
    instances[:, 5:] = 2
    void = np.zeros(labels.shape, bool)
    merged = segments_of(labels, background=0)
    with_instances = panoptic_counts(segments_of(labels, instances, background=0), merged, void, num_classes=3)
    without = panoptic_counts(segments_of(labels, background=0), merged, void, num_classes=3)
    assert with_instances[:, 2].tolist() == [0, 0, 1, 2] and without[:, 2].tolist() == [1, 1, 0, 0]


def test_pixels_without_an_instance_are_cut_into_components():
    labels = np.array([[3, 3, 0, 3], [0, 0, 0, 3]], np.uint8)
    instances = np.array([[4, 0, 0, 0], [0, 0, 0, 0]], np.int32)
    found = segments_of(labels, instances, background=0)
    assert found.class_ids.tolist() == [3, 3, 3]
    assert found.numbers.tolist() == [[0, 1, -1, 2], [-1, -1, -1, 2]]


def test_one_instance_of_two_classes_is_two_segments():
    found = segments_of(np.array([[1, 2]], np.uint8), np.array([[5, 5]], np.int32), background=0)
    assert found.class_ids.tolist() == [1, 2] and found.numbers.tolist() == [[0, 1]]


def test_labels_mostly_on_void_count_for_nothing():
    truth, void = np.full((1, 6), 0, np.uint8), np.array([[1, 1, 1, 0, 0, 0]], bool)
    truth[void] = 255
    labels = np.array([[1, 1, 1, 1, 0, 0]], np.uint8)
    parts = segments_of(truth, background=0), segments_of(labels, background=0)
    assert not panoptic_counts(*parts, void, num_classes=2).any()
    half = segments_of(np.array([[0, 1, 1, 1, 1, 0]], np.uint8), background=0)
    assert panoptic_counts(parts[0], half, void, num_classes=2)[2, 1] == 1  # exactly half: an error


def test_without_background_every_class_has_objects():
    labels = np.array([[0, 0, 1]], np.uint8)
    assert segments_of(labels, background=None).class_ids.tolist() == [0, 1]
    empty = panoptic_quality(np.zeros((4, 2)))
    assert np.isnan(empty.mean_pq) and np.isnan(empty.pq).all() and empty.num_classes == 0
