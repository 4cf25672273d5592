import os
import pickle
from pathlib import Path

import pytest

from labelgen.data import Dataset, DataSpec, open_data, reopen
from labelgen.data.open import LAYOUTS, parse_source
from labelgen.errors import ConfigError, DataError


def test_kind_and_path(tmp_path):
    assert parse_source("demo") == parse_source("") == parse_source("demo:") == ("demo", "")
    assert parse_source(f"voc:{tmp_path}") == ("voc", str(tmp_path.resolve()))
    assert parse_source("VOC:.") == ("voc", str(Path.cwd()))


def test_a_single_letter_is_a_windows_drive_and_no_kind():
    with pytest.raises(DataError, match=r"data not found"):  # not: unknown kind "c"
        parse_source("C:\\data\\voc")
    kind, path = parse_source("voc:C:\\data")
    assert kind == "voc"
    assert path.endswith("C:\\data")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("foo:bar", "unknown kind of data 'foo'"),
        ("voc:", "must be demo, a path or kind:path"),
        ("demo:x", "demo:N draws N scenes"),
        ("demo:0", "demo:N draws N scenes"),
        ("demo:99999999", "demo:N draws N scenes"),
        ("no/such/folder", "data not found: .*folder"),
    ],
)
def test_what_cannot_be_opened(text, message):
    with pytest.raises(DataError, match=message) as caught:
        open_data(text)
    assert caught.value.hint


def test_explicit_kind_needs_the_folder(tmp_path):
    for kind in LAYOUTS.keys() - {"demo"}:
        with pytest.raises(DataError, match="data not found"):
            open_data(f"{kind}:{tmp_path / 'nowhere'}")


def test_unknown_layout_says_what_was_looked_for(tmp_path):
    with pytest.raises(DataError, match="no known layout in") as caught:
        open_data(str(tmp_path))
    assert all(f"({kind})" in caught.value.hint for kind in LAYOUTS.keys() - {"demo"})


def test_run_folder_is_no_data(tmp_path):
    (tmp_path / "run.json").write_text("{}", encoding="utf-8")
    with pytest.raises(DataError, match="is a run folder"):
        open_data(str(tmp_path))


@pytest.mark.skipif(os.name == "nt", reason="Windows allows no colon in names")
def test_path_with_a_colon_that_exists_is_a_path(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("odd:name").mkdir()
    with pytest.raises(DataError, match="no known layout"):
        open_data("odd:name")


def test_spec_opens_the_same_data_again(voc, monkeypatch):
    ids_file = voc.lines("some.txt", "b")
    data = open_data(str(voc.root), ids_file=str(ids_file), split="train", limit=1)
    assert isinstance(data, Dataset)
    monkeypatch.chdir("/")
    again = reopen(DataSpec(**data.spec.to_json()))
    assert again.ids == data.ids == ("b",)
    assert again.spec == data.spec


def test_reopen_unknown_kind():
    with pytest.raises(DataError, match="unknown kind of data 'zip'"):
        reopen(DataSpec(kind="zip"))


def test_layout_is_recognised(voc):
    assert open_data(str(voc.root)).spec.kind == "voc"


def test_data_sets_can_be_pickled(voc):
    for text in ("demo", str(voc.root)):
        data = open_data(text)
        again = pickle.loads(pickle.dumps(data))
        assert again.ids == data.ids
        assert (again.truth(again.ids[0]) == data.truth(data.ids[0])).all()


def test_negative_limit():
    with pytest.raises(ConfigError, match="limit must be >= 0"):
        open_data("demo", limit=-1)
