"""Losses against golden values, hand counts and limits; where gradients go and where not."""

import numpy as np
import pytest
import torch

from labelgen.nets.cam.losses import (
    classification_loss,
    ecr_loss,
    eps_saliency_loss,
    er_loss,
    explain_saliency,
    min_pool_loss,
    minmax,
    winning_class,
    with_rest,
)
from labelgen.seeds.normalise import normalise

EPS_MAPS = torch.tensor([[[[3.0, 1], [0, -1]], [[0, 0], [2, 0]], [[0, 2], [1, 3]]]])  # two classes, background last
TARGETS = torch.tensor([[1.0, 0]])
SALIENCY = torch.tensor([[[1.0, 0], [0, 0]]])
SEAM_MAPS = torch.tensor([[[[0.5, -1], [2, 1]], [[0, 4.0], [1, 3]]]])


def draw(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def test_the_soft_margin_is_the_mean_over_classes_of_both_logarithms():
    logits, targets = draw(3, 4), (draw(3, 4, seed=1) > 0).float()
    probability = 1 / (1 + np.exp(-logits.numpy().astype(float)))
    expected = -np.where(targets.numpy() > 0, np.log(probability), np.log(1 - probability)).mean()
    assert float(classification_loss(logits, targets)) == pytest.approx(expected, rel=1e-5)


# EPS


@pytest.mark.parametrize(
    ("tau", "lam", "loss"),
    [(0.4, 0.5, 0.067209), (0.4, 0.9, 0.024191), (0.9999, 0.5, 0.267110), (0.9999, 0.9, 0.248873)],
)
def test_eps_loss_of_a_worked_example(tau, lam, loss):
    assert float(eps_saliency_loss(EPS_MAPS, SALIENCY, TARGETS, tau=tau, lam=lam)) == pytest.approx(loss, rel=1e-4)


def test_eps_overlap_is_the_precision_of_confident_pixels():
    chosen = explain_saliency(EPS_MAPS.softmax(dim=1), SALIENCY, TARGETS, tau=0.4)
    assert chosen.overlap[0].tolist() == pytest.approx([0.99960, 0], rel=1e-4)
    assert chosen.foreground.tolist() == [[True, False]] and chosen.background.tolist() == [[False, False]]


def test_a_class_that_overlaps_too_little_moves_to_the_background():
    confident = torch.zeros(1, 3, 2, 2)
    confident[:, 0] = 1  # class 0 everywhere
    half = torch.tensor([[[1.0, 1], [0, 0]]])
    assert explain_saliency(confident, half, TARGETS, tau=0.4).foreground.tolist() == [[True, False]]
    assert explain_saliency(confident, half, TARGETS, tau=0.6).background.tolist() == [[True, False]]
    nowhere = torch.zeros(1, 3, 2, 2)
    assert explain_saliency(nowhere, half, TARGETS, tau=0.4).background.tolist() == [[True, False]]


def test_an_absent_class_is_in_neither_set():
    chosen = explain_saliency(EPS_MAPS.softmax(dim=1), SALIENCY, torch.zeros(1, 2), tau=0.4)
    assert not chosen.foreground.any() and not chosen.background.any()


@pytest.mark.parametrize(("channel", "value"), [(0, 1.0), (2, 0.0)])
def test_maps_that_explain_the_saliency_cost_nothing(channel, value):
    """The first class everywhere and all salient; the background, which is the last channel, and nothing salient."""
    maps = torch.zeros(1, 3, 2, 2)
    maps[:, channel] = 40
    assert float(eps_saliency_loss(maps, torch.full((1, 2, 2), value), TARGETS)) < 1e-10
    half = torch.tensor([[[1.0, 1], [0, 0]]])
    assert float(eps_saliency_loss(maps, half, TARGETS)) == pytest.approx(0.5, abs=1e-6)


def test_a_class_on_what_is_not_salient_counts_as_background():
    maps = torch.zeros(1, 3, 2, 2)
    maps[:, 0] = 40
    assert float(eps_saliency_loss(maps, torch.zeros(1, 2, 2), TARGETS)) < 1e-10
    assert float(eps_saliency_loss(maps, torch.zeros(1, 2, 2), torch.zeros(1, 2), lam=1.0)) < 1e-10


def test_the_weight_of_the_foreground_has_its_limits():
    """1: the sum of the foreground maps alone; 0: what the background leaves, absent classes included."""
    probabilities = EPS_MAPS.softmax(dim=1)
    alone = (probabilities[:, 0] - SALIENCY).square().mean()
    complement = (1 - probabilities[:, 2] - SALIENCY).square().mean()
    assert torch.isclose(eps_saliency_loss(EPS_MAPS, SALIENCY, TARGETS, lam=1.0), alone)
    assert torch.isclose(eps_saliency_loss(EPS_MAPS, SALIENCY, TARGETS, lam=0.0), complement)


def test_no_gradient_goes_through_the_selection():
    maps = EPS_MAPS.clone().requires_grad_()
    chosen = explain_saliency(maps.softmax(dim=1), SALIENCY, TARGETS, tau=0.4)
    assert not chosen.overlap.requires_grad
    eps_saliency_loss(maps, SALIENCY, TARGETS).backward()
    fixed = EPS_MAPS.clone().requires_grad_()  # the same loss with the selection written out by hand
    probabilities = fixed.softmax(dim=1)
    estimate = 0.5 * probabilities[:, 0] + 0.5 * (1 - probabilities[:, 2])
    (estimate - SALIENCY).square().mean().backward()
    assert maps.grad is not None and torch.allclose(maps.grad, fixed.grad)


# SEAM


def test_minmax_of_a_worked_example():
    expected = [[[0.249994, 0], [0.999990, 0.499992]], [[0, 0.999995], [0.249997, 0.749996]]]
    assert torch.allclose(minmax(SEAM_MAPS)[0], torch.tensor(expected), atol=2e-6)


@pytest.mark.parametrize("kind", ["random", "zero", "constant", "negative", "tiny"])
def test_minmax_is_that_of_the_seeds(kind):
    maps = {
        "random": draw(2, 3, 5, 7) * 4,
        "zero": torch.zeros(2, 3, 5, 7),
        "constant": torch.full((2, 3, 5, 7), 3.0),
        "negative": -draw(2, 3, 5, 7).abs(),
        "tiny": draw(2, 3, 5, 7) * 1e-6,
    }[kind]
    for image, found in zip(maps, minmax(maps), strict=True):
        assert np.array_equal(found.numpy(), normalise(image.numpy(), how="minmax"))


def test_maps_that_move_with_the_view_have_no_er():
    """The second view being the first one mirrored, so are its maps; the background has no say."""
    first = minmax(draw(2, 4, 6, 6))
    second = first.flip(3)
    assert float(er_loss(first, second.flip(3))) == 0
    assert float(er_loss(first, second)) > 0.01
    other = first.clone()
    other[:, 0] += 1
    assert float(er_loss(first, other)) == 0


def test_er_is_the_mean_absolute_difference_of_the_classes():
    first, second = draw(2, 4, 3, 5), draw(2, 4, 3, 5, seed=1)
    expected = np.abs(first[:, 1:].numpy() - second[:, 1:].numpy()).mean()
    assert float(er_loss(first, second)) == pytest.approx(float(expected), rel=1e-6)


def test_ecr_of_a_worked_example():
    target = with_rest(minmax(SEAM_MAPS))
    assert float(ecr_loss(target, torch.full((1, 3, 2, 2), 0.25))) == pytest.approx(0.749992, rel=1e-5)


@pytest.mark.parametrize(("share", "size"), [(0.2, (5, 7)), (0.2, (1, 1)), (0.35, (4, 4)), (1.0, (3, 3))])
def test_ecr_is_the_mean_of_the_largest_by_sorting(share, size):
    target, correlated = draw(2, 4, *size), draw(2, 4, *size, seed=1)
    distances = np.abs(winning_class(target).numpy() - correlated.numpy()).reshape(2, -1)
    count = max(1, int(share * 4 * size[0] * size[1]))
    expected = np.mean([np.sort(row)[::-1][:count].mean() for row in distances])
    assert float(ecr_loss(target, correlated, hard_share=share)) == pytest.approx(float(expected), rel=1e-5)


def test_the_winner_keeps_its_value_and_nothing_is_changed_in_place():
    maps = torch.tensor([[[[0.2]], [[0.5]], [[0.7]], [[0.1]]]])
    before = maps.clone()
    assert winning_class(maps)[0, :, 0, 0].tolist() == pytest.approx([0.2, 0, 0.7, 0])
    assert torch.equal(maps, before)


def test_ecr_sends_no_gradient_to_its_target():
    target, correlated = draw(1, 3, 4, 4).requires_grad_(), draw(1, 3, 4, 4, seed=1).requires_grad_()
    ecr_loss(target, correlated).backward()
    assert target.grad is None and correlated.grad is not None
    assert int((correlated.grad != 0).sum()) == int(0.2 * 3 * 16)


def test_the_rest_is_what_the_best_class_leaves():
    assert with_rest(torch.tensor([[[[0.3]], [[0.8]]]]))[0, :, 0, 0].tolist() == pytest.approx([0.2, 0.3, 0.8])


def test_min_pool_is_the_mean_of_the_smallest_quarter():
    maps = torch.stack([torch.arange(8.0).reshape(2, 4), torch.zeros(2, 4)])[None]
    assert float(min_pool_loss(maps)) == 0.5  # of 0 and 1
    assert float(min_pool_loss(maps - 20)) == 0
