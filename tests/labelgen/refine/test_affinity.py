import dataclasses

import numpy as np
import pytest
import torch

from labelgen.data.dataset import DataSpec
from labelgen.data.sample import Sample
from labelgen.errors import ConfigError, DataError
from labelgen.masks import SoftMask
from labelgen.nets.backbones import BackboneConfig, load_backbone
from labelgen.nets.geometry import geometry_for
from labelgen.refine import affinity, models_of, parse_refiners, settle_refiners
from labelgen.refine.affinity import AffinityConfig, affinity_scores, make_affinity
from labelgen.refine.cells import cells_to_pixels, pixels_to_cells
from labelgen.refine.propagation import dinoiser_rows, local_log_weights, propagate, proxy_rows


def unit(count, dim=5, seed=0):
    features = torch.randn(count, dim, generator=torch.Generator().manual_seed(seed))
    return torch.nn.functional.normalize(features, dim=1)


def dinoiser_by_loops(f, threshold):
    n = len(f)
    a = np.zeros((n, n))
    for i in range(n):
        for j in range(n):
            cosine = 1.0 if i == j else float(np.dot(f[i], f[j]))
            a[i, j] = cosine if cosine > threshold else 0
        a[i] /= a[i].sum()
    return a


def proxy_by_loops(f, beta, gamma):
    n = len(f)
    mean = np.mean([np.dot(f[i], f[j]) for i in range(n) for j in range(n)])
    a = np.zeros((n, n))
    for i in range(n):
        for j in range(n):
            m = gamma * ((1.0 if i == j else float(np.dot(f[i], f[j]))) - beta * mean)
            a[i, j] = np.exp(m) if m >= 0 or i == j else 0
        a[i] /= a[i].sum()
    return a


def test_rows_are_those_of_the_formulas():
    f = unit(12)
    wanted = dinoiser_by_loops(f.numpy().astype(float), 0.2)
    np.testing.assert_allclose(dinoiser_rows(f, 0, 12, threshold=0.2), wanted, atol=1e-6)
    assert (wanted == 0).any()
    wanted = proxy_by_loops(f.numpy().astype(float), 1.2, 3.0)
    np.testing.assert_allclose(proxy_rows(f, 0, 12, beta=1.2, gamma=3.0), wanted, atol=1e-6)
    assert (wanted == 0).any()


@pytest.mark.parametrize(("start", "stop"), [(0, 4), (4, 9), (9, 12)])
def test_a_block_of_rows_is_that_part_of_all_rows(start, stop):
    f = unit(12)

    def near(a, b):
        return local_log_weights((3, 4), a, b, radius=2.0, device=f.device)

    for rows in (
        lambda a, b: dinoiser_rows(f, a, b, threshold=0.1, local=near(a, b)),
        lambda a, b: proxy_rows(f, a, b, beta=1.0, gamma=5.0, local=near(a, b)),
    ):
        block = rows(start, stop)
        torch.testing.assert_close(block, rows(0, 12)[start:stop])
        torch.testing.assert_close(block.sum(dim=1), torch.ones(stop - start))


def test_distance_weighs_by_a_gaussian():
    weights = local_log_weights((2, 3), 0, 6, radius=1.5, device=torch.device("cpu")).exp()
    places = [(r, c) for r in range(2) for c in range(3)]
    wanted = [[np.exp(-((a - b) ** 2 + (x - y) ** 2) / (2 * 1.5**2)) for b, y in places] for a, x in places]
    np.testing.assert_allclose(weights, wanted, rtol=1e-6)


def test_block_diagonal_affinity_averages_within_blocks_exactly():
    f = torch.eye(3)[torch.tensor([0, 0, 1, 1, 1, 1, 2])]
    scores = torch.tensor([[1.0], [3.0], [2.0], [4.0], [6.0], [8.0], [7.0]])
    for rows in (
        lambda a, b: dinoiser_rows(f, a, b, threshold=0.2),
        lambda a, b: proxy_rows(f, a, b, beta=1.2, gamma=3.0),
    ):
        averages, votes = propagate(rows, scores, torch.ones(7))
        assert averages[:, 0].tolist() == pytest.approx([2, 2, 5, 5, 5, 5, 7], abs=1e-6)
        assert votes.tolist() == [1] * 7


def test_flat_and_empty_features_give_no_empty_row():
    for f in (torch.ones(4, 1), torch.zeros(4, 3)):
        for rows in (proxy_rows(f, 0, 4, beta=1.2, gamma=3.0), dinoiser_rows(f, 0, 4, threshold=0.2)):
            torch.testing.assert_close(rows.sum(dim=1), torch.ones(4))


