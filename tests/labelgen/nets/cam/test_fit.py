"""A training from data to folder: resumed to the bit, refused with other settings, what is counted and reported."""

import json

import numpy as np
import pytest
from sklearn.metrics import average_precision_score, f1_score

from labelgen.errors import ConfigError, DataError, RunFolderError, WeightsError
from labelgen.nets.cam.classifier_file import load_classifier
from labelgen.nets.cam.config import NetworkConfig
from labelgen.nets.cam.fit import estimate_cost, fit_classifier
from labelgen.nets.cam.image_level import average_precision, micro_f1
from tests.labelgen.nets.cam.small_classifier import TINY_CNN
from tests.labelgen.nets.cam.tagged import PRESET, Bright, Tagged, preset_with

CNN = NetworkConfig(TINY_CNN, pretrained=False, dropout=0.3)


def fit(out, *, data=None, method="cam", settings=PRESET, **options):
    options = {"checkpoint_every": 2, "device": "cpu", "saliency": Bright() if method == "eps" else None} | options
    return fit_classifier(data or Tagged(), method=method, preset=settings, out=out, **options)


class KilledError(Exception):
    """As if the process had been killed."""


def killed_after(steps):
    def progress(done, total, note):
        if done == steps:
            raise KilledError

    return progress


@pytest.mark.parametrize("method", ["cam", "seam", "eps"])
def test_killed_and_taken_up_again_the_weights_are_the_same_bit_for_bit(tmp_path, method):
    settings = preset_with(
        network=CNN, optimiser="sgd", crop=64, long_side=(40, 80)
    )  # batch norms learn, channels drop
    fit(tmp_path / "whole", method=method, settings=settings)
    with pytest.raises(KilledError):
        fit(tmp_path / "twice", method=method, settings=settings, progress=killed_after(3))
    with pytest.raises(WeightsError, match=r"training of the classifier in .* is not complete"):
        load_classifier(tmp_path / "twice")
    report = fit(tmp_path / "twice", method=method, settings=settings)
    assert (report.first_step, report.steps) == (2, 4)
    one, other = ((tmp_path / name) for name in ("whole", "twice"))
    states = [load_classifier(folder).network.state_dict() for folder in (one, other)]
    assert all(states[0][name].equal(states[1][name]) for name in states[0])
    assert (one / "metrics.jsonl").read_text() == (other / "metrics.jsonl").read_text() != ""
    assert not (other / "last.pt").exists()


def test_the_same_call_again_does_nothing_and_other_settings_are_refused(tmp_path):
    first = fit(tmp_path)
    before = (tmp_path / "weights.safetensors").read_bytes()
    again = fit(tmp_path)
    assert again.already and again.scores == first.scores
    for options, message in (
        ({"settings": preset_with(lr=2e-3)}, r"training.lr is 0.001 there, 0.002 now"),
        ({"method": "seam"}, r'method is "cam" there, "seam" now'),
        ({"data": Tagged(seed=1)}, r"data.root"),
        ({"data": Tagged(tags={"t0": frozenset({15})})}, r"tags_sha256"),
        ({"bfloat16": True}, r"precision"),
    ):
        with pytest.raises(RunFolderError, match=message):
            fit(tmp_path, **options)
    assert (tmp_path / "weights.safetensors").read_bytes() == before
    assert not fit(tmp_path, settings=preset_with(lr=2e-3), overwrite=True).already
    assert (tmp_path / "weights.safetensors").read_bytes() != before


def test_a_foreign_folder_is_refused(tmp_path):
    (tmp_path / "holiday.txt").write_text("photos")
    with pytest.raises(RunFolderError, match="holds no image-level classifier"):
        fit(tmp_path, overwrite=True)
    assert (tmp_path / "holiday.txt").exists()


def test_a_classifier_is_read_as_it_was_written(tmp_path):
    report = fit(tmp_path, method="eps", data=Tagged(tags={"t3": frozenset()}))
    assert (report.images, report.classes, report.untagged, report.steps) == (6, 2, 1, 4)
    about = json.loads((tmp_path / "cam.json").read_text())
    assert about["state"] == "complete" and about["saliency"] == {"provider": "bright"}
    assert about["classes"]["ids"] == [3, 15] and about["classes"]["untagged"] == 1
    assert about["figures"]["image_level"] == report.scores and about["figures"]["losses"]["step"] == 4
    assert "seam" not in about["training"] and about["training"]["eps"]["tau"] == 0.4
    classifier = load_classifier(tmp_path)
    assert (classifier.method, classifier.class_ids, classifier.vocabulary) == ("eps", (3, 15), "voc")


@pytest.mark.slow  # some dozens of small steps
def test_training_finds_the_colours(tmp_path):
    shown = NetworkConfig()  # from the shipped weights
    report = fit(tmp_path, settings=preset_with(network=shown, epochs=12, jitter=0.0, schedule="cosine"))
    assert report.scores["map"] > 0.95 and report.last.total < 0.5 * report.first.total


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"method": "eps", "saliency": None}, ConfigError, "EPS learns from saliency maps"),
        ({"method": "seam", "saliency": Bright()}, ConfigError, "saliency is for eps, but the method is seam"),
        ({"settings": preset_with(crop=30)}, ConfigError, "crop must be a multiple of 8 pixels for demo-ssvt, got 30"),
        ({"data": Tagged(count=0)}, DataError, "the data set has no images"),
    ],
)
def test_what_cannot_work_is_refused_before_anything_is_written(tmp_path, options, error, message):
    with pytest.raises(error, match=message):
        fit(tmp_path / "new", **options)
    assert not (tmp_path / "new").exists()


def test_the_cost_is_counted():
    cost = estimate_cost(Tagged(), method="eps", preset=PRESET, saliency=Bright(), device="cpu")
    assert (cost.images, cost.classes, cost.steps, cost.untagged) == (6, 2, 4, 1)
    assert cost.parameters == cost.trained > 10**6 and cost.train_seconds > 0 and cost.saliency_seconds > 0
    frozen = estimate_cost(
        Tagged(), method="cam", preset=preset_with(network=NetworkConfig(pretrained=False, freeze=4))
    )
    assert frozen.trained < frozen.parameters and frozen.saliency_seconds == 0


def test_image_level_scores_are_those_of_scikit_learn(rng):
    truth = rng.random((30, 4)) < 0.3
    scores = np.round(rng.random((30, 4)) + 0.3 * truth, 2)  # rounded: some are equal
    for column in range(4):
        expected = average_precision_score(truth[:, column], scores[:, column])
        unique = len(set(scores[:, column])) == 30
        found = average_precision(scores[:, column], truth[:, column])
        assert found == pytest.approx(expected, abs=1e-9 if unique else 0.05)
    assert average_precision(np.zeros(10), np.arange(10) < 3) == pytest.approx(0.3)
    assert micro_f1(scores > 0.5, truth) == pytest.approx(f1_score(truth.ravel(), (scores > 0.5).ravel()))
    assert np.isnan(average_precision(np.zeros(3), np.zeros(3, bool)))
