"""Cross-fitting: no image is predicted by a probe that saw its labels; taken up again; as typed."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from labelgen.errors import ConfigError, DataError, RunFolderError
from labelgen.nets.backbones import BackboneConfig, load_backbone
from labelgen.run import RunOptions
from labelgen.store import RunFolder
from segprobe import crossfit as module
from segprobe.cli import main
from segprobe.config import FitConfig
from segprobe.crossfit import crossfit
from segprobe.probe_file import open_probe
from tests.segprobe.toy import VOCABULARY, ToyFeatures, toy_dataset

CONFIG = FitConfig(head="ridge", pixels=128)


class ToyLabels:
    """Truth of a toy data set; some images get a label that no other image has."""

    name = "toy-labels"
    path = None
    vocabulary = VOCABULARY

    def __init__(self, dataset, poisoned=(), without=()):
        self.dataset = dataset
        self.poisoned = poisoned
        self.without = without

    @property
    def ids(self):
        return tuple(i for i in self.dataset.ids if i not in self.without)

    def labels(self, sample_id):
        labels = self.dataset.truth(sample_id)
        if sample_id in self.poisoned:
            labels = np.where(labels > 0, 0, 5).astype(np.uint8)
        return labels


@pytest.fixture(scope="module")
def backbone():
    """A real one, whose features are replaced by those of the toy, which can be learned from."""
    return load_backbone(BackboneConfig("test_vit", policy="native", dtype="float32"), pretrained=False)


@pytest.fixture
def fitted(backbone):
    """A small cross-fit of features in memory."""
    dataset = toy_dataset(9)

    def run(tmp_path, source=None, *, config=CONFIG, folds=3, options=None, out="run"):
        return crossfit(
            source or ToyLabels(dataset),
            dataset,
            backbone=backbone.config,
            config=config,
            out=tmp_path / out,
            probes=tmp_path / f"{out}-probes",
            folds=folds,
            device="cpu",
            options=options or RunOptions(),
            frozen=backbone,
            features=ToyFeatures(dataset),
        )

    return run


def test_predictions_are_good_and_out_of_sample(fitted, tmp_path):
    report = fitted(tmp_path)
    assert report.sizes == (3, 3, 3) and report.run.complete and report.run.done == 9
    assert [fit.images for fit in report.fits] == [6, 6, 6]
    run, dataset = RunFolder(tmp_path / "run"), toy_dataset(9)
    assert run.header["method"] == "crossfit" and run.header["config"]["folds"] == 3
    assert np.mean([run.labels(i) == dataset.truth(i) for i in dataset.ids]) > 0.8
    assert all(run.scores(i) is not None for i in run.ids)
    folds = {i: record["details"]["fold"] for i, record in run.records().items()}
    assert sorted(folds.values()) == [0, 0, 0, 1, 1, 1, 2, 2, 2]


def test_labels_of_an_image_never_reach_its_own_prediction(fitted, tmp_path):
    fitted(tmp_path, out="clean")
    clean = RunFolder(tmp_path / "clean")
    # The same classes, so that the image stays in its fold: swapped pixels of one image change the others alone.
    dataset = toy_dataset(9)
    victim = dataset.ids[4]

    class Swapped(ToyLabels):
        def labels(self, sample_id):
            labels = super().labels(sample_id)
            return labels[::-1].copy() if sample_id == victim else labels

    fitted(tmp_path, Swapped(dataset), out="swapped")
    swapped = RunFolder(tmp_path / "swapped")
    folds = {i: record["details"]["fold"] for i, record in clean.records().items()}
    assert folds == {i: record["details"]["fold"] for i, record in swapped.records().items()}
    for sample_id in clean.ids:
        same = np.array_equal(clean.scores(sample_id).scores, swapped.scores(sample_id).scores)
        assert same == (folds[sample_id] == folds[victim]), sample_id


def test_a_class_that_only_one_fold_shows_has_no_plane_there(fitted, tmp_path):
    dataset = toy_dataset(9)
    victim = dataset.ids[0]

    class OneCyan(ToyLabels):
        def labels(self, sample_id):
            labels = np.where(super().labels(sample_id) == 5, 0, super().labels(sample_id)).astype(np.uint8)
            if sample_id == victim:
                labels[:10] = 5
            return labels

    fitted(tmp_path, OneCyan(dataset))
    run = RunFolder(tmp_path / "run")
    fold = run.records()[victim]["details"]["fold"]
    for sample_id, record in run.records().items():
        assert (5 in run.scores(sample_id).class_ids) == (record["details"]["fold"] != fold)


def test_what_is_done_stays_and_other_settings_are_refused(fitted, tmp_path, monkeypatch):
    fitted(tmp_path)
    probe, label = tmp_path / "run-probes" / "fold-1" / "probe.safetensors", tmp_path / "run" / "labels"
    before = probe.read_bytes()
    times = {path: path.stat().st_mtime_ns for path in [probe, *label.iterdir()]}
    (label / "toy_004.png").unlink()
    again = fitted(tmp_path)
    assert all(fit.already for fit in again.fits) and (again.run.done, again.run.skipped) == (1, 8)
    assert {p: p.stat().st_mtime_ns for p in times if p.name != "toy_004.png"} == {
        p: t for p, t in times.items() if p.name != "toy_004.png"
    }
    with pytest.raises(RunFolderError, match="other settings"):
        fitted(tmp_path, config=replace(CONFIG, seed=1))
    with pytest.raises(RunFolderError, match="other settings"):
        fitted(tmp_path, ToyLabels(toy_dataset(9), poisoned=("toy_001",)))
    anew = fitted(tmp_path, ToyLabels(toy_dataset(9), poisoned=("toy_001",)), options=RunOptions(overwrite=True))
    assert anew.run.done == 9 and probe.read_bytes() != before


def test_an_interrupted_cross_fit_goes_on_at_its_fold(fitted, tmp_path, monkeypatch):
    real, calls = module.fit, []

    def stopping(*args, **kwargs):
        calls.append(kwargs["out"].name)
        if len(calls) == 2:
            raise KeyboardInterrupt
        return real(*args, **kwargs)

    monkeypatch.setattr(module, "fit", stopping)
    with pytest.raises(KeyboardInterrupt):
        fitted(tmp_path)
    monkeypatch.setattr(module, "fit", real)
    report = fitted(tmp_path)
    assert [fit.already for fit in report.fits] == [True, False, False] and report.run.done == 9


def test_images_without_labels_are_predicted_where_most_have_some(fitted, tmp_path):
    dataset = toy_dataset(9)
    report = fitted(tmp_path, ToyLabels(dataset, without=dataset.ids[:2]))
    assert report.run.done == 9 and sum(report.sizes) == 9


def test_few_labelled_images_are_predicted_alone(fitted, tmp_path):
    dataset = toy_dataset(9)
    report = fitted(tmp_path, ToyLabels(dataset, without=dataset.ids[:6]), folds=2)
    assert report.run.done == 3 and RunFolder(tmp_path / "run").ids == dataset.ids[6:]


def test_settings_that_make_no_sense_are_refused(fitted, tmp_path):
    with pytest.raises(ConfigError, match="trains heads on cached features"):
        fitted(tmp_path, config=FitConfig(tune=True))
    with pytest.raises(ConfigError, match="between 2 and the 9 images, got 10"):
        fitted(tmp_path, folds=10)


def test_every_head_knows_its_fold(fitted, tmp_path):
    report = fitted(tmp_path)
    models = RunFolder(tmp_path / "run").header["models"]
    assert set(models) == {"fold-0", "fold-1", "fold-2", "test_vit"} and len({*models.values()}) == 4
    assert open_probe(report.fits[2].out).labels["images"] == 6


@pytest.mark.slow
def test_as_typed_and_ranked(tmp_path, monkeypatch, capsys):
    from labelgen.cli import main as labelgen

    monkeypatch.chdir(tmp_path)
    words = ["corrupt", "--limit", "4", "--images", "0.5", "--seed", "1", "--out", "runs/half"]
    assert labelgen(words) == 0
    common = ["crossfit", "runs/half", "--folds", "2", "--head", "ridge", "--device", "cpu"]
    assert main(common) == 0
    out = capsys.readouterr().out
    assert "runs/half-crossfit/contact_sheet.jpg" in out and labelgen(["verify", "runs/half-crossfit"]) == 0
    assert Path("runs/half-crossfit/contact_sheet.jpg").is_file()
    capsys.readouterr()
    assert "labelgen rank runs/half --probe runs/half-crossfit" in out
    assert main([*common, "--json", "--no-sheet"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert (document["done"], document["skipped"], document["fold_images"]) == (0, 4, [2, 2])
    assert labelgen(["rank", "runs/half", "--probe", "runs/half-crossfit", "--workers", "1", "--json"]) == 0
    captured = capsys.readouterr()
    assert "warning" not in captured.err
    assert set(json.loads(captured.out)["corrupted"]["scores"]) == {
        *("combined", "probe", "region", "given", "softmin", "confident")
    }
    assert main([*common, "--folds", "7", "--out", "x"]) == 2
    capsys.readouterr()
    probabilities = module.image_probabilities

    def but_one(head, features, sample_id, **asked):
        if sample_id.endswith("2"):
            raise DataError(f"no tokens of {sample_id}")
        return probabilities(head, features, sample_id, **asked)

    monkeypatch.setattr(module, "image_probabilities", but_one)
    assert main([*common, "--probes", "probes/half-crossfit", "--out", "runs/three"]) == 3
    assert "error: 1 of 4 images could not be labelled, the first train_0002: no tokens" in capsys.readouterr().err
