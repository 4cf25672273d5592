"""Regions of predictions as read from a manifest, and the score that puts two together."""

import numpy as np
import pytest

from labelgen.errors import DataError
from labelgen.quality.regions import Region, combined_score, read_regions


def test_ids_are_those_of_the_run():
    details = {"regions": [{"class": 1, "other": 2, "margin": 0.5, "pixels": 7}]}
    assert read_regions(details, np.array([0, 8, 12]), "a") == (Region(8, 12, 0.5),)
    assert read_regions({"fold": 0}, None, "a") is None
    assert read_regions({"regions": []}, None, "a") == ()


@pytest.mark.parametrize(
    "regions",
    [[{"class": 1}], [{"class": "cat", "other": 2, "margin": 0.5}], 5, [{"class": 9, "other": 2, "margin": 0.5}]],
)
def test_malformed_regions_are_named(regions):
    with pytest.raises(DataError, match="malformed, of a "):
        read_regions({"regions": regions}, np.array([0, 8, 12]), "a")


def test_combined_counts_both_alike_and_passes_over_what_is_missing():
    rng = np.random.default_rng(0)
    overlap, region = np.exp(rng.normal(size=400)), rng.normal(size=400) * 50 + 3
    both = combined_score(overlap, region)
    correlations = [np.corrcoef(both, part)[0, 1] for part in (np.log(overlap), region)]
    assert correlations[0] == pytest.approx(correlations[1], abs=0.1)
    region[:200] = np.nan
    partly = combined_score(overlap, region)
    assert np.isfinite(partly).all()
    order = np.argsort(partly[:200])
    np.testing.assert_array_equal(order, np.argsort(overlap[:200]))
    assert np.isnan(combined_score(np.array([np.nan, 1.0]), np.array([0.0, 1.0]))[0])
    assert combined_score(np.ones(3), np.full(3, 2.0)).tolist() == [0, 0, 0]
