import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from format_toys import IDS, SIZES, toy_data

from labelgen.cli import main
from labelgen.commands.export import export as export_command
from labelgen.commands.import_labels import import_labels
from labelgen.formats.table import FORMATS
from labelgen.seeds.legacy import SEED_FORMATS
from labelgen.store import RunFolder

MADE = ["import", "data/masks", "--from", "scribblesup", "--data", "folder:data"]


@pytest.fixture
def run(tmp_path, monkeypatch):
    """A run of the toy data, with ids in folders, in `runs/toy`; its data set is in `data`."""
    monkeypatch.chdir(tmp_path)
    toy_data(tmp_path / "data")
    assert main([*MADE, "--out", "runs/toy", "--no-sheet"]) == 0
    return RunFolder.open("runs/toy")


@pytest.mark.parametrize(
    ("name", "flags"),
    [("coco", []), ("voc", ["--images"]), ("cvat", ["--instances"]), ("webdataset", []), ("label-studio", [])],
)
def test_a_run_goes_out_and_comes_back(run, capsys, name, flags):
    assert main(["export", "runs/toy", "--to", name, "--json", *flags]) == 0
    facts = json.loads(capsys.readouterr().out)
    assert facts["out"] == f"exports/toy-{name}{FORMATS[name].suffix}" and facts["images"] == len(IDS)
    assert any(f"--from {name}" in line for line in facts["recipe"])
    arguments = ["import", facts["out"], "--from", name, "--data", "folder:data", "--out", "back", "--workers", "1"]
    assert main(arguments) == 0
    capsys.readouterr()
    back = RunFolder.open("back")
    for sample_id in IDS:
        np.testing.assert_array_equal(back.labels(sample_id), run.labels(sample_id))
    assert back.header["supervision"] == ["unknown"] and back.header["config"]["format"] == name
    assert back.header["save_scores"] == (name == "coco")
    assert main(["verify", "back"]) == 0
    assert main([*arguments, "--json"]) == 0  # nothing to do
    documents = capsys.readouterr().out.partition("{")
    assert json.loads("{" + documents[2])["skipped"] == len(IDS)


def test_an_imported_run_has_a_contact_sheet(run, capsys):
    assert main([*MADE, "--out", "drawn"]) == 0
    assert Path("drawn/contact_sheet.jpg").read_bytes().startswith(b"\xff\xd8")
    assert main(["export", "runs/toy", "--to", "voc"]) == 0
    back = ["import", "exports/toy-voc", "--from", "voc", "--data", "folder:data", "--out"]
    capsys.readouterr()
    assert main([*back, "shown"]) == 0 and main([*back, "hidden", "--no-sheet"]) == 0
    assert capsys.readouterr().out.count("contact_sheet.jpg") == 1
    assert Path("shown/contact_sheet.jpg").is_file() and not Path("hidden/contact_sheet.jpg").exists()
    assert Path("shown/manifest.jsonl").read_bytes() == Path("hidden/manifest.jsonl").read_bytes()
    Path("shown/contact_sheet.jpg").unlink()
    assert main(["verify", "shown"]) == 0
    assert main([*back, "shown"]) == 0  # complete: the sheet alone is drawn again
    assert "nothing to do" in capsys.readouterr().out and Path("shown/contact_sheet.jpg").is_file()


WRITTEN = [name for name, row in FORMATS.items() if row.write and name != "cityscapes"]  # the toy has other classes


@pytest.mark.parametrize("name", WRITTEN)
def test_a_dry_run_tells_time_and_disk_and_writes_nothing(run, capsys, name):
    if name == "hf":
        pytest.importorskip("pyarrow")
    capsys.readouterr()
    before = sorted(Path.cwd().rglob("*"))
    assert main(["export", "runs/toy", "--to", name, "--dry-run", "--json"]) == 0
    plan = json.loads(capsys.readouterr().out)
    assert sorted(Path.cwd().rglob("*")) == before
    assert (plan["images"], plan["estimate"]["timed"]) == (len(IDS), len(IDS)) and plan["estimate"]["seconds"] > 0
    assert main(["export", "runs/toy", "--to", name]) == 0
    assert Path(plan["out"]).exists()
    made = sum(path.stat().st_size for path in Path("exports").rglob("*") if path.is_file())
    assert plan["estimate"]["bytes"] == pytest.approx(made, rel=0.01)  # all images were tried
    assert main(["export", "runs/toy", "--to", name, "--dry-run"]) == 1  # what the export itself would say
    assert "exists" in capsys.readouterr().err
    assert main(["export", "runs/toy", "--to", name, "--dry-run", "--overwrite", "--limit", "2"]) == 0
    assert "2 images timed on this machine" in capsys.readouterr().out


def test_a_plan_scales_with_the_images(run, capsys, monkeypatch):
    monkeypatch.setattr("labelgen.estimate.WRITTEN", 2)
    capsys.readouterr()
    assert main(["export", "runs/toy", "--to", "voc", "--dry-run", "--json"]) == 0
    plan = json.loads(capsys.readouterr().out)["estimate"]
    assert (plan["images"], plan["timed"]) == (len(IDS), 2)


