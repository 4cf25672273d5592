"""What refining starts from: scores or labels of a run, and `labelgen refine` as typed."""

import hashlib
import json
import pickle

import numpy as np
import pytest

from labelgen.cli import main
from labelgen.data.open import open_data
from labelgen.data.sample import Sample
from labelgen.errors import ConfigError, DataError, RunFolderError, ShapeError
from labelgen.masks import SoftMask, harden, one_hot, read_mask, write_mask
from labelgen.refine.source import Start, certain_scores, make_start
from labelgen.store import MaskFolder, RunFolder, RunWriter, complete_run, make_header, prepare_run

RNG = np.random.default_rng(0)


def make_run(folder, *, scores, skip=(), limit=2, min_score=0.0):
    """A run of demo scenes: truth in the upper half of each scene, nothing below; its scores doubt everything a bit."""
    dataset = open_data("demo", limit=limit)
    header = make_header(
        dataset,
        method="test",
        config={"n": 1},
        supervision=["tags"],
        vocabulary=dataset.vocabulary,
        seed=0,
        save_scores=scores,
        min_score=min_score,
    )
    prepare_run(folder, header, dataset.ids)
    with RunWriter(folder, dataset.vocabulary, save_scores=scores, min_score=min_score) as writer:
        for sample_id in dataset.ids:
            if sample_id in skip:
                writer.fail(sample_id, DataError("torn"))
                continue
            labels = dataset.truth(sample_id).copy()
            labels[len(labels) // 2 :] = 255
            mask = one_hot(labels, warnings=["hm"], details={"kept": 1})
            writer.put(sample_id, SoftMask(mask.scores * np.float32(0.5), mask.class_ids, (), ("hm",), {"kept": 1}))
    complete_run(folder, header, dataset.ids)
    return folder


def sample_of(sample_id):
    image = open_data("demo").image(sample_id)
    return Sample(sample_id, image.shape[:2], image=image)


def test_labels_become_scores_by_hand():
    labels = np.array([[0, 3, 7, 255]], np.uint8)
    mask = certain_scores(labels, certainty=0.75)
    assert mask.class_ids == (0, 3, 7)
    expected = [[0.75, 0.125, 0.125, 0], [0.125, 0.75, 0.125, 0], [0.125, 0.125, 0.75, 0]]
    assert mask.scores[:, 0].tolist() == expected
    assert (harden(mask) == labels).all()
    only = certain_scores(np.array([[4, 255]], np.uint8), certainty=0.7)
    assert only.class_ids == (4,) and only.scores[0, 0].tolist() == [np.float32(0.7), 0]
    nothing = certain_scores(np.full((2, 2), 255, np.uint8), certainty=0.7)
    assert nothing.class_ids == () and nothing.scores.shape == (0, 2, 2)


def test_certainty_is_checked(tmp_path):
    run = RunFolder.open(make_run(tmp_path / "run", scores=False))
    for certainty in (0.5, 1.1, float("nan")):
        with pytest.raises(ConfigError, match="certainty must lie in"):
            Start(run, certainty)
    with pytest.raises(ConfigError, match="keeps no scores"):
        Start(run)
    assert Start(run, 1.0).supervision == {"tags"}


def test_scores_labels_and_hashes_of_a_run_are_read(tmp_path):
    run = RunFolder.open(make_run(tmp_path / "run", scores=True))
    sample = sample_of("train_0000")
    mask = make_start(Start(run))(sample, RNG)
    saved = run.scores(sample.id)
    assert saved is not None and mask.class_ids == saved.class_ids and (mask.scores == saved.scores).all()
    assert mask.warnings == ("hm",) and mask.details["kept"] == 1
    file = tmp_path / "run/scores/train_0000.npz"
    assert mask.details["inputs"] == {file.as_posix(): hashlib.sha256(file.read_bytes()).hexdigest()}
    hard = make_start(pickle.loads(pickle.dumps(Start(run, 0.75))))(sample, RNG)
    assert (harden(hard) == run.labels(sample.id)).all() and hard.scores.max() == 0.75
    assert next(iter(hard.details["inputs"])).endswith("labels/train_0000.png")


def test_files_that_the_run_did_not_write_are_refused(tmp_path):
    run = RunFolder.open(make_run(tmp_path / "run", scores=True))
    sample = sample_of("train_0000")
    labels = run.labels(sample.id)
    write_mask(run.label_file(sample.id), np.zeros_like(labels))
    make_start(Start(run))(sample, RNG)
    with pytest.raises(DataError, match="not what its run has written"):
        make_start(Start(run, 0.7))(sample, RNG)
    small = Sample("train_0001", (4, 4), image=np.zeros((4, 4, 3), np.uint8))
    with pytest.raises(ShapeError, match="must have the size"):
        make_start(Start(run))(small, RNG)
    with pytest.raises(DataError, match="has no label for image 'train_0007'"):
        make_start(Start(run))(Sample("train_0007", (4, 4)), RNG)


def test_plain_folders_have_labels_alone(tmp_path):
    write_mask(tmp_path / "masks/a.png", np.array([[0, 15]], np.uint8))
    folder = MaskFolder(tmp_path / "masks", vocabulary=open_data("demo").vocabulary)
    start = Start(folder, 0.7)
    assert start.supervision == {"unknown"} and start.facts() == {"path": folder.path.as_posix(), "method": None}
    assert make_start(start)(Sample("a", (1, 2)), RNG).class_ids == (0, 15)
    with pytest.raises(ConfigError, match="keeps no scores"):
        Start(folder)


def test_unfinished_runs_are_refused(tmp_path):
    folder = make_run(tmp_path / "run", scores=True)
    header = json.loads((folder / "run.json").read_text())
    del header["counts"]
    (folder / "run.json").write_text(json.dumps(header | {"state": "running"}))
    with pytest.raises(RunFolderError, match="only a complete run is refined"):
        Start(RunFolder.open(folder))


def refine(*arguments):
    return main(["refine", *map(str, arguments)])


def test_command_refines_scores_and_says_what_it_did(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    make_run(tmp_path / "runs/seeds", scores=True)
    assert refine("--with", "regions:slic,segments=30", "--save-scores") == 0
    out, err = capsys.readouterr()
    assert "runs/seeds: its scores are refined" in err
    assert "labelgen quality runs/seeds runs/seeds-regions" in out
    run = RunFolder.open("runs/seeds-regions")
    manifest = hashlib.sha256((tmp_path / "runs/seeds/manifest.jsonl").read_bytes()).hexdigest()
    config = run.header["config"]
    assert config["source"]["manifest_sha256"] == manifest and config["source"]["path"] == "runs/seeds"
    assert config["source"]["method"] == "test" and config["source"]["config"] == {"n": 1}
    assert config["certainty"] is None and config["steps"][0]["segments"] == 30
    assert run.header["supervision"] == ["tags"] and run.header["method"] == "refine"
    assert run.scores("train_0000") is not None
    assert (run.labels("train_0000") != RunFolder.open("runs/seeds").labels("train_0000")).any()
    # the same command again takes the same source, not the refined copy that is newer
    assert refine("--with", "regions:slic,segments=30", "--save-scores") == 0
    assert "nothing to do" in capsys.readouterr().out
    assert main(["verify", "runs/seeds-regions"]) == 0


def test_command_refines_labels_with_a_certainty(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    make_run(tmp_path / "runs/seeds", scores=False)
    assert refine("runs/seeds", "--with", "regions:slic", "--out", "a") == 0
    assert "refined with a certainty of 0.7 (it has no scores)" in capsys.readouterr().err
    assert refine("runs/seeds", "--with", "regions:slic", "--out", "a", "--certainty", "0.9") == 1
    assert "config.certainty is 0.7 there, 0.9 now" in capsys.readouterr().err
    assert refine("runs/seeds", "--with", "regions:slic", "--out", "runs/seeds", "--overwrite") == 2
    assert RunFolder.open("runs/seeds").complete
    assert refine("runs/seeds") == 2
    assert refine("runs/seeds", "--with", "regions:slic", "--vocab", "voc") == 2
    capsys.readouterr()
    assert refine("runs/seeds", "--with", "regions:slic", "--dry-run", "--json") == 0
    plan = json.loads(capsys.readouterr().out)
    assert plan["to_label"] == 2 and plan["supervision"] == ["tags"] and not (tmp_path / "runs/seeds-regions").exists()


def test_failures_of_the_source_stay_failures(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    make_run(tmp_path / "runs/seeds", scores=True, skip=("train_0001",))
    assert refine("--with", "regions:slic") == 3
    assert "has no label for image 'train_0001'" in capsys.readouterr().err
    assert RunFolder.open("runs/seeds-regions").ids == ("train_0000",)


def test_a_source_that_changed_is_refused_on_resume(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    make_run(tmp_path / "runs/seeds", scores=True)
    assert refine("--with", "regions:slic") == 0
    (tmp_path / "runs/seeds-regions/labels/train_0001.png").unlink()
    scores = tmp_path / "runs/seeds/scores/train_0000.npz"
    scores.write_bytes(scores.read_bytes()[:-1] + b"x")
    capsys.readouterr()
    assert refine("--with", "regions:slic") == 1
    assert "train_0000.npz has changed since image 'train_0000'" in capsys.readouterr().err
    manifest = tmp_path / "runs/seeds/manifest.jsonl"
    manifest.write_text(manifest.read_text().replace('"hm"', '"made again"'))
    assert refine("runs/seeds", "--with", "regions:slic") == 1
    assert "config.source.manifest_sha256" in capsys.readouterr().err


def test_plain_folders_need_data_and_keep_the_ids(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    data = open_data("demo", limit=2)
    for sample_id in data.ids:
        write_mask(tmp_path / f"masks/{sample_id}.png", data.truth(sample_id))
    assert refine("masks", "--with", "regions:slic", "--out", "a") == 2
    assert "its images must be named" in capsys.readouterr().err
    assert refine("masks", "--with", "regions:slic", "--data", "demo", "--limit", "2") == 0
    run = RunFolder.open("runs/masks-regions")
    assert run.ids == data.ids and run.header["supervision"] == ["unknown"]


@pytest.mark.slow
def test_workers_and_shards_change_no_byte(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    make_run(tmp_path / "seeds", scores=True, limit=3)
    common = ("seeds", "--with", "regions:slic", "--save-scores")
    assert refine(*common, "--out", "one") == 0
    assert refine(*common, "--out", "two", "--workers", "2") == 0
    for part in (2, 3, 1):
        assert refine(*common, "--out", "three", "--shard", f"{part}/3") == 0
    files = [path.relative_to(tmp_path / "one") for path in (tmp_path / "one").rglob("*") if path.is_file()]
    assert len(files) == 9  # two files of the run, the contact sheet, masks and scores of three images
    for name in files:
        assert (tmp_path / "one" / name).read_bytes() == (tmp_path / "two" / name).read_bytes()
        assert (tmp_path / "one" / name).read_bytes() == (tmp_path / "three" / name).read_bytes()
    assert read_mask(tmp_path / "one/labels/train_0000.png").shape == open_data("demo").truth("train_0000").shape
