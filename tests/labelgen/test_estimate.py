"""What a run would take, found out by doing a little of it."""

import json
import time

import numpy as np
import pytest

from labelgen.cli import main
from labelgen.commands.amounts import cost_rows
from labelgen.data.open import open_data
from labelgen.errors import WeightsError
from labelgen.estimate import RunEstimate, estimate_run, part_of, spread
from labelgen.job import Job, RunOptions
from labelgen.masks import SoftMask
from labelgen.vocab import load_vocabulary

PAUSE = 0.05


def pausing_job(pause=PAUSE, start=0.0):
    def generate(sample, rng):
        time.sleep(pause)
        return SoftMask(np.ones((1, *sample.size), np.float32), (0,))

    def make():
        time.sleep(start)
        return generate

    return Job("slow", {}, make, frozenset(), False, load_vocabulary("voc"))


@pytest.fixture(autouse=True)
def empty_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_time_grows_with_images_and_shrinks_with_workers():
    data = open_data("demo", split="train")
    one = estimate_run(data, pausing_job(), data.ids, RunOptions(), count=3)
    assert (one.images, one.timed, one.failed) == (len(data.ids), 3, 0)
    assert PAUSE * len(data.ids) <= one.seconds < 20 * PAUSE * len(data.ids)
    four = estimate_run(data, pausing_job(), data.ids, RunOptions(workers=4), count=3)
    assert four.seconds < one.seconds
    assert one.bytes > 100 * len(data.ids)


def test_what_comes_once_is_not_multiplied():
    data = open_data("demo", split="train", limit=100)
    cost = estimate_run(data, pausing_job(pause=0.0, start=0.4), data.ids, RunOptions(), count=3)
    assert 0.4 <= cost.seconds < 0.4 * 100


def test_a_slow_first_image_is_not_taken_for_the_usual_one(monkeypatch):
    """Compiling at the first use may take longer than the patience."""
    monkeypatch.setattr("labelgen.estimate.PATIENCE", 0.1)
    pauses = iter([0.3, 0.0, 0.0])

    def generate(sample, rng):
        time.sleep(next(pauses))
        return SoftMask(np.ones((1, *sample.size), np.float32), (0,))

    data = open_data("demo", split="train", limit=100)
    job = Job("slow", {}, lambda: generate, frozenset(), False, load_vocabulary("voc"))
    cost = estimate_run(data, job, data.ids, RunOptions(), count=3)
    assert cost.timed == 2 and cost.seconds < 0.3 * 50


def test_nothing_left_to_do_loads_nothing():
    data = open_data("demo", split="train", limit=2)
    cost = estimate_run(data, pausing_job(start=30.0), [], RunOptions())
    assert cost == RunEstimate(0, 0, 0.0, 0) and cost_rows(cost) == [("time", "nothing is left to do")]


def test_images_that_cannot_be_labelled_are_told(tmp_path, capsys):
    from labelgen.masks import write_mask

    for name in "abc":
        write_mask(tmp_path / "data/masks" / f"{name}.png", np.ones((8, 9), np.uint8))
    (tmp_path / "data/masks/b.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    assert main(["point", "folder:data", "--vocab", "voc", "--dry-run", "--strict"]) == 0
    assert "1 of these 3 cannot be labelled" in capsys.readouterr().out
    assert main(["point", "folder:data", "--vocab", "voc", "--dry-run", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["estimate"]["failed"] == 1
    assert not (tmp_path / "runs").exists()


def test_missing_weights_are_told_before(capsys):
    assert main(["cam", "--limit", "2", "--weights", "absent", "--dry-run"]) != 0
    assert "error: " in capsys.readouterr().err


def test_a_run_that_cannot_begin_cannot_be_estimated():
    data = open_data("demo", split="train", limit=2)

    def make():
        raise WeightsError("gone")

    job = Job("slow", {}, make, frozenset(), False, load_vocabulary("voc"))
    with pytest.raises(WeightsError):
        estimate_run(data, job, data.ids, RunOptions())


@pytest.mark.slow
def test_the_size_is_that_of_the_run(tmp_path, capsys):
    assert main(["scribble", "--limit", "20", "--save-scores", "--dry-run", "--json"]) == 0
    expected = json.loads(capsys.readouterr().out)["estimate"]["bytes"]
    assert main(["scribble", "--limit", "20", "--save-scores"]) == 0
    made = sum(path.stat().st_size for path in (tmp_path / "runs/scribble").rglob("*.*") if "contact" not in path.name)
    assert expected == pytest.approx(made, rel=0.3)


@pytest.mark.slow
def test_maps_and_promotions_are_planned(tmp_path, capsys):
    assert main(["saliency", "--limit", "3", "--source", "spectral", "--dry-run", "--json"]) == 0
    plan = json.loads(capsys.readouterr().out)
    assert plan["to_make"] == 3 and plan["estimate"]["bytes"] > 0 and not list(tmp_path.iterdir())
    assert main(["scribble", "--limit", "4"]) == 0
    capsys.readouterr()
    assert main(["promote", "--dry-run", "--json"]) == 0
    plan = json.loads(capsys.readouterr().out)
    assert plan["estimate"]["train_seconds"] > 0 and plan["estimate"]["parameters"] > 0
    assert main(["promote", "--dry-run"]) == 0
    assert "--dry-run times them" in capsys.readouterr().out
    assert [path.name for path in (tmp_path / "runs").iterdir()] == ["scribble"]


def test_parts_of_a_data_set():
    data = open_data("demo", split="train", limit=5)
    assert part_of(data, data.ids[3:1:-1]).ids == data.ids[2:4]
    assert spread(range(100), 4) == [0, 33, 66, 99]
