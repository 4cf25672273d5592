"""`labelgen rank` as typed: every score, marks of a corrupted run, truth, tables, bad input, exit codes."""

import csv
import json

import numpy as np
import pytest

from labelgen.cli import main
from labelgen.data.open import open_data
from labelgen.masks import SoftMask, one_hot, write_mask
from labelgen.quality.suspicion import SCORES, suspicion_of
from labelgen.store import RunFolder, RunWriter, complete_run, make_header, prepare_run

LIMIT = 6
WRONG = (1, 4)  # images of the run whose labels are corrupted on purpose


def wrong(truth):
    """Every object takes the next class, and the upper half goes unlabelled."""
    labels = np.where(truth > 0, truth % 20 + 1, truth).astype(np.uint8)
    labels[: len(labels) // 4] = 255
    return labels


def make_run(folder, label, *, method="test", scores=False, skip=(), facts=None, details=lambda number: {}):
    """A run of the demo whose mask of an image is a function of its number and truth."""
    dataset = open_data("demo", split="train", limit=LIMIT)
    header = make_header(
        dataset,
        method=method,
        config={"labels": "labels"},
        supervision=["truth"],
        vocabulary=dataset.vocabulary,
        seed=0,
        save_scores=scores,
        facts=facts,
    )
    prepare_run(folder, header, dataset.ids)
    with RunWriter(folder, dataset.vocabulary, save_scores=scores) as writer:
        for number, sample_id in enumerate(dataset.ids):
            if number not in skip:
                mask = label(number, dataset.truth(sample_id))
                writer.put(sample_id, SoftMask(mask.scores, mask.class_ids, details=details(number)))
    complete_run(folder, header, [i for n, i in enumerate(dataset.ids) if n not in skip])
    return folder


def predicted(number, truth, *, sure=None):
    """What a decent probe says: the truth, less and less surely."""
    mask = one_hot(truth)
    sure = np.float32(0.95 - 0.05 * number if sure is None else sure)
    spread = (1 - sure) / max(len(mask.class_ids) - 1, 1)
    return SoftMask(np.where(mask.scores > 0, sure, spread).astype(np.float32), mask.class_ids)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A run with two wrong images, predictions, other labels, and a run with scores of its own."""
    root = tmp_path_factory.mktemp("rank")
    make_run(
        root / "labels",
        lambda number, truth: one_hot(wrong(truth) if number in WRONG else truth),
        details=lambda number: {"corrupted": number in WRONG, "noise": {"wrong_pixels": 9 * (number in WRONG)}},
    )
    # surer where labels are wrong, so that their own pixels do not raise the thresholds of confident learning
    make_run(
        root / "predictions",
        lambda number, truth: predicted(number, truth, sure=0.9 if number in WRONG else 0.8),
        method="crossfit",
        scores=True,
    )
    make_run(root / "truth", lambda number, truth: one_hot(truth))
    make_run(root / "own", predicted, scores=True)
    return root


@pytest.fixture
def ids():
    return open_data("demo", split="train", limit=LIMIT).ids


def ranked(capsys, *words):
    assert main(["rank", *map(str, words), "--workers", "1", "--json"]) == 0
    return json.loads(capsys.readouterr().out)


def listed(document):
    return [row["id"] for row in document["images"]]


@pytest.mark.parametrize("by", ["probe", "given", "softmin", "confident"])
def test_predictions_find_the_wrong_images(by, folder, ids, capsys):
    document = ranked(capsys, folder / "labels", "--probe", folder / "predictions", "--by", by)
    assert document["by"] == by and set(listed(document)[:2]) == {ids[n] for n in WRONG}
    assert document["corrupted"]["scores"][by]["auroc"] == 1.0
    assert (document["corrupted"]["corrupted"], document["corrupted"]["images"]) == (2, LIMIT)
    assert [row["corrupted"] for row in document["images"]] == [True, True, False, False, False, False]
    assert document["images"][0]["worst_class"] not in ("background", None)


def test_classes_are_ranked_and_say_what_they_are_taken_for(folder, capsys):
    document = ranked(capsys, folder / "labels", "--probe", folder / "predictions", "--by", "confident")
    shares = [row["confident"] for row in document["classes"]]
    assert shares == sorted(shares, reverse=True) and shares[0] == 1.0
    truth = open_data("demo", split="train", limit=LIMIT)
    names = truth.vocabulary.classes
    first = document["classes"][0]
    assert first["taken_for"] == names[(first["id"] - 2) % 20 + 1]  # the class that wrong() made it from
    counts = sum(np.bincount(RunFolder(folder / "labels").labels(i).ravel(), minlength=256) for i in truth.ids)
    assert {row["id"]: row["pixels"] for row in document["classes"]} == {
        i: int(counts[i]) for i in np.flatnonzero(counts[:21])
    }


def test_other_labels_find_the_wrong_images(folder, ids, capsys):
    document = ranked(capsys, folder / "labels", "--against", folder / "truth")
    assert document["by"] == "agreement" and set(listed(document)[:2]) == {ids[n] for n in WRONG}
    values = {row["id"]: row["agreement"] for row in document["images"]}
    assert [values[i] == 1.0 for i in ids] == [n not in WRONG for n in range(LIMIT)]
    assert document["agreement"]["pixel"] < 1 and document["agreement"]["pixels"] < LIMIT * 160 * 120 * 4


@pytest.mark.parametrize("by", ["auto", "confidence", "margin", "entropy"])
def test_own_scores_rank_the_least_sure_first(by, folder, ids, capsys):
    document = ranked(capsys, folder / "own", "--by", by)
    if by != "entropy":  # the number of classes has its say there
        assert listed(document) == list(reversed(ids))
    assert list(document["scores"]) == ["confidence", "margin", "entropy"]
    row = next(row for row in document["images"] if row["id"] == ids[0])
    assert row["confidence"] == pytest.approx(0.95, abs=1e-3) and 0 < row["entropy"] < 0.2


def test_truth_says_how_well_each_score_ranks(folder, capsys):
    document = ranked(
        capsys, folder / "labels", "--probe", folder / "predictions", "--truth", "demo", "--bad-below", "0.9"
    )
    truth = document["truth"]
    assert (truth["bad"], truth["images"], truth["bad_below"]) == (2, LIMIT, 0.9)
    assert truth["scores"]["probe"]["auroc"] == 1.0 and truth["scores"]["probe"]["spearman"] > 0.6
    ious = {row["id"]: row["iou"] for row in document["images"]}
    assert sum(value < 0.9 for value in ious.values()) == 2 and max(ious.values()) == 1.0
    by_class = {row["name"]: row["iou"] for row in document["classes"]}
    assert 0.9 < by_class["background"] <= 1.0


def test_threads_and_order_change_nothing(folder):
    run, probe = RunFolder(folder / "labels"), RunFolder(folder / "predictions")
    one, three = (suspicion_of(run, probe=probe, workers=n) for n in (1, 3))
    for name in one.values:
        np.testing.assert_array_equal(one.values[name], three.values[name])
    np.testing.assert_array_equal(one.joint, three.joint)


def test_tables_and_csv(folder, ids, capsys):
    words = ["rank", str(folder / "labels"), "--probe", str(folder / "predictions"), "--top", "3", "--workers", "1"]
    assert main([*words, "--truth", "demo"]) == 0
    out = capsys.readouterr().out
    assert "labels: most suspicious by probe, lowest first" in out and "AUROC of corrupted ones" in out
    assert "taken for" in out and "3 of 6 images listed" in out and "2 of 6 images are corrupted" in out
    assert main([*words, "--csv"]) == 0
    rows = list(csv.DictReader(capsys.readouterr().out.splitlines()))
    assert [row["place"] for row in rows] == ["1", "2", "3"] and {row["id"] for row in rows[:2]} == {
        ids[n] for n in WRONG
    }
    assert rows[0]["corrupted"] == "1" and 0 <= float(rows[0]["softmin"]) <= 1


def test_the_listed_ids_are_written_for_other_commands(folder, tmp_path, capsys):
    words = (folder / "labels", "--probe", folder / "predictions", "--top", "3")
    first = listed(ranked(capsys, *words, "--write-ids", tmp_path / "worst.txt"))
    assert (tmp_path / "worst.txt").read_bytes() == "".join(f"{name}\n" for name in first).encode()
    assert open_data("demo", ids_file=str(tmp_path / "worst.txt")).ids == tuple(sorted(first)) and len(first) == 3
    assert (
        main(["rank", str(folder / "labels"), "--against", str(folder / "labels"), "--write-ids", str(tmp_path)]) == 1
    )
    assert "choose another file" in capsys.readouterr().err


def test_images_without_predictions_come_last_and_are_said(folder, ids, tmp_path, capsys):
    few = make_run(tmp_path / "few", predicted, method="crossfit", scores=True, skip=(1, 2))
    assert main(["rank", str(folder / "labels"), "--probe", str(few), "--workers", "1", "--json"]) == 0
    captured = capsys.readouterr()
    document = json.loads(captured.out)
    assert listed(document)[0] == ids[4] and listed(document)[-2:] == [ids[1], ids[2]]
    assert document["images"][-1]["probe"] is None and document["missing"] == {"probe": 2}
    assert "2 of 6 images have no predictions; they come last" in captured.err


def test_a_plain_folder_of_masks_is_ranked_too(folder, ids, tmp_path, capsys):
    run = RunFolder(folder / "labels")
    for sample_id in run.ids:
        write_mask(tmp_path / "masks" / f"{sample_id}.png", run.labels(sample_id))
    document = ranked(capsys, tmp_path / "masks", "--vocab", "voc", "--probe", folder / "predictions")
    assert set(listed(document)[:2]) == {ids[n] for n in WRONG} and document["corrupted"] is None


def test_predictions_of_other_labels_or_of_unknown_origin_are_said(folder, tmp_path, capsys):
    stale = make_run(tmp_path / "stale", predicted, method="crossfit", scores=True, facts={"labels_sha256": "0" * 64})
    assert main(["rank", str(folder / "labels"), "--probe", str(stale), "--workers", "1", "--json"]) == 0
    assert "was made from other labels" in capsys.readouterr().err
    assert main(["rank", str(folder / "labels"), "--probe", str(folder / "own"), "--workers", "1", "--json"]) == 0
    assert "is not made by segprobe crossfit" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "sentence", "code"),
    [
        (["labels"], "labels has no scores of its own", 2),
        (["labels", "--probe", "truth"], "must come with scores", 2),
        (["labels", "--against", "truth", "--by", "probe"], "needs predictions: --probe RUN", 2),
        (["labels", "--against", "truth", "--by", "entropy"], "make it with --save-scores", 2),
        (["own", "--by", "best"], "best", 2),
        (["own", "--top", "-1"], "--top must be >= 0", 2),
        (["own", "--json", "--csv"], "exclude each other", 2),
        (["own", "--bad-below", "0.3"], "add --truth DATA", 2),
        (["own", "--truth", "demo", "--bad-below", "50"], "must be an IoU in (0, 1]", 2),
        (["nowhere"], "nowhere", 1),
        (["own", "--probe", "nowhere"], "nowhere", 1),
    ],
)
def test_bad_input_is_two_lines_and_an_exit_code(words, sentence, code, folder, monkeypatch, capsys):
    monkeypatch.chdir(folder)
    assert main(["rank", *words]) == code
    captured = capsys.readouterr()
    assert sentence in captured.err and captured.out == ""


def test_damaged_scores_are_named(folder, tmp_path, ids, capsys):
    run = make_run(tmp_path / "own", predicted, scores=True)
    (run / "scores" / f"{ids[2]}.npz").write_bytes(b"PK")
    assert main(["rank", str(run), "--workers", "1"]) == 1
    assert ids[2] in capsys.readouterr().err


def test_the_newest_run_is_ranked_but_not_a_crossfit(folder, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    make_run(tmp_path / "runs" / "mine", predicted, scores=True)
    make_run(tmp_path / "runs" / "mine-crossfit", predicted, method="crossfit", scores=True)
    assert ranked(capsys)["run"] == "mine"


def test_every_score_says_what_it_is():
    assert all(score.sentence and score.needs in ("probe", "against", "scores") for score in SCORES.values())
