"""Locks end with their process, and a file that a killed process left counts for nothing."""

import gc
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from labelgen import locks
from labelgen.errors import RunFolderError
from labelgen.locks import alone, holders, lock_when_free, own_lock, try_lock


def test_one_holder_at_a_time(tmp_path):
    path = tmp_path / "a.lock"
    with try_lock(path):
        assert try_lock(path) is None
        assert path.read_text().startswith("process ")
    assert not path.exists()
    with try_lock(path):
        pass


def test_a_file_of_a_process_that_has_ended_is_taken_over(tmp_path):
    (tmp_path / "a.lock").write_text("process 1 on another, which was killed long ago")
    with try_lock(tmp_path / "a.lock"):
        assert "long ago" not in (tmp_path / "a.lock").read_text()
    assert holders(tmp_path) == [] and list(tmp_path.iterdir()) == []


def test_a_file_that_its_holder_removes_meanwhile_is_made_again(tmp_path, monkeypatch):
    path, lock = tmp_path / "a.lock", locks._lock

    def removed_first(descriptor):
        monkeypatch.setattr(locks, "_lock", lock)
        path.unlink()
        return lock(descriptor)

    monkeypatch.setattr(locks, "_lock", removed_first)
    with try_lock(path):
        assert path.exists() and try_lock(path) is None


def test_a_signal_while_a_lock_is_taken_leaves_no_file(tmp_path, monkeypatch):
    def interrupted(descriptor, text):
        raise KeyboardInterrupt

    monkeypatch.setattr(locks.os, "write", interrupted)
    with pytest.raises(KeyboardInterrupt):
        try_lock(tmp_path / "a.lock")
    assert list(tmp_path.iterdir()) == []


def test_a_signal_while_its_file_is_made_leaves_no_file(tmp_path, monkeypatch):
    opened = os.open

    def interrupted(*arguments):
        monkeypatch.setattr(locks.os, "open", opened)
        os.close(opened(*arguments))
        raise KeyboardInterrupt

    monkeypatch.setattr(locks.os, "open", interrupted)
    with pytest.raises(KeyboardInterrupt):
        try_lock(tmp_path / "a.lock")
    assert list(tmp_path.iterdir()) == []


def test_a_signal_on_the_way_to_a_lock_that_another_holds_leaves_it(tmp_path, monkeypatch):
    def interrupted(*arguments):
        raise KeyboardInterrupt

    with try_lock(tmp_path / "a.lock"):
        monkeypatch.setattr(locks.os, "open", interrupted)
        with pytest.raises(KeyboardInterrupt):
            try_lock(tmp_path / "a.lock")
        monkeypatch.undo()
        assert try_lock(tmp_path / "a.lock") is None and (tmp_path / "a.lock").exists()


def test_a_lock_that_no_block_held_yet_ends_as_well(tmp_path):
    lock = try_lock(tmp_path / "a.lock")
    del lock  # as when a signal comes before the block begins
    assert list(tmp_path.iterdir()) == []


def test_a_signal_while_a_lock_ends_leaves_no_file(tmp_path, monkeypatch):
    unlink = Path.unlink

    def interrupted(path, missing_ok=False):
        monkeypatch.setattr(Path, "unlink", unlink)
        raise KeyboardInterrupt

    lock = try_lock(tmp_path / "a.lock")
    with pytest.raises(KeyboardInterrupt), lock:
        monkeypatch.setattr(Path, "unlink", interrupted)
    del lock
    gc.collect()
    assert list(tmp_path.iterdir()) == []


def test_a_lock_that_has_ended_leaves_that_of_another_alone(tmp_path):
    path = tmp_path / "a.lock"
    first = try_lock(path)
    with first:
        pass
    with try_lock(path):
        first.__exit__()
        del first
        assert path.exists() and try_lock(path) is None


def test_the_fork_of_a_holder_lets_it_be(tmp_path, monkeypatch):
    with try_lock(tmp_path / "a.lock") as lock:
        monkeypatch.setattr(locks.os, "getpid", lambda: 1)
        lock.__exit__()
        assert try_lock(tmp_path / "a.lock") is None and (tmp_path / "a.lock").exists()


def test_waiting_ends_when_there_is_nothing_to_wait_for(tmp_path, monkeypatch):
    monkeypatch.setattr(locks, "PATIENCE", 0.001)
    asked = iter([False, False, True])
    with try_lock(tmp_path / "a.lock"):
        assert lock_when_free(tmp_path / "a.lock", done=lambda: next(asked)) is None
    with lock_when_free(tmp_path / "a.lock"):
        pass


def test_who_is_at_work(tmp_path):
    with own_lock(tmp_path / "journal"), own_lock(tmp_path / "journal"):
        assert len(holders(tmp_path / "journal")) == 2
    assert holders(tmp_path / "journal") == [] == holders(tmp_path / "absent")


def test_alone_refuses_the_second_and_names_the_first(tmp_path):
    with alone(tmp_path / "new" / "probe"):
        assert not (tmp_path / "new" / "probe").exists()
        refused = pytest.raises(RunFolderError, match=r"another process is at work in .*probe \(process \d+ on ")
        with refused, alone(tmp_path / "new" / "probe"):
            raise AssertionError("not reached")
    assert list((tmp_path / "new").iterdir()) == []


def test_where_nothing_can_be_written_there_is_nothing_to_guard(tmp_path, monkeypatch):
    def read_only(path):
        raise OSError(30, "Read-only file system")

    monkeypatch.setattr(locks, "try_lock", read_only)
    with alone(tmp_path / "probe"):
        pass

    def full(path):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(locks, "try_lock", full)
    with pytest.raises(RunFolderError, match="No space left on device"), alone(tmp_path / "probe"):
        raise AssertionError("not reached")


@pytest.mark.slow
def test_a_killed_process_holds_nothing(tmp_path):
    script = "import sys, time; from labelgen.locks import *; from pathlib import Path\n"
    script += "lock = try_lock(Path(sys.argv[1])); print('held', flush=True); time.sleep(60)"
    path = tmp_path / "a.lock"
    process = subprocess.Popen(
        [sys.executable, "-c", script, str(path)], stdout=subprocess.PIPE, cwd=Path(locks.__file__).parents[1]
    )
    assert process.stdout.readline().strip() == b"held" and try_lock(path) is None
    process.kill()
    process.communicate()
    until = time.monotonic() + 10
    while (lock := try_lock(path)) is None:
        assert time.monotonic() < until
    with lock:
        assert path.exists()
