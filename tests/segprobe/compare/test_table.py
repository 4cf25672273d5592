import numpy as np
import pytest

from labelgen.nets.backbone_config import BackboneConfig
from segprobe.compare.cell import CellResult, LabelResult
from segprobe.compare.intervals import miou_of
from segprobe.compare.plan import Cell, NamedBackbone
from segprobe.compare.plot import draw_crossing, draw_robustness, robustness_of
from segprobe.compare.published import network_of, published_row, supervision_of
from segprobe.compare.table import Difference, crossings, differences, table_rows
from segprobe.config import FitConfig

DEMO = NamedBackbone("demo-ssvt", BackboneConfig())


def counts(share, images=8):
    """Every image has 100 pixels of each of two classes, of which `share` are right."""
    right = round(100 * share)
    return np.tile(np.array([[right, right], [100, 100], [100, 100]]), (images, 1, 1))


def result(run, share, *, strategy="frozen", seed=0, train=None):
    cell = Cell(run, f"runs/{run}", DEMO, "linear", strategy, seed, FitConfig(seed=seed))
    return CellResult(cell, counts(share), counts(share if train is None else train), 2.0)


def label(share, *, coverage=1.0, **facts):
    return LabelResult(counts(share), counts(share), coverage, facts)


def iou(share):
    return share / (2 - share)


def test_rows_have_each_seed_and_their_mean_with_retention_and_gain():
    results = [result("truth", 0.8), result("truth", 0.8, seed=1), result("half", 0.6), result("half", 0.4, seed=1)]
    labels = {"runs/truth": label(1.0), "runs/half": label(0.3)}
    rows = table_rows(results, labels, resamples=50)
    assert [(r.run, r.seed) for r in rows] == [(run, seed) for run in ("truth", "half") for seed in (0, 1, None)]
    mean = rows[-1]
    assert mean.miou == pytest.approx((iou(0.6) + iou(0.4)) / 2)
    assert mean.retention == pytest.approx(mean.miou / iou(0.8))
    assert mean.gain == pytest.approx(mean.miou - iou(0.3))
    assert mean.interval == pytest.approx((iou(0.4), iou(0.6)))  # only seeds vary here
    assert rows[3].interval == pytest.approx((iou(0.6), iou(0.6)))
    assert mean.to_json()["interval"] == list(mean.interval)


def test_without_truth_there_is_no_retention():
    assert table_rows([result("half", 0.6)], {"runs/half": label(0.3)}, resamples=5)[-1].retention is None


def test_some_classes_only():
    first = result("a", 0.5)
    first.val[:, :, 1] = np.array([0, 100, 100])
    rows = table_rows([first], {"runs/a": label(0.3)}, columns=(0,), resamples=5)
    assert rows[-1].miou == pytest.approx(iou(0.5))
    assert miou_of(first.val.sum(0)) == pytest.approx(iou(0.5) / 2)


def test_frozen_against_tuned_where_both_are_there():
    results = [result("bad", 0.6), result("bad", 0.5, strategy="tuned"), result("good", 0.7)]
    labels = {"runs/bad": label(0.4), "runs/good": label(0.9)}
    (found,) = differences(results, labels, resamples=20)
    assert found.run == "bad"
    assert found.difference == pytest.approx(iou(0.6) - iou(0.5))
    assert found.interval == pytest.approx((found.difference, found.difference))


def test_sparse_labels_have_no_place_on_the_axis_of_quality():
    def at(quality, lead, coverage=1.0):
        return Difference("a", "b", "linear", "", quality, coverage, lead, 0.0, lead, (0.0, 0.0))

    assert crossings([at(0.4, 0.2), at(0.9, 0.1), at(1.0, -5.0, coverage=0.03)])[0].quality == ()
    assert crossings([at(0.4, 0.1)]) == []
    (both,) = crossings([at(0.8, -0.1), at(0.4, 0.1), at(1.0, 0.1)])
    assert both.quality == pytest.approx((0.6, 0.9))
    assert (both.worst, both.best) == (0.1, 0.1)
    assert crossings([at(0.4, 0.1), at(0.6, 0.0), at(0.8, -0.1)])[0].quality == (0.6,)


def test_published_figures_are_those_of_the_same_labels_and_training():
    def found(facts, run="s", head="linear", strategy="frozen", network=""):
        row = published_row(facts, run=run, head=head, strategy=strategy, network=network)
        return row and (row.miou, row.network)

    scribble = {"method": "scribble", "config": {"shrink": 0.0}}
    seam = {"method": "cam", "config": {"method": "seam"}}
    assert found(scribble) == (80.1, "dinov2")
    assert found({}, run="truth") == (80.6, "dinov2")
    assert found(seam, strategy="tuned") == (64.5, "dinov2")
    assert found(seam, head="deeplabv3plus") == (61.7, "resnet")
    dinov1 = network_of(BackboneConfig("vit_base_patch16_224.dino"))
    assert found(seam, network=dinov1) == (58.9, "dinov1")
    assert found(scribble, network=dinov1) is None
    for facts in ({"method": "scribble", "config": {"shrink": 0.5}}, {"method": "corrupt", "config": {}}):
        assert supervision_of(facts, "a") == ""
        assert found(facts) is None


def test_pictures_are_drawn_only_where_there_is_a_curve(tmp_path):
    results = [
        result("a", 0.5),
        result("b", 0.6),
        result("a", 0.4, strategy="tuned"),
        result("b", 0.7, strategy="tuned"),
    ]
    labels = {"runs/a": label(0.4), "runs/b": label(0.8)}
    rows = table_rows(results, labels, resamples=5)
    assert draw_crossing(rows, crossings(differences(results, labels, resamples=5)), tmp_path / "c.png")
    assert (tmp_path / "c.png").stat().st_size > 5000
    assert not draw_crossing(rows[:2], [], tmp_path / "none.png")
    by_name = {
        name: label(0.4, method="scribble", config={"shrink": shrink, "drop": 0.0})
        for name, shrink in (("a", 0.0), ("b", 0.5))
    }
    points = robustness_of(rows, by_name)
    assert sorted({x for x, _ in points["shrink"]}) == [0.0, 0.5]
    assert [x for x, _ in points["drop"]] == [0.0, 0.0]
    assert draw_robustness(points, tmp_path / "r.png")
    assert not draw_robustness({"drop": points["drop"]}, tmp_path / "none.png")