def test_blocked_is_unblocked_and_no_block_is_larger_than_allowed():
    f, sums, votes = unit(50), torch.rand(50, 3, generator=torch.Generator().manual_seed(1)), torch.ones(50)
    sizes = []

    def rows(start, stop):
        sizes.append((stop - start) * len(f))
        return proxy_rows(f, start, stop, beta=1.2, gamma=3.0)

    whole, _ = propagate(rows, sums, votes, steps=2)
    assert sizes == [2500, 2500]
    sizes.clear()
    blocked, _ = propagate(rows, sums, votes, steps=2, max_entries=400)
    assert max(sizes) == 400 and sum(sizes) == 2 * 2500
    torch.testing.assert_close(blocked, whole)


def test_steps_are_a_power_of_the_matrix():
    f, sums = unit(10), torch.rand(10, 2, generator=torch.Generator().manual_seed(1))
    matrix = dinoiser_rows(f, 0, 10, threshold=0.2)
    twice, _ = propagate(lambda a, b: matrix[a:b], sums, torch.ones(10), steps=2)
    torch.testing.assert_close(twice, matrix @ matrix @ sums)


def test_abstaining_cells_have_no_vote_and_cells_without_votes_abstain():
    matrix = torch.tensor([[0.5, 0.5, 0.0], [0.5, 0.5, 0.0], [0.0, 0.0, 1.0]])
    sums, votes = torch.tensor([[0.8], [0.0], [0.0]]), torch.tensor([1.0, 0.0, 0.0])
    averages, reached = propagate(lambda a, b: matrix[a:b], sums, votes)
    assert averages[:, 0].tolist() == pytest.approx([0.8, 0.8, 0.0])
    assert reached.tolist() == [1, 1, 0]


def test_cells_average_the_pixels_they_cover():
    geometry = geometry_for((5, 7), (5, 7), stride=3, multiple=3)  # padded to 6 x 9, one column to the left
    scores = np.random.default_rng(0).random((2, 5, 7), np.float32)
    sums, votes = pixels_to_cells(scores, geometry)
    assert geometry.pad == (0, 1) and sums.shape == (2, 2, 3)
    np.testing.assert_allclose(sums[:, 0, 0], scores[:, :3, :2].sum((1, 2)) / 9, rtol=1e-6)
    np.testing.assert_allclose(sums[:, 1, 1], scores[:, 3:, 2:5].sum((1, 2)) / 9, rtol=1e-6)
    assert votes[0, 0] == pytest.approx(6 / 9)


def test_cells_of_a_constant_are_that_constant_at_any_scale():
    for resized in ((5, 7), (17, 24), (3, 4)):
        geometry = geometry_for((5, 7), resized, stride=2, multiple=4)
        sums, votes = pixels_to_cells(np.full((1, 5, 7), 0.3, np.float32), geometry)
        np.testing.assert_allclose(sums[0][votes > 0] / votes[votes > 0], 0.3, rtol=1e-5)
        assert votes.sum() == pytest.approx(resized[0] * resized[1] / 4, rel=1e-5)


def test_pixels_read_cells_as_torch_does():
    geometry = geometry_for((12, 20), (6, 10), stride=2, multiple=2)
    cells = np.random.default_rng(0).random((2, 3, 5), np.float32)
    wanted = torch.nn.functional.interpolate(torch.from_numpy(cells)[None], size=(12, 20), mode="bilinear")[0]
    read = cells_to_pixels(cells, np.ones((3, 5), np.float32), geometry)
    np.testing.assert_allclose(read, wanted, atol=1e-6)


def test_pixels_read_only_cells_that_vote():
    geometry = geometry_for((1, 8), (1, 8), stride=2, multiple=1)
    geometry = dataclasses.replace(geometry, grid=(1, 4))
    votes = np.array([[1, 0, 0, 0]], np.float32)
    read = cells_to_pixels(np.array([[[0.6, 0, 0, 0]]], np.float32), votes, geometry)
    assert read[0, 0].tolist() == pytest.approx([0.6] * 3 + [0] * 5)


@pytest.fixture(scope="module")
def network():
    return load_backbone(BackboneConfig("demo-ssvt", dtype="float32"), pretrained=False)


def two_halves():
    """Left dark stripes, right plain: two textures, 40 x 60 pixels."""
    image = np.full((40, 60, 3), 200, np.uint8)
    image[::4, :30] = 20
    return image


