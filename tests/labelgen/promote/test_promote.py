"""`labelgen promote` from end to end on four demo scenes."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from labelgen.cli import main
from labelgen.data.open import open_data
from labelgen.errors import VocabularyError
from labelgen.geometry.distance_weights import contour_weights, scribble_weights
from labelgen.promote.config import PromoteConfig
from labelgen.promote.job import promote_job, pseudo_of_labels
from labelgen.promote.tags import TaggedByScribbles, tags_of
from labelgen.store import RunFolder, verify_run
from labelgen.vocab import Vocabulary
from tests.labelgen.nets.cam.small_classifier import small_folder

FEW = ["--limit", "4"]


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """Scribbles of which many were dropped, and pseudo-labels that know all classes, with and without scores."""
    root = tmp_path_factory.mktemp("promote")
    scribbles = ["scribble", "--drop", "0.4", "--no-background", *FEW, "--out", str(root / "scribble")]
    assert main([*scribbles, "--seed", "3"]) == 0
    corrupt = ["corrupt", "--kind", "jitter", *FEW]
    assert main([*corrupt, "--out", str(root / "pseudo")]) == 0
    assert main([*corrupt, "--save-scores", "--out", str(root / "scored")]) == 0
    return root


def promote(runs: Path, out: Path, *more: str, pseudo: str = "pseudo") -> int:
    given = ["--pseudo", str(runs / pseudo)] if pseudo else []
    return main(["promote", str(runs / "scribble"), *given, "--out", str(out), *more])


def files(folder: Path) -> dict[str, bytes]:
    return {p.relative_to(folder).as_posix(): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


def test_what_is_drawn_wins_and_classes_that_nobody_drew_are_removed(runs, tmp_path, capsys):
    assert promote(runs, tmp_path / "out", "--save-distances", "--json") == 0
    facts = json.loads(capsys.readouterr().out)
    run, scribbles, pseudo = (RunFolder.open(p) for p in (tmp_path / "out", runs / "scribble", runs / "pseudo"))
    assert run.layers == ("pseudo", "scribble")
    removed, agreed = 0, []
    for sample_id in run.ids:
        drawn, guess, labels = scribbles.labels(sample_id), pseudo.labels(sample_id), run.labels(sample_id)
        classes = {0, *np.unique(drawn)} - {255}
        layer = np.where(np.isin(guess, list(classes)), guess, 255)
        if (drawn == 255).all():
            layer[:] = 255
        else:
            removed += int((guess != layer).sum())
        np.testing.assert_array_equal(run.layer("scribble", sample_id), drawn)
        np.testing.assert_array_equal(run.layer("pseudo", sample_id), layer)
        np.testing.assert_array_equal(labels, np.where(drawn != 255, drawn, layer))
        both = (drawn != 255) & (layer != 255)
        agreed += [float((drawn == layer)[both].mean())] if both.any() else []
        distances = run.distances(sample_id)
        assert distances is not None
        near, far = scribble_weights(drawn != 255), contour_weights(layer.astype(np.uint8))
        np.testing.assert_array_equal(distances["scribble"], near.astype(np.float16))
        np.testing.assert_array_equal(distances["pseudo"], far.astype(np.float16))
        kept, there = run.strokes(sample_id) or (), scribbles.strokes(sample_id) or ()
        assert [(s.class_id, s.length, s.dropped) for s in kept] == [(s.class_id, s.length, s.dropped) for s in there]
    assert removed > 0
    assert facts["removed_pixels"] == removed
    assert facts["agreement"] == pytest.approx(np.mean(agreed), abs=1e-5)
    assert verify_run(tmp_path / "out") == []


def test_the_run_says_what_it_was_made_from(runs, tmp_path):
    assert promote(runs, tmp_path / "out") == 0
    header = RunFolder.open(tmp_path / "out").header
    assert header["method"] == "promote"
    assert header["supervision"] == ["strokes", "truth"]  # the pseudo-labels are corrupted truth
    assert header["config"]["scribbles"]["method"] == "scribble"
    assert len(header["config"]["scribbles"]["manifest_sha256"]) == 64
    assert header["config"]["pseudo"]["method"] == "corrupt"
    assert not (tmp_path / "out/distances").exists()
    record = next(iter(RunFolder.open(tmp_path / "out").records().values()))
    assert len(record["details"]["inputs"]) == 2


def test_tags_may_count_strokes_that_were_dropped(runs, tmp_path):
    assert promote(runs, tmp_path / "visible") == 0
    assert promote(runs, tmp_path / "all", "--tags", "all") == 0
    visible, everything = RunFolder.open(tmp_path / "visible"), RunFolder.open(tmp_path / "all")
    scribbles, more = RunFolder.open(runs / "scribble"), 0
    for sample_id, record in everything.records().items():
        strokes, labels = scribbles.strokes(sample_id) or (), scribbles.labels(sample_id)
        expected = tags_of(labels, strokes, scribbles.vocabulary, which="all")
        assert record["details"]["tags"] == sorted(expected or ())
        fewer = visible.records()[sample_id]["details"]["tags"] or []
        assert set(fewer) == set(np.unique(labels).tolist()) - {0, 255}
        more += len(record["details"]["tags"]) - len(fewer)
    assert more > 0
    assert everything.header["counts"]["coverage"] > visible.header["counts"]["coverage"]


def test_scores_give_removed_pixels_to_the_next_best(runs, tmp_path):
    assert promote(runs, tmp_path / "scored", pseudo="scored") == 0
    header = RunFolder.open(tmp_path / "scored").header
    assert header["config"]["pseudo"]["certainty"] is None
    assert promote(runs, tmp_path / "sure", "--certainty", "0.8", "--min-score", "0.5") == 0
    assert promote(runs, tmp_path / "none", "--certainty", "0.8", "--min-score", "0.9") == 0
    run = RunFolder.open(tmp_path / "none")  # no pseudo-label is as sure as that
    for sample_id in run.ids:
        np.testing.assert_array_equal(run.labels(sample_id), run.layer("scribble", sample_id))
    assert RunFolder.open(tmp_path / "sure").header["counts"]["coverage"] > run.header["counts"]["coverage"]


def test_without_background_of_pseudo_labels_and_contradicted_regions(runs, tmp_path):
    assert promote(runs, tmp_path / "out", "--no-pseudo-background", "--contradicted", "unlabel") == 0
    run = RunFolder.open(tmp_path / "out")
    assert "0" not in run.header["counts"]["classes"]
    assert run.header["config"]["contradicted"] == "unlabel"


def test_it_goes_on_where_it_was_and_shards_give_the_same_bytes(runs, tmp_path, capsys):
    assert promote(runs, tmp_path / "whole", "--save-distances") == 0
    for part in ("2/2", "1/2"):
        assert promote(runs, tmp_path / "parts", "--save-distances", "--shard", part) == 0
    assert files(tmp_path / "parts") == files(tmp_path / "whole")
    capsys.readouterr()
    assert promote(runs, tmp_path / "whole", "--save-distances") == 0
    assert "nothing to do" in capsys.readouterr().out
    assert promote(runs, tmp_path / "whole") == 1
    assert "config.save_distances is true there, false now" in capsys.readouterr().err


def test_a_promoted_run_is_a_run(runs, tmp_path, capsys):
    assert promote(runs, tmp_path / "out", "--save-scores") == 0
    capsys.readouterr()
    assert main(["quality", str(tmp_path / "out"), "--json"]) == 0
    [document] = json.loads(capsys.readouterr().out)
    run, data = RunFolder.open(tmp_path / "out"), open_data("demo", limit=4)
    hits = [(run.labels(i) == data.truth(i)).mean() for i in run.ids]
    assert document["pixel_accuracy"] == pytest.approx(np.mean(hits), abs=1e-6)
    assert main(["refine", str(tmp_path / "out"), "--with", "pamr", "--limit", "1", "--out", str(tmp_path / "r")]) == 0
    assert RunFolder.open(tmp_path / "r").header["counts"]["labelled"] == 1


def test_refiners_repair_pseudo_labels_and_leave_scribbles(runs, tmp_path):
    assert promote(runs, tmp_path / "out", "--refine", "pamr", "--certainty", "0.7", "--limit", "2") == 0
    run, pseudo = RunFolder.open(tmp_path / "out"), RunFolder.open(runs / "pseudo")
    changed = 0
    for sample_id in run.ids:
        drawn, layer = run.layer("scribble", sample_id), run.layer("pseudo", sample_id)
        np.testing.assert_array_equal(run.labels(sample_id)[drawn != 255], drawn[drawn != 255])
        changed += int((layer != pseudo.labels(sample_id)).sum())
    assert changed > 0
    assert run.header["facts"]["refine"][0]["refiner"] == "pamr"


@pytest.mark.slow
def test_a_classifier_learns_from_the_tags_of_the_scribbles_alone(runs, tmp_path, capsys):
    quick = [
        "--limit",
        "2",
        "--iterations",
        "1",
        "--batch",
        "2",
        "--cam",
        "scales=1",
        "--cam",
        "flip=false",
        "--device",
        "cpu",
    ]
    out = tmp_path / "out"
    assert promote(runs, out, *quick, "--dry-run", "--json", pseudo="") == 0
    assert json.loads(capsys.readouterr().out)["train"] == f"{out.as_posix()}-cam-classifier"
    assert not list(tmp_path.iterdir())
    assert promote(runs, out, *quick, "--shard", "1/2", pseudo="") == 2
    assert "shards share one classifier" in capsys.readouterr().err
    assert promote(runs, out, *quick, pseudo="") == 0
    assert "trained" in capsys.readouterr().err
    about = json.loads((tmp_path / "out-cam-classifier/cam.json").read_text())
    scribbles = RunFolder.open(runs / "scribble")
    drawn = {int(i) for sample_id in scribbles.ids[:2] for i in np.unique(scribbles.labels(sample_id))} - {0, 255}
    assert set(about["classes"]["ids"]) == drawn
    header = RunFolder.open(out).header
    assert header["supervision"] == ["strokes"]
    assert header["models"]["classifier"]["sha256"]
    before = files(out)
    assert promote(runs, out, *quick, pseudo="") == 0
    assert "was complete" in capsys.readouterr().err
    assert files(out) == before


@pytest.mark.slow
def test_a_classifier_from_elsewhere_brings_its_own_supervision(runs, tmp_path):
    folder = small_folder(tmp_path / "net", class_ids=(1, 3), class_names=("aeroplane", "bird"))
    quick = ["--classifier", str(folder), "--cam", "scales=1", "--limit", "2", "--device", "cpu"]
    assert promote(runs, tmp_path / "out", *quick, pseudo="") == 0
    header = RunFolder.open(tmp_path / "out").header
    assert header["supervision"] == ["strokes", "tags"]
    assert header["config"]["pseudo"]["config"]["scales"] == "1"


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--pseudo", "P", "--method", "seam"], "--method is about a classifier, but --pseudo names the labels"),
        (["--pseudo", "P", "--cam", "scales=1"], "--cam is about a classifier"),
        (["--classifier", "C", "--epochs", "3"], "--epochs is about training, but --classifier is trained"),
        (["--certainty", "0.7"], "--certainty is about the labels of --pseudo"),
        (["--saliency", "ncut"], "--saliency is for eps, got --method cam"),
        (["--limit", "-1"], "--limit must be >= 0"),
        (["--pseudo", "P", "--min-score", "-1"], "min_score must be finite and >= 0"),
        (["--pseudo", "P", "--contour-radius", "5"], "contour_radius has no say without save_distances"),
        (["--pseudo", "P", "--save-distances", "--scribble-radius", "0"], "scribble_radius must be > 0 pixels"),
        (["--classifier", "C", "--cam", "weights=W"], "--cam weights=W has a flag of its own"),
        (["--classifier", "C", "--cam", "gate=predicted"], "promotion takes tags from scribbles"),
    ],
)
def test_contradictions_are_refused_before_anything_is_written(runs, tmp_path, capsys, words, message):
    assert promote(runs, tmp_path / "out", *words, pseudo="") == 2
    assert message in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


def test_runs_that_do_not_fit(runs, tmp_path, capsys):
    assert main(["scribble", "--limit", "4", "--shard", "1/2", "--out", str(tmp_path / "half")]) == 0
    assert main(["promote", str(tmp_path / "half"), "--pseudo", str(runs / "pseudo")]) == 1
    assert "a run must be complete" in capsys.readouterr().err
    assert promote(runs, runs / "scribble") == 2
    assert "--out must be another folder" in capsys.readouterr().err
    scribbles = RunFolder.open(runs / "scribble")
    other = replace(pseudo_of_labels(RunFolder.open(runs / "pseudo")), vocabulary=Vocabulary("b", ("sky", "sea")))
    tagged = TaggedByScribbles.of(open_data("demo", limit=4), scribbles)
    with pytest.raises(VocabularyError, match="must have the same classes in the same order, got 'voc' and 'b'"):
        promote_job(scribbles, other, PromoteConfig(), dataset=tagged)
