"""As typed: no id of a file, and no link in an output folder, makes a command write, or remove, anything elsewhere."""

import io
import json
import os
import subprocess
import sys
import zipfile

import numpy as np
import pytest
from PIL import Image

from labelgen.cli import main
from labelgen.data.open import open_data
from labelgen.errors import RunFolderError
from labelgen.masks import encode_mask, one_hot, write_mask
from labelgen.store import RunWriter, complete_run, make_header, prepare_run
from labelgen.store.layout import check_ids

SIZE = (6, 8)
HOSTILE = (
    *("../victim", "../../victim", "a/../../../victim", "/victim", "//victim", "a//b", "./a", "a/.", "", ".hidden"),
    *("C:/victim", "C:victim", "a\\..\\..\\victim", "\\\\server\\share", "a\0b", "a\nb", "a\x7fb", "\ud800"),
    *("CON", "con", "nul.txt", "aux.png", "a/COM1", "LPT9.x", "CON .png", "a.", "a ", "a./b", "a /b"),
    *('a"b', "a<b", "a|b", "a?b", "a*b", "x" * 201, "é" * 101, "/".join(["abc"] * 300)),
)
POSIX = pytest.mark.skipif(os.name == "nt", reason="such names are not allowed there")


def shown(name):
    return name.encode("unicode_escape").decode()[:24] or "empty"


def files(folder):
    """Everything below a folder, links as what they name."""
    return {
        path.relative_to(folder).as_posix(): path.readlink() if path.is_symlink() else path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_symlink() or path.is_file()
    }


CLASSES = 'classes = ["ground", "cat", "dog"]\nbackground = 0\n'


def write_data(root, names=("a", "b/c"), vocabulary=CLASSES):
    """A folder data set."""
    labels = (np.arange(48).reshape(SIZE) % 3).astype(np.uint8)
    for number, name in enumerate(names):
        path = root / "images" / f"{name}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.full((*SIZE, 3), 50 * number, np.uint8)).save(path)
        write_mask(root / "masks" / f"{name}.png", labels)
    (root / "vocabulary.toml").write_text(vocabulary)
    return f"folder:{root}"


@pytest.fixture
def place(tmp_path, monkeypatch):
    """A folder to work in, two levels below one that must not change."""
    here = tmp_path / "outer" / "inner" / "work"
    here.mkdir(parents=True)
    monkeypatch.chdir(here)
    return here


def refused(words, capsys, *codes):
    """Run a command line that must fail with words of ours."""
    assert main(words) in (codes or (1,)), capsys.readouterr()
    captured = capsys.readouterr()
    assert captured.err.startswith("error: ") and "\nhint: " in captured.err
    assert "bug" not in captured.err, captured.err
    assert "Traceback" not in captured.err
    return captured.err


def write_run(folder, place, ids=("a", "b/c"), *, complete=True):
    """A run of method box, some or all of whose images are done."""
    dataset = open_data(write_data(place / "data"))
    header = make_header(
        dataset, method="test", config={}, supervision=[], vocabulary=dataset.vocabulary, seed=0, save_scores=True
    )
    prepare_run(folder, header, dataset.ids)
    with RunWriter(folder, dataset.vocabulary, save_scores=True) as writer:
        for sample_id in ids:
            writer.put(sample_id, one_hot(dataset.truth(sample_id)))
    if complete:
        complete_run(folder, header, dataset.ids)
    return folder


@pytest.mark.parametrize("name", HOSTILE, ids=shown)
def test_ids_that_no_system_can_store_are_refused(name):
    with pytest.raises(RunFolderError, match="usable as a file name below the run folder"):
        check_ids(["a", name])


@pytest.mark.parametrize(
    ("first", "second"), [("a", "A"), ("b/c", "B/c"), ("é", "e\u0301"), ("STRASSE", "strasse"), ("ß", "ss")]
)
def test_ids_that_would_be_one_file_elsewhere_are_refused(first, second):
    with pytest.raises(RunFolderError, match="must differ in more than case"):
        check_ids(["x", first, second])
    check_ids([first, first + "2"])


EXPORTS = """
import json, sys
from pathlib import Path
from labelgen.cli import main

manifest = Path("run/manifest.jsonl")
first, second = map(json.loads, manifest.read_text(encoding="utf-8").splitlines())
for name in json.loads(sys.argv[1]):
    manifest.write_text(json.dumps({**first, "id": name}) + chr(10) + json.dumps(second) + chr(10), encoding="utf-8")
    for kind in ("voc", "coco", "cvat", "psa"):
        print(main(["export", "run", "--to", kind, "--out", "out"]))
manifest.write_text(json.dumps(first) + chr(10) + json.dumps(second) + chr(10), encoding="utf-8")
"""


