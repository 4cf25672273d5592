"""Threshold curves: brute force, sums of parts, what is refused, and `labelgen quality --curve` as typed."""

import csv
import json
from itertools import pairwise
from types import NoneType

import cv2
import numpy as np
import pytest

from labelgen.cli import main
from labelgen.data.open import open_data
from labelgen.errors import ConfigError, DataError, ShapeError
from labelgen.masks import SoftMask, write_mask
from labelgen.quality.confusion import confusion_matrix
from labelgen.quality.curve import (
    ThresholdHistogram,
    best_point,
    curve_points,
    image_histogram,
    thresholds_exceeded,
)
from labelgen.quality.curve_document import curve_document
from labelgen.quality.curve_run import CurveOptions, run_curve
from labelgen.seeds.background_scores import set_against
from labelgen.seeds.backgrounds import Power, parse_background
from labelgen.seeds.recorded import recorded_background
from labelgen.store import RunFolder, RunWriter, complete_run, make_header, prepare_run

IDS = (1, 2, 4)  # present classes of 5; 3 occurs in the truth alone


def scene(seed, *, aligned_to=0, dtype=np.float32, size=(14, 11)):
    """Truth with void, and maps of the present classes in [0, 1]."""
    rng = np.random.default_rng(seed)
    truth = rng.integers(0, 5, size).astype(np.uint8)
    truth[rng.random(size) < 0.1] = 255
    maps = rng.random((len(IDS), *size)) ** 2
    maps[rng.random(maps.shape) < 0.2] = 0
    maps[:, 0, 0] = 1
    if aligned_to:
        maps = np.round(maps * aligned_to) / aligned_to
    return truth, maps.astype(dtype).astype(np.float32)


def histogram_of(scenes, bins):
    histogram = ThresholdHistogram(5, 0, bins)
    for truth, maps in scenes:
        mask = set_against(maps, IDS, Power(4), background=0)
        histogram.add(image_histogram(truth, mask, background=0, num_classes=5, bins=bins))
    return histogram


def brute_force(scenes, threshold):
    """The confusion matrix of the labels that one fixed background gives."""
    matrix = np.zeros((5, 6), np.int64)
    for truth, maps in scenes:
        labels = np.zeros(truth.shape, np.uint8)
        best = np.full(truth.shape, np.float32(threshold))
        for plane, class_id in zip(maps, IDS, strict=True):
            labels[plane > best] = class_id
            best = np.maximum(best, plane)
        matrix += confusion_matrix(truth, labels, num_classes=5)
    return matrix


@pytest.mark.parametrize("bins", [60, 100, 128])
@pytest.mark.parametrize(("aligned", "dtype"), [(True, np.float32), (True, np.float16), (False, np.float16)])
def test_equals_labels_at_every_threshold(bins, aligned, dtype):
    scenes = [scene(seed, aligned_to=bins if aligned else 0, dtype=dtype) for seed in range(2)]
    matrices = list(histogram_of(scenes, bins).matrices())
    assert [threshold for threshold, _ in matrices] == [k / bins for k in range(bins + 1)]
    for threshold, matrix in matrices:
        assert matrix.dtype == np.int64
        np.testing.assert_array_equal(matrix, brute_force(scenes, threshold), err_msg=str(threshold))


def test_bins_are_what_a_binary_search_finds():
    for bins in (7, 100, 1000):
        limits = (np.arange(bins + 1) / bins).astype(np.float32)
        scores = np.concatenate([limits, np.nextafter(limits, 2), np.nextafter(limits[1:], -1), [0.0, 3.0]])
        scores = scores.astype(np.float32)
        expected = np.searchsorted(limits, scores, side="left")
        np.testing.assert_array_equal(thresholds_exceeded(scores, bins=bins), expected)


