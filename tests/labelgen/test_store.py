import hashlib
import json
import os
import shutil
import time

import numpy as np
import pytest

from labelgen.data.dataset import DataSpec
from labelgen.errors import DataError, RunFolderError
from labelgen.masks import SoftMask, one_hot, write_mask
from labelgen.store import (
    MaskFolder,
    RunFolder,
    RunWriter,
    check_id,
    complete_run,
    make_header,
    newest_run,
    open_labels,
    prepare_run,
    read_header,
    unfinished_ids,
    verify_run,
)
from labelgen.store.header import differences
from labelgen.store.records import Records, summarise
from labelgen.strokes import Stroke
from labelgen.vocab import Vocabulary

TOY = Vocabulary("toy", ("ground", "cat", "dog"), background=0)
LABELS = np.array([[0, 0, 255], [1, 255, 255]], np.uint8)


class Data:
    def __init__(self, *ids):
        self.ids = ids
        self.spec = DataSpec("toy", root="/data")
        self.vocabulary = TOY
        self.tags_source = "truth"

    def load(self, sample_id, fields):
        raise AssertionError("these tests write and read runs; nothing looks at the images")

    image = truth = load


def header_of(*ids, **changes):
    settings = {"method": "toy", "config": {"n": 1}, "supervision": ["truth"], "vocabulary": TOY, "seed": 0}
    return make_header(Data(*ids), **settings | changes)


@pytest.fixture
def run(tmp_path):
    """A complete run of images `a` and `b/c`, and `d` that failed."""
    folder, ids = tmp_path / "runs" / "toy", ("a", "b/c", "d")
    header = header_of(*ids)
    prepare_run(folder, header, ids)
    stroke = Stroke(1, np.array([[1.0, 0.0]]), style="point")
    with RunWriter(folder, TOY, save_scores=True) as writer:
        writer.put("b/c", one_hot(LABELS, strokes=[stroke], warnings=["class dog lost"], details={"noise": 0.5}))
        writer.fail("d", DataError("truncated: d", hint="fetch it again"))
        writer.put("a", one_hot(np.full((2, 3), 2, np.uint8)))
    assert complete_run(folder, header, ids)
    return folder


def test_the_files_of_a_complete_run(run):
    files = sorted(p.relative_to(run).as_posix() for p in run.rglob("*") if p.is_file())
    assert files == [
        "failures.jsonl",
        "labels/a.png",
        "labels/b/c.png",
        "manifest.jsonl",
        "run.json",
        "scores/a.npz",
        "scores/b/c.npz",
        "strokes/b/c.json",
    ]
    assert not (run / ".journal").exists()


def test_a_line_of_the_manifest_says_all_about_an_image(run):
    first, second = map(json.loads, (run / "manifest.jsonl").read_text().splitlines())
    assert [first["id"], second["id"]] == ["a", "b/c"]
    hashes = {key: second.pop(key) for key in ("sha256", "strokes_sha256", "scores_sha256")}
    assert second == {
        "id": "b/c",
        "size": [2, 3],
        "coverage": 0.5,
        "classes": {"0": 2, "1": 1},
        "warnings": ["class dog lost"],
        "details": {"noise": 0.5},
        "strokes": 1,
    }
    assert hashes["sha256"] == hashlib.sha256((run / "labels/b/c.png").read_bytes()).hexdigest()


def test_run_json_says_what_was_asked_for_and_what_came_out(run):
    header = read_header(run)
    assert header["state"] == "complete" and header["schema"] == 1
    assert header["vocabulary"]["classes"] == ["ground", "cat", "dog"] and header["vocabulary"]["ignore"] == 255
    assert header["data"]["kind"] == "toy" and header["data"]["images"] == 3
    assert header["data"]["tags_source"] == "truth"
    assert set(header["versions"]) >= {"labelgen", "numpy", "pillow"}
    assert header["counts"] == {
        "labelled": 2,
        "failed": 1,
        "empty": 0,
        "strokes": 1,
        "warnings": 1,
        "pixels": 12,
        "labelled_pixels": 9,
        "coverage": 0.75,
        "classes": {"0": 2, "1": 1, "2": 6},
    }


