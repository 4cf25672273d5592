import numpy as np
import pytest
import scipy.linalg

from labelgen.nets.saliency.cuts import border_of, border_saliency, cut_saliency, likeness_share, unit_features

GRID = (7, 9)


def planted(*regions):
    """Features of tokens, one direction a region; `regions` are maps of the grid."""
    stack = np.stack([r.reshape(-1) for r in regions], axis=1).astype(float)
    return stack / np.linalg.norm(stack, axis=1, keepdims=True)


def two_objects_on_two_backgrounds():
    labels = np.zeros(GRID, int)
    labels[:3] = 1  # sky
    labels[1:3, 2:4] = 2
    labels[4:6, 6:8] = 3
    return labels, planted(*(labels == k for k in range(4)))


def test_the_border_finds_all_objects_among_several_backgrounds():
    labels, unit = two_objects_on_two_backgrounds()
    saliency = border_saliency(unit, GRID, gamma=8.0, steps=2, spread=0.8)
    assert saliency[labels >= 2].min() > 0.9 and saliency[labels < 2].max() < 0.1


def test_one_cut_cannot_tell_two_backgrounds_from_objects():
    labels, unit = two_objects_on_two_backgrounds()
    saliency = cut_saliency(unit, GRID, threshold=0.2, edges="binary")
    assert not (saliency[labels >= 2].min() > 0.9 and saliency[labels < 2].max() < 0.1)


def test_an_object_that_touches_the_border_a_little_still_stands_out():
    labels = np.zeros(GRID, int)
    labels[3:, 3:6] = 1
    saliency = border_saliency(planted(labels == 0, labels == 1), GRID, gamma=8.0, steps=2, spread=0.8)
    assert saliency[labels == 1].min() > saliency[labels == 0].max() + 0.5


def test_border_saliency_matches_sums_over_tokens():
    rng = np.random.default_rng(0)
    unit = unit_features(rng.normal(size=(12, 5)).astype(np.float32), centre=True)
    grid, gamma, spread = (3, 4), 3.0, 0.7
    weights = [[np.exp(gamma * (unit[i] @ unit[j] - 1)) for j in range(12)] for i in range(12)]
    walk = [[weights[i][j] / sum(weights[i]) for j in range(12)] for i in range(12)]
    twice = [[sum(walk[i][k] * walk[k][j] for k in range(12)) for j in range(12)] for i in range(12)]
    value = []
    for row in twice:
        area = sum(s / max(row) for s in row)
        length = sum(s / max(row) for j, s in enumerate(row) if j not in (5, 6))
        value.append(np.exp(-((length / area**0.5) ** 2) / (2 * spread**2)))
    expected = (np.array(value) - min(value)) / (max(value) - min(value))
    found = border_saliency(unit, grid, gamma=gamma, steps=2, spread=spread)
    np.testing.assert_allclose(found.reshape(-1), expected, atol=1e-5)


@pytest.mark.parametrize("edges", ["binary", "cosine"])
def test_the_cut_is_the_second_eigenvector_of_the_generalised_problem(edges):
    rng = np.random.default_rng(1)
    unit = unit_features(rng.normal(size=(20, 4)).astype(np.float32), centre=False)
    cosine = unit @ unit.T
    weights = np.where(cosine > 0.2, 1.0 if edges == "binary" else cosine, 1e-5)
    degrees = np.diag(weights.sum(1))
    vector = scipy.linalg.eigh(degrees - weights, degrees)[1][:, 1]
    expected = (vector - vector.min()) / np.ptp(vector)
    found = cut_saliency(unit, (4, 5), threshold=0.2, edges=edges).reshape(-1)
    assert min(np.abs(found - expected).max(), np.abs(found - 1 + expected).max()) < 1e-4


def test_the_foreground_side_holds_less_of_the_border():
    inside = ~border_of(GRID).reshape(GRID)
    for unit in (planted(inside, ~inside), planted(~inside, inside)):
        saliency = cut_saliency(unit, GRID, threshold=0.2, edges="binary")
        assert saliency[inside].min() > 0.99 and saliency[~inside].max() < 0.01


def test_tokens_that_are_all_alike_have_no_saliency():
    same = np.tile(np.array([[0.6, 0.8, 0.1]], np.float32), (12, 1))
    for centre in (True, False):
        unit = unit_features(same, centre=centre)
        assert not border_saliency(unit, (3, 4), gamma=4.0, steps=2, spread=0.8).any() or not centre
        assert not cut_saliency(unit, (3, 4), threshold=0.2, edges="binary").any()


def test_features_that_are_noise_around_their_mean_have_no_direction():
    rng = np.random.default_rng(0)
    nearly = (100 + 1e-6 * rng.normal(size=(6, 4))).astype(np.float32)
    assert not unit_features(nearly, centre=True).any()


def test_a_part_of_an_object_that_was_missed_is_found_by_its_likeness():
    labels = np.zeros(GRID, int)
    labels[2:6, 2:7] = 1
    first = np.where(labels == 1, 0.9, 0.1).astype(np.float32)
    first[5] = 0.1  # the lowest row of the object is missed, and a place of the ground is taken for one
    first[0, 0] = 0.9
    found = likeness_share(planted(labels == 0, labels == 1), first, gamma=6.0)
    assert found[labels == 1].min() > 0.6 and found[labels == 0].max() < 0.2


def test_likeness_is_the_share_of_weighted_means():
    rng = np.random.default_rng(3)
    unit = unit_features(rng.normal(size=(6, 4)).astype(np.float32), centre=True)
    first = rng.random((2, 3)).astype(np.float32)
    weights, share = first.reshape(-1), []
    for i in range(6):
        likeness = [np.exp(2.0 * (unit[i] @ unit[j] - 1)) if i != j else 0.0 for j in range(6)]
        salient = sum(k * w for k, w in zip(likeness, weights, strict=True)) / weights.sum()
        other = sum(k * (1 - w) for k, w in zip(likeness, weights, strict=True)) / (1 - weights).sum()
        share.append(salient / (salient + other))
    expected = ((np.array(share) - min(share)) / np.ptp(share)) ** 2
    np.testing.assert_allclose(likeness_share(unit, first, gamma=2.0).reshape(-1), expected, atol=1e-5)


@pytest.mark.parametrize("value", [0.0, 1.0])
def test_where_all_or_nothing_is_salient_likeness_changes_nothing(value):
    first = np.full((2, 3), value, np.float32)
    unit = unit_features(np.random.default_rng(0).normal(size=(6, 4)).astype(np.float32), centre=True)
    np.testing.assert_array_equal(likeness_share(unit, first, gamma=4.0), first)
