"""Confusion matrix and scores: examples by hand, a double loop, scikit-learn, torchmetrics, every error."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from labelgen.errors import ConfigError, DataError, ShapeError
from labelgen.quality.confusion import confusion_matrix, pair_counts, scores_from_confusion
from tests.reference import loop_confusion, loop_scores

NAN = float("nan")


def ids(*rows, dtype=np.uint8):
    return np.array(rows, dtype)


def random_maps(seed, num_classes, size=(8, 8), void=0.2, unlabelled=0.3):
    rng = np.random.default_rng(seed)
    truth, labels = (rng.integers(0, num_classes, size).astype(np.uint8) for _ in range(2))
    truth[rng.random(size) < void] = 255
    labels[rng.random(size) < unlabelled] = 255
    return truth, labels


def test_golden_example_in_all_three_modes():
    matrix = confusion_matrix(ids([0, 0], [1, 1]), ids([255, 0], [1, 1]), num_classes=2)
    assert matrix.tolist() == [[1, 0, 1], [0, 2, 0]]
    miss = scores_from_confusion(matrix)
    assert miss.iou.tolist() == [0.5, 1.0]
    assert (miss.miou, miss.pixel_accuracy, miss.overall_coverage, miss.num_classes) == (0.75, 0.75, 0.75, 2)
    assert miss.coverage.tolist() == [0.5, 1.0]
    exclude = scores_from_confusion(matrix, unlabelled="exclude")
    assert exclude.iou.tolist() == [1.0, 1.0]
    assert (exclude.miou, exclude.pixel_accuracy, exclude.overall_coverage) == (1.0, 1.0, 0.75)
    as_class_1 = scores_from_confusion(matrix, unlabelled="background", background=1)
    assert as_class_1.iou.tolist() == [1 / 2, 2 / 3]
    assert scores_from_confusion(matrix, unlabelled="background", background=0).iou.tolist() == [1.0, 1.0]


THREE_TRUTH = ids([0, 0, 1], [1, 1, 2], [255, 2, 2])
THREE_LABELS = ids([0, 1, 1], [255, 1, 2], [255, 255, 0])
"""Valid pixels: 0 -> 0, 0 -> 1, 1 -> 1, 1 -> none, 1 -> 1, 2 -> 2, 2 -> none, 2 -> 0."""


@pytest.mark.parametrize(
    ("rule", "iou", "accuracy"),
    [
        # class 0: hit 1, truth 2, labels 2; class 1: hit 2, truth 3, labels 3; class 2: hit 1, truth 3, labels 1
        ("miss", [1 / 3, 2 / 4, 1 / 3], 4 / 8),
        # without the two unlabelled pixels: truth 2, 2 and 2
        ("exclude", [1 / 3, 2 / 3, 1 / 2], 4 / 6),
        # both are labels of class 0: labels 4, 3 and 1
        ("background", [1 / 5, 2 / 4, 1 / 3], 4 / 8),
    ],
)
def test_every_rule_on_three_by_three_pixels_by_hand(rule, iou, accuracy):
    matrix = confusion_matrix(THREE_TRUTH, THREE_LABELS, num_classes=3)
    assert matrix.tolist() == [[1, 1, 0, 0], [0, 2, 0, 1], [1, 0, 1, 1]]
    scores = scores_from_confusion(matrix, unlabelled=rule, background=0)
    assert scores.iou == pytest.approx(iou, abs=1e-15) and scores.pixel_accuracy == pytest.approx(accuracy)
    assert scores.miou == pytest.approx(sum(iou) / 3)


def test_the_strict_rule_takes_only_labels_without_holes():
    whole = np.where(THREE_LABELS == 255, 1, THREE_LABELS).astype(np.uint8)
    whole[2, 0] = 255  # under void truth, which never counts
    matrix = confusion_matrix(THREE_TRUTH, whole, num_classes=3)
    assert scores_from_confusion(matrix, unlabelled="error").miou == scores_from_confusion(matrix).miou
    with pytest.raises(DataError, match="every pixel that counts must be labelled, got 2 without a label"):
        scores_from_confusion(confusion_matrix(THREE_TRUTH, THREE_LABELS, num_classes=3), unlabelled="error")


@pytest.mark.parametrize("rule", ["miss", "exclude", "background"])
def test_more_pixels_than_32_bits_can_count(rule):
    matrix = confusion_matrix(THREE_TRUTH, THREE_LABELS, num_classes=3)
    huge = sum(matrix * 2**29 for _ in range(4))  # 2**34 pixels, 2**31 or more in each cell that is not empty
    assert huge.dtype == np.int64 and huge.max() == 2**32
    few, many = (scores_from_confusion(m, unlabelled=rule, background=0) for m in (matrix, huge))
    assert many.iou.tolist() == few.iou.tolist() and many.pixel_accuracy == few.pixel_accuracy
    assert many.truth_pixels.tolist() == [2**32, 3 * 2**31, 3 * 2**31]


def test_void_truth_is_never_counted():
    truth, labels = ids([255, 0, 255]), ids([1, 0, 255])
    assert confusion_matrix(truth, labels, num_classes=2).tolist() == [[1, 0, 0], [0, 0, 0]]
    assert pair_counts(truth, labels, num_classes=2)[-1].tolist() == [0, 1, 1]


def test_absent_class_is_no_number_and_not_in_the_mean():
    scores = scores_from_confusion(confusion_matrix(ids([0, 2]), ids([0, 2]), num_classes=4))
    np.testing.assert_array_equal(scores.iou, [1, NAN, 1, NAN])
    assert (scores.miou, scores.num_classes) == (1.0, 2)
    np.testing.assert_array_equal(scores.precision, [1, NAN, 1, NAN])
    np.testing.assert_array_equal(scores.fn_rate, [0, NAN, 0, NAN])


def test_labelled_but_absent_class_counts_as_zero():
    scores = scores_from_confusion(confusion_matrix(ids([0, 0]), ids([0, 1]), num_classes=3))
    np.testing.assert_array_equal(scores.iou, [0.5, 0, NAN])
    assert (scores.miou, scores.num_classes) == (0.25, 2)
    np.testing.assert_array_equal(scores.fp_rate, [0, NAN, NAN])
    np.testing.assert_array_equal(scores.precision, [1, 0, NAN])


def test_image_of_void_alone_contributes_nothing():
    matrix = confusion_matrix(ids([255, 255]), ids([0, 255]), num_classes=2)
    assert not matrix.any()
    scores = scores_from_confusion(matrix)
    assert np.isnan([scores.miou, scores.pixel_accuracy, scores.overall_coverage, scores.mean_accuracy]).all()
    assert scores.num_classes == 0


def test_rates_of_a_checkable_example():
    # class 1: 4 true pixels, 3 found; 2 pixels of class 0 wrongly labelled 1
    truth, labels = ids([1, 1, 1, 1], [0, 0, 0, 0]), ids([1, 1, 1, 0], [1, 1, 0, 0])
    scores = scores_from_confusion(confusion_matrix(truth, labels, num_classes=2))
    assert scores.iou[1] == 3 / 6
    assert (scores.precision[1], scores.recall[1]) == (3 / 5, 3 / 4)
    assert (scores.fp_rate[1], scores.fn_rate[1]) == (2 / 4, 1 / 4)
    assert scores.iou[0] == 2 / 5
    assert scores.frequency_weighted_iou == pytest.approx(0.5 * 3 / 6 + 0.5 * 2 / 5)
    assert scores.mean_accuracy == pytest.approx((3 / 4 + 2 / 4) / 2)
    assert scores.truth_pixels.tolist() == [4, 4] and scores.label_pixels.tolist() == [3, 5]


@settings(max_examples=200, deadline=None)
@given(
    seed=st.integers(0, 2**32 - 1),
    num_classes=st.integers(1, 6),
    mode=st.sampled_from(["miss", "exclude", "background"]),
)
def test_equals_a_double_loop(seed, num_classes, mode):
    truth, labels = random_maps(seed, num_classes)
    matrix = confusion_matrix(truth, labels, num_classes=num_classes)
    np.testing.assert_array_equal(matrix, loop_confusion(truth, labels, num_classes))
    scores = scores_from_confusion(matrix, unlabelled=mode, background=0)
    expected = loop_scores(truth, labels, num_classes, mode)
    for name in ("iou", "precision", "recall", "fp_rate", "fn_rate"):
        np.testing.assert_allclose(getattr(scores, name), expected[name], rtol=1e-12, err_msg=name)
    np.testing.assert_allclose(scores.pixel_accuracy, expected["pixel_accuracy"])


@pytest.mark.parametrize("size", [(1, 1), (1, 7), (1, 8), (3, 3), (5, 13), (16, 16), (0, 4)])
@pytest.mark.parametrize("run", [1, 5, 30])
def test_long_runs_and_remainders_are_counted_exactly(size, run, rng):
    pixels = size[0] * size[1]
    truth, labels = (np.repeat(rng.choice([0, 1, 2, 255], pixels), run)[:pixels].reshape(size) for _ in range(2))
    truth, labels = truth.astype(np.uint8), labels.astype(np.uint8)
    np.testing.assert_array_equal(
        confusion_matrix(truth, labels, num_classes=3), loop_confusion(truth, labels, 3).reshape(3, 4)
    )


def test_views_that_are_not_contiguous_or_aligned():
    truth, labels = random_maps(0, 5, size=(33, 35))
    expected = loop_confusion(truth[::2, 1::3], labels[::2, 1::3], 5)
    np.testing.assert_array_equal(confusion_matrix(truth[::2, 1::3], labels[::2, 1::3], num_classes=5), expected)


def test_unaligned_flat_views():
    truth, labels = random_maps(1, 5, size=(1, 101))
    np.testing.assert_array_equal(
        confusion_matrix(truth[0, 3:], labels[0, 3:], num_classes=5), loop_confusion(truth[0, 3:], labels[0, 3:], 5)
    )


@pytest.mark.parametrize("dtypes", [(np.uint16, np.uint16), (np.uint8, np.int64), (np.int32, np.uint8)])
def test_other_integer_types_count_the_same(dtypes):
    truth, labels = random_maps(2, 7)
    np.testing.assert_array_equal(
        confusion_matrix(truth.astype(dtypes[0]), labels.astype(dtypes[1]), num_classes=7),
        confusion_matrix(truth, labels, num_classes=7),
    )


def test_more_than_255_classes_in_16_bits():
    truth, labels = ids([0, 299, 65535, 5], dtype=np.uint16), ids([0, 299, 4, 65535], dtype=np.uint16)
    matrix = confusion_matrix(truth, labels, num_classes=300, truth_ignore=65535, label_ignore=65535)
    assert matrix.sum() == 3 and matrix[299, 299] == 1 and matrix[5, 300] == 1


def test_equals_scikit_learn_on_dense_masks():
    from sklearn.metrics import confusion_matrix as sklearn_matrix

    truth, labels = random_maps(3, 6, size=(40, 50), void=0, unlabelled=0)
    expected = sklearn_matrix(truth.ravel(), labels.ravel(), labels=range(6))
    np.testing.assert_array_equal(confusion_matrix(truth, labels, num_classes=6)[:, :6], expected)


@pytest.mark.slow  # importing torchmetrics
def test_equals_torchmetrics_on_dense_masks_with_void():
    torch = pytest.importorskip("torch")
    from torchmetrics.functional.classification import multiclass_jaccard_index

    truth, labels = random_maps(4, 6, size=(40, 50), void=0.1, unlabelled=0)
    ours = scores_from_confusion(confusion_matrix(truth, labels, num_classes=6))
    theirs = multiclass_jaccard_index(
        torch.from_numpy(labels).long(), torch.from_numpy(truth).long(), 6, average="none", ignore_index=255
    )
    np.testing.assert_allclose(ours.iou, theirs.numpy(), rtol=1e-6)


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 10_000))
def test_flips_and_class_renaming_change_nothing_but_the_order(seed):
    truth, labels = random_maps(seed, 4)
    matrix = confusion_matrix(truth, labels, num_classes=4)
    np.testing.assert_array_equal(matrix, confusion_matrix(truth[:, ::-1], labels[:, ::-1], num_classes=4))
    order = np.array([2, 0, 3, 1])
    lookup = np.full(256, 255, np.uint8)
    lookup[order] = np.arange(4)
    renamed = confusion_matrix(lookup[truth], lookup[labels], num_classes=4)
    np.testing.assert_array_equal(renamed, matrix[np.ix_(order, [*order, 4])])


def test_matrices_of_parts_add_up():
    truth, labels = random_maps(5, 4, size=(16, 8))
    parts = sum(confusion_matrix(truth[i : i + 4], labels[i : i + 4], num_classes=4) for i in range(0, 16, 4))
    np.testing.assert_array_equal(parts, confusion_matrix(truth, labels, num_classes=4))


def test_refuses_another_size():
    with pytest.raises(ShapeError, match=r"size \(2, 2\) of the truth, got \(2, 1\) in a/b") as caught:
        pair_counts(np.zeros((2, 2), np.uint8), np.zeros((2, 1), np.uint8), num_classes=2, where="a/b")
    assert "resized" in caught.value.hint


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_refuses_ids_outside_the_vocabulary_even_under_void(dtype):
    with pytest.raises(DataError, match="labels must be ids < 2 or 255, got 7"):
        confusion_matrix(ids([0, 255], dtype=dtype), ids([0, 7], dtype=dtype), num_classes=2)
    with pytest.raises(DataError, match="truth must be ids < 2 or 255, got 2, 3 "):
        pair_counts(ids([3, 2], dtype=dtype), ids([0, 255], dtype=dtype), num_classes=2, where="x")


def test_refuses_negative_ids():
    with pytest.raises(DataError, match="got -1"):
        confusion_matrix(ids([0, -1], dtype=np.int64), ids([0, 0], dtype=np.int64), num_classes=2)


def test_refuses_an_ignore_id_that_is_a_class():
    with pytest.raises(ConfigError, match="ignore ids must lie above the 2 classes, got 1"):
        confusion_matrix(ids([0]), ids([0]), num_classes=2, truth_ignore=1)


def test_refuses_an_unknown_rule_and_a_missing_background():
    matrix = np.zeros((2, 3), np.int64)
    with pytest.raises(ConfigError, match="background class"):
        scores_from_confusion(matrix, unlabelled="background")
    with pytest.raises(Exception, match="unlabelled"):
        scores_from_confusion(matrix, unlabelled="drop")