def test_a_run_is_read_back_as_it_was_written(run):
    folder = RunFolder.open(run)
    assert (folder.name, folder.complete, folder.ids) == ("toy", True, ("a", "b/c"))
    assert folder.vocabulary.classes == TOY.classes and folder.spec == DataSpec("toy", root="/data")
    np.testing.assert_array_equal(folder.labels("b/c"), LABELS)
    scores = folder.scores("b/c")
    assert scores is not None and scores.class_ids == (0, 1) and scores.scores.dtype == np.float32
    np.testing.assert_array_equal(scores.scores[1], [[0, 0, 0], [1, 0, 0]])
    (stroke,) = folder.strokes("b/c") or ()
    assert (stroke.class_id, stroke.points.tolist()) == (1, [[1.0, 0.0]])
    assert folder.strokes("a") is None
    with pytest.raises(DataError, match="no label for image 'd' in"):
        folder.labels("d")


def test_labels_of_more_than_255_classes_are_16_bit(tmp_path):
    wide = Vocabulary("wide", tuple(f"class {i}" for i in range(300)))
    header = header_of("a", vocabulary=wide)
    prepare_run(tmp_path / "run", header, ["a"])
    labels = np.array([[299, 65535]], np.uint16)
    with RunWriter(tmp_path / "run", wide) as writer:
        assert writer.put("a", one_hot(labels, ignore=65535))["classes"] == {"299": 1}
    complete_run(tmp_path / "run", header, ["a"])
    read = RunFolder.open(tmp_path / "run").labels("a")
    assert read.dtype == np.uint16
    np.testing.assert_array_equal(read, labels)


def test_saved_scores_are_half_precision_and_the_same_bytes_each_time(tmp_path):
    header = header_of("a")
    scores = np.array([[[0.1, 0.25, 0.0]]], np.float32)
    contents = []
    for name in ("one", "two"):
        prepare_run(tmp_path / name, header, ["a"])
        with RunWriter(tmp_path / name, TOY, save_scores=True) as writer:
            writer.put("a", SoftMask(scores, (2,)))
        contents.append((tmp_path / name / "scores/a.npz").read_bytes())
        time.sleep(0.01)
    assert contents[0] == contents[1]
    read = RunFolder.open(tmp_path / "one").scores("a")
    assert read is not None
    np.testing.assert_allclose(read.scores, scores, atol=1e-4)


def test_scores_too_large_for_half_precision_are_refused(tmp_path):
    prepare_run(tmp_path / "run", header_of("a"), ["a"])
    with RunWriter(tmp_path / "run", TOY, save_scores=True) as writer, pytest.raises(DataError, match="<= 65504"):
        writer.put("a", SoftMask(np.full((1, 2, 2), 1e6, np.float32), (0,)))


@pytest.mark.parametrize("sample_id", ["a", "train/2007_000032", "a b", "Straße/0001", "a.b.c", "CONTENT", "com10"])
def test_ids_that_are_file_names_everywhere(sample_id):
    check_id(sample_id)


@pytest.mark.parametrize(
    "sample_id", ["", "..", "../a", "a/../b", "/etc/a", "a//b", "a/", "./a", ".hidden", "C:/a", "a\\b", "a\0b", "a\nb"]
)
def test_ids_that_would_leave_the_folder_or_cannot_be_stored(sample_id, tmp_path):
    with pytest.raises(RunFolderError, match="an image id must be usable as a file name"):
        prepare_run(tmp_path / "run", header_of(sample_id), [sample_id])
    assert not (tmp_path / "run").exists()