def test_parts_add_up_beyond_32_bits():
    scenes = [scene(seed) for seed in range(4)]
    whole, first, second = histogram_of(scenes, 50), histogram_of(scenes[:1], 50), histogram_of(scenes[1:], 50)
    np.testing.assert_array_equal(whole.counts, first.counts + second.counts)
    assert whole.images == first.images + second.images == 4
    points = curve_points(whole)
    whole.counts *= 2**31
    huge = curve_points(whole)
    assert [p.miou for p in huge] == [p.miou for p in points]
    assert next(whole.matrices())[1].sum() == 2**31 * sum((truth != 255).sum() for truth, _ in scenes)


def test_best_threshold_by_hand():
    # truth 0 0 1 1, scores of class 1: .1 .3 .5 .9 -> perfect from .3 up to below .5
    scores = np.array([[[0.2] * 4], [[0.1, 0.3, 0.5, 0.9]]], np.float32)
    histogram = ThresholdHistogram(2, 0, 10)
    mask = SoftMask(scores, (0, 1))
    histogram.add(image_histogram(np.array([[0, 0, 1, 1]]), mask, background=0, num_classes=2, bins=10))
    points = curve_points(histogram)
    assert best_point(points).threshold == 0.3 and best_point(points).miou == 1
    assert [round(p.foreground, 2) for p in points] == [1, 0.75, 0.75, 0.5, 0.5, 0.25, 0.25, 0.25, 0.25, 0, 0]
    assert points[5].iou.tolist() == [2 / 3, 1 / 2]  # .5 does not exceed .5


def test_images_without_scores_are_unlabelled_at_every_threshold():
    histogram = histogram_of([scene(0)], 4)
    histogram.add_unlabelled(np.array([5, 0, 0, 7, 0]))
    for _, matrix in histogram.matrices():
        assert matrix[:, -1].tolist() == [5, 0, 0, 7, 0]
    assert curve_points(histogram)[2].miou < curve_points(histogram, unlabelled="exclude")[2].miou


def test_image_that_shows_no_class_is_background_at_every_threshold():
    histogram = ThresholdHistogram(2, 0, 4)
    mask = SoftMask(np.full((1, 1, 2), 0.3, np.float32), (0,))
    histogram.add(image_histogram(np.array([[0, 1]]), mask, background=0, num_classes=2, bins=4))
    assert all(matrix.tolist() == [[1, 0, 0], [1, 0, 0]] for _, matrix in histogram.matrices())


def test_scores_that_cannot_be_swept_are_refused():
    truth = np.array([[0, 1]], np.uint8)
    kwargs = {"background": 0, "num_classes": 2, "bins": 4, "where": "a/b"}
    with pytest.raises(DataError, match=r"must have a plane for background.*got classes \(1,\) in a/b"):
        image_histogram(truth, SoftMask(np.ones((1, 1, 2), np.float32), (1,)), **kwargs)
    holes = SoftMask(np.array([[[0.5, 0]], [[0.2, 0]]], np.float32), (0, 1))
    with pytest.raises(DataError, match="1 pixels abstain in a/b"):
        image_histogram(truth, holes, **kwargs)
    image_histogram(np.array([[0, 255]], np.uint8), holes, **kwargs)  # void never counts
    image_histogram(truth, holes, empty_is_background=True, **kwargs)
    with pytest.raises(ShapeError, match="in a/b"):
        image_histogram(truth[:, :1], holes, **kwargs)
    with pytest.raises(DataError, match="truth must be ids < 2"):
        image_histogram(np.array([[0, 7]], np.uint8), SoftMask(np.ones((1, 1, 2), np.float32), (0,)), **kwargs)
    with pytest.raises(ConfigError, match="bins must lie in"):
        ThresholdHistogram(2, 0, 1)


def tiny_data(folder, limit=4):
    """Squares of two classes on background, with a line of void; written once."""
    for number in range(0 if (folder / "masks").is_dir() else 4):
        truth = np.zeros((20, 24), np.uint8)
        truth[2 : 10 + number, 3:11], truth[8:16, 12 : 18 + number], truth[0] = 3, 12, 255
        write_mask(folder / f"masks/s{number}.png", truth)
    return open_data(f"folder:{folder}", vocabulary="voc", limit=limit)


