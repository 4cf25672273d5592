"""Files that a method reads beside the data set: hashed when read, looked at again when a run is taken up."""

import dataclasses
import hashlib
import importlib.util
import os
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

from labelgen.data.inputs import InputFile, inputs_of, with_input
from labelgen.errors import DataError, RunFolderError
from labelgen.run import RunOptions, plan_job, run_job
from labelgen.store import RunFolder, verify_run

spec = importlib.util.spec_from_file_location("toy_run", Path(__file__).with_name("toy_run.py"))
toy = sys.modules.get("toy_run") or importlib.util.module_from_spec(spec)
if "toy_run" not in sys.modules:
    sys.modules["toy_run"] = toy  # dataclasses look their module up
    spec.loader.exec_module(toy)


@dataclass(frozen=True)
class MakeReader:
    """The toy method, which also reads FOLDER/<id>.txt."""

    folder: str

    def __call__(self):
        generate = toy.MakeToy()()

        def read(sample, rng):
            try:
                file = InputFile.read(Path(self.folder) / f"{sample.id}.txt")
            except OSError as error:
                raise DataError(f"no text of {sample.id}") from error
            mask = generate(sample, rng)
            return dataclasses.replace(mask, details=with_input(mask.details, file))

        return read


@pytest.fixture
def texts(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "texts/a").mkdir(parents=True)
    for number in range(3):
        (tmp_path / f"texts/a/{number:02d}.txt").write_text(f"text {number}")
    return tmp_path / "texts/a"


def label(count=3, **options):
    return run_job(toy.ToyData(count), toy.toy_job(MakeReader("texts")), Path("run"), RunOptions(**options))


def test_the_manifest_keeps_path_and_hash(texts):
    label()
    details = RunFolder.open("run").records()["a/01"]["details"]
    assert details["inputs"] == {"texts/a/01.txt": hashlib.sha256(b"text 1").hexdigest()}
    assert "row" in details
    assert label().skipped == 3 and verify_run("run") == []


def test_two_files_of_one_image_are_both_kept():
    once = with_input({}, InputFile(Path("a.png"), b"a"))
    assert list(with_input(once, InputFile(Path("b.png"), b"b"))["inputs"]) == ["a.png", "b.png"]
    assert inputs_of({"inputs": [1]}) == inputs_of({}) == inputs_of({"inputs": {"a": 3}}) == {}


def test_a_changed_file_stops_a_run_from_being_taken_up(texts):
    label()
    (texts / "01.txt").write_text("TEXT 1")  # of the same length
    for call in (label, lambda: plan_job(toy.ToyData(3), toy.toy_job(MakeReader("texts")), Path("run"))):
        with pytest.raises(RunFolderError) as caught:
            call()
        expected = r"texts/a/01.txt has changed since image 'a/01' of run was labelled"
        assert expected in caught.value.message.replace(os.sep, "/") and "--overwrite" in caught.value.hint
    assert verify_run("run") == ["texts/a/01.txt: changed since 'a/01' was labelled with it"]
    (Path("run") / "labels/a/01.png").unlink()
    assert (label().done, label().skipped) == (1, 3)
    assert verify_run("run") == []
    (texts / "00.txt").write_text("other")
    assert label(overwrite=True).done == 3


def test_a_file_that_was_only_touched_or_taken_away_is_no_change(texts):
    label()
    (texts / "01.txt").write_text("text 1")
    (texts / "02.txt").unlink()
    assert label().skipped == 3 and verify_run("run") == []


def test_old_files_are_not_read_again(texts, monkeypatch):
    label()
    os.utime("run/labels/a/01.png", (2**33, 2**33))  # labelled long after the text was written
    (texts / "00.txt").write_text("text 0")
    read = []
    monkeypatch.setattr(InputFile, "read", staticmethod(lambda path: read.append(path) or InputFile(path, b"text 0")))
    label()
    assert Path("texts/a/00.txt") in read and Path("texts/a/01.txt") not in read


def test_an_image_that_failed_for_want_of_its_file_is_tried_again_when_the_file_is_there(texts):
    assert (label(4).failed, label(4).failed) == (1, 1)
    (texts / "03.txt").write_text("text 3")
    report = label(4)
    assert (report.done, report.skipped, report.failed) == (1, 3, 0)


def test_a_file_that_many_images_share_is_read_once(texts, monkeypatch):
    from labelgen.store.inputs import InputCheck

    read = []
    monkeypatch.setattr(InputFile, "read", staticmethod(lambda path: read.append(path) or InputFile(path, b"new")))
    check = InputCheck()
    record = {"details": {"inputs": {"texts/a/00.txt": "old"}}}
    assert [list(check.changed(record)) for _ in range(3)] == [["texts/a/00.txt"]] * 3
    assert len(read) == 1