def test_differences_name_each_setting_with_both_values():
    old, new = header_of("a"), header_of("a", seed=1, config={"n": 2, "extra": "x"})
    assert differences(old, new) == [
        "config.n is 1 there, 2 now",
        "seed is 0 there, 1 now",
        'config.extra is absent there, "x" now',
    ]
    assert differences(old, old | {"state": "complete", "counts": {}}) == []


def test_a_newer_package_matters_only_where_something_is_left_to_do(run):
    header = header_of("a", "b/c", "d")
    header["versions"]["numpy"] = "99.0"
    with pytest.raises(RunFolderError, match=r"versions\.numpy is .* there, \"99\.0\" now"):
        prepare_run(run, header, ("a", "b/c", "d"))
    whole = header_of("a", "b/c")
    prepare_run(run.parent / "whole", whole, ("a", "b/c"))
    with RunWriter(run.parent / "whole", TOY) as writer:
        for sample_id in ("a", "b/c"):
            writer.put(sample_id, one_hot(LABELS))
    whole["versions"]["numpy"] = "99.0"
    assert not unfinished_ids(prepare_run(run.parent / "whole", whole, ("a", "b/c")), ("a", "b/c"))


def test_a_folder_that_is_no_run_is_refused_and_kept(tmp_path):
    (tmp_path / "thesis.tex").write_text("x")
    for overwrite in (False, True):
        with pytest.raises(RunFolderError, match=r"not empty and not a run \(it holds thesis.tex\)"):
            prepare_run(tmp_path, header_of("a"), ["a"], overwrite=overwrite)
    assert [p.name for p in tmp_path.iterdir()] == ["thesis.tex"]


def test_overwrite_removes_only_a_run(tmp_path):
    (tmp_path / "run.json").write_text('{"name": "marathon"}')
    with pytest.raises(RunFolderError, match="only a run is overwritten"):
        prepare_run(tmp_path, header_of("a"), ["a"], overwrite=True)
    assert (tmp_path / "run.json").exists()


def test_overwrite_begins_again_and_keeps_what_is_not_of_the_run(run):
    (run / "notes.txt").write_text("mine")
    records = prepare_run(run, header_of("a", seed=1), ["a"], overwrite=True)
    assert not records.done and not records.failed
    assert sorted(p.name for p in run.iterdir()) == ["notes.txt", "run.json"]
    assert read_header(run)["seed"] == 1


@pytest.mark.parametrize("below", ["file", "file/run"])
def test_a_place_where_nothing_can_be_written(tmp_path, below):
    (tmp_path / "file").write_text("x")
    with pytest.raises(RunFolderError, match="cannot write the run folder") as caught:
        prepare_run(tmp_path / below, header_of("a"), ["a"])
    assert "read-only" in caught.value.hint


def test_a_full_disk_loses_nothing(tmp_path, monkeypatch):
    header, ids = header_of("a", "b"), ("a", "b")
    prepare_run(tmp_path / "run", header, ids)
    with RunWriter(tmp_path / "run", TOY) as writer:
        writer.put("a", one_hot(LABELS))
        with monkeypatch.context() as patch, pytest.raises(RunFolderError, match="No space left on device"):
            patch.setattr("labelgen.store.writer.write_atomic", _full_disk)
            writer.put("b", one_hot(LABELS))
    assert list(prepare_run(tmp_path / "run", header, ids).done) == ["a"]


def _full_disk(*_, **__):
    raise OSError(28, "No space left on device")


def test_a_temporary_file_swept_away_by_another_process_is_written_again(tmp_path, monkeypatch):
    from labelgen.store import writer as module

    calls = []

    def swept_once(path, content, **_):
        calls.append(path)
        if len(calls) == 1:
            raise FileNotFoundError(2, "No such file", str(path))
        write(path, content)

    write = module.write_atomic
    prepare_run(tmp_path / "run", header_of("a"), ["a"])
    monkeypatch.setattr(module, "write_atomic", swept_once)
    with RunWriter(tmp_path / "run", TOY) as writer:
        writer.put("a", one_hot(LABELS))
    assert len(calls) == 2 and (tmp_path / "run/labels/a.png").exists()


