"""Images of a finished run made again and compared."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from labelgen.cli import main
from labelgen.errors import LabelgenError, RunFolderError
from labelgen.masks import write_mask
from labelgen.regenerate import choose_ids, regenerate
from labelgen.regenerate.jobs import config_from_json
from labelgen.store import RunFolder

TRUTH = np.zeros((20, 30), np.uint8)
TRUTH[3:16, 4:22] = 15
NAMES = ("one", "two", "three", "four")


@pytest.fixture(autouse=True)
def empty_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def run(tmp_path, capsys):
    """A run of scribbles over four masks."""
    for name in NAMES:
        write_mask(tmp_path / "data" / "masks" / f"{name}.png", TRUTH)
    assert main(["scribble", "folder:data", "--vocab", "voc", "--seed", "3", "--save-scores", "--no-sheet"]) == 0
    capsys.readouterr()
    return RunFolder.open("runs/scribble")


def change_header(run, **changes):
    path = run.path / "run.json"
    header = json.loads(path.read_text())
    path.write_text(json.dumps(header | changes))
    return RunFolder.open(run.path)


def test_the_same_bytes(run, capsys, tmp_path):
    before = {path: path.read_bytes() for path in (tmp_path / "runs").rglob("*") if path.is_file()}
    assert main(["verify", "--regenerate", "2", "--json"]) == 0
    again = json.loads(capsys.readouterr().out)["regenerated"]
    assert len(again["images"]) == 2 and again["different"] == [] and again["cannot"] == ""
    assert main(["verify", "--regenerate", "9"]) == 0
    assert "made again with the same bytes: four, one, three, two" in capsys.readouterr().out
    assert {path: path.read_bytes() for path in (tmp_path / "runs").rglob("*") if path.is_file()} == before


def test_which_images_follows_from_the_seed(run):
    chosen = {regenerate(run, 2, seed=seed).ids for seed in range(6)}
    assert len(chosen) > 1 and all(len(ids) == 2 for ids in chosen)
    assert regenerate(run, 2, seed=4) == regenerate(run, 2, seed=4)
    assert choose_ids(NAMES, 4, 0) == tuple(sorted(NAMES))


def test_another_truth_gives_other_bytes(run, capsys):
    other = TRUTH.copy()
    other[3:16, 4:22], other[10:18, 20:29] = 0, 7
    write_mask(run.path.parents[1] / "data/masks/two.png", other)
    assert main(["verify", "--regenerate", "4"]) == 1
    out, err = capsys.readouterr()
    assert "labels/two.png: made again it is another file in " in out
    assert "scores/two.npz: made again it is another file" in out and "one.png" not in out
    assert "classes of two came out otherwise" in out
    error, hint = err.splitlines()[-2:]
    assert error.startswith("error: ") and hint.startswith("hint: ")


def test_a_file_changed_by_hand_is_told_twice(run, capsys):
    labels = run.labels("one").copy()
    labels[0, 0] = 3
    write_mask(run.path / "labels/one.png", labels)
    assert main(["verify", "--regenerate", "4", "--json"]) == 1
    document = json.loads(capsys.readouterr().out)
    assert document["problems"] == ["labels/one.png: changed (sha256 differs from manifest.jsonl)"]
    assert document["regenerated"]["different"] == ["labels/one.png: made again it is another file in 1 of 600 pixels"]


def test_another_version_is_refused(run, capsys):
    change_header(run, versions={**run.header["versions"], "labelgen": "0.0.1"})
    assert main(["verify", "--regenerate", "1"]) == 1
    err = capsys.readouterr().err
    assert "error: no image can be made again: the run was made by labelgen 0.0.1" in err
    assert "pip install labelgen==0.0.1" in err


def test_versions_of_other_packages_are_doubts(run):
    changed = change_header(run, versions={**run.header["versions"], "numpy": "1.0"})
    made = regenerate(changed, 1)
    assert made.different == () and len(made.doubts) == 1 and 'versions.numpy is "1.0" there' in made.doubts[0]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"method": "guess"}, "labels by 'guess' cannot be made again"),
        ({"config": {"shrink": 0.5, "colour": 1}}, "has no setting 'colour' in this version"),
        ({"config": {"shrink": 7.0}}, "does not take the settings of method scribble: shrink"),
        ({"supervision": []}, "what the run was made from is not what is here: supervision"),
    ],
)
def test_settings_that_this_version_cannot_follow(run, changes, message):
    with pytest.raises(LabelgenError, match=message):
        regenerate(change_header(run, **changes), 1)


def test_data_that_are_gone(run, tmp_path):
    shutil.move(tmp_path / "data", tmp_path / "away")
    with pytest.raises(LabelgenError, match="data not found"):
        regenerate(run, 1)


def test_an_image_more_is_not_the_data_of_the_run(run, tmp_path):
    write_mask(tmp_path / "data/masks/zero.png", TRUTH)
    with pytest.raises(RunFolderError, match="is not what is here"):
        regenerate(run, 1)


def test_runs_made_from_runs(capsys):
    assert main(["scribble", "--limit", "3", "--refine", "pamr,steps=1"]) == 0
    assert main(["refine", "runs/scribble", "--with", "par,steps=1", "--out", "runs/refined"]) == 0
    assert main(["refine", "runs/scribble", "--with", "pamr,steps=1", "--out", "runs/pseudo", "--save-scores"]) == 0
    assert main(["promote", "runs/scribble", "--pseudo", "runs/pseudo", "--refine", "par,steps=1"]) == 0
    capsys.readouterr()
    for name in ("scribble", "refined", "scribble-promote"):
        assert regenerate(RunFolder.open(f"runs/{name}"), 1).different == ()
    (RunFolder.open("runs/scribble").path / "manifest.jsonl").write_bytes(b"")
    with pytest.raises(RunFolderError):
        regenerate(RunFolder.open("runs/refined"), 1)


@pytest.mark.slow
@pytest.mark.parametrize("method", ["point", "box", "corrupt", "clip", "clip-es"])
def test_every_method_comes_out_the_same(method):
    assert main([method, "--limit", "2", "--out", "runs/x"]) == 0
    made = regenerate(RunFolder.open("runs/x"), 2)
    assert (made.different, made.doubts) == ((), ())


def test_settings_of_the_command(run, capsys):
    assert main(["verify", "--regenerate", "-1"]) == 2
    assert main(["verify", "absent", "--regenerate", "1"]) == 1
    assert "error: no run folder" in capsys.readouterr().err


def test_lists_become_tuples():
    from labelgen.methods.point import PointConfig

    assert config_from_json(PointConfig, {"from_json": ["a", "b"]}, of="point").from_json == ("a", "b")


def test_masks_of_other_tools_are_read_again(run, capsys):
    data = ["--data", "folder:data", "--vocab", "voc"]
    assert main(["export", str(run.path), "--to", "coco", "--out", "x.json"]) == 0
    assert main(["import", "x.json", "--from", "coco", *data, "--out", "imported", "--no-sheet"]) == 0
    capsys.readouterr()
    assert main(["verify", "imported", "--regenerate", "2"]) == 0
    assert "made again with the same bytes" in capsys.readouterr().out
    path = Path("x.json")
    path.write_text(path.read_text() + "\n")
    assert main(["verify", "imported", "--regenerate", "2"]) == 1
    assert "have changed at" in capsys.readouterr().err
