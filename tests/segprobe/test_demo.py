import json
from dataclasses import replace

import numpy as np
import pytest

from labelgen.data.open import open_data
from segprobe.config import FitConfig
from segprobe.demo import SUPERVISIONS, Supervision, run_demo
from segprobe.kept import KeptDataset


def demo(out, vit, **changes):
    settings = {"backbone": vit, "config": FitConfig(steps=5, pixels=64), "train_limit": 4, "val_limit": 2}
    return run_demo(out, **{**settings, **changes})


@pytest.mark.slow
def test_every_row_is_measured_and_a_second_call_makes_nothing_again(tmp_path, vit):
    rows = demo(tmp_path, vit)
    assert [row.supervision for row in rows] == [supervision.name for supervision in SUPERVISIONS]
    found = {row.supervision: row for row in rows}
    assert (found["truth"].coverage, found["truth"].label_miou, found["truth"].retention) == (1.0, 1.0, 1.0)
    assert found["scribble"].coverage > 1.7 * found["scribble, shrink 0.5"].coverage > 0.01
    assert found["point"].coverage < 0.001
    for name in ("scribble", "scribble, shrink 0.5", "point"):
        assert found[name].label_miou == 1.0
    for name in ("corrupt, outlines", "corrupt, classes"):
        assert found[name].coverage == 1.0
        assert 0.3 < found[name].label_miou < 0.95
    for row in rows:
        assert row.retention == pytest.approx(row.probe_miou / found["truth"].probe_miou)
    written = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*") if path.is_file()}
    again = demo(tmp_path, vit)
    assert [replace(row, seconds=0.0) for row in again] == [replace(row, seconds=0.0) for row in rows]
    assert {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*") if path.is_file()} == written


@pytest.mark.slow
def test_seeds_are_averaged(tmp_path, vit):
    truth = (Supervision("truth"),)
    each = [demo(tmp_path / str(s), vit, supervisions=truth, seeds=[s])[0].probe_miou for s in (0, 1)]
    both = demo(tmp_path / "both", vit, supervisions=truth, seeds=[0, 1])[0].probe_miou
    assert each[0] != each[1]
    assert both == pytest.approx(np.mean(each))


def test_kept_scenes_are_those_of_the_data_and_show_only_what_is_asked_for():
    scenes = open_data("demo", limit=1)
    kept = KeptDataset(scenes)
    sample_id = scenes.ids[0]
    assert np.array_equal(kept.image(sample_id), scenes.image(sample_id))
    assert np.array_equal(kept.truth(sample_id), scenes.truth(sample_id))
    assert kept.load(sample_id, {"image"}).truth is None
    assert kept.load(sample_id, {"truth"}).image is None
    assert kept.load(sample_id, {"truth"}).instances is not None


@pytest.mark.slow
def test_the_command_prints_one_table_or_one_document(tmp_path, monkeypatch, capsys, vit):
    from segprobe import demo as module
    from segprobe.cli import main

    whole = module.run_demo
    few = SUPERVISIONS[:2]
    monkeypatch.setattr(
        module, "run_demo", lambda out, **given: whole(out, **{**given, "supervisions": few, "backbone": vit})
    )
    monkeypatch.chdir(tmp_path)
    assert main(["demo", "--limit", "2", "--epochs", "2", "--json"]) == 0
    captured = capsys.readouterr()
    rows = json.loads(captured.out)["rows"]
    assert [row["supervision"] for row in rows] == ["truth", "scribble"]
    keys = {"supervision", "coverage", "label_miou", "probe_miou", "retention", "seconds"}
    assert all(set(row) == keys for row in rows)
    assert "scribble: probe" in captured.err
    assert main(["demo", "--limit", "2", "--epochs", "2", "--quiet"]) == 0
    captured = capsys.readouterr()
    assert "retention" in captured.out
    assert captured.err == ""