@pytest.mark.slow
def test_several_processes_read_the_same(run):
    assert main(["export", "runs/toy", "--to", "cvat"]) == 0
    arguments = ["import", "exports/toy-cvat.zip", "--from", "cvat", "--data", "folder:data", "--out"]
    assert main([*arguments, "one"]) == 0 and main([*arguments, "two", "--workers", "2"]) == 0
    assert Path("one/manifest.jsonl").read_bytes() == Path("two/manifest.jsonl").read_bytes()


def test_some_images_of_a_run(run, capsys):
    Path("ids.txt").write_text("void\nwhole\n")
    assert main(["export", "runs/toy", "--to", "voc", "--ids", "ids.txt", "--limit", "1"]) == 0
    assert [p.name for p in Path("exports/toy-voc/SegmentationClass").iterdir()] == ["void.png"]
    Path("ids.txt").write_text("elsewhere\n")
    capsys.readouterr()
    assert main(["export", "runs/toy", "--to", "coco", "--ids", "ids.txt"]) == 1
    assert "1 ids of ids.txt have no label in runs/toy: elsewhere" in capsys.readouterr().err
    assert main(["export", "runs/toy", "--to", "coco", "--limit", "-1"]) == 2


def test_a_folder_of_masks_is_exported(run, capsys):
    vocab = str(Path("data/vocabulary.toml").resolve())
    assert main(["export", "data/masks", "--to", "coco", "--vocab", vocab, "--out", "a.json"]) == 0
    assert main(["export", "data/masks", "--to", "hf", "--vocab", vocab]) == 2
    assert "so its images must be named" in capsys.readouterr().err
    assert main(["export", "data/masks", "--to", "webdataset", "--data", "folder:data", "--vocab", vocab]) == 0
    assert main(["export", "runs/toy", "--to", "coco", "--vocab", "voc"]) == 2


def test_without_its_images_a_run_is_exported_where_they_are_not_needed(run, capsys):
    shutil.rmtree("data")
    assert main(["export", "runs/toy", "--to", "coco"]) == 0
    assert "the images are not found" in capsys.readouterr().err
    assert main(["export", "runs/toy", "--to", "webdataset"]) == 1
    assert not Path("exports/toy-webdataset").exists()


def test_what_is_there_is_kept(run, capsys):
    assert main(["export", "--to", "coco"]) == 0  # the newest run
    assert main(["export", "--to", "coco"]) == 1
    assert "exports/toy-coco.json exists" in capsys.readouterr().err
    assert main(["export", "--to", "coco", "--overwrite"]) == 0
    assert main(["export", "--to", "voc", "--out", "data", "--overwrite"]) == 1
    assert "not empty and no export" in capsys.readouterr().err


def test_commands_refuse(run, capsys):
    for arguments, code, message in (
        (["export", "--to", "yolo"], 2, "unknown format 'yolo'"),
        (["export", "--to", "psa", "--instances"], 2, "--instances has no say for seed files"),
        (["export", "--to", "psa", "--limit", "2"], 2, "--limit has no say for seed files"),
        (["export", "--to", "scribblesup"], 2, "is only read"),
        (["import", "x", "--from", "yolo"], 2, "unknown format 'yolo'"),
        (["import", "nowhere.json", "--from", "coco"], 1, "no such file or folder"),
        (["import", "data/masks", "--from", "psa", "--map", "a=b"], 2, "--map has no say for the format psa"),
        (
            ["import", "data", "--from", "voc", "--background", "power:6"],
            2,
            "--background has no say for the format voc",
        ),
        (["import", "data", "--from", "voc", "--rest", "background"], 2, "rest has no say for the format voc"),
        (["import", "data", "--from", "voc", "--supervision", "magic"], 2, "--supervision must be out of"),
        (["import", "data", "--from", "voc"], 1, "no SegmentationClass/ID.png in data"),
    ):
        assert main(arguments) == code, arguments
        assert message in capsys.readouterr().err


def test_images_without_a_mask_fail_and_masks_of_no_image_are_told(run, capsys):
    Path("ids.txt").write_text("b/c d/02\nwhole\n")
    assert main(["export", "runs/toy", "--to", "voc", "--ids", "ids.txt"]) == 0
    capsys.readouterr()
    back = ["import", "exports/toy-voc", "--from", "voc", "--data", "folder:data", "--out"]
    assert main([*back, "some"]) == 3
    error = capsys.readouterr().err
    assert "3 images of the data have no mask in exports/toy-voc" in error and "no mask of image 'a/00'" in error
    assert main([*back, "whole", "--ids", "ids.txt"]) == 0
    (Path("exports/toy-voc/SegmentationClass/whole.png")).rename("exports/toy-voc/SegmentationClass/stray.png")
    capsys.readouterr()
    assert main([*back, "stray", "--ids", "ids.txt"]) == 3
    assert "1 masks of exports/toy-voc belong to no image" in capsys.readouterr().err
    shutil.copytree("data/images/a", "other")
    shutil.copy("data/vocabulary.toml", "other")
    assert main(["import", "exports/toy-voc", "--from", "voc", "--data", "other", "--out", "none"]) == 1
    assert "no mask of exports/toy-voc belongs to an image of the data" in capsys.readouterr().err


