"""The contact sheet: written by default when a run completes, never part of what a run is checked by."""

import json

import numpy as np
import pytest
from PIL import Image

from labelgen.cli import main
from labelgen.data.open import reopen
from labelgen.report.run_sheet import SHEET_IMAGES, run_sheet, spread
from labelgen.report.views import Shown
from labelgen.store import RunFolder, verify_run
from labelgen.store.layout import SHEET
from tests.labelgen.report.small_data import write_run


def labelled(out, *words):
    assert main(["corrupt", "demo:4", "--out", str(out), *words]) == 0
    return out


def files(folder):
    return {p.relative_to(folder).as_posix(): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def test_it_is_there_by_default_and_a_switch_leaves_it_out(tmp_path, capsys):
    one, two = labelled(tmp_path / "one"), labelled(tmp_path / "two", "--no-sheet")
    assert f"pictures         {(one / SHEET).as_posix()}" in capsys.readouterr().out
    with Image.open(one / SHEET) as picture:
        assert picture.format == "JPEG" and picture.width > 1000
    assert not (two / SHEET).exists()
    found, without = files(one), files(two)
    assert found.pop(SHEET) and found == without  # no other byte depends on it


def test_a_run_with_a_sheet_is_sound_and_changing_it_changes_nothing(tmp_path, capsys):
    run = labelled(tmp_path / "run")
    assert verify_run(run) == []
    (run / SHEET).write_bytes(b"scribbled over")
    assert verify_run(run) == []
    labelled(run)
    assert "nothing to do" in capsys.readouterr().out and (run / SHEET).read_bytes() == b"scribbled over"
    (run / SHEET).unlink()
    labelled(run)
    assert (run / SHEET).stat().st_size > 10_000


def test_it_follows_the_labels(tmp_path):
    run = labelled(tmp_path / "run")
    before = (run / SHEET).read_bytes()
    labelled(run, "--overwrite", "--level", "0.5")
    after = (run / SHEET).read_bytes()
    assert after != before
    labelled(run, "--overwrite", "--level", "0.2", "--no-sheet")
    assert not (run / SHEET).exists()  # an old one would show labels that are gone
    lost = next((run / "labels").iterdir())
    labelled(run, "--level", "0.2")
    redrawn = (run / SHEET).read_bytes()
    lost.unlink()
    labelled(run, "--level", "0.2", "--no-sheet")
    assert redrawn not in (before, after) and not (run / SHEET).exists()


def test_the_last_shard_draws_it(tmp_path):
    run = tmp_path / "run"
    labelled(run, "--shard", "1/2")
    assert not (run / SHEET).exists()
    labelled(run, "--shard", "2/2")
    assert (run / SHEET).is_file() and verify_run(run) == []
    assert (run / SHEET).read_bytes() == (labelled(tmp_path / "whole") / SHEET).read_bytes()


def test_refined_runs_have_one_and_json_stays_json(tmp_path, capsys):
    run = labelled(tmp_path / "run")
    capsys.readouterr()
    assert main(["refine", str(run), "--with", "pamr,steps=1", "--out", str(tmp_path / "fine"), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["complete"] and (tmp_path / "fine" / SHEET).is_file()


def test_images_that_are_gone_do_not_fail_a_run(tmp_path):
    run = RunFolder.open(write_run(tmp_path, ["a", "b", "c"], ["ground", "cat", "dog"]))
    dataset = reopen(run.spec)
    whole = np.asarray(run_sheet(Shown(run, dataset, has_truth=False), title="t"))
    (tmp_path / "pictures" / "b.png").write_bytes(b"no picture")
    damaged = np.asarray(run_sheet(Shown(run, dataset, has_truth=False), title="t"))
    grey = np.asarray(run_sheet(Shown(run, None, has_truth=False), title="t"))
    assert whole.shape == damaged.shape == grey.shape and not np.array_equal(whole, damaged)


def test_only_some_images_are_read(monkeypatch, tmp_path):
    ids = [f"{number:03d}" for number in range(40)]
    run = RunFolder.open(write_run(tmp_path, ids, ["ground", "cat"]))
    dataset, seen = reopen(run.spec), []
    shown = Shown(run, dataset, has_truth=False)
    read = type(dataset).image
    monkeypatch.setattr(type(dataset), "image", lambda self, i: (seen.append(i), read(self, i))[1])
    run_sheet(shown, title="t")
    assert seen == spread(ids, SHEET_IMAGES) and len(seen) == 24


@pytest.mark.parametrize("count", [1, 2, 5, 24, 25, 100])
def test_images_are_spread_over_all(count):
    found = [int(name) for name in spread([str(number) for number in range(count)], 24)]
    assert len(found) == min(count, 24) == len(set(found)) and found == sorted(found)
    assert np.diff(found).max(initial=1) - np.diff(found).min(initial=count) <= 1