def make_seeds(folder, rule="fixed:0.2", *, limit=4, scores=True, skip=(), silent_on=()):
    """Seeds of the tiny data: blurred truth, weaker for classes of higher ids."""
    dataset = tiny_data(folder.parent / "data", limit)
    background = parse_background(rule)
    header = make_header(
        dataset,
        method="cam",
        config={"background": rule},
        supervision=["tags"],
        vocabulary=dataset.vocabulary,
        seed=0,
        save_scores=scores,
    )
    prepare_run(folder, header, dataset.ids)
    with RunWriter(folder, dataset.vocabulary, save_scores=scores) as writer:
        for sample_id in dataset.ids:
            truth = dataset.truth(sample_id)
            ids = [int(i) for i in np.unique(truth) if 0 < i < 255]
            maps = [cv2.GaussianBlur((truth == i).astype(np.float32), (0, 0), 3) * (1 - i / 30) for i in ids]
            if sample_id not in skip:
                mask = set_against(np.stack(maps), ids, background, background=0)
                silent = SoftMask(np.zeros((0, *truth.shape), np.float32), ())
                writer.put(sample_id, silent if sample_id in silent_on else mask)
    complete_run(folder, header, dataset.ids)
    return RunFolder.open(folder)


def test_workers_and_brute_force_agree_on_a_run(tmp_path):
    run, truth = make_seeds(tmp_path / "seeds"), tiny_data(tmp_path / "data")
    one, three = (run_curve(run, truth, CurveOptions(20), workers=workers) for workers in (1, 3))
    np.testing.assert_array_equal(one.reported.counts, three.reported.counts)
    assert one.reported.counts.sum() == sum((truth.truth(i) != 255).sum() for i in truth.ids)
    again = make_seeds(tmp_path / "again", "fixed:0.35")
    matrix = dict(one.reported.matrices())[0.35]
    own = run_curve(again, truth, workers=1).own
    # the runs differ only in their threshold, up to pixels that float16 moves across it
    assert np.abs(matrix - own).sum() <= 4 < own.sum() / 100
    document = curve_document(one)
    assert document["fixed"]["background"] == "fixed:0.2" and document["fixed"]["threshold"] == 0.2
    at_own = next(point for point in document["curve"] if point["threshold"] == 0.2)
    assert document["fixed"]["miou"] == pytest.approx(at_own["miou"], abs=1e-4)
    assert document["oracle"]["miou"] == max(point["miou"] for point in document["curve"])
    assert "truth of the 4 images" in document["oracle"]["sentence"]
    assert document["curve_conventions"]["provenance"]["num_images"] == 4


def test_threshold_chosen_on_some_is_scored_on_the_others(tmp_path):
    run, truth = make_seeds(tmp_path / "seeds"), tiny_data(tmp_path / "data")
    chosen, others = truth.ids[:1], truth.ids[1:]
    document = curve_document(run_curve(run, truth, CurveOptions(50, select_on=chosen), workers=1))
    alone = curve_document(run_curve(run, tiny_data(tmp_path / "data", 1), CurveOptions(50), workers=1))
    selected = document["selected"]
    assert selected["threshold"] == alone["oracle"]["threshold"]
    assert (selected["num_images_chosen_on"], selected["num_images"]) == (1, 3)
    assert document["fixed"]["num_images"] == document["oracle"]["num_images"] == len(others)
    assert selected["miou"] <= document["oracle"]["miou"]
    for wrong in ((), truth.ids, ("s9",)):
        with pytest.raises(ConfigError, match="must be some, not all, of the 4 images"):
            run_curve(run, truth, CurveOptions(50, select_on=wrong), workers=1)


