"""Files read within a bound: regular ones, pipes, names that are none."""

import os
import threading

import pytest

from labelgen.untrusted import parse_json, parse_toml, read_bounded


@pytest.mark.parametrize("size", [0, 1, 100, 3_000_000])
def test_whole_files(tmp_path, size):
    content = os.urandom(size)
    (tmp_path / "a").write_bytes(content)
    assert read_bounded(tmp_path / "a") == read_bounded(tmp_path / "a", size) == content
    if size:
        with pytest.raises(OSError, match=f"it has more than {size - 1:,} bytes"):
            read_bounded(tmp_path / "a", size - 1)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="this system has no such files")
@pytest.mark.parametrize("size", [0, 1, 3_000_000])
def test_pipes_which_do_not_say_how_long_they_are(tmp_path, size):
    content, path = os.urandom(size), tmp_path / "a"
    os.mkfifo(path)

    def read(largest):
        writer = threading.Thread(target=lambda: _write(path, content), daemon=True)
        writer.start()
        try:
            return read_bounded(path, largest)
        finally:
            writer.join(10)

    assert read(size) == content
    if size:
        with pytest.raises(OSError, match="it has more than"):
            read(size - 1)


def _write(path, content):
    pipe = os.open(path, os.O_WRONLY)
    try:
        while content:
            content = content[os.write(pipe, content) :]
    except BrokenPipeError:  # the reader has seen enough
        return
    finally:
        os.close(pipe)


def test_names_that_are_none(tmp_path):
    with pytest.raises(OSError, match="null"):
        read_bounded(tmp_path / "a\0b")
    with pytest.raises(FileNotFoundError):
        read_bounded(tmp_path / "a")


def test_bounds_of_text():
    assert parse_json("[1]", largest=3) == [1]
    with pytest.raises(ValueError, match="more than 2 bytes"):
        parse_json("[1]", largest=2)
    dotted = ".".join("a" * 101)
    assert parse_toml(f'x = "{dotted}..................."\ny = [{"0.5, " * 500}]\n# ' + "." * 500)["x"].startswith(
        "a.a"
    )
    with pytest.raises(ValueError, match="more than 100 parts"):
        parse_toml(f"z = 1\n{dotted}.b = 1")