def test_the_image_decides_who_is_averaged(network):
    scores = np.zeros((2, 40, 60), np.float32)
    scores[0, :, :30], scores[1, :, 30:] = 1, 1
    scores[:, 10:20, 5:15] = scores[::-1, 10:20, 5:15]  # a patch of the wrong class
    config = AffinityConfig(tokens=10, radius=0)
    repaired = affinity_scores(two_halves(), scores, network, config)
    assert repaired.shape == scores.shape and repaired.dtype == np.float32
    np.testing.assert_allclose(repaired.sum(axis=0), 1, atol=1e-5)
    wrong = scores.argmax(axis=0)[10:20, 5:15] == 1
    assert wrong.all() and (repaired.argmax(axis=0)[10:20, 5:15] == 0).mean() > 0.9
    flat = affinity_scores(np.full((40, 60, 3), 90, np.uint8), scores, network, AffinityConfig(tokens=10, radius=0.05))
    assert (flat.argmax(axis=0)[11:19, 6:14] == 1).all()  # with no neighbours near enough nothing moves


@pytest.mark.parametrize(
    "change",
    [
        {"variant": "dinoiser"},
        {"gamma": 1.0},
        {"beta": 3.0, "centre": False},
        {"threshold": 0.9},
        {"centre": False},
        {"radius": 1.0},
        {"steps": 3},
        {"tokens": 12},
    ],
)
def test_every_setting_moves_the_scores(network, change, rng):
    image = rng.integers(0, 255, (40, 60, 3), np.uint8)
    scores = rng.random((2, 40, 60), np.float32)
    base = AffinityConfig(tokens=10, variant="dinoiser" if "threshold" in change else "proxy")
    changed = dataclasses.replace(base, **change)
    before, after = (affinity_scores(image, scores, network, config) for config in (base, changed))
    assert np.abs(before - after).max() > 1e-4


def test_the_grid_has_the_tokens_that_were_asked_for(network, monkeypatch):
    seen = []
    tokens = type(network).tokens
    monkeypatch.setattr(
        type(network), "tokens", lambda self, batch: seen.append(tuple(batch.shape)) or tokens(self, batch)
    )
    affinity_scores(two_halves(), np.ones((1, 40, 60), np.float32), network, AffinityConfig(tokens=6))
    assert seen == [(1, 3, 48, 72)]


def test_the_refiner_keeps_what_is_not_scores_and_leaves_empty_masks(monkeypatch, network):
    monkeypatch.setattr(affinity, "network_of", lambda config: network)
    refine = make_affinity(AffinityConfig(tokens=6))
    sample = Sample("a", (40, 60), image=two_halves())
    nothing = SoftMask(np.zeros((0, 40, 60), np.float32), ())
    assert refine(sample, nothing) is nothing
    silent = SoftMask(np.zeros((1, 40, 60), np.float32), (3,), warnings=("odd",), details={"n": 1})
    repaired = refine(sample, silent)
    assert not repaired.scores.any() and repaired.warnings == ("odd",) and repaired.details == {"n": 1}
    with pytest.raises(DataError, match="needs the image of b"):
        refine(Sample("b", (40, 60)), silent)


def test_the_network_follows_from_the_data_and_is_recorded():
    (step,) = settle_refiners(parse_refiners("affinity"), DataSpec("demo"))
    assert step.config.backbone == "demo-ssvt"
    (facts,) = models_of([step]).values()
    assert len(facts["sha256"]) == 64 and facts["from"] == "shipped"
    (step,) = settle_refiners(parse_refiners("affinity"), DataSpec("voc", "/data"))
    assert step.config.backbone.startswith("vit_small_patch14_reg4_dinov2")
    (step,) = settle_refiners(parse_refiners("affinity:vit_tiny"), DataSpec("demo"))
    assert step.config.backbone == "vit_tiny"


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"variant": "proxy", "gamma": 0.0}, "gamma must be > 0"),
        ({"threshold": 1.0}, r"threshold must lie in \[0, 1\)"),
        ({"radius": -1.0}, "radius and beta must be >= 0"),
        ({"steps": 0}, "steps must be >= 1"),
        ({"tokens": 129}, r"tokens lie in \[1, 128\], got 1 and 129"),
        ({"radius": float("nan")}, "radius must be a finite number, got nan"),
        ({"gamma": 4.0}, "gamma has no say with dinoiser, got 4.0: it is of proxy"),
        ({"variant": "proxy", "threshold": 0.3}, "threshold has no say with proxy"),
    ],
)
def test_wrong_settings_are_refused(settings, message):
    with pytest.raises(ConfigError, match=message):
        AffinityConfig(**settings)
