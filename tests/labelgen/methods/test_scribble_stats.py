"""Figures of realism, by hand on little masks, and on real ones."""

import numpy as np
import pytest

from labelgen.data.sample import Sample
from labelgen.masks import harden, read_mask
from labelgen.methods.scribble import ScribbleConfig, make_scribble
from labelgen.methods.scribble_stats import (
    compare_samples,
    image_statistics,
    pool_statistics,
    summarise_statistics,
    turning_angles,
)
from labelgen.run import rng_for
from labelgen.strokes import Stroke
from labelgen.vocab import load_vocabulary

VOC = load_vocabulary("voc")


def scene():
    truth = np.zeros((100, 500), np.uint8)
    truth[40:49, 100:301] = 7  # a bar of 9 x 201 pixels
    truth[80:100, 400:500] = 255
    truth[10:20, 10:20] = 15  # a person without a stroke
    labels = np.full(truth.shape, 255, np.uint8)
    labels[44, 150:250] = 7
    labels[44, 310] = 7  # wrong
    labels[90, 450] = 0  # on void
    strokes = [Stroke(7, np.array([[44.0, 150.0], [44.0, 249.0]]), 1.0)]
    return truth, labels, strokes


def test_figures_by_hand():
    figures = image_statistics(*scene())
    assert figures["coverage"] == [pytest.approx(102 / 50_000)]
    assert figures["wrong"] == [pytest.approx(1 / 102)]
    assert figures["void"] == [pytest.approx(1 / 102)]
    assert figures["strokes"] == [1]
    assert figures["strokes_per_region"] == [1]
    assert figures["missed"] == [pytest.approx(2 / 3)]
    assert figures["lost"] == [2]
    assert figures["area"] == [9 * 201]
    assert figures["region_coverage"] == [pytest.approx(100 / (9 * 201))]
    assert figures["length_over_root_area"] == [pytest.approx(99 / (9 * 201) ** 0.5)]
    assert figures["length_over_path"] == [pytest.approx(99 / 193, rel=0.05)]
    assert figures["depth"] == [pytest.approx(1)]
    assert figures["turning"] == [pytest.approx(0)]
    assert figures["band_5"] == [pytest.approx(100 / 102)]  # neither the wrong pixel nor the one on void
    assert figures["centroid_offset"][0] == pytest.approx(0.5 / (9 * 201) ** 0.5)


def test_dropped_strokes_do_not_count():
    truth, labels, strokes = scene()
    from dataclasses import replace

    figures = image_statistics(truth, labels, [replace(strokes[0], dropped=True)])
    assert figures["strokes"] == [0]
    assert "width" not in figures


def test_an_image_without_labels():
    truth = np.full((10, 10), 255, np.uint8)
    figures = image_statistics(truth, truth, ())
    assert figures["coverage"] == [0]
    assert figures["missed"] == []
    assert "wrong" not in figures


def test_turning_angles_wrap():
    square = np.array([[0.0, 0.0], [0.0, 10.0], [10.0, 10.0], [10.0, 0.0], [0.0, 0.0]])
    assert turning_angles(square).tolist() == [90, 90, 90]
    assert turning_angles(square[:2]).size == 0


def test_summary_and_comparison():
    one, two = {"coverage": [0.01], "area": [100.0], "region_coverage": [0.1]}, {"coverage": [0.05]}
    pooled = pool_statistics([one, two, {"area": [400.0], "region_coverage": [0.05]}])
    summary = summarise_statistics(pooled)
    assert summary["coverage"]["mean"] == pytest.approx(0.03)
    assert summary["coverage"]["met"] is True
    assert summary["coverage_slope"]["mean"] == pytest.approx(-0.5)
    low, high = {"coverage": np.zeros(50)}, {"coverage": np.ones(50)}
    assert compare_samples(low, high)["coverage"]["distance"] == 1
    assert compare_samples(low, high)["coverage"]["p"] < 1e-6


@pytest.mark.realdata
@pytest.mark.slow
def test_scribbles_on_real_masks_meet_the_targets(shared_data):
    folder = shared_data / "voc2012-masks"
    ids = (folder / "ImageSets" / "Segmentation" / "train.txt").read_text(encoding="utf-8").split()[::73]
    generate, images = make_scribble(ScribbleConfig(), VOC), []
    for sample_id in ids:
        truth = read_mask(folder / "SegmentationClass" / f"{sample_id}.png")
        mask = generate(Sample(sample_id, truth.shape, truth=truth), rng_for(0, sample_id))
        images.append(image_statistics(truth, harden(mask), mask.strokes))
    summary = summarise_statistics(pool_statistics(images))
    missed = [name for name, row in summary.items() if row.get("met") is False]
    assert missed == []
    assert summary["wrong"]["p95"] == 0