def test_unknown_names_and_the_map(run, capsys):
    assert main(["export", "runs/toy", "--to", "coco", "--out", "x.json"]) == 0
    Path("x.json").write_bytes(Path("x.json").read_bytes().replace(b'"cat"', b'"feline"'))
    back = ["import", "x.json", "--from", "coco", "--data", "folder:data", "--out", "back"]
    capsys.readouterr()
    assert main(back) == 1
    error = capsys.readouterr().err
    assert "lacks: feline" in error and "known classes: ground, cat, dog & co, été" in error
    assert main([*back, "--dry-run", "--map", "feline=cat"]) == 0 and not Path("back").exists()
    assert main([*back, "--map", "feline=cat"]) == 0
    np.testing.assert_array_equal(RunFolder.open("back").labels("whole"), run.labels("whole"))
    assert Path("back", "contact_sheet.jpg").is_file()
    assert main([*back[:-1], "plain", "--map", "feline=cat", "--no-sheet"]) == 0
    assert not Path("plain", "contact_sheet.jpg").exists()
    # a run does not go on with another file
    Path("x.json").write_bytes(Path("x.json").read_bytes() + b"\n")
    capsys.readouterr()
    assert main([*back, "--map", "feline=cat"]) == 1
    assert "holds a run with other settings: facts.inputs" in capsys.readouterr().err


def test_strokes_of_scribblesup(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    toy_data(tmp_path / "data")
    points = "<point><X>1</X><Y>1</Y></point><point><X>3</X><Y>1</Y></point>"
    for name in SIZES:
        path = Path("xml", name).with_suffix("").with_name(Path(name).name.rpartition(".")[0] + ".xml")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"<annotation><polygon><tag>moggy</tag>{points}</polygon></annotation>")
    arguments = ["import", "xml", "--from", "scribblesup", "--data", "folder:data"]
    assert main(arguments) == 1
    assert "unknown class 'moggy'" in capsys.readouterr().err
    assert main([*arguments, "--map", "moggy=cat", "--overwrite"]) == 0
    run = RunFolder.open("runs/xml")
    assert run.header["supervision"] == ["strokes"] and (run.labels("whole")[1, 1:4] == 1).all()
    strokes = run.strokes("whole")
    assert strokes is not None and strokes[0].points.tolist() == [[1, 1], [1, 3]]
    assert main([*arguments, "--map", "moggy=unlabelled", "--overwrite"]) == 2


def test_scores_of_instances_are_kept(run, capsys):
    assert main(["export", "runs/toy", "--to", "coco", "--out", "x.json"]) == 0
    document = json.loads(Path("x.json").read_bytes())
    for annotation in document["annotations"]:
        annotation["score"] = 0.25 * annotation["category_id"]
    Path("x.json").write_text(json.dumps(document))
    back = ["import", "x.json", "--from", "instances", "--data", "folder:data"]
    assert main([*back, "--out", "a"]) == 0
    scores = RunFolder.open("a").scores("whole")
    assert scores is not None and [float(plane.max()) for plane in scores.scores] == [1.0, 0.25, 0.5, 0.75]
    assert main([*back, "--out", "b", "--min-score", "0.5", "--rest", "background", "--no-save-scores"]) == 0
    expected = np.where(run.labels("whole") == 1, 0, run.labels("whole"))
    np.testing.assert_array_equal(RunFolder.open("b").labels("whole"), expected)


def test_the_formats_are_listed(capsys):
    assert main(["formats", "--json"]) == 0
    rows = {row["format"]: row for row in json.loads(capsys.readouterr().out)}
    assert set(rows) == set(FORMATS) | set(SEED_FORMATS)
    assert rows["instances"]["export"] is None and rows["cvat"]["export"] == ".zip"
    assert main(["formats"]) == 0
    assert "labelgen[hf]" in capsys.readouterr().out


def test_help_names_all_formats():
    listed = [
        line.split(":")[0].strip(" -") for line in export_command.__doc__.splitlines() if line.startswith("    - ")
    ]
    assert listed == [name for name, row in FORMATS.items() if row.write]
    listed = [
        line.split(":")[0].strip(" -") for line in import_labels.__doc__.splitlines() if line.startswith("    - ")
    ]
    assert listed == list(FORMATS)
    for text in (export_command.__doc__, import_labels.__doc__):
        assert all(name in text.replace(",", " ").replace(".", " ").replace("(", " ").split() for name in SEED_FORMATS)


@pytest.mark.parametrize("name", FORMATS)
def test_rows_point_at_functions_that_are_there(name):
    row = FORMATS[name]
    assert callable(row.opener())
    if row.write:
        assert callable(row.writer())
