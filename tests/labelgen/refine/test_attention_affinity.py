import numpy as np
import pytest
import torch

from labelgen.refine.attention_affinity import component_boxes, filter_attention, sinkhorn_affinity, spread_maps


def random_attention(count, seed=0):
    logits = torch.randn(count, count, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    return logits.softmax(dim=1)


def test_golden_square_of_the_balanced_matrix():
    attention = torch.tensor([[0.7, 0.2, 0.1], [0.3, 0.4, 0.3], [0.2, 0.2, 0.6]], dtype=torch.float64)
    affinity = sinkhorn_affinity(attention)
    np.testing.assert_allclose((affinity @ affinity)[0], [0.458884, 0.311808, 0.230138], rtol=1e-5)


def test_balanced_attention_is_symmetric_and_its_columns_sum_to_one():
    affinity = sinkhorn_affinity(random_attention(40))
    torch.testing.assert_close(affinity, affinity.T)
    assert (affinity.sum(dim=0) - 1).abs().max() < 1e-4
    once = sinkhorn_affinity(random_attention(40), rounds=1)
    assert (once.sum(dim=0) - 1).abs().max() > (affinity.sum(dim=0) - 1).abs().max()


def test_a_token_nobody_looks_at_gives_no_nan():
    attention = random_attention(5)
    attention[:, 2] = 0
    assert torch.isfinite(sinkhorn_affinity(attention)).all()


def test_boxes_cover_every_component_and_nothing_else():
    plane = np.zeros((8, 10), np.float32)
    plane[1, 1], plane[2, 2], plane[3, 1] = 1, 0.9, 0.8  # one part, by corners
    plane[6, 7:9] = 0.5
    plane[7, 0] = 0.39
    boxes = component_boxes(plane, share=0.4)
    wanted = np.zeros((8, 10), bool)
    wanted[1:4, 1:3] = wanted[6, 7:9] = True
    np.testing.assert_array_equal(boxes, wanted)
    np.testing.assert_array_equal(component_boxes(plane * 0.1, share=0.4), wanted)  # a share of its own maximum
    assert component_boxes(plane, share=0.6)[6].sum() == 0
    assert not component_boxes(np.zeros((3, 3), np.float32), share=0.0).any()


def test_spreading_is_the_product_of_the_paper():
    rng = np.random.default_rng(0)
    affinity = sinkhorn_affinity(random_attention(12))
    maps = rng.random((2, 3, 4)).astype(np.float32)
    found = spread_maps(affinity, maps, share=0.7)
    squared = (affinity @ affinity).numpy()
    for plane, spread in zip(maps, found, strict=True):
        columns = np.tile(component_boxes(plane, share=0.7).reshape(1, -1), (12, 1))
        assert not columns.all()
        np.testing.assert_allclose(spread.reshape(-1), (squared * columns) @ plane.reshape(-1), rtol=1e-5)


def test_boxes_limit_sources_and_not_targets():
    blocks = torch.zeros(6, 6, dtype=torch.float64)
    blocks[:3, :3], blocks[3:, 3:] = 1 / 3, 1 / 3
    plane = np.array([[[1.0, 0.2, 0.0, 0.0, 0.3, 0.0]]], np.float32)
    spread = spread_maps(sinkhorn_affinity(blocks), plane, share=0.4)
    np.testing.assert_allclose(spread[0, 0], [1 / 3, 1 / 3, 1 / 3, 0, 0, 0], atol=1e-6)


def test_a_zero_map_stays_zero_and_no_map_is_none():
    affinity = sinkhorn_affinity(random_attention(6))
    assert not spread_maps(affinity, np.zeros((1, 2, 3), np.float32), share=0.4).any()
    assert spread_maps(affinity, np.zeros((0, 2, 3), np.float32), share=0.4).shape == (0, 2, 3)


def test_the_filter_keeps_the_layer_that_matches_and_drops_the_shuffled_one():
    affinity = torch.exp(-((torch.arange(10)[:, None] - torch.arange(10)) ** 2) / 4.0)
    matching = affinity / affinity.sum(dim=1, keepdim=True)
    shuffled = matching[torch.randperm(10, generator=torch.Generator().manual_seed(0))]
    product, is_kept = filter_attention(torch.stack([shuffled, matching]), affinity)
    assert is_kept.tolist() == [False, True]
    torch.testing.assert_close(product, matching * affinity)


@pytest.mark.parametrize("count", [1, 3])
def test_layers_that_deviate_alike_are_all_kept(count):
    layer = random_attention(7)
    _, is_kept = filter_attention(torch.stack([layer] * count), torch.eye(7, dtype=torch.float64))
    assert is_kept.all()
