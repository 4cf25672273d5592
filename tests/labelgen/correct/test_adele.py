"""ADELE: when curves trigger, what is relabelled, and what never is."""

import json
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from labelgen.correct.adele import IouCurve, IouFitTrigger, fit_iou_curve, relabel, trigger_epoch
from labelgen.errors import ConfigError, DataError, ShapeError

EPOCHS = np.arange(1, 61) / 10  # six epochs, ten measurements each


def noisy(time_constant, seed, height=0.6, sd=0.005):
    rng = np.random.default_rng(seed)
    return np.clip(height * (1 - np.exp(-EPOCHS / time_constant)) + rng.normal(0, sd, len(EPOCHS)), 0, 1)


@pytest.mark.parametrize("seed", range(5))
def test_slower_learning_triggers_later(seed):
    # The slowest curve is extrapolated from 6 epochs to 10; with other noise (3 of 20 seeds) the fit says 13 or 14.
    found = []
    for time_constant, expected in ((0.5, 3), (1, 4), (2, 6), (4, 10)):
        curve = fit_iou_curve(EPOCHS, noisy(time_constant, seed))
        assert curve is not None
        epoch = trigger_epoch(curve)
        assert epoch is not None and abs(epoch - expected) <= 1, (time_constant, epoch)
        found.append(epoch)
    assert found == sorted(found) and len(set(found)) == 4


def test_slope_by_differences():
    for curve in (IouCurve(0.6, 1.0, 2.0), IouCurve(0.9, 0.5, 1.3)):
        step = 1e-6
        slope = {
            t: (curve.value(np.array([t + step])) - curve.value(np.array([t - step])))[0] / (2 * step)
            for t in (1, 2, 5)
        }
        for t in (2, 5):
            assert curve.lost_slope(t) == pytest.approx(abs(slope[t] - slope[1]) / abs(slope[1]), rel=1e-5)


def test_epoch_by_hand():
    # the slope of exp(-t) falls to a tenth after ln 10 = 2.303 epochs: 3.303, so epoch 4
    assert trigger_epoch(IouCurve(0.5, 1, 1)) == 4
    assert trigger_epoch(IouCurve(0.5, 1, 1), ratio=0.5) == 2
    assert trigger_epoch(IouCurve(0.5, 1, 1), last=3) is None
    assert trigger_epoch(IouCurve(0.5, 1, 1e9), last=50) is None  # a straight line
    assert trigger_epoch(IouCurve(0.5, 1, 1e-6)) == 2  # learned within the first epoch
    for ratio in (0.0, 1.0, math.nan):
        with pytest.raises(ConfigError, match="ratio must lie in"):
            trigger_epoch(IouCurve(0.5, 1, 1), ratio=ratio)


def test_curves_that_cannot_be_fitted_are_none():
    assert fit_iou_curve([1, 2, 3], [0.1, 0.2, 0.3]) is None
    assert fit_iou_curve([1, 2, 3, 4], [0.1, 0.2, 0.3, 0.35]) is not None
    assert fit_iou_curve(EPOCHS, np.zeros(60)) is None
    assert fit_iou_curve(EPOCHS, np.full(60, 9e-4)) is None
    with pytest.raises(ShapeError, match="needs the time"):
        fit_iou_curve([1, 2], [0.1])
    with pytest.raises(DataError, match="finite"):
        fit_iou_curve([1, 2, 3, 4], [0.1, 0.2, math.nan, 0.3])
    with pytest.raises(DataError, match=r"must lie in \[0, 1\], got 0.1 to 1.2"):
        fit_iou_curve([1, 2, 3, 4], [0.1, 0.2, 0.3, 1.2])


def test_the_curve_of_a_class_that_does_not_rise_is_constant():
    # Among curves that never fall, the nearest to falling values is their mean, with the weights of the fit.
    weights = np.geomspace(1.0, 0.1, 60) ** -2
    for values in (np.full(60, 0.4), np.linspace(0.9, 0.1, 60)):
        curve = fit_iou_curve(EPOCHS, values)
        assert curve is not None
        np.testing.assert_allclose(curve.value(EPOCHS), np.average(values, weights=weights), atol=2e-3)
        assert trigger_epoch(curve, last=10) is not None  # all was learned in the first epochs


def test_a_fit_that_fails_does_not_trigger(monkeypatch):
    def fails(*arguments, **keywords):
        raise RuntimeError("Optimal parameters not found")

    trigger = IouFitTrigger(1)
    for t, iou in zip(EPOCHS, noisy(0.5, 0), strict=True):
        trigger.log(t, [iou])
    monkeypatch.setattr("scipy.optimize.curve_fit", fails)
    assert trigger.update(9) == frozenset()
    monkeypatch.undo()
    assert trigger.update(9) == {0}


def watch(trigger, epochs):
    """Three classes: fast, slow, never seen; ten measurements an epoch."""
    fast, slow, found = noisy(0.5, 1), noisy(2, 2), {}
    for epoch in epochs:
        for step in range(10 * (epoch - 1), 10 * epoch):
            trigger.log(EPOCHS[step], [fast[step], slow[step], math.nan])
        found[epoch] = trigger.update(epoch)
    return found


