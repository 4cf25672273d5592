"""Calibration: bins by hand, torchmetrics and scikit-learn as references, streaming."""

import numpy as np
import pytest
import torch
from sklearn.metrics import log_loss

from labelgen.errors import ConfigError, ShapeError
from labelgen.quality.calibration import Calibration, bin_of, expected_error


def scored(rng, size=(40, 50), classes=4):
    """Overconfident probabilities and a truth with void."""
    probabilities = rng.dirichlet([1.5] * classes, size).transpose(2, 0, 1).astype(np.float32)
    true = np.where(rng.random(size) < 0.6, probabilities.argmax(0), rng.integers(0, classes, size)).astype(np.uint8)
    true[:4] = 255
    return probabilities, true


def test_bins_are_open_below_and_closed_above():
    found = bin_of(np.array([0, 1e-9, 1 / 15, np.nextafter(1 / 15, 1), 0.5, 14 / 15, 1.0]), bins=15)
    assert found.tolist() == [0, 0, 0, 1, 7, 13, 14]


def test_error_by_hand():
    probabilities = np.array([[[0.9, 0.9, 0.6, 0.2]], [[0.1, 0.1, 0.4, 0.8]]], np.float32)
    found = Calibration.of(probabilities, (0, 1), np.array([[0, 1, 0, 255]], np.uint8), num_classes=2, bins=5)
    # (.8, 1]: two pixels of confidence .9, one right; (.4, .6]: .6000000238 > .6, so it is in (.6, .8]; right
    assert found.pixels == 3
    assert found.ece == pytest.approx((abs(1 - 1.8) + abs(1 - 0.6)) / 3)
    assert found.brier == pytest.approx((2 * 0.01 + 2 * 0.81 + 2 * 0.16) / 3, abs=1e-6)
    assert found.nll == pytest.approx(-np.mean(np.log([0.9, 0.1, 0.6])), abs=1e-6)


def test_equals_torchmetrics_and_scikit_learn(rng):
    from torchmetrics.classification import MulticlassCalibrationError

    probabilities, true = scored(rng)
    found = Calibration.of(probabilities, (0, 1, 2, 3), true, num_classes=4)
    valid = true != 255
    flat, target = probabilities[:, valid].T.astype(np.float64), true[valid].astype(int)
    metric = MulticlassCalibrationError(4, n_bins=15, norm="l1", validate_args=False)
    assert found.ece == pytest.approx(float(metric(torch.tensor(flat), torch.tensor(target))), abs=1e-6)
    assert found.nll == pytest.approx(log_loss(target, flat / flat.sum(1, keepdims=True)), rel=1e-5)
    assert found.brier == pytest.approx(((flat - np.eye(4)[target]) ** 2).sum(1).mean())


def test_class_errors_equal_one_against_the_rest(rng):
    probabilities, true = scored(rng)
    found = Calibration.of(probabilities, (0, 1, 2, 3), true, num_classes=5)
    valid = true != 255
    for k in range(4):
        p, right = probabilities[k][valid].astype(float), true[valid] == k
        place = np.minimum(np.maximum(np.ceil(p * 15), 1), 15)
        error = sum(abs(right[place == b].sum() - p[place == b].sum()) for b in range(1, 16)) / len(p)
        assert found.class_ece[k] == pytest.approx(error)
    assert np.isnan(found.class_ece[4])  # neither true nor probable


def test_a_class_without_a_plane_is_probable_nowhere():
    probabilities = np.full((1, 1, 4), 1, np.float32)
    found = Calibration.of(probabilities, (0,), np.array([[0, 0, 0, 1]], np.uint8), num_classes=2)
    assert found.ece == found.class_ece[0] == 0.25 and found.class_ece[1] == 0.25
    assert found.floored == 1 and found.nll == pytest.approx(24 * np.log(2) / 4)


def test_streaming_equals_all_pixels_at_once(rng):
    probabilities, true = scored(rng)
    whole = Calibration.of(probabilities, (0, 1, 2, 3), true, num_classes=4)
    total = Calibration.empty(4)
    for rows in (slice(0, 3), slice(3, 20), slice(20, 40)):
        total.add(Calibration.of(probabilities[:, rows], (0, 1, 2, 3), true[rows], num_classes=4))
    for name in ("ece", "adaptive_ece", "nll", "brier"):
        assert getattr(total, name) == pytest.approx(getattr(whole, name))
    np.testing.assert_allclose(total.class_ece, whole.class_ece)


def test_adaptive_bins_hold_about_equally_many_pixels(rng):
    probabilities, true = scored(rng, size=(120, 120))
    found = Calibration.of(probabilities, (0, 1, 2, 3), true, num_classes=4)
    valid = true != 255
    best, right = probabilities.max(0)[valid].astype(float), (probabilities.argmax(0) == true)[valid]
    order = np.argsort(best, kind="stable")
    parts = np.array_split(order, 15)
    exact = sum(abs(right[part].sum() - best[part].sum()) for part in parts) / len(best)
    assert found.adaptive_ece == pytest.approx(exact, abs=2e-3)


def test_perfectly_calibrated_probabilities_have_no_error(rng):
    best = np.repeat(np.linspace(0.55, 1, 10), 2000)
    right = rng.random(best.size) < best
    probabilities = np.stack([best, 1 - best])[:, None].astype(np.float32)
    found = Calibration.of(probabilities, (0, 1), np.where(right, 0, 1).astype(np.uint8)[None], num_classes=2)
    assert found.ece < 0.01 and found.adaptive_ece < 0.01


def test_pixels_without_a_score_and_void_take_no_part():
    probabilities = np.array([[[1, 0, 1]], [[0, 0, 0]]], np.float32)
    found = Calibration.of(probabilities, (0, 1), np.array([[0, 0, 255]], np.uint8), num_classes=2)
    assert found.pixels == 1 and found.ece == 0
    nothing = Calibration.of(probabilities, (0, 1), np.full((1, 3), 255, np.uint8), num_classes=2)
    assert nothing.pixels == 0 and np.isnan(nothing.ece) and np.isnan(nothing.adaptive_ece) and np.isnan(nothing.nll)
    assert np.isnan(expected_error(np.zeros((3, 4))))


def test_what_cannot_be_measured_is_refused():
    with pytest.raises(ConfigError, match="at least one bin, got 0"):
        Calibration.empty(3, bins=0)
    with pytest.raises(ShapeError, match="size"):
        Calibration.of(np.ones((1, 2, 2), np.float32), (0,), np.zeros((2, 3), np.uint8), num_classes=1)