@pytest.mark.slow
def test_exports_of_a_hostile_manifest(place):
    """In a process of its own: where types are checked, a property that raises hides what it raises."""
    run = write_run(place / "run", place)
    second, first = run.joinpath("manifest.jsonl").read_text(encoding="utf-8").splitlines()
    manifest = "".join(json.dumps(json.loads(line)) + "\n" for line in (second, first))
    run.joinpath("manifest.jsonl").write_text(manifest, encoding="utf-8")
    before = files(place.parents[1])
    words = [sys.executable, "-c", EXPORTS, json.dumps(HOSTILE)]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == ["1"] * 4 * len(HOSTILE)
    assert "bug" not in done.stderr and done.stderr.count("manifest.jsonl") == 4 * len(HOSTILE)
    assert files(place.parents[1]) == before


@pytest.mark.parametrize("name", [name for name in HOSTILE if name not in ("./a", "a//b")], ids=shown)
def test_runs_over_hostile_coco_files(place, capsys, name):
    document = {
        "images": [{"id": 1, "file_name": f"{name}.png", "height": 6, "width": 8}],
        "categories": [{"id": 1, "name": "cat"}],
        "annotations": [{"id": 1, "image_id": 1, "category_id": 1, "segmentation": [[1, 1, 5, 1, 5, 4]]}],
    }
    (place / "annotations").mkdir()
    (place / "annotations" / "instances_x.json").write_text(json.dumps(document))
    before = files(place.parents[1])
    refused(
        ["box", f"coco:{place / 'annotations' / 'instances_x.json'}", "--out", "runs/x", "--no-sheet"], capsys, 1, 3
    )
    assert {path for path in files(place.parents[1]) if "runs/x" not in path} == set(before)


@POSIX
@pytest.mark.parametrize("name", ["CON", "aux.x", "a\\b", "a:b", "a ", "a.", 'a"b', "x" * 240, "a\nb"], ids=shown)
def test_runs_over_images_with_hostile_names(place, capsys, name):
    data = write_data(place / "data", ("plain", name))
    before = files(place.parents[1])
    for words in (["box", data], ["corrupt", data]):
        assert "usable as a file name" in refused([*words, "--out", "runs/x"], capsys)
    assert files(place.parents[1]) == before
    assert main(["box", data, "--ids", "list.txt"]) == 1  # the file is not there yet
    (place / "list.txt").write_text("plain\n")
    assert main(["box", data, "--ids", "list.txt", "--out", "runs/x", "--no-sheet"]) == 0


@POSIX
def test_saliency_maps_of_hostile_names(place, capsys):
    pytest.importorskip("torch")
    data = write_data(place / "data", ("plain", "CON"))
    assert "usable as a file name" in refused(["saliency", data, "--out", "maps"], capsys, 1, 2)
    assert not (place / "maps").exists()


@pytest.mark.parametrize(
    "name", ["../victim.png", "/victim.png", "SegmentationClass/../../victim.png", "..\\victim.png"]
)
def test_imports_of_zip_archives_that_lead_out(place, capsys, name):
    data = write_data(place / "data")
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        archive.writestr("SegmentationClass/a.png", encode_mask(np.zeros(SIZE, np.uint8)))
        archive.writestr(name, b"victim")
    (place / "x.zip").write_bytes(stream.getvalue())
    before = files(place.parents[1])
    for kind in ("cvat", "voc"):
        assert "must hold plain files" in refused(["import", "x.zip", "--from", kind, "--data", data], capsys)
    assert files(place.parents[1]) == before


def test_a_failure_that_names_another_file_removes_nothing(place, capsys):
    """Going on with a run, a command removes the labels of images that failed."""
    data = write_data(place / "data")
    assert main(["box", data, "--out", "run", "--no-sheet"]) == 0
    capsys.readouterr()
    for name in ("labels/victim.png", "victim.png", "../victim.png"):
        (place / name).write_bytes(b"precious") if "labels" not in name else None
    (place / "run" / "labels" / "a.png").unlink()
    line = json.dumps({"id": "../../victim", "error": "x", "hint": "y"}) + "\n"
    (place / "run" / "failures.jsonl").write_text(line)
    assert "failures.jsonl" in refused(["box", data, "--out", "run", "--no-sheet"], capsys)
    (place / "run" / "failures.jsonl").unlink()
    (place / "run" / ".journal").mkdir()
    (place / "run" / ".journal" / "x.jsonl").write_text(line)  # a journal may be torn; such lines are passed over
    assert main(["box", data, "--out", "run", "--no-sheet"]) == 0
    assert (place / "victim.png").read_bytes() == (place.parent / "victim.png").read_bytes() == b"precious"


def link(path, target):
    target.mkdir(parents=True, exist_ok=True)
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        path.symlink_to(target, target_is_directory=True)
    except OSError:
        pytest.skip("links need a privilege here")


