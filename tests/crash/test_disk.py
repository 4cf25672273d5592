"""A full disk and a read-only one: the error says what, where and what to do, and the folder resumes."""

import errno
import os
import subprocess
import sys

import pytest
from crash.harness import STAGES, Trial, contents

FULL = {"generate": (1, 4, 9), "refine": (1, 7), "cache": (1, 2, 5), "fit": (1, 3, 5, 8)}  # at which write


@pytest.mark.slow
@pytest.mark.parametrize("name", FULL)
def test_a_full_disk(zygote, tmp_path, name):
    trial = Trial(zygote, name, tmp_path / "work")
    folder = trial.fresh("full")
    for at in FULL[name]:
        found = trial.strike(folder, {"kind": "errno", "at": at, "errno": errno.ENOSPC})
        assert found["code"] == 1, found["log"]
        error, hint = found["log"].splitlines()[-2:]
        assert error.startswith("error: ") and "No space left on device" in error
        assert any(place in error for place in ("runs/", "cache/", "probes/")), error
        assert hint.startswith("hint: ") and any(word in hint for word in ("full", "space"))
        assert [path for path in contents(folder) if path.endswith((".tmp", ".lock"))] == []
    trial.finish_as_undisturbed(folder)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["generate", "cache", "fit"])
def test_a_read_only_place(zygote, tmp_path, name):
    trial = Trial(zygote, name, tmp_path / "work")
    folder = trial.fresh("read-only")
    before = contents(folder)
    found = trial.strike(folder, {"kind": "read-only"})
    assert found["code"] == 1, found["log"]
    error, hint = found["log"].splitlines()[-2:]
    assert "Read-only file system" in error and "read-only" in hint
    assert contents(folder) == before


@pytest.mark.slow
@pytest.mark.parametrize("name", ["generate", "fit"])
def test_what_is_complete_can_be_asked_for_again_where_nothing_can_be_written(zygote, tmp_path, name):
    trial = Trial(zygote, name, tmp_path / "work")
    folder = trial.fresh("complete")
    trial.finish(folder)
    found = trial.strike(folder, {"kind": "read-only"})
    assert found["code"] == 0, found["log"]
    trial.compare(folder)
    assert trial.tally.differences == []


@pytest.fixture
def mounted(tmp_path):
    """A small file system of its own, or a skip."""
    place = tmp_path / "small"
    place.mkdir()
    if sys.platform != "linux" or os.geteuid() != 0:
        pytest.skip("only root may mount a file system")
    command = ["mount", "-t", "tmpfs", "-o", "size=32k", "tmpfs", str(place)]
    if subprocess.run(command, check=False, capture_output=True).returncode:
        pytest.skip("this machine lets nobody mount a file system")
    yield place
    subprocess.run(["umount", "-l", str(place)], check=True)


@pytest.mark.slow
def test_a_disk_that_is_really_full(zygote, tmp_path, mounted):
    trial = Trial(zygote, "generate", tmp_path / "work")
    folder = mounted / "here"
    folder.mkdir()
    found = trial.strike(folder, {})
    assert found["code"] == 1 and "No space left on device" in found["log"], found["log"]
    assert "cannot write the run folder runs/a" in found["log"]
    subprocess.run(["mount", "-o", "remount,size=16m", str(mounted)], check=True)
    trial.finish_as_undisturbed(folder)


@pytest.mark.slow
def test_a_disk_that_is_really_read_only(zygote, tmp_path, mounted):
    folder = mounted / "here"
    folder.mkdir()
    subprocess.run(["mount", "-o", "remount,ro", str(mounted)], check=True)
    found = zygote.run(STAGES["generate"].argv, folder)
    assert found["code"] == 1 and "Read-only file system" in found["log"], found["log"]
    assert list(folder.iterdir()) == []
