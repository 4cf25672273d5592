"""Exit code 3, `finished, but some images failed`, of the commands that write runs from other runs."""

import json

import numpy as np
import pytest
from PIL import Image

from labelgen.cli import main
from labelgen.masks import write_mask
from labelgen.store import RunFolder

IDS = ("one", "three", "two")


@pytest.fixture
def clicked(tmp_path, monkeypatch, capsys):
    """A run of clicks on three images; one of the images is damaged afterwards."""
    monkeypatch.chdir(tmp_path)
    truth = np.zeros((24, 32), np.uint8)
    truth[4:12, 6:20] = 1
    for number, name in enumerate(IDS):
        write_mask(tmp_path / f"data/masks/{name}.png", np.roll(truth, 3 * number, axis=1))
        image = np.random.default_rng(number).integers(0, 256, (24, 32, 3), dtype=np.uint8)
        (tmp_path / "data/images").mkdir(exist_ok=True)
        Image.fromarray(image).save(tmp_path / f"data/images/{name}.png")
    (tmp_path / "data/vocabulary.toml").write_text('name = "v"\nclasses = ["ground", "cat"]\nbackground = 0\n')
    assert main(["point", "folder:data", "--out", "runs/point"]) == 0
    path = tmp_path / "data/images/two.png"
    path.write_bytes(path.read_bytes()[:90])
    capsys.readouterr()
    return tmp_path


@pytest.mark.parametrize(
    "words",
    [
        ["refine", "runs/point", "--with", "pamr"],
        ["promote", "runs/point", "--pseudo", "runs/point", "--refine", "pamr"],
        ["sweep", "point", "folder:data", "--n", "1,2", "--refine", "pamr"],
    ],
    ids=lambda words: words[0],
)
def test_one_image_fails_and_the_others_are_done(clicked, capsys, words):
    assert main([*words, "--out", "out"]) == 3
    error = capsys.readouterr().err
    assert "two" in error and "hint: " in error
    (run, *others) = sorted(path.parent for path in clicked.glob("out/**/run.json"))
    assert len(others) == (words[0] == "sweep")
    assert RunFolder.open(run).ids == ("one", "three")
    assert [json.loads(line)["id"] for line in (run / "failures.jsonl").read_text().splitlines()] == ["two"]


@pytest.mark.parametrize("command", ["refine", "promote"])
def test_strict_stops_there_as_an_error(clicked, capsys, command):
    more = ["--with", "pamr"] if command == "refine" else ["--pseudo", "runs/point", "--refine", "pamr"]
    assert main([command, "runs/point", *more, "--out", "out", "--strict"]) == 1
    assert "two" in capsys.readouterr().err