def test_runs_that_cannot_be_swept_are_refused(tmp_path):
    truth = tiny_data(tmp_path / "data", 2)
    with pytest.raises(ConfigError, match="keeps none"):
        run_curve(make_seeds(tmp_path / "a", limit=2, scores=False), truth)
    with pytest.raises(ConfigError, match="undecided pixels have no scores"):
        run_curve(make_seeds(tmp_path / "b", "dual:psa", limit=2), truth)
    missing = make_seeds(tmp_path / "c", limit=2, skip=("s1",))
    curve = run_curve(missing, truth, CurveOptions(20), workers=1)
    assert curve.reported.unlabelled.sum() == (truth.truth("s1") != 255).sum()
    with pytest.raises(DataError, match="every pixel that counts must be labelled"):
        curve_document(run_curve(missing, truth, CurveOptions(20, unlabelled="error"), workers=1))


def test_images_that_the_method_said_nothing_about_are_unlabelled(tmp_path):
    truth = tiny_data(tmp_path / "data", 2)
    run = make_seeds(tmp_path / "a", limit=2, silent_on=("s1",))
    curve = run_curve(run, truth, CurveOptions(20), workers=1)
    assert curve.reported.images == 2
    assert curve.reported.unlabelled.sum() == curve.own[:, -1].sum() == (truth.truth("s1") != 255).sum()


def test_the_rule_of_a_refined_run_is_that_of_its_source():
    def header(config):
        return {"config": config, "method": "any"}

    assert recorded_background(header({"background": "power:6"})) == Power(6)
    assert recorded_background(header({"background": "words"})) is None and recorded_background(header({})) is None
    source = {"config": {"background": "power:6"}}
    assert recorded_background(header({"source": source, "certainty": None})) == Power(6)
    assert recorded_background(header({"source": source, "certainty": 0.7})) is None


