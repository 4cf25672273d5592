import json

import pytest

from labelgen.cli import main as labelgen
from segprobe.cli import main as segprobe

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
    words = ["runs/corrupt-{seed}", "--backbones", "demo-ssvt,size=32", "--strategies", "frozen,tuned", "--plot"]

    part = compared(capsys, *words, "--shard", "1/2")
    assert part["missing"] == 4
    document = compared(capsys, *words)
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

    assert compared(capsys, *words) == document  # nothing is done twice
    cell = tmp_path / "compare" / "cells" / "corrupt--demo-ssvt--linear--tuned--1"
    before = json.loads((cell / "result.json").read_bytes())["seconds"]
    (cell / "result.json").unlink()
    again = compared(capsys, *words)
    for old, new in zip(document["rows"], again["rows"], strict=True):
        assert {k: v for k, v in old.items() if k != "seconds"} == {k: v for k, v in new.items() if k != "seconds"}
    assert before > 0

    assert segprobe(["compare", *words, *SMALL, "--lr", "0.5"]) == 1
    assert "config.lr is 0.001 there, 0.5 now" in capsys.readouterr().err


def test_what_is_typed_wrong(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert segprobe(["compare", "nothing"]) == 1
    assert "no such run or folder: nothing" in capsys.readouterr().err
    assert segprobe(["compare", "truth", "--data", "demo:2", "--classes", "cat,unicorn"]) == 2
    error = capsys.readouterr().err
    assert "got unicorn" in error
    assert "its classes: background" in error
    assert segprobe(["compare", "truth", "--data", "demo:2", "--variant", "x: lrr=1"]) == 2
    assert "did you mean lr?" in capsys.readouterr().err
