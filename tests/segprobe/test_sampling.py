import numpy as np
import pytest
import torch
from torch.nn import functional as F

from labelgen.nets.geometry import Geometry, geometry_for
from segprobe.batches import BatchMaker
from segprobe.config import FitConfig
from segprobe.heads import LinearHead
from segprobe.labels import ImageLabels
from segprobe.sampling import (
    balanced_shares,
    bilinear_corners,
    read_logits,
    sample_pixels,
    upsample_logits,
)
from tests.segprobe.toy import ToyFeatures, batch_loss, sparse_labels, toy_dataset, truth_labels

SIZES = [(32, 48), (37, 61), (5, 7)]


def random_logits(geometry, classes=5):
    return torch.randn(*geometry.grid, classes, generator=torch.Generator().manual_seed(1))


def interpolated(logits, size):
    planes = F.interpolate(logits.permute(2, 0, 1)[None], size=size, mode="bilinear", align_corners=False)
    return planes[0].permute(1, 2, 0)


@pytest.mark.parametrize("grid", [(4, 6), (1, 1), (3, 1)])
def test_reading_equals_torch_upsampling_then_indexing(grid):
    size = (grid[0] * 8, grid[1] * 8)
    geometry = geometry_for(size, size, stride=8, multiple=8)
    logits = random_logits(geometry)
    pixels = np.arange(size[0] * size[1])
    corners, weights = bilinear_corners(geometry, pixels)
    read = read_logits(logits.flatten(0, 1), torch.from_numpy(corners), torch.from_numpy(weights))
    torch.testing.assert_close(read, interpolated(logits, size).flatten(0, 1), atol=1e-5, rtol=0)
    torch.testing.assert_close(upsample_logits(logits, geometry), interpolated(logits, size), atol=1e-5, rtol=0)


