"""What labelled regions look like: means by brute force, out of sample to the letter, swapped labels found."""

from dataclasses import dataclass

import numpy as np
import pytest
import torch

from labelgen.nets.geometry import Geometry
from labelgen.vocab import Vocabulary
from segprobe.labels import ImageLabels, LabelSet
from segprobe.regions import RegionConfig, RegionTokens, held_out_scores, judged_regions, region_tokens

VOCABULARY = Vocabulary("four", ("background", "cat", "dog", "cow"), background=0)
DIM, GRID, STRIDE = 6, (3, 4), 4
SIZE = (GRID[0] * STRIDE, GRID[1] * STRIDE)


@dataclass(frozen=True)
class Found:
    tokens: torch.Tensor
    geometry: Geometry


class Features:
    """Tokens made of the true class under each and noise, the second view mirrored."""

    views = (0, 1)
    mean = std = None

    def __init__(self, truths, noise=0.5):
        rng = np.random.default_rng(0)
        directions = rng.normal(size=(4, DIM))
        self.tokens = {}
        for name, truth in truths.items():
            small = truth[STRIDE // 2 :: STRIDE, STRIDE // 2 :: STRIDE]
            self.tokens[name] = (directions[small] + noise * rng.normal(size=(*GRID, DIM))).astype(np.float32)

    def features(self, sample_id, view):
        tokens = self.tokens[sample_id]
        geometry = Geometry(size=SIZE, resized=SIZE, pad=(0, 0), grid=GRID, stride=STRIDE, flip=bool(view))
        return Found(torch.from_numpy(np.ascontiguousarray(tokens[:, ::-1] if view else tokens)), geometry)


def label_set(maps):
    counts = np.zeros(4, np.int64)
    for labels in maps.values():
        counts += np.bincount(labels[labels != 255], minlength=4)
    return LabelSet("toy", VOCABULARY, {name: ImageLabels.of(labels) for name, labels in maps.items()}, counts)


def scenes(number):
    """Truth with one object of a class in turn on background."""
    found = {}
    for index in range(number):
        truth = np.zeros(SIZE, np.uint8)
        truth[STRIDE : 2 * STRIDE, : (2 + index % 2) * STRIDE] = 1 + index % 3
        found[f"{index:02}"] = truth
    return found


def test_means_are_those_of_the_labelled_pixels():
    labels = np.full(SIZE, 255, np.uint8)
    labels[0:4, 0:6], labels[5, 9] = 1, 2  # one cell and half of the next; a click
    truth = {"a": np.zeros(SIZE, np.uint8)}
    features = Features(truth)
    found = region_tokens(label_set({"a": labels}), features, class_ids=(1, 2), config=RegionConfig(least_cells=0.0))
    tokens = features.tokens["a"]
    expected = np.stack([(2 * tokens[0, 0] + tokens[0, 1]) / 3, tokens[1, 2]])
    expected = (expected - expected.mean(0)) / expected.std(0)
    np.testing.assert_allclose(found.tokens, expected, atol=1e-4)
    assert found.columns.tolist() == [0, 1]
    assert found.pixels.tolist() == [24, 1]


def test_crumbs_are_left_out_but_the_only_region_stays():
    labels = np.zeros(SIZE, np.uint8)
    labels[0:8, 0:8], labels[1, 1] = 1, 2
    alone = np.zeros(SIZE, np.uint8)
    alone[3, 3] = 2
    features = Features({"a": labels, "b": alone})
    found = region_tokens(label_set({"a": labels, "b": alone}), features, class_ids=(1, 2), config=RegionConfig())
    assert list(zip(found.images.tolist(), found.columns.tolist(), strict=True)) == [(0, 0), (1, 1)]


@pytest.mark.parametrize(("regions", "dim"), [(12, 40), (40, 12)])  # both forms of the equations
def test_ridge_is_the_minimum_by_brute_force(regions, dim):
    rng = np.random.default_rng(1)
    tokens = rng.normal(size=(regions, dim)).astype(np.float32)
    columns, folds = rng.integers(0, 3, regions), np.arange(regions) % 2
    zeros = np.zeros(regions, np.int64)
    config = RegionConfig(penalty=0.7, rounds=0)
    found = held_out_scores(RegionTokens(tokens, zeros, columns, zeros), folds, num_classes=3, config=config)
    inputs, targets = tokens.astype(np.float64) / np.sqrt(dim), np.eye(3)[columns]
    for fold in (0, 1):
        x, y = inputs[folds != fold], targets[folds != fold]
        solution = np.linalg.solve(x.T @ x + 0.7 * np.eye(dim), x.T @ (y - y.mean(0)))
        np.testing.assert_allclose(found[folds == fold], inputs[folds == fold] @ solution + y.mean(0), atol=1e-9)


def test_labels_of_a_region_never_reach_its_own_scores():
    """Not through the weights of other regions either."""
    rng = np.random.default_rng(2)
    tokens, columns = rng.normal(size=(24, 5)).astype(np.float32), rng.integers(0, 3, 24)
    folds, zeros = np.arange(24) % 4, np.zeros(24, np.int64)
    config = RegionConfig(rounds=2)
    before = held_out_scores(RegionTokens(tokens, zeros, columns, zeros), folds, num_classes=3, config=config)
    other = columns.copy()
    other[folds == 1] = (other[folds == 1] + 1) % 3
    after = held_out_scores(RegionTokens(tokens, zeros, other, zeros), folds, num_classes=3, config=config)
    np.testing.assert_array_equal(after[folds == 1], before[folds == 1])
    assert np.abs(after[folds == 0] - before[folds == 0]).max() > 1e-3


def test_swapped_labels_have_a_negative_margin_and_name_the_true_class():
    truths = scenes(36)
    maps = {name: truth.copy() for name, truth in truths.items()}
    swapped = {"03": 2, "10": 3, "20": 1}
    for name, wrong in swapped.items():
        maps[name][truths[name] > 0] = wrong
    found = judged_regions(label_set(maps), Features(truths), {name: int(name) % 4 for name in maps})
    assert all(len(regions) == 1 for regions in found.values())
    odd = {name: regions[0] for name, regions in found.items() if regions[0]["margin"] < 0}
    assert set(odd) == set(swapped)
    for name, region in odd.items():
        assert (region["class"], region["other"]) == (swapped[name], int(truths[name].max()))
        assert region["pixels"] == int((truths[name] > 0).sum())


def test_reweighting_helps_where_many_labels_are_wrong():
    truths = scenes(90)
    rng = np.random.default_rng(3)
    maps, wrong = {}, {}
    for name, truth in truths.items():
        wrong[name] = bool(rng.random() < 0.4)
        maps[name] = truth.copy()
        maps[name][truth > 0] = 1 + (int(truth.max()) - 1 + (int(rng.integers(1, 3)) if wrong[name] else 0)) % 3

    def separation(rounds):
        found = judged_regions(
            label_set(maps),
            Features(truths, noise=1.5),
            {name: int(name) % 5 for name in maps},
            RegionConfig(rounds=rounds),
        )
        margins = np.array([found[name][0]["margin"] for name in maps])
        marks = np.array([wrong[name] for name in maps])
        return (margins[~marks, None] > margins[None, marks]).mean()

    assert separation(1) >= separation(0) > 0.8


def test_one_class_alone_says_nothing():
    maps = {name: np.minimum(truth, 1) for name, truth in scenes(6).items()}
    found = judged_regions(label_set(maps), Features(maps), {name: int(name) % 2 for name in maps})
    assert found == {name: [] for name in maps}
