"""Losses, weights and corrections from the command line to the probe and back."""

import json

import pytest
import torch
from processes import run_two

from segprobe.cli import main
from segprobe.probe_file import open_probe

SMALL = ["--pixels", "64", "--size", "64", "--device", "cpu", "--lr", "0.05", "--json"]


@pytest.fixture
def scribbles(tmp_path, monkeypatch, capsys):
    """A run with scores of three demo scenes."""
    from labelgen.cli import main as labelgen

    monkeypatch.chdir(tmp_path)
    assert labelgen(["scribble", "demo:3", "--save-scores"]) == 0
    capsys.readouterr()
    return tmp_path


def run(capsys, *words):
    code = main([str(word) for word in words])
    captured = capsys.readouterr()
    return code, captured.out, captured.err


@pytest.mark.slow
def test_everything_at_once_is_recorded_and_can_be_used(scribbles, capsys):
    words = ["--loss", "gce,q=0.5,warmup=0.2", "--class-weights", "median", "--confidence", "1", "--min-confidence"]
    words += ["0.3", "--rounds", "1", "--correct", "confident,confidence=0.4", "--memorisation", "--steps", "6"]
    code, out, err = run(capsys, "fit", "runs/scribble", *SMALL, *words)
    assert code == 0, err
    assert json.loads(out)["steps"] == 12
    probe = open_probe("probes/scribble")
    kept = {name: probe.config[name] for name in ("loss", "class_weights", "confidence", "min_confidence", "rounds")}
    assert kept == {
        "loss": "gce,q=0.5,warmup=0.2",
        "class_weights": "median",
        "confidence": 1.0,
        "min_confidence": 0.3,
        "rounds": 1,
    }
    assert probe.figures["pixel_loss"] == {"name": "gce", "q": 0.5, "warmup": 0.2}
    first, second = probe.figures["rounds"]
    assert first["memorisation"]["wrong_labels"] == 0
    assert 0 < second["added"] < 1
    assert second["memorisation"]["wrong_labels"] > 0
    assert json.loads(run(capsys, "fit", "runs/scribble", *SMALL, *words)[1])["already"]
    code, out, err = run(capsys, "eval", "--data", "demo:2", "--json")
    assert code == 0, err
    assert 0 <= json.loads(out)["miou"] <= 1


@pytest.mark.slow
def test_adele_leaves_its_record_and_no_files(scribbles, capsys):
    words = ["--rounds", "3", "--correct", "adele,confidence=0.3", "--epochs", "8"]
    code, _, err = run(capsys, "fit", "runs/scribble", *SMALL, *words)
    assert code == 0, err
    figures = open_probe("probes/scribble").figures
    assert len(figures["corrections"]) <= 3
    assert set(figures) >= {"triggered", "corrections"}
    left = sorted(path.name for path in (scribbles / "probes" / "scribble").iterdir())
    assert left == ["fit.json", "metrics.jsonl", "probe.json", "probe.safetensors"]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("words", "message", "hint"),
    [
        (["--loss", "gec"], "unknown loss 'gec'", "did you mean gce"),
        (["--correct", "adele"], "changes nothing without rounds", "add --rounds 1"),
        (["--class-weights", "sqrt"], "class-weights must be one of", ""),
        (["--data", "demo:3", "--confidence", "1"], "need the scores of a run, got none in truth", "--save-scores"),
    ],
)
def test_mistakes_have_a_way_out(scribbles, capsys, words, message, hint):
    source = "truth" if "--data" in words else "runs/scribble"
    code, _, err = run(capsys, "fit", source, *SMALL, *words)
    assert code != 0
    assert message in err
    assert hint in err


@pytest.mark.slow
def test_two_processes_correct_as_one_does(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    words = ["fit", "truth", "--data", "demo:4", *SMALL, "--epochs", "6", "--batch-size", "2"]
    words += ["--rounds", "2", "--correct", "adele,confidence=0.3"]
    code, _, err = run(capsys, *words, "--out", "probe-1", "--cache", "cache-1")
    assert code == 0, err
    run_two([*words, "--out", "probe-2", "--cache", "cache-2"], tmp_path)
    one, two = (open_probe(tmp_path / f"probe-{world}") for world in (1, 2))
    for name, tensor in one.head.state_dict().items():
        assert torch.allclose(tensor, two.head.state_dict()[name], atol=1e-5), name
    lines = [len((tmp_path / f"probe-{world}" / "metrics.jsonl").read_text().splitlines()) for world in (1, 2)]
    assert lines[0] == lines[1]