def test_the_gradient_of_reading_is_that_of_torch_upsampling():
    geometry = geometry_for((12, 20), (12, 20), stride=4, multiple=4)
    corners, weights = (torch.from_numpy(part) for part in bilinear_corners(geometry, np.arange(240)))
    factors = torch.randn(240, 5, generator=torch.Generator().manual_seed(3))
    gradients = []
    for way in ("read", "interpolate"):
        logits = random_logits(geometry).requires_grad_()
        if way == "read":
            values = read_logits(logits.flatten(0, 1), corners, weights)
        else:
            values = interpolated(logits, (12, 20)).flatten(0, 1)
        (values * factors).sum().backward()
        gradients.append(logits.grad)
    torch.testing.assert_close(*gradients, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("flip", [False, True])
@pytest.mark.parametrize("size", SIZES)
def test_reading_and_upsampling_agree_through_resizing_padding_and_mirroring(size, flip):
    resized = (size[0] * 2 + 1, size[1] + 3)
    geometry = geometry_for(size, resized, stride=4, multiple=4, flip=flip)
    logits = random_logits(geometry)
    corners, weights = bilinear_corners(geometry, np.arange(size[0] * size[1]))
    read = read_logits(logits.flatten(0, 1), torch.from_numpy(corners), torch.from_numpy(weights))
    full = upsample_logits(logits, geometry)
    assert full.shape == (*size, 5)
    torch.testing.assert_close(read, full.flatten(0, 1), atol=1e-5, rtol=0)


def test_mirrored_reading_equals_upsampling_the_mirrored_grid_back():
    plain = geometry_for((16, 24), (16, 24), stride=4, multiple=4)
    flipped = geometry_for((16, 24), (16, 24), stride=4, multiple=4, flip=True)
    logits = random_logits(plain)
    torch.testing.assert_close(upsample_logits(logits, plain), upsample_logits(logits.flip(1), flipped))


def test_border_pixels_are_clamped_to_the_outer_tokens():
    geometry = Geometry(size=(8, 8), resized=(8, 8), pad=(0, 0), grid=(2, 2), stride=4)
    corners, weights = bilinear_corners(geometry, np.array([0, 63]))
    values = (torch.arange(4.0)[torch.from_numpy(corners)] * torch.from_numpy(weights)).sum(1)
    assert values.tolist() == [0.0, 3.0]
    assert np.allclose(weights.sum(1), 1)


def test_linear_head_on_interpolated_features_is_the_same_function():
    geometry = geometry_for((20, 28), (20, 28), stride=4, multiple=4)
    tokens = torch.randn(*geometry.grid, 7, generator=torch.Generator().manual_seed(0))
    head = LinearHead(tokens.flatten(0, 1).mean(0), tokens.flatten(0, 1).std(0), num_classes=3)
    torch.nn.init.normal_(head.classify.weight, generator=torch.Generator().manual_seed(2))
    with torch.no_grad():
        logits_first = upsample_logits(head(tokens), geometry)
        features_first = head(upsample_logits(tokens, geometry))
    torch.testing.assert_close(logits_first, features_first, atol=1e-4, rtol=0)


def test_drawn_pixels_are_labelled_different_and_stand_for_all():
    labels = np.full((20, 30), 255, np.uint8)
    labels[3:6, 4:20] = 2
    labels[10, :] = 0
    drawn = sample_pixels(ImageLabels.of(labels), np.random.default_rng(0), count=15)
    assert len(set(drawn.pixels.tolist())) == 15
    assert (labels.reshape(-1)[drawn.pixels] == drawn.classes).all()
    assert drawn.weights.sum() == pytest.approx(78)


@pytest.mark.parametrize("balanced", [False, True])
def test_all_labelled_pixels_are_taken_when_there_are_few(balanced):
    labels = np.full((4, 4), 255, np.uint8)
    labels[1, 1:3] = 7
    drawn = sample_pixels(ImageLabels.of(labels), np.random.default_rng(0), count=100, balanced=balanced)
    assert drawn.pixels.tolist() == [5, 6]
    assert drawn.weights.tolist() == [1.0, 1.0]


@pytest.mark.parametrize("balanced", [False, True])
def test_expectation_of_a_weighted_sum_is_the_full_sum(balanced):
    labels = np.array([[0, 0, 0, 0], [0, 0, 1, 1], [2, 255, 255, 0]], np.uint8)
    values = np.arange(12.0) ** 2
    full = values[labels.reshape(-1) != 255].sum()
    rng = np.random.default_rng(0)
    sums = []
    for _ in range(800):
        drawn = sample_pixels(ImageLabels.of(labels), rng, count=4, balanced=balanced)
        sums.append((values[drawn.pixels] * drawn.weights).sum())
    assert np.mean(sums) == pytest.approx(full, abs=4 * np.std(sums) / np.sqrt(800))


def test_balanced_gives_a_rare_class_more_pixels():
    labels = np.zeros((50, 50), np.uint8)
    labels[0, :20] = 5
    drawn = sample_pixels(ImageLabels.of(labels), np.random.default_rng(0), count=100, balanced=True)
    assert (drawn.classes == 5).sum() == 20
    assert len(drawn.pixels) == 100
    assert drawn.weights[drawn.classes == 5].sum() == pytest.approx(20)


@pytest.mark.parametrize("sizes", [[5], [1, 1, 1], [1000, 1], [3, 3, 900, 40], [50] * 30])
@pytest.mark.parametrize("count", [2, 10, 64])
def test_shares_add_up_and_fit(sizes, count):
    sizes = np.array(sizes)
    shares = balanced_shares(sizes, count)
    assert (shares >= 1).all()
    assert (shares <= sizes).all()
    assert shares.sum() == max(min(count, sizes.sum()), len(sizes))


def flat_gradient(head, batch):
    head.zero_grad()
    batch_loss(head, batch).backward()
    return torch.cat([p.grad.flatten() for p in head.parameters()])


@pytest.fixture(scope="module")
def toy():
    dataset = toy_dataset(8)
    return dataset, ToyFeatures(dataset)


@pytest.mark.parametrize("sampling", ["uniform", "balanced"])
def test_sampled_gradient_points_where_the_full_one_does(toy, sampling):
    dataset, features = toy
    labels = truth_labels(dataset)
    head = LinearHead(torch.as_tensor(features.mean), torch.as_tensor(features.std), num_classes=6)
    chosen = [(sample_id, 0) for sample_id in dataset.ids]
    full = BatchMaker(features, labels, FitConfig(sampling="full"))
    sampled = BatchMaker(features, labels, FitConfig(sampling=sampling, pixels=2048))
    a = flat_gradient(head, full.assemble(chosen, np.random.default_rng(0)))
    b = flat_gradient(head, sampled.assemble(chosen, np.random.default_rng(0)))
    assert F.cosine_similarity(a, b, dim=0) > 0.99


@pytest.mark.parametrize("reduction", ["batch", "image"])
def test_drawing_every_labelled_pixel_is_exactly_the_full_loss(toy, reduction):
    dataset, features = toy
    labels = sparse_labels(dataset, 0.05)
    head = LinearHead(torch.as_tensor(features.mean), torch.as_tensor(features.std), num_classes=6)
    torch.nn.init.normal_(head.classify.weight, std=0.1, generator=torch.Generator().manual_seed(0))
    chosen = [(sample_id, i % 2) for i, sample_id in enumerate(dataset.ids)]
    losses = []
    for sampling in ("full", "uniform", "balanced"):
        config = FitConfig(sampling=sampling, pixels=10**6, reduction=reduction)
        batch = BatchMaker(features, labels, config).assemble(chosen, np.random.default_rng(0))
        losses.append(batch_loss(head, batch).item())
    assert losses[1:] == pytest.approx([losses[0]] * 2, rel=1e-5)


def test_expectation_of_the_sampled_loss_is_the_full_loss(toy):
    dataset, features = toy
    labels = truth_labels(dataset)
    head = LinearHead(torch.as_tensor(features.mean), torch.as_tensor(features.std), num_classes=6)
    torch.nn.init.normal_(head.classify.weight, std=0.3, generator=torch.Generator().manual_seed(0))
    chosen = [(sample_id, 0) for sample_id in dataset.ids[:2]]
    with torch.no_grad():
        rng = np.random.default_rng(0)
        full = batch_loss(head, BatchMaker(features, labels, FitConfig(sampling="full")).assemble(chosen, rng))
        maker = BatchMaker(features, labels, FitConfig(pixels=40))
        drawn = np.array([float(batch_loss(head, maker.assemble(chosen, rng))) for _ in range(400)])
    assert drawn.mean() == pytest.approx(float(full), abs=4 * drawn.std() / 20)


def test_only_touched_tokens_are_read(toy):
    dataset, features = toy
    labels = sparse_labels(dataset, 0.002)
    maker = BatchMaker(features, labels, FitConfig())
    batch = maker.assemble([(labels.ids[0], 0)], np.random.default_rng(0))
    pixels = len(labels.images[labels.ids[0]].labelled()[0])
    assert len(batch.tokens) <= 4 * pixels < 12 * 16
    assert batch.corners.max() < len(batch.tokens)
