"""Inputs by which the fuzzers found defects, as small as they could be made."""

import json
import re
import zipfile

import numpy as np
import pytest
from parsers import PARSERS
from parsers.documents import COCO, PANOPTIC, tasks
from parsers.parser import dumped, npy, npz
from parsers.runs import run_files

from labelgen.errors import LabelgenError
from labelgen.store import RunFolder
from labelgen.store.records import load_records


def changed(document, *path, to):
    """A document with one value replaced."""
    document = json.loads(json.dumps(document))
    inner = document
    for key in path[:-1]:
        inner = inner[key]
    inner[path[-1]] = to
    return dumped(document)


def header(**changes):
    return dumped({**json.loads(run_files()["run.json"]), **changes})


VOCABULARY = {"name": "x", "classes": ["a"], "background": None}
SEGMENT = ("annotations", 0, "segments_info", 0, "id")
FINDINGS = {
    "a class id of 5000 digits": ("tags-json", lambda: dumped({"a": ["9" * 5000]}), "unknown class"),
    "a file name of 300 characters": (
        "coco-data",
        lambda: changed(COCO, "images", 0, "file_name", to="x" * 300),
        "must lie in its folder",
    ),
    "half of a character as a file name": (
        "coco-data",
        lambda: changed(COCO, "images", 0, "file_name", to="\ud800"),
        "must lie in its folder",
    ),
    "a segment below 0": ("panoptic-data", lambda: changed(PANOPTIC, *SEGMENT, to=-1), "must be a colour"),
    "a segment of 70 bits": ("coco-panoptic", lambda: changed(PANOPTIC, *SEGMENT, to=2**70), "must be a colour"),
    "an image without segments": (
        "panoptic-data",
        lambda: changed(PANOPTIC, "images", 0, "id", to=-1),
        "panoptic mask of 'a' not found",
    ),
    "images that are no list": ("coco-data", lambda: changed(COCO, "images", to=True), "malformed"),
    "an annotation that is none": ("coco-data", lambda: changed(COCO, "annotations", 0, to=None), "malformed"),
    "annotations that are true": ("label-studio", lambda: changed(tasks(), 0, "annotations", to=True), "must be lists"),
    "strokes that are true": ("run-strokes", lambda: b'{"schema": 1, "strokes": [true]}', "malformed"),
    "a colour of infinity": (
        "run",
        lambda: header(vocabulary={**VOCABULARY, "palette": [[0, 0, float("inf")]]}),
        "vocabulary is malformed",
    ),
    "a colour of 256": ("run", lambda: header(vocabulary={**VOCABULARY, "palette": [[0, 0, 256]]}), "from 0 to 255"),
    "data that are no text": (
        "run",
        lambda: changed(json.loads(run_files()["run.json"]), "data", "root", to=3),
        "root of data",
    ),
    "a layer that leads out": (
        "manifest",
        lambda: run_files()["manifest.jsonl"].replace(b'"layers": {"first"', b'"layers": {"../../first"'),
        "malformed one",
    ),
    "a coverage that is no number": (
        "manifest",
        lambda: re.sub(rb'"coverage": [0-9.]+', b'"coverage": NaN', run_files()["manifest.jsonl"]),
        "malformed one",
    ),
    "half of a character in a warning": (
        "manifest",
        lambda: re.sub(rb'"warnings": \[[^]]*\]', rb'"warnings": ["\\ud800"]', run_files()["manifest.jsonl"]),
        "malformed one",
    ),
    "a zip of many disks": (
        "torch",
        lambda: b"PK\x06\x07" + bytes(12) + b"\2\0\0\0" + b"PK\x05\x06" + bytes(18),
        "neither a zip archive nor a pickle",
    ),
    "numbers that are text": ("legacy-seeds", lambda: npy({0: "x"}), "not a seed file"),
    "an index without sums": ("features-index", lambda: b'{"entries": []}', "damaged or incomplete"),
    "a grid of text": (
        "features-index",
        lambda: PARSERS["features-index"].seeds()[0].replace(b"[2, 4]", b'["2", 4]'),
        "damaged or incomplete",
    ),
    "more features than means": (
        "features",
        lambda: PARSERS["features"].seeds()[0].replace(b'"dim": 3', b'"dim": 9'),
        "manifest.json .*damaged",
    ),
    "infinitely many features": (
        "probe",
        lambda: changed(json.loads(PARSERS["probe"].seeds()[0]), "head", "dim", to=float("inf")),
        "probe is malformed",
    ),
    "more features than tensors": (
        "probe",
        lambda: changed(json.loads(PARSERS["probe"].seeds()[0]), "head", "dim", to=10**12),
        "another number of means",
    ),
}


@pytest.mark.parametrize("name", FINDINGS)
def test_findings(tmp_path, name):
    kind, make, message = FINDINGS[name]
    PARSERS[kind].prepare(tmp_path)
    with pytest.raises(LabelgenError, match=message) as caught:
        PARSERS[kind].run(tmp_path, make())
    assert caught.value.message


def test_a_line_that_is_a_path_is_an_id():
    from labelgen.data.selection import id_of_line

    assert id_of_line("/") == "" and id_of_line("/a.png") == "a"


def test_a_zip_with_a_nameless_file(tmp_path):
    from labelgen.formats.archives import open_archive

    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.writestr("x", b"")
    raw = (tmp_path / "a.zip").read_bytes().replace(b"x", b"/")
    (tmp_path / "a.zip").write_bytes(raw)
    with pytest.raises(LabelgenError, match=r"must hold plain files|neither a folder"):
        open_archive(tmp_path / "a.zip")


def test_lines_of_a_torn_journal_are_passed_over_and_the_rest_is_kept(tmp_path):
    good = run_files()["manifest.jsonl"].splitlines()[0]
    bad = [
        b'{"id": "../x", "error": "", "hint": ""}',
        b"[" * 10**5,
        good.replace(b'"classes": {', b'"classes": {"x": 1, '),
        re.sub(rb'"coverage": [0-9.]+', b'"coverage": 1e999', good.replace(b'"a"', b'"c"', 1)),
    ]
    (tmp_path / ".journal").mkdir()
    (tmp_path / ".journal" / "x.jsonl").write_bytes(b"\n".join([*bad, good, b""]))
    records = load_records(tmp_path)
    assert list(records.done) == ["a"] and not records.failed


def test_scores_of_a_false_kind_are_damage(tmp_path):
    PARSERS["run-scores"].prepare(tmp_path)
    for content in (
        npz(scores=np.array(["x"]), class_ids=np.array([1])),
        npz(scores=np.ones(3), class_ids=np.int32(1)),
    ):
        (tmp_path / "scores" / "a.npz").write_bytes(content)
        with pytest.raises(LabelgenError, match="scores cannot be read"):
            RunFolder(tmp_path).scores("a")