@pytest.mark.parametrize("name", ["labels", "labels/b", "scores", ".journal"])
def test_runs_are_not_written_through_links(place, capsys, name):
    data = write_data(place / "data")
    words = ["box", data, "--out", "run", "--save-scores", "--no-sheet"]
    assert main(words) == 0
    capsys.readouterr()
    for path in (place / "run" / "labels" / "b" / "c.png", place / "run" / "scores" / "b" / "c.npz"):
        path.unlink()
        path.parent.rmdir()
    victim = place.parent / "victim"
    target = place / "run" / name
    if target.is_dir():
        target.rename(victim)
    link(target, victim)
    before = files(victim)
    assert "is a link" in refused(words, capsys)
    assert files(victim) == before


def test_a_link_in_place_of_a_file_is_replaced_and_what_it_names_is_kept(place, capsys):
    data = write_data(place / "data")
    words = ["box", data, "--out", "run", "--no-sheet"]
    assert main(words) == 0
    victim = place.parent / "victim.png"
    victim.write_bytes(b"precious")
    for name in ("labels/a.png", "manifest.jsonl"):
        (place / "run" / name).unlink()
    link(place / "elsewhere", place / "real")
    (place / "run" / "manifest.jsonl").symlink_to(victim)
    refused(words, capsys)  # it is no manifest
    (place / "run" / "manifest.jsonl").unlink()
    assert main(words) == 0
    assert victim.read_bytes() == b"precious" and not (place / "run" / "labels" / "a.png").is_symlink()


def test_the_run_folder_itself_may_be_a_link(place, capsys):
    data = write_data(place / "data")
    link(place / "run", place.parent / "disk")
    assert main(["box", data, "--out", "run", "--no-sheet"]) == 0
    assert (place.parent / "disk" / "labels" / "b" / "c.png").is_file()


@pytest.fixture
def probe(place, capsys):
    """A probe on three images of the demo, and a data set with a name that cannot be stored."""
    from segprobe.cli import main as segprobe

    options = ["--backbone", "demo-ssvt", "--size", "56", "--steps", "1", "--pixels", "32"]
    assert main(["corrupt", "demo:3", "--out", "runs/c", "--no-sheet"]) == 0
    assert segprobe(["fit", "runs/c", *options, "--out", "probes/p"]) == 0, capsys.readouterr()
    capsys.readouterr()
    return segprobe


@pytest.mark.slow
@POSIX
def test_predictions_and_cross_fits_stay_in_their_folder(place, probe, capsys):
    data = write_data(place / "data", ("plain", "CON"), 'base = "voc"')
    before = files(place.parents[1])
    words = ["predict", "probes/p", data, "--out", "out"]
    assert probe(words) == 1
    assert "usable as a file name" in capsys.readouterr().err
    assert files(place.parents[1]) == before
    victim = place.parent / "victim"
    for command in (
        ["predict", "probes/p", "demo:3", "--out", "p"],
        [
            "crossfit",
            "runs/c",
            "--backbone",
            "demo-ssvt",
            "--steps",
            "2",
            "--pixels",
            "32",
            "--folds",
            "2",
            "--out",
            "f",
        ],
    ):
        assert probe(command) == 0, capsys.readouterr()
        out = place / command[-1]
        name = next((out / "labels").iterdir())
        name.unlink()
        (out / "labels").rename(victim)
        link(out / "labels", victim)
        before = files(victim)
        capsys.readouterr()
        assert probe(command) == 1
        assert "is a link" in capsys.readouterr().err
        assert files(victim) == before
        victim.rename(place.parent / f"kept-{command[0]}")


@pytest.mark.skipif(sys.platform != "linux", reason="other systems have no two such names")
def test_two_images_whose_names_differ_in_case(place, capsys):
    data = write_data(place / "data", ("a", "A"))
    assert "must differ in more than case" in refused(["box", data, "--out", "runs/x"], capsys)


@POSIX
@pytest.mark.parametrize("name", [".turn.lock", ".journal/somebody.lock"])
def test_a_lock_that_is_a_link_leaves_what_it_names(place, capsys, name):
    data = write_data(place / "data")
    assert main(["box", data, "--out", "run", "--no-sheet"]) == 0
    (place / "run" / "labels" / "a.png").unlink()  # so that there is something to do
    victim = place.parent / "victim.txt"
    victim.write_bytes(b"precious")
    (place / "run" / name).parent.mkdir(exist_ok=True)
    (place / "run" / name).symlink_to(victim)
    main(["box", data, "--out", "run", "--no-sheet"])
    main(["box", data, "--out", "run", "--no-sheet", "--overwrite"])
    assert victim.read_bytes() == b"precious"
