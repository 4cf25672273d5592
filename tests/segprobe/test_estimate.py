"""What `--dry-run` says of segprobe's commands, and that it writes nothing."""

import json
from pathlib import Path

import pytest

from labelgen.cli import main as labelgen
from labelgen.data.open import open_data
from labelgen.estimate import RunEstimate
from labelgen.nets.backbone_config import BackboneConfig
from segprobe.cli import main
from segprobe.commands.plans import plan_crossfit
from segprobe.config import FitConfig
from segprobe.estimate import FitEstimate, estimate_fit
from segprobe.estimate_crossfit import CrossfitEstimate
from segprobe.labels import TruthSource, read_labels

pytestmark = pytest.mark.slow
SMALL = ["--size", "64"]  # images half as high and wide


@pytest.fixture
def folder(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert labelgen(["point", "--limit", "4"]) == 0
    capsys.readouterr()
    return tmp_path


@pytest.fixture
def hasty(monkeypatch):
    """Estimates that try the fewest images, as they would on a slow machine."""
    monkeypatch.setattr("segprobe.estimate.PATIENCE", 0.0)


def planned(capsys, folder, *tokens):
    before = sorted(folder.rglob("*"))
    assert main([*tokens, "--dry-run", "--json"]) == 0
    assert sorted(folder.rglob("*")) == before
    return json.loads(capsys.readouterr().out)


def test_a_fit_and_what_follows_it(folder, capsys):
    plan = planned(capsys, folder, "fit", "--epochs", "3", *SMALL)
    estimate = plan["estimate"]
    assert (plan["images"], plan["there"], estimate["steps"]) == (4, "", 3)
    assert estimate["features"]["images"] == 4 and estimate["features"]["bytes"] > 1e5
    assert 0 < estimate["seconds"] <= estimate["all_seconds"]
    assert main(["fit", "--epochs", "3", *SMALL]) == 0
    capsys.readouterr()
    made = sum(path.stat().st_size for path in (folder / "cache").rglob("*.bin"))
    assert estimate["features"]["bytes"] == pytest.approx(made, rel=0.2)
    again = planned(capsys, folder, "fit", "--epochs", "3", *SMALL)
    assert again["estimate"]["features"]["images"] == 0 and again["there"] == "a complete fit"
    plan = planned(capsys, folder, "predict", "--limit", "3")
    assert plan["to_label"] == 3 and plan["estimate"]["timed"] == 3 and plan["estimate"]["bytes"] > 0
    plan = planned(capsys, folder, "export")
    assert plan["out"].endswith("head.safetensors") and plan["estimate"]["seconds"] > 0
    assert main(["export"]) == 0
    written = sum(path.stat().st_size for path in Path(plan["out"]).parent.iterdir())
    assert plan["estimate"]["bytes"] == pytest.approx(written, abs=8)
    capsys.readouterr()
    assert main(["export", "--format", "onnx", "--size", "7", "--dry-run"]) == 2
    assert main(["fit", "--epochs", "3", *SMALL, "--dry-run"]) == 0
    assert "it goes on, or stays, where the settings are the same" in capsys.readouterr().out


def test_features_and_a_comparison(folder, hasty, capsys):
    plan = planned(capsys, folder, "cache", "--limit", "5", *SMALL)
    assert plan["estimate"]["images"] == 5 and plan["estimate"]["seconds"] > 0
    plan = planned(capsys, folder, "compare", "runs/point", "--seeds", "2", "--heads", "linear,ridge", "--epochs", "1")
    assert len(plan["cells"]) == len(plan["to_fill"]) == 8  # points and truth, two heads, two seeds
    assert {row["kind"] for row in plan["fits"]} == {"demo-ssvt, linear, frozen", "demo-ssvt, ridge, frozen"}
    assert all(row["cells"] == 4 and row["seconds"] > 0 for row in plan["fits"])
    assert plan["features"][0]["images"] > 5 and plan["estimate"]["seconds"] > 0


def test_a_cross_fit(folder, hasty, capsys, monkeypatch):
    words = ["crossfit", "runs/point", "--folds", "2", "--steps", "2", "--pixels", "64", "--device", "cpu", *SMALL]
    plan = planned(capsys, folder, *words)
    estimate = plan["estimate"]
    assert (plan["images"], plan["folds"], plan["probes_there"]) == (4, 2, 0)
    assert (estimate["fit"]["images"], estimate["fit"]["steps"]) == (2, 2)
    parts = [estimate["fit"]["features"]["seconds"], 2 * estimate["fit"]["seconds"], estimate["predictions"]["seconds"]]
    assert estimate["seconds"] == pytest.approx(sum(parts), abs=0.05) and min(parts) > 0
    assert main(words) == 0
    capsys.readouterr()
    run = Path(plan["out"])
    made = sum(path.stat().st_size for name in ("labels", "scores") for path in (run / name).rglob("*.*"))
    assert 0.5 * made < estimate["predictions"]["bytes"] < 2 * made  # probes of half of the images know fewer classes
    monkeypatch.setattr("segprobe.estimate_crossfit.IMAGES", 1)  # which shows few of the classes
    again = planned(capsys, folder, *words)
    assert again["estimate"]["predictions"]["timed"] == 1
    assert 0.5 * made < again["estimate"]["predictions"]["bytes"] < 2.5 * made
    assert again["probes_there"] == 2 and again["estimate"]["fit"]["features"]["images"] == 0
    fit = FitEstimate(None, 40, 500, 30.0, 2_000_000)
    cost = CrossfitEstimate(2, fit, RunEstimate(80, 4, 60.0, 9_000_000))
    assert (cost.seconds, cost.bytes) == (120.0, 13_000_000)
    data = open_data("demo", limit=90)
    plan_crossfit(TruthSource(data), data, Path(plan["out"]), Path(plan["probes"]), cost, as_json=False)
    said = " ".join(capsys.readouterr().out.split())
    assert "2 on 40 images each, about 30 seconds each" in said and "80 of 90 images, about 60 seconds" in said
    assert "about 2.0 minutes" in said and "about 13.0 MB" in said and "2 are there" in said
    assert main([*words, "--folds", "9", "--dry-run"]) == 2
    assert main(["crossfit", "runs/point", "--tune", "--dry-run"]) == 2


def test_the_demo(folder, hasty, capsys):
    plan = planned(capsys, folder, "demo", "--limit", "3", "--epochs", "1")
    assert plan["to_fit"] == plan["probes"] and len(plan["probes"]) == 7
    assert plan["estimate"]["all_seconds"] > 0


def test_networks_that_are_trained_and_heads_in_closed_form(tmp_path):
    data = open_data("demo", split="train", limit=4)
    asked = {"backbone": BackboneConfig(name="demo-ssvt", size=64), "cache": tmp_path, "device": "cpu"}
    tuned = estimate_fit(TruthSource(data), data, config=FitConfig(tune=True, steps=5, batch_size=2), **asked)
    assert tuned.features is None and tuned.steps == 5 and tuned.bytes > 1e6  # the network is part of the probe
    ridge = estimate_fit(TruthSource(data), data, config=FitConfig(head="ridge"), **asked)
    assert ridge.steps == 0 and ridge.bytes < 1e6 and ridge.features is not None
    rounds = estimate_fit(TruthSource(data), data, config=FitConfig(rounds=2, epochs=2), **asked)
    assert rounds.steps == 2
    assert list(tmp_path.iterdir()) == []


def test_only_some_labels_are_read(caplog):
    data = open_data("demo", split="train", limit=3)
    labels = read_labels(TruthSource(data), data, only=data.ids[:2])
    assert tuple(labels.ids) == tuple(data.ids[:2]) and caplog.text == ""