def test_command_prints_and_writes_curves(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    make_seeds(tmp_path / "runs/seeds", "power:6")
    ids = tmp_path / "ids.txt"
    ids.write_text("/JPEGImages/s0.jpg /SegmentationClass/s0.png\n")
    command = ["quality", "runs/seeds", "--curve", "--bins", "100", "--select-on", str(ids), "--workers", "1"]
    assert main([*command, "--json", "--curve-csv", "c.csv", "--plot", "c.png"]) == 0
    (document,) = json.loads(capsys.readouterr().out)
    assert {"fixed", "oracle", "selected", "curve", "area", "curve_conventions"} <= set(document)
    assert document["fixed"]["alpha"] == pytest.approx(6) and document["fixed"]["threshold"] == pytest.approx(
        0.222, abs=1e-3
    )
    assert len(document["curve"]) == 101 and document["curve"][0]["alpha"] is None
    assert document["curve"][50]["alpha"] == pytest.approx(1)
    mious = [point["miou"] for point in document["curve"]]
    assert document["area"] == pytest.approx(sum((a + b) / 2 for a, b in pairwise(mious)) / 100)
    rows = list(csv.DictReader((tmp_path / "c.csv").read_text().splitlines()))
    assert len(rows) == 101 and float(rows[20]["miou"]) == pytest.approx(document["curve"][20]["miou"], abs=1e-6)
    assert (tmp_path / "c.png").read_bytes().startswith(b"\x89PNG")
    assert main(["quality", "runs/seeds", "--curve", "--csv", "--curve-csv", "again.csv", "--workers", "1"]) == 0
    assert capsys.readouterr().out.startswith("run,") and (tmp_path / "again.csv").is_file()
    assert main(command) == 0
    out = capsys.readouterr().out
    assert "oracle: This threshold was chosen with the truth of the 3 images" in out and "power:6" in out
    assert "chosen with the truth of 1 images and is scored on the 3 others" in out


NUMBER = (int, float)
POINT = {"threshold": NUMBER, "alpha": (*NUMBER, NoneType), "miou": NUMBER, "num_classes": int}
CHOSEN = POINT | {"num_images": int, "sentence": str}
SCHEMA = {
    "run": str, "path": str, "method": str, "state": str, "supervision": list,
    "miou": NUMBER, "miou_labelled": NUMBER, "miou_background": NUMBER, "coverage": NUMBER, "num_images": int,
    "headline": {"name": str, "value": NUMBER, "num_classes": int},
    "truth": {"kind": str, "root": str, "split": str, "vocabulary": str, "limit": int},
    "conventions": {"pooling": str, "unlabelled": str, "absent": str, "ignore": int, "units": str},
    "fixed": POINT | {"background": str, "source": str, "num_images": int},
    "oracle": CHOSEN | {"foreground": NUMBER, "iou": list},
    "curve": [POINT | {"foreground": NUMBER}],
    "area": NUMBER,
    "curve_conventions": {
        "bins": int, "unlabelled": str, "notes": list,
        "provenance": {"truth": str, "num_images": int, "num_images_reported": int, "ids_sha256": str, "run": str,
                       "method": str, "supervision": list},
    },
    "per_class": [{"id": int, "name": str, "truth_pixels": int, "label_pixels": int}],
}  # fmt: skip


def differs(value, schema, where="report"):
    """Where a JSON value is not of the kinds of a schema."""
    if isinstance(schema, dict):
        missing = [f"{where}.{key} is missing" for key in schema if key not in value]
        return missing + [w for k in schema if k in value for w in differs(value[k], schema[k], f"{where}.{k}")]
    if isinstance(schema, list):
        items = enumerate(value)
        return (
            [w for i, item in items for w in differs(item, schema[0], f"{where}[{i}]")] if value else [f"{where}: []"]
        )
    # bool is an int for Python and none here
    fits = isinstance(value, schema) and not isinstance(value, bool)
    return [] if fits else [f"{where} is {type(value).__name__}"]


def test_the_report_has_its_schema_and_says_which_threshold_saw_the_truth(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    make_seeds(tmp_path / "runs/seeds", "power:6")
    (tmp_path / "ids.txt").write_text("s0\n")
    command = ["quality", "runs/seeds", "--curve", "--bins", "10", "--workers", "1", "--json"]
    assert main(command) == 0
    (document,) = json.loads(capsys.readouterr().out)
    assert differs(document, SCHEMA) == [] and document["selected"] is None
    assert main([*command, "--select-on", "ids.txt"]) == 0
    (document,) = json.loads(capsys.readouterr().out)
    assert differs(document, SCHEMA | {"selected": CHOSEN}) == []
    for key in ("oracle", "selected"):
        assert "chosen with the truth" in document[key]["sentence"]
    assert "no truth was used" in document["fixed"]["source"]
    del document["oracle"]["sentence"], document["fixed"]
    assert differs(document, SCHEMA) == ["report.fixed is missing", "report.oracle.sentence is missing"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--plot", "a.png"], "--plot is of the threshold curve, which was not asked for"),
        (["--bins", "10"], "--bins is of the threshold curve"),
        (["--curve", "--plot", "a.jpg"], "--plot must end in .png"),
        (["--curve", "--bins", "1"], "bins must lie in"),
        (["--curve"], "a curve needs scores, and runs/plain keeps none"),
        (["--curve", "--csv"], "--csv prints a line per class and has no place for the threshold curve"),
        (
            ["--curve", "--csv", "--curve-csv", "c.csv", "--select-on", "ids.txt"],
            "has no place for the threshold of --select-on",
        ),
    ],
)
def test_command_refuses(tmp_path, monkeypatch, capsys, arguments, message):
    monkeypatch.chdir(tmp_path)
    make_seeds(tmp_path / "runs/plain", limit=1, scores="--bins" in arguments)
    (tmp_path / "ids.txt").write_text("s0\n")
    assert main(["quality", "runs/plain", *arguments]) == 2
    assert message in capsys.readouterr().err


def test_command_says_what_clip_leaves_out(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    run = make_seeds(tmp_path / "runs/clip", limit=1)
    header = json.loads((run.path / "run.json").read_text()) | {"method": "clip"}
    (run.path / "run.json").write_text(json.dumps(header))
    assert main(["quality", "runs/clip", "--curve", "--bins", "20", "--json", "--workers", "1"]) == 0
    notes = json.loads(capsys.readouterr().out)[0]["curve_conventions"]["notes"]
    assert any("clip keeps scores only of classes that win a pixel" in note for note in notes)
