import json

import pytest

from labelgen.cli import main as labelgen
from segprobe.cli import main as segprobe
from segprobe.commands.compare import _print
from segprobe.compare.table import Row

SMALL = ["--epochs", "1", "--batch-size", "4", "--pixels", "64", "--seeds", "2", "--resamples", "20"]


def compared(capsys, *words):
    assert segprobe(["compare", *words, *SMALL, "--json"]) == 0
    return json.loads(capsys.readouterr().out)


@pytest.mark.slow
def test_the_table_is_filled_cell_by_cell(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    for seed in (0, 1):
        assert labelgen(["corrupt", "demo:4", "--seed", str(seed), "--out", f"runs/corrupt-{seed}"]) == 0
    capsys.readouterr()
    words = ["runs/corrupt-{seed}", "--backbones", "demo-ssvt,size=32", "--strategies", "frozen,tuned"]
    shown = [*words, "--plot", "--html", "page.html"]

    part = compared(capsys, *shown, "--shard", "1/2")
    assert part["missing"] == 4
    document = compared(capsys, *shown)
    assert document["missing"] == 0
    means = [row for row in document["rows"] if row["seed"] is None]
    assert [(r["run"], r["strategy"]) for r in means] == [
        (r, s) for r in ("truth", "corrupt") for s in ("frozen", "tuned")
    ]
    assert all(r["interval"][0] <= r["miou"] <= r["interval"][1] for r in means)
    assert [r["retention"] for r in means[:2]] == [1.0, 1.0]
    assert means[0]["label_miou"] == 1.0 > means[2]["label_miou"] > 0.3
    assert [d["run"] for d in document["differences"]] == ["truth", "corrupt"]
    assert (tmp_path / "compare" / "crossing.png").is_file()
    assert "What is trained on which labels" in (tmp_path / "page.html").read_text(encoding="utf-8")

    assert compared(capsys, *shown) == document  # nothing is done twice
    cell = tmp_path / "compare" / "cells" / "corrupt--demo-ssvt--linear--tuned--1"
    before = json.loads((cell / "result.json").read_bytes())["seconds"]
    (cell / "result.json").unlink()
    again = compared(capsys, *words)
    for old, new in zip(document["rows"], again["rows"], strict=True):
        assert {k: v for k, v in old.items() if k != "seconds"} == {k: v for k, v in new.items() if k != "seconds"}
    assert before > 0

    assert segprobe(["compare", *words, *SMALL, "--lr", "0.5"]) == 1
    assert "config.lr is 0.001 there, 0.5 now" in capsys.readouterr().err

    (cell / "counts.npz").write_bytes(b"cut")
    assert segprobe(["compare", *words, *SMALL]) == 1
    assert "cannot be read" in capsys.readouterr().err
    untouched = (tmp_path / "compare/cells/truth--demo-ssvt--linear--frozen--0/result.json").stat().st_mtime_ns
    assert segprobe(["compare", *words, *SMALL, "--overwrite"]) == 0  # makes anew what has to be, and nothing else
    assert "frozen - tuned" in capsys.readouterr().out
    assert (tmp_path / "compare/cells/truth--demo-ssvt--linear--frozen--0/result.json").stat().st_mtime_ns == untouched


@pytest.mark.slow
def test_labels_and_views_of_any_seed_and_scale(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert labelgen(["corrupt", "demo:2", "--out", "runs/corrupt-5"]) == 0  # there is no corrupt-0
    capsys.readouterr()
    words = ["compare", "runs/corrupt-{seed}", "--no-truth", "--head", "ridge", "--seed", "5", "--seeds", "1", "--json"]
    words += ["--backbones", "demo-ssvt,size=64", "--resamples", "20", "--out"]

    def score(out, *scales):
        typed = [word for scale in scales for word in ("--scales", scale)]
        assert segprobe([*words, out, *typed]) == 0
        return json.loads(capsys.readouterr().out)["rows"][0]["train_miou"]

    assert score("a", "0.5", "1") == pytest.approx(score("b", "1", "0.5"), abs=0.01)  # scored at scale 1 in both


def row(**changes):
    names = {"run": "corrupt", "backbone": "demo-ssvt", "head": "linear", "strategy": "frozen", "variant": ""}
    shares = {"miou": 0.5, "label_miou": 0.25, "coverage": 0.75, "train_miou": 0.5, "gain": 0.125, "retention": None}
    values = {**names, **shares, "interval": (0.375, 0.625), "gain_interval": (0.0, 0.25), "seed": None, "seconds": 4.0}
    return Row(**{**values, **changes})


def test_what_the_table_says(monkeypatch, capsys):
    monkeypatch.setenv("COLUMNS", "200")
    nothing = {"differences": [], "crossings": []}
    _print([row(), row(seed=0, miou=0.9)], nothing)
    head, _, line = capsys.readouterr().out.strip().splitlines()
    assert "variant" not in head
    assert "published" not in head
    assert " ".join(line.split()) == "corrupt demo-ssvt linear frozen 0.250 75 % 0.500 0.375 to 0.625 - +0.125 4"
    level = {"backbone": "a", "head": "b", "variant": "c", "quality": []}
    _print([row()], {"differences": [], "crossings": [level, {**level, "quality": [0.5]}]})
    said = capsys.readouterr().err.splitlines()
    assert said[0] == "frozen and tuned do not cross in the range of these labels (a, b, c)"
    assert said[1] == "frozen and tuned cross at a label mIoU of 0.500 (a, b, c)"
    _print([row(variant="tree", published=0.712, published_network="dinov2")], nothing)
    head, _, line = capsys.readouterr().out.strip().splitlines()
    assert head.split()[3:5] == ["strategy", "variant"]
    assert line.split()[3:5] == ["frozen", "tree"]
    assert line.split()[-2:] == ["0.712", "dinov2"]


def test_what_is_typed_wrong(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert segprobe(["compare", "nothing"]) == 1
    assert "no such run or folder: nothing" in capsys.readouterr().err
    assert segprobe(["compare", "truth", "--data", "demo:2", "--classes", "cat,unicorn"]) == 2
    error = capsys.readouterr().err
    assert "got unicorn" in error
    assert "its classes: background" in error
    assert segprobe(["compare", "truth", "nothing", "--data", "demo:2"]) == 1  # before any fit
    assert "no such run or folder: nothing" in capsys.readouterr().err
    for flags, message in (
        (["--shard", "3/2"], "1 <= i <= n, got 3/2"),
        (["--resamples", "0"], "resamples must be >= 1"),
    ):
        assert segprobe(["compare", "truth", "--data", "demo:2", *flags]) == 2
        assert message in capsys.readouterr().err
    assert segprobe(["compare", "truth", "--data", "demo:2", "--variant", "x: lrr=1"]) == 2
    assert "did you mean lr?" in capsys.readouterr().err