def test_two_processes_may_complete_a_run_at_once(tmp_path, monkeypatch):
    """The other one completes the run, and sweeps, before each of our renames."""
    from labelgen.store import lifecycle as module

    header, ids = header_of("a", "b"), ("a", "b")
    prepare_run(tmp_path, header, ids)
    with RunWriter(tmp_path, TOY) as writer:
        own = [writer.put(sample_id, one_hot(LABELS)) for sample_id in ids]
    others = []

    def swept_at_first(write):
        def meanwhile_completed(path, content, **_):
            if path.name not in others:
                others.append(path.name)
                with monkeypatch.context() as other:
                    for name, function in writers.items():
                        other.setattr(module, name, function)
                    assert complete_run(tmp_path, header, ids, own)
                raise FileNotFoundError(2, "swept", str(path))
            write(path, content)

        return meanwhile_completed

    writers = {name: getattr(module, name) for name in ("write_atomic", "write_lines")}
    for name, function in writers.items():
        monkeypatch.setattr(module, name, swept_at_first(function))
    assert complete_run(tmp_path, header, ids, own)
    assert others == ["manifest.jsonl", "run.json"]
    assert verify_run(tmp_path) == []


def journal_of(folder):
    (journal,) = (folder / ".journal").glob("*.jsonl")
    return journal


def test_a_torn_line_of_a_journal_is_ignored(tmp_path):
    header, ids = header_of("a", "b"), ("a", "b")
    prepare_run(tmp_path, header, ids)
    with RunWriter(tmp_path, TOY) as writer:
        for sample_id in ids:
            writer.put(sample_id, one_hot(LABELS))
    content = journal_of(tmp_path).read_bytes()
    journal_of(tmp_path).write_bytes(content[:-20])
    assert unfinished_ids(prepare_run(tmp_path, header, ids), ids) == ["b"]
    journal_of(tmp_path).write_bytes(b"\0\0\0\n[1]\n" + content)  # what a power cut can leave
    assert unfinished_ids(prepare_run(tmp_path, header, ids), ids) == []


def test_a_run_is_complete_only_when_every_image_is_done_or_failed(tmp_path):
    header, ids = header_of("a", "b"), ("a", "b")
    prepare_run(tmp_path, header, ids)
    with RunWriter(tmp_path, TOY) as writer:
        own = [writer.put("a", one_hot(LABELS))]
        assert not complete_run(tmp_path, header, ids, own)
        assert read_header(tmp_path)["state"] == "running" and RunFolder.open(tmp_path).ids == ("a",)
        own.append(writer.fail("b", DataError("broken")))
        assert complete_run(tmp_path, header, ids, own)
    assert complete_run(tmp_path, header, ids)


def test_records_whose_journal_another_process_removed_are_not_lost(tmp_path):
    header, ids = header_of("a", "b"), ("a", "b")
    prepare_run(tmp_path, header, ids)
    with RunWriter(tmp_path, TOY) as writer:
        own = [writer.put(sample_id, one_hot(LABELS)) for sample_id in ids]
    journal_of(tmp_path).unlink()
    assert complete_run(tmp_path, header, ids, own)
    assert verify_run(tmp_path) == []


def test_an_image_that_fails_has_no_label_left_from_a_killed_process(tmp_path):
    header, ids = header_of("a", "b"), ("a", "b")
    prepare_run(tmp_path, header, ids)
    write_mask(tmp_path / "labels/b.png", LABELS)  # written, but killed before its line was
    (tmp_path / "labels/.b.png.77.tmp").write_bytes(b"half")
    with RunWriter(tmp_path, TOY) as writer:
        own = [writer.put("a", one_hot(LABELS)), writer.fail("b", DataError("broken"))]
    assert complete_run(tmp_path, header, ids, own)
    assert [p.name for p in (tmp_path / "labels").iterdir()] == ["a.png"]


