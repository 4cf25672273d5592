"""Rank correlation and AUROC against scipy and scikit-learn."""

import math

import numpy as np
import pytest
from scipy import stats
from sklearn.metrics import roc_auc_score

from labelgen.quality.ranking import auroc, average_ranks, spearman


@pytest.mark.parametrize("levels", [3, 1000])  # with and without ties
def test_equal_scipy_and_scikit_learn(levels, rng):
    first, second = rng.integers(0, levels, 40) / levels, rng.integers(0, levels, 40) / levels
    marked = rng.random(40) < 0.3
    np.testing.assert_array_equal(average_ranks(first), stats.rankdata(first))
    assert spearman(first, second) == pytest.approx(stats.spearmanr(first, second).statistic)
    assert auroc(first, marked) == pytest.approx(roc_auc_score(marked, first))


def test_values_that_are_not_there_are_left_out(rng):
    first, second, marked = rng.random(30), rng.random(30), rng.random(30) < 0.5
    first[::4] = np.nan
    known = np.isfinite(first)
    assert spearman(first, second) == pytest.approx(stats.spearmanr(first[known], second[known]).statistic)
    assert auroc(first, marked) == pytest.approx(roc_auc_score(marked[known], first[known]))


def test_no_answer_where_there_is_none():
    assert math.isnan(auroc(np.array([0.1, 0.2]), np.array([True, True])))
    assert math.isnan(auroc(np.array([np.nan, 0.2]), np.array([True, False])))
    assert math.isnan(spearman(np.array([1.0, 1.0]), np.array([1.0, 2.0])))
    assert math.isnan(spearman(np.zeros(0), np.zeros(0)))
