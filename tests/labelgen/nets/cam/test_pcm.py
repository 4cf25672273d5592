"""Pixel correlation: a worked example, limits, and where its gradient goes."""

import pytest
import torch

from labelgen.nets.cam.pcm import PixelCorrelation, competing_maps, correlate


def draw(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def test_a_worked_example():
    features = torch.tensor([[[1.0, 1, 0, 1], [0, 0, 1, 1]]])
    found = correlate(features, torch.tensor([[[1.0, 0, 0, 0.5]]]))
    assert found[0, 0].tolist() == pytest.approx([0.499998, 0.499998, 0.207106, 0.386728], rel=1e-4)


def test_equal_features_give_the_mean_of_the_image():
    maps = draw(2, 3, 12)
    found = correlate(torch.ones(2, 4, 12), maps)
    assert torch.allclose(found, maps.mean(dim=2, keepdim=True).expand_as(maps), atol=1e-4)


def test_two_orthogonal_groups_do_not_mix():
    first = torch.tensor([True, False, True, True, False])
    features = torch.stack([first.float(), (~first).float()])[None] * torch.tensor([3.0, 0.2, 1, 7, 5])
    maps = draw(1, 2, 5)
    found = correlate(features, maps)
    for group in (first, ~first):
        mean = maps[:, :, group].mean(dim=2, keepdim=True)
        assert torch.allclose(found[:, :, group], mean.expand(-1, -1, int(group.sum())), atol=1e-3)


def test_opposite_features_do_not_subtract():
    found = correlate(torch.tensor([[[1.0, -1.0]]]), torch.tensor([[[1.0, 0.25]]]))
    assert found[0, 0].tolist() == pytest.approx([1, 0.25], rel=1e-3)


def test_only_the_best_class_of_a_pixel_competes():
    maps = torch.tensor([[[[9.0, 9.0]], [[4.0, 1.0]], [[1.0, 10.0]], [[-2.0, -1.0]]]])
    found = competing_maps(maps)[0, :, 0]
    expected = torch.tensor([[0, 0], [1, 0], [0, 1], [0, 0.0]])  # each class over its maximum; background is the rest
    assert torch.allclose(found, expected, atol=1e-4)


def test_classes_that_are_left_out_do_not_compete():
    maps = torch.tensor([[[[0.0, 0.0]], [[4.0, 2.0]], [[10.0, 10.0]]]])
    found = competing_maps(maps, torch.tensor([[1.0, 0.0]]))[0, :, 0]
    assert torch.allclose(found, torch.tensor([[0, 0.5], [1, 0.5], [0, 0]]), atol=1e-4)


def test_the_gradient_reaches_the_three_convolutions_and_nothing_else():
    module = PixelCorrelation((5, 6))
    module.initialise(torch.Generator().manual_seed(0))
    images, maps = draw(2, 3, 16, 16).requires_grad_(), draw(2, 4, 4, 4, seed=1).requires_grad_()
    middle = draw(2, 5, 8, 8, seed=2).requires_grad_(), draw(2, 6, 4, 4, seed=3).requires_grad_()
    module(images, middle, maps).square().sum().backward()
    assert all(tensor.grad is None for tensor in (images, maps, *middle))
    assert all(float(parameter.grad.abs().sum()) > 0 for parameter in module.parameters())
    assert len(list(module.parameters())) == 3


def test_inner_layers_of_any_size_are_brought_to_the_grid():
    module = PixelCorrelation((5, 6))
    features = module.features(draw(1, 3, 20, 24), (draw(1, 5, 10, 12), draw(1, 6, 3, 3)), (5, 6))
    assert tuple(features.shape) == (1, 192, 5, 6)