def test_what_is_left_of_a_kill_after_completion_is_swept_by_the_next_call(run):
    (run / ".journal").mkdir()
    (run / ".journal/left.jsonl").write_text("")
    assert complete_run(run, header_of("a", "b/c", "d"), ("a", "b/c", "d"))
    assert verify_run(run) == []


def edit(path, change):
    content = json.loads(path.read_text())
    change(content)
    path.write_text(json.dumps(content))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda header: header.update(schema=2), "schema 1, got 2"),
        (lambda header: header.update(format="other"), "format 'labelgen-run'"),
        (lambda header: header.pop("seed"), "seed is None"),
        (lambda header: header.update(seed="0"), "seed is '0'"),
        (lambda header: header.update(seed=True), "seed is True"),
        (lambda header: header.update(state="done"), "state is 'done'"),
        (lambda header: header.pop("counts"), "state is 'complete'"),
        (lambda header: header.update(mood="fine"), "unknown field 'mood'"),
        (lambda header: header["data"].pop("kind"), "data lacks 'kind'"),
    ],
)
def test_a_header_that_is_not_understood_is_refused(run, change, message):
    edit(run / "run.json", change)
    with pytest.raises(RunFolderError, match=message):
        RunFolder.open(run)


def test_damaged_json_is_refused_with_its_place(run):
    lines = (run / "manifest.jsonl").read_text()
    (run / "manifest.jsonl").write_text(lines + '{"id": "e"')
    with pytest.raises(RunFolderError, match=r"line 3 is not JSON in .*manifest.jsonl"):
        assert RunFolder.open(run).ids
    (run / "manifest.jsonl").write_text(lines + '{"id": "e"}\n')
    with pytest.raises(RunFolderError, match="line 3 lacks one of id, size, sha256"):
        assert RunFolder.open(run).ids
    (run / "manifest.jsonl").unlink()
    with pytest.raises(RunFolderError, match=r"must have manifest\.jsonl, got none"):
        assert RunFolder.open(run).ids
    (run / "run.json").write_text("{")
    with pytest.raises(RunFolderError, match=r"run\.json cannot be read"):
        RunFolder.open(run)


def test_damaged_scores_and_strokes_are_errors_of_one_image(run):
    (run / "scores/b/c.npz").write_bytes(b"PK")
    (run / "strokes/b/c.json").write_text("{")
    folder = RunFolder.open(run)
    with pytest.raises(DataError, match="strokes cannot be read"):
        folder.strokes("b/c")
    with pytest.raises(DataError, match="scores cannot be read"):
        folder.scores("b/c")


def test_scores_that_are_no_numbers_name_their_file(run):
    path = run / "scores/b/c.npz"
    with np.load(path) as archive:
        content = dict(archive)
    content["scores"] = np.full_like(content["scores"], np.nan)
    np.savez(path, **content)
    with pytest.raises(DataError, match=r"scores are damaged: .*c\.npz .scores must be finite"):
        RunFolder.open(run).scores("b/c")


def test_verify_finds_every_kind_of_damage(run):
    assert verify_run(run) == []
    (run / "labels/a.png").unlink()
    write_mask(run / "labels/b/c.png", np.zeros((2, 3), np.uint8))
    write_mask(run / "labels/extra.png", LABELS)
    (run / "scores/a.npz").write_bytes(b"")
    edit(run / "run.json", lambda header: header["counts"].update(strokes=9))
    (run / ".run.json.1.tmp").write_text("")
    (run / ".journal").mkdir()
    assert verify_run(run) == [
        "run.json: counts differ from manifest.jsonl",
        ".journal: left behind in a complete run; the same command again removes it",
        "labels/a.png: missing (No such file or directory)",
        "scores/a.npz: changed (sha256 differs from manifest.jsonl)",
        "labels/b/c.png: changed (sha256 differs from manifest.jsonl)",
        "labels/extra.png: not in manifest.jsonl",
        ".run.json.1.tmp: left behind by a killed process",
    ]


