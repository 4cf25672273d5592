"""`labelgen quality` as typed: tables, JSON, CSV, gates, plain folders, bad input, exit codes."""

import csv
import json

import numpy as np
import pytest

from labelgen.cli import main
from labelgen.commands import quality_table
from labelgen.data.open import open_data
from labelgen.masks import SoftMask, one_hot, read_mask, write_mask
from labelgen.store import RunWriter, complete_run, make_header, prepare_run


def make_run(folder, change=lambda sample_id, truth: truth, *, data="demo", limit=3, split="train", skip=(), **kwargs):
    """A run whose labels are a function of the truth."""
    dataset = open_data(data, split=split, limit=limit, **kwargs)
    header = make_header(
        dataset, method="test", config={}, supervision=["truth"], vocabulary=dataset.vocabulary, seed=0
    )
    prepare_run(folder, header, dataset.ids)
    with RunWriter(folder, dataset.vocabulary) as writer:
        for sample_id in dataset.ids:
            if sample_id not in skip:
                mask: SoftMask = one_hot(change(sample_id, dataset.truth(sample_id)))
                writer.put(sample_id, mask)
    complete_run(folder, header, dataset.ids)
    return folder


def half_labelled(sample_id, truth):
    labels = truth.copy()
    labels[: len(labels) // 2] = 255
    return labels


def mask_folder(folder, maps):
    for name, labels in maps.items():
        write_mask(folder / f"{name}.png", np.array(labels, np.uint8))
    return folder


@pytest.fixture
def golden(tmp_path):
    """A folder data set with vocabulary voc, and labels beside it: the example of the definitions."""
    mask_folder(tmp_path / "data" / "masks", {"a": [[0, 0], [1, 1]]})
    mask_folder(tmp_path / "labels", {"a": [[255, 0], [1, 1]]})
    return tmp_path


def quality_json(capsys, *arguments):
    assert main(["quality", *map(str, arguments), "--json"]) == 0
    return json.loads(capsys.readouterr().out)


def test_golden_example_from_files(golden, capsys):
    common = (golden / "labels", "--truth", f"folder:{golden / 'data'}", "--vocab", "voc")
    (document,) = quality_json(capsys, *common)
    assert (document["miou"], document["miou_labelled"], document["coverage"]) == (0.75, 1.0, 0.75)
    assert (document["num_classes"], document["num_images"], document["pixel_accuracy"]) == (2, 1, 0.75)
    assert [row["iou"] for row in document["per_class"]][:3] == [0.5, 1.0, None]
    (document,) = quality_json(capsys, *common, "--unlabelled", "exclude")
    assert [row["iou"] for row in document["per_class"]][:2] == [1.0, 1.0]
    assert document["headline"]["name"] == "miou_labelled"


def test_without_arguments_it_scores_the_newest_run(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    make_run(tmp_path / "runs" / "whole")
    assert main(["quality"]) == 0
    out = capsys.readouterr().out
    assert "whole" in out and "demo train" in out and "1.0000" in out


def test_several_runs_stand_side_by_side(tmp_path, capsys):
    whole, half = make_run(tmp_path / "whole"), make_run(tmp_path / "half", half_labelled)
    documents = quality_json(capsys, whole, half)
    assert [document["run"] for document in documents] == ["whole", "half"]
    assert documents[0]["miou"] == documents[0]["coverage"] == documents[1]["miou_labelled"] == 1.0
    assert 0.3 < documents[1]["coverage"] < 0.7 and documents[1]["miou"] < 0.9
    assert all(document["supervision"] == ["truth"] for document in documents)
    assert main(["quality", str(whole), str(half), "--unlabelled", "background"]) == 0
    header = capsys.readouterr().out.splitlines()[2]
    assert header.split() == ["whole", "half"]


def test_runs_of_one_name_are_told_apart(tmp_path, capsys):
    first, second = make_run(tmp_path / "a" / "run"), make_run(tmp_path / "b" / "run")
    names = [document["run"] for document in quality_json(capsys, first, second)]
    assert names == [first.as_posix(), second.as_posix()]


@pytest.mark.parametrize("width", [80, 120])
def test_tables_fit_the_terminal(width, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(quality_table, "TABLE_WIDTH", width)
    run = make_run(tmp_path / "half", half_labelled)
    assert main(["quality", str(run), "--boundary", "--bands", "1,3,5"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert max(map(len, lines)) <= width and not any("…" in line for line in lines)
    (absent,) = [line for line in lines if line.split()[:1] == ["diningtable"]]
    assert absent.split()[1:] == ["-"] * 7 + ["0.0000"]
    assert any("accuracy within 5 px of contours" in line for line in lines)


def scored_run(folder, sure):
    """Truth with probabilities of one height, as a run with scores."""
    dataset = open_data("demo", split="train", limit=2)
    header = make_header(
        dataset, method="test", config={}, supervision=[], vocabulary=dataset.vocabulary, seed=0, save_scores=True
    )
    prepare_run(folder, header, dataset.ids)
    with RunWriter(folder, dataset.vocabulary, save_scores=True) as writer:
        for sample_id in dataset.ids:
            mask = one_hot(dataset.truth(sample_id))
            rest = (1 - sure) / (len(mask.class_ids) - 1)
            writer.put(sample_id, SoftMask(np.where(mask.scores > 0, sure, rest).astype(np.float32), mask.class_ids))
    complete_run(folder, header, dataset.ids)
    return folder


def test_contours_objects_and_calibration_on_request(tmp_path, capsys):
    flags = ("--boundary-f1", "2", "--panoptic", "--calibration", "--workers", "1")
    (plain,) = quality_json(capsys, scored_run(tmp_path / "run", 0.75), "--workers", "1")
    assert plain["boundary_f1"] is plain["panoptic"] is plain["calibration"] is None
    (document,) = quality_json(capsys, tmp_path / "run", *flags)
    assert document["boundary_f1"]["f1"] == 1.0 and document["boundary_f1"]["tolerance"] == 2
    # objects of one class that touch are one component: instances of the truth may have no match
    panoptic = document["panoptic"]
    assert panoptic["images_with_instances"] == 2 and panoptic["matched"] > 3 and 0.5 < panoptic["pq"] <= 1
    calibration = document["calibration"]
    assert calibration["ece"] == calibration["adaptive_ece"] == pytest.approx(0.25, abs=1e-3)
    assert calibration["accuracy"] == 1.0 and calibration["nll"] == pytest.approx(-np.log(0.75), abs=1e-3)
    assert sum(row["pixels"] for row in calibration["bins"]) == calibration["pixels"]
    assert {"boundary_f1", "pq", "sq", "rq", "ece"} <= set(document["per_class"][0])
    assert document["per_class"][0]["pq"] is None  # the background is no object


def test_runs_without_scores_have_no_calibration(tmp_path, capsys):
    hard, soft = make_run(tmp_path / "hard", limit=2), scored_run(tmp_path / "soft", 0.75)
    assert main(["quality", str(hard), "--calibration", "--workers", "1"]) == 2
    assert "--calibration needs scores, got none in hard" in capsys.readouterr().err
    assert main(["quality", str(hard), str(soft), "--calibration", "--panoptic", "--workers", "1"]) == 0
    captured = capsys.readouterr()
    assert "hard has no scores" in captured.err
    (line,) = [line for line in captured.out.splitlines() if "calibration error" in line]
    assert line.split()[-2] == "-" and float(line.split()[-1]) == pytest.approx(0.25, abs=1e-3)
    assert main(["quality", str(hard), str(soft), "--calibration", "--csv", "--workers", "1"]) == 0
    rows = list(csv.DictReader(capsys.readouterr().out.splitlines()))
    assert {row["ece"] == "" for row in rows if row["run"] == "hard"} == {True}


def test_contours_and_objects_follow_the_rule_for_unlabelled_pixels(tmp_path, capsys):
    run = make_run(tmp_path / "half", half_labelled, limit=2)
    flags = ("--boundary-f1", "0.0075", "--panoptic", "--workers", "1")
    found = {
        rule: quality_json(capsys, run, *flags, "--unlabelled", rule)[0]["boundary_f1"]
        for rule in ("miss", "exclude", "background")
    }
    assert found["miss"]["precision"] == found["exclude"]["f1"] == 1.0 and found["miss"]["recall"] < 0.9
    assert found["background"]["precision"] < 1  # the cut through an object becomes a contour


def test_new_gates(tmp_path, capsys):
    run = str(make_run(tmp_path / "half", half_labelled, limit=2))
    gate = ["quality", run, "--fail-under", "boundary_f1=0.99,pq=0.99", "--workers", "1"]
    assert main([*gate, "--boundary-f1", "2", "--panoptic"]) == 4
    err = capsys.readouterr().err
    assert "boundary_f1 is 0." in err and "pq is 0." in err


def test_more_runs_than_fit_stand_below_each_other(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(quality_table, "TABLE_WIDTH", 80)
    runs = [make_run(tmp_path / f"run-with-a-long-name-{number}", limit=1) for number in range(5)]
    assert main(["quality", *map(str, runs), "--worst", "0"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert max(map(len, lines)) <= 80
    assert [line.split()[1:] for line in lines if line.split()[:1] == ["coverage"]] == [["1.0000"] * 3, ["1.0000"] * 2]


def test_gate_exits_with_4_after_printing(tmp_path, capsys):
    whole, half = make_run(tmp_path / "whole"), make_run(tmp_path / "half", half_labelled)
    assert main(["quality", str(whole), "--fail-under", "miou=1", "--fail-under", "coverage=1"]) == 0
    capsys.readouterr()
    assert main(["quality", str(whole), str(half), "--fail-under", "miou=0.99,coverage=0.1", "--json"]) == 4
    captured = capsys.readouterr()
    assert len(json.loads(captured.out)) == 2
    (sentence,) = [line for line in captured.err.splitlines() if line.startswith("gate:")]
    assert sentence.startswith("gate: half: miou is 0.") and sentence.endswith("below 0.99")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--fail-under", "mean=0.5"], "it knows miou, miou_labelled"),
        (["--fail-under", "miou=50"], "write 0.6, not 60"),
        (["--fail-under", "boundary_miou=0.5"], "needs --boundary"),
        (["--fail-under", "boundary_f1=0.5"], "needs --boundary-f1 TOLERANCE"),
        (["--fail-under", "pq=0.5"], "needs --panoptic"),
        (["--boundary-f1", "-2"], "must be above 0"),
        (["--unlabelled", "drop"], "drop"),
        (["--bands", "3,x"], "whole pixels"),
        (["--bands", "5,3"], "increasing"),
        (["--worst", "-1"], ">= 0"),
        (["--json", "--csv"], "exclude each other"),
    ],
)
def test_usage_errors_exit_with_2(arguments, message, tmp_path, capsys):
    run = make_run(tmp_path / "run", limit=1)
    assert main(["quality", str(run), *arguments]) == 2
    captured = capsys.readouterr()
    assert message in captured.err and captured.out == ""


def test_missing_images_count_as_unlabelled_and_are_said(tmp_path, capsys):
    whole = make_run(tmp_path / "whole")
    missing = open_data("demo", split="train", limit=3).ids[1]
    part = make_run(tmp_path / "part", skip=(missing,))
    assert main(["quality", str(whole), str(part), "--json"]) == 0
    captured = capsys.readouterr()
    first, second = json.loads(captured.out)
    assert (first["sparse"]["missing_images"], second["sparse"]["missing_images"]) == (0, 1)
    assert second["num_images"] == 3 and second["coverage"] < 0.9 and second["miou_labelled"] == 1.0
    assert f"part has no label for 1 images, which count as unlabelled: {missing}" in captured.err
    assert "part is unfinished" in captured.err


def test_labels_without_truth_are_said(golden, capsys):
    write_mask(golden / "labels" / "b.png", np.zeros((2, 2), np.uint8))
    assert main(["quality", str(golden / "labels"), "--truth", f"folder:{golden / 'data'}", "--vocab", "voc"]) == 0
    assert "labels has 1 labels without truth, which are left out: b" in capsys.readouterr().err


def test_split_and_limit_of_the_run_hold_for_a_named_truth(tmp_path, capsys):
    run = make_run(tmp_path / "run", split="val", limit=2)
    (document,) = quality_json(capsys, run, "--truth", "demo")
    assert (document["num_images"], document["truth"]["split"], document["miou"]) == (2, "val", 1.0)
    (document,) = quality_json(capsys, run, "--limit", "1")
    assert document["num_images"] == 1


def test_classes_as_csv(tmp_path, capsys):
    run = make_run(tmp_path / "half", half_labelled)
    assert main(["quality", str(run), "--csv"]) == 0
    rows = list(csv.DictReader(capsys.readouterr().out.splitlines()))
    assert len(rows) == 21 and rows[0]["name"] == "background" and rows[0]["run"] == "half"
    assert float(rows[0]["iou"]) == pytest.approx(float(rows[0]["recall"]), abs=1e-6)
    assert next(row for row in rows if row["name"] == "diningtable")["iou"] == ""


def test_images_as_csv(tmp_path, capsys):
    run = make_run(tmp_path / "half", half_labelled)
    target = tmp_path / "deep" / "images.csv"
    assert main(["quality", str(run), "--per-image", str(target), "--json"]) == 0
    rows = list(csv.DictReader(target.read_text(encoding="utf-8").splitlines()))
    assert [row["id"] for row in rows] == list(open_data("demo", split="train", limit=3).ids)
    assert all(row["miou_labelled"] == "1.000000" and 0 < float(row["coverage"]) < 1 for row in rows)


def test_an_unwritable_image_table_is_an_error(tmp_path, capsys):
    run = make_run(tmp_path / "run", limit=1)
    (tmp_path / "file").write_text("", encoding="utf-8")
    assert main(["quality", str(run), "--per-image", str(tmp_path / "file" / "x.csv")]) == 1
    assert "cannot write" in capsys.readouterr().err


def damaged(folder, kind):
    path = folder / "labels" / "a.png"
    if kind == "truncated":
        path.write_bytes(path.read_bytes()[:40])
    elif kind == "rgb":
        from PIL import Image

        Image.new("RGB", (2, 2)).save(path)
    elif kind == "size":
        write_mask(path, np.zeros((2, 3), np.uint8))
    elif kind == "id":
        write_mask(path, np.full((2, 2), 77, np.uint8))


@pytest.mark.parametrize(
    ("kind", "message"),
    [("truncated", "cannot be read"), ("rgb", "RGB"), ("size", "got (2, 3) in a"), ("id", "77")],
)
def test_damaged_labels_exit_with_1_and_two_lines(kind, message, golden, capsys):
    damaged(golden, kind)
    assert main(["quality", str(golden / "labels"), "--truth", f"folder:{golden / 'data'}", "--vocab", "voc"]) == 1
    captured = capsys.readouterr()
    assert captured.out == "" and message in captured.err and "a" in captured.err
    assert [line.split(":")[0] for line in captured.err.splitlines()] == ["error", "hint"]


def test_truth_without_a_valid_pixel_is_an_error(golden, capsys):
    write_mask(golden / "data" / "masks" / "a.png", np.full((2, 2), 255, np.uint8))
    common = [str(golden / "labels"), "--truth", f"folder:{golden / 'data'}", "--vocab", "voc"]
    assert main(["quality", *common, "--boundary", "--bands", "1", "--json"]) == 1
    out, err = capsys.readouterr()
    error, hint = err.splitlines()
    assert out == "" and error == "error: the truth has no labelled pixel: its 1 images, such as 'a', are all void"
    assert hint.startswith("hint: is it the right --truth")


def test_labels_without_a_labelled_pixel_have_no_figure_for_labelled_ones(golden, capsys):
    write_mask(golden / "labels" / "a.png", np.full((2, 2), 255, np.uint8))
    common = [str(golden / "labels"), "--truth", f"folder:{golden / 'data'}", "--vocab", "voc"]
    (document,) = quality_json(capsys, *common)
    assert document["miou"] == document["coverage"] == 0 and document["miou_labelled"] is None
    assert main(["quality", *common, "--fail-under", "miou_labelled=0.1"]) == 4
    assert "miou_labelled has no value" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "message", "code"),
    [
        (["nowhere"], "nowhere", 1),
        (["labels"], "its truth must be named", 2),
        (["labels", "--truth", "folder:data/nowhere"], "nowhere", 1),
        (["labels", "--truth", "demo"], "no label of labels belongs to an image of the truth", 1),
    ],
)
def test_what_cannot_be_opened(arguments, message, code, golden, monkeypatch, capsys):
    monkeypatch.chdir(golden)
    assert main(["quality", *arguments]) == code
    assert message in capsys.readouterr().err


def test_no_run_at_all(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert main(["quality"]) == 1
    assert "hint: make one" in capsys.readouterr().err


def test_another_vocabulary_is_refused(tmp_path, capsys):
    run = make_run(tmp_path / "run", limit=1)
    header = json.loads((run / "run.json").read_text(encoding="utf-8"))
    header["vocabulary"]["classes"][15] = "human"
    (run / "run.json").write_text(json.dumps(header), encoding="utf-8")
    assert main(["quality", str(run)]) == 1
    err = capsys.readouterr().err
    assert "only in the labels: human; only in the truth: person" in err


@pytest.mark.realdata
@pytest.mark.slow
def test_real_voc_masks_are_perfect_against_themselves(shared_data, capsys):
    masks = shared_data / "voc2012-masks"
    common = ("--truth", f"voc:{masks}", "--split", "val", "--limit", "60")
    (document,) = quality_json(capsys, masks / "SegmentationClass", *common, "--boundary", "--bands", "1,5")
    assert document["miou"] == document["coverage"] == document["boundary"]["miou"] == 1.0
    assert document["num_images"] == 60 and document["sparse"]["labelled_share_of_void"] == 0
    assert 0.7 < document["boundary"]["valid_share"] < 0.95
    assert read_mask(next((masks / "SegmentationClass").glob("*.png"))).dtype == np.uint8