def test_classes_are_triggered_one_by_one_and_stay_so():
    trigger = IouFitTrigger(3)
    found = watch(trigger, range(1, 7))
    assert found[1] == frozenset() and found[6] >= {0} and 2 not in found[6]
    assert all(found[epoch] <= found[epoch + 1] for epoch in range(1, 6))
    assert abs(trigger.triggered[0] - 3) <= 1
    assert trigger.triggered.get(1, 7) > trigger.triggered[0]
    with pytest.raises(ShapeError, match="one IoU for each of the 3 classes"):
        trigger.log(1, [0.5])
    with pytest.raises(ConfigError, match="ratio"):
        IouFitTrigger(3, ratio=2)


def test_training_that_goes_on_later_sees_the_same():
    whole, first = IouFitTrigger(3), IouFitTrigger(3)
    watch(whole, range(1, 7))
    watch(first, range(1, 4))
    again = IouFitTrigger.from_json(json.loads(json.dumps(first.to_json())))
    assert again == first
    watch(again, range(4, 7))
    assert again == whole


def softmax(logits):
    exponents = np.exp(logits - logits.max(axis=0))
    return (exponents / exponents.sum(axis=0)).astype(np.float32)


@settings(deadline=None, max_examples=60)
@given(st.integers(0, 10**6), st.sampled_from([0.0, 0.5, 0.8]))
def test_only_confident_pixels_of_present_classes_change(seed, confidence):
    rng = np.random.default_rng(seed)
    labels = rng.choice([0, 1, 3, 255], (9, 11), p=[0.4, 0.3, 0.2, 0.1]).astype(np.uint8)
    probabilities = softmax(rng.normal(0, 3, (5, 9, 11)))
    triggered = frozenset(int(i) for i in np.flatnonzero(rng.random(5) < 0.5))
    before = labels.copy()
    corrected = relabel(labels, probabilities, triggered, background=0, confidence=confidence)
    np.testing.assert_array_equal(labels, before)
    changed = corrected != labels
    assert set(np.unique(corrected)) <= set(np.unique(labels))
    assert (probabilities.max(axis=0)[changed] > confidence).all()
    assert set(corrected[changed].tolist()) <= triggered | {0}
    assert corrected.dtype == np.uint8
    if changed.any():  # then every pixel that qualifies has changed
        winner = probabilities.argmax(axis=0)
        right = (probabilities.max(axis=0) > confidence) & np.isin(winner, list((triggered | {0}) & {0, 1, 3}))
        np.testing.assert_array_equal(corrected, np.where(right, winner, labels))


def certain(prediction, classes=3):
    return np.stack([(prediction == i) * 0.9 + 0.05 * (prediction != i) for i in range(classes)]).astype(np.float32)


def test_foreground_is_not_wiped_out():
    labels = np.zeros((10, 10), np.uint8)
    labels[0] = 1
    keep = np.zeros((10, 10), np.uint8)
    for left, share_kept in ((6, True), (5, True), (4, False)):
        keep[0] = [1] * left + [0] * (10 - left)
        corrected = relabel(labels, certain(keep), frozenset({1}), background=0)
        # 4 of 10 are left: more than half is gone, and background is 96 %
        np.testing.assert_array_equal(corrected, keep if share_kept else labels)
    half = np.zeros((10, 10), np.uint8)
    half[:4] = 1
    shrunk = np.zeros((10, 10), np.uint8)
    shrunk[0, :6] = 1  # 6 of 40 are left, background is 94 %
    np.testing.assert_array_equal(relabel(half, certain(shrunk), frozenset({1}), background=0), shrunk)


def test_background_is_taken_only_where_it_is_and_needs_no_trigger():
    labels = np.array([[1, 1, 0, 0], [1, 1, 1, 1]], np.uint8)
    prediction = np.array([[0, 1, 1, 0], [2, 1, 1, 1]], np.uint8)
    corrected = relabel(labels, certain(prediction), frozenset({2}), background=0)
    assert corrected.tolist() == [[0, 1, 0, 0], [1, 1, 1, 1]]  # 2 is absent, 1 not triggered
    no_background = np.array([[1, 2, 2, 2]], np.uint8)
    all_zero = np.zeros((1, 4), np.uint8)
    assert (relabel(no_background, certain(all_zero), frozenset({1, 2}), background=0) == no_background).all()
    swap = np.array([[2, 1, 2, 2]], np.uint8)
    assert (relabel(no_background, certain(swap), frozenset({1, 2}), background=None) == swap).all()


def test_bad_arguments_are_refused():
    with pytest.raises(ShapeError, match=r"must have the size \(2, 2\) of labels"):
        relabel(np.zeros((2, 2), np.uint8), np.zeros((2, 2, 3), np.float32), frozenset(), background=0)
    with pytest.raises(ConfigError, match="confidence"):
        relabel(np.zeros((1, 1), np.uint8), np.zeros((2, 1, 1), np.float32), frozenset(), background=0, confidence=1.0)