def test_verify_finds_lines_that_are_lost_or_out_of_order(run):
    first, second = (run / "manifest.jsonl").read_text().splitlines()
    (run / "manifest.jsonl").write_text(f"{second}\n{first}\n")
    assert any("sorted by id" in problem for problem in verify_run(run))
    (run / "manifest.jsonl").write_text(f"{first}\n")
    assert any("not those of the data set" in problem for problem in verify_run(run))


def test_verify_says_that_a_run_is_unfinished(tmp_path):
    prepare_run(tmp_path, header_of("a"), ["a"])
    assert verify_run(tmp_path) == [
        "run.json: the run is not complete (0 images so far); the same command again finishes it"
    ]


def test_a_plain_folder_of_masks_is_read_like_a_run(tmp_path):
    write_mask(tmp_path / "b" / "2.png", LABELS)
    write_mask(tmp_path / "1.PNG", LABELS)
    write_mask(tmp_path / ".cache" / "3.png", LABELS)
    source = open_labels(tmp_path, vocabulary=TOY)
    assert isinstance(source, MaskFolder)
    assert (source.name, source.ids, source.spec) == (tmp_path.name, ("1", "b/2"), None)
    np.testing.assert_array_equal(source.labels("b/2"), LABELS)
    with pytest.raises(DataError, match="no mask for image '3'"):
        source.labels("3")


def test_masks_with_ids_outside_the_vocabulary_are_refused(tmp_path):
    write_mask(tmp_path / "a.png", np.full((2, 2), 7, np.uint8))
    with pytest.raises(DataError, match=r"ids < 3 or 255, got 7 in .*a\.png"):
        MaskFolder(tmp_path, vocabulary=TOY).labels("a")


def test_open_labels_knows_runs_and_refuses_the_rest(run, tmp_path):
    assert isinstance(open_labels(run), RunFolder)
    (tmp_path / "empty").mkdir()
    with pytest.raises(RunFolderError, match="needs a vocabulary"):
        open_labels(tmp_path / "empty")
    with pytest.raises(RunFolderError, match="neither a run nor a folder of mask PNGs"):
        open_labels(tmp_path / "empty", vocabulary=TOY)
    with pytest.raises(RunFolderError, match="no such run or folder"):
        open_labels(tmp_path / "nowhere", vocabulary=TOY)


def test_the_newest_run_is_the_youngest_complete_one(run, tmp_path):
    older, unfinished = run.parent / "older", run.parent / "unfinished"
    prepare_run(older, header_of("a"), ["a"])
    with RunWriter(older, TOY) as writer:
        complete_run(older, header_of("a"), ["a"], [writer.put("a", one_hot(LABELS))])
    os.utime(older / "run.json", (1, 1))
    prepare_run(unfinished, header_of("a"), ["a"])
    assert newest_run(run.parent) == run
    os.utime(run / "run.json", (0, 0))
    assert newest_run(run.parent) == older


def test_without_a_complete_run_the_unfinished_ones_are_named(tmp_path):
    (tmp_path / "work").mkdir()
    with pytest.raises(RunFolderError, match="no run below") as caught:
        newest_run(tmp_path / "work/runs")
    assert "labelgen clip (needs class names and no truth)" in caught.value.hint and "scribble" in caught.value.hint
    for name in ("work/mine", "work/deep/mine", "work/runs/deep/mine"):
        prepare_run(tmp_path / name, header_of("a"), ["a"])
        with pytest.raises(RunFolderError, match="no run below") as caught:
            newest_run(tmp_path / "work/runs")
        assert caught.value.hint == f"there are runs at {(tmp_path / name).as_posix()}; name one"
        shutil.rmtree(tmp_path / name)
    prepare_run(tmp_path / "half", header_of("a"), ["a"])
    with pytest.raises(RunFolderError, match=r"no complete run below .*; unfinished: .*half"):
        newest_run(tmp_path)


def test_totals_of_no_image_are_zero():
    assert summarise(Records())["coverage"] == 0.0
