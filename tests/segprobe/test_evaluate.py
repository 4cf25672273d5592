import numpy as np
import pytest

from labelgen.errors import ConfigError
from labelgen.vocab import Vocabulary
from segprobe.evaluate import Evaluation, interval, score_predictions
from tests.reference import loop_confusion, loop_scores

FOUR = Vocabulary("four", ("a", "b", "c", "d"))


def pairs(count=5, seed=0):
    rng = np.random.default_rng(seed)
    for _ in range(count):
        truth = rng.choice(np.array([0, 1, 2, 255], np.uint8), size=(9, 7))
        yield truth, rng.choice(np.array([0, 1, 2], np.uint8), size=(9, 7))


def test_equals_a_loop_over_pixels():
    evaluation = score_predictions(pairs(), FOUR)
    truths, predictions = (np.concatenate(parts) for parts in zip(*pairs(), strict=True))
    assert np.array_equal(evaluation.matrix, loop_confusion(truths, predictions, 4))
    expected = loop_scores(truths, predictions, 4, "miss")["iou"]
    np.testing.assert_allclose(evaluation.scores.iou, expected)
    assert evaluation.miou == pytest.approx(np.nanmean(expected))
    assert evaluation.scores.num_classes == 3  # d is nowhere


def test_more_than_255_classes():
    wide = Vocabulary("wide", tuple(f"class {i}" for i in range(300)))
    truth = np.array([[299, 256, 65535]], np.uint16)
    evaluation = score_predictions([(truth, np.array([[299, 255, 0]], np.uint16))], wide)
    assert (evaluation.matrix[299, 299], evaluation.matrix[256, 255], evaluation.matrix.sum()) == (1, 1, 2)
    assert evaluation.to_json()["per_class"][299]["iou"] == 1.0


def test_json_names_classes_and_says_null_for_absent_ones():
    truth = np.array([[0, 0, 1, 255]], np.uint8)
    found = score_predictions([(truth, np.array([[0, 1, 1, 2]], np.uint8))], FOUR).to_json()
    assert (found["miou"], found["num_classes"], found["num_images"]) == (0.5, 2, 1)
    assert [row["iou"] for row in found["per_class"]] == [0.5, 0.5, None, None]
    first = {"id": 0, "name": "a", "iou": 0.5, "precision": 1.0, "recall": 0.5, "fp_rate": 0.0, "fn_rate": 0.5}
    assert found["per_class"][0] == {**first, "truth_pixels": 2, "label_pixels": 1}


def test_progress_is_reported():
    seen = []
    score_predictions(pairs(3), FOUR, total=3, progress=lambda done, total, note: seen.append((done, total)))
    assert seen == [(1, 3), (2, 3), (3, 3)]


def test_interval_holds_the_miou_and_narrows_with_more_images():
    few, many = (score_predictions(pairs(count), FOUR) for count in (4, 60))
    for evaluation in (few, many):
        low, high = interval(evaluation)
        assert low < evaluation.miou < high
    assert np.diff(interval(many)) < np.diff(interval(few))


def test_interval_of_equal_images_is_a_point():
    truth = np.array([[0, 0, 1]], np.uint8)
    evaluation = score_predictions([(truth, np.array([[0, 1, 1]], np.uint8))] * 5, FOUR)
    assert interval(evaluation) == pytest.approx((0.5, 0.5))


def test_interval_of_nothing_is_refused():
    with pytest.raises(ConfigError, match="at least one image"):
        interval(Evaluation(FOUR, np.zeros((4, 5), np.int64), np.zeros((0, 3, 4), np.int64)))
