"""The kernels alone: sums of rows, limits, and literal arrays."""

import math

import pytest
import torch

from labelgen.nets.dense_clip.kernels import attend, correlative_attention, neighbourhood, proxy_attention
from tests.labelgen.nets.dense_clip.reference_dense import gaussian
from tests.labelgen.nets.dense_clip.towers import noise


def heads(seed, tokens=16):
    return noise(2, 3, tokens, 4, seed=seed)


def test_rows_sum_to_one_and_of_the_correlative_kernel_to_two():
    ones = torch.ones(2, 3, 16, 4)
    torch.testing.assert_close(attend(heads(0), heads(1), ones), ones)
    torch.testing.assert_close(correlative_attention(heads(0), heads(1), ones), 2 * ones)
    added = neighbourhood((3, 5), std=2.0, prefix=1)
    torch.testing.assert_close(attend(heads(0), heads(0), ones, added=added), ones)
    rows = proxy_attention(noise(2, 3, 5, 4), beta=1.2, gamma=3.0).sum(dim=-1)
    torch.testing.assert_close(rows, torch.ones(2, 15))


def test_added_logits_forbid_all_but_oneself():
    far = torch.full((16, 16), -math.inf).fill_diagonal_(0.0)
    torch.testing.assert_close(attend(heads(0), heads(1), heads(2), added=far), heads(2))


@pytest.mark.parametrize("grid", [(3, 5), (1, 4), (4, 4)])
@pytest.mark.parametrize("std", [0.5, 5.0])
def test_neighbourhood_is_the_loop(grid, std):
    found = neighbourhood(grid, std=std, prefix=1)
    torch.testing.assert_close(found.double(), gaussian(grid, std), atol=1e-6, rtol=0)
    assert torch.equal(found, found.T)
    assert torch.equal(found.diagonal(), torch.tensor([0.0] + [1.0] * (grid[0] * grid[1])))


@pytest.mark.parametrize("prefix", [0, 1, 5])
def test_neighbourhood_leaves_tokens_without_place_alone(prefix):
    found = neighbourhood((2, 3), std=5.0, prefix=prefix)
    assert found.shape == (prefix + 6, prefix + 6)
    assert not found[:prefix].any()
    assert not found[:, :prefix].any()
    assert torch.equal(found[prefix:, prefix:], neighbourhood((2, 3), std=5.0, prefix=0))


def test_wide_neighbourhood_adds_a_constant_between_patches():
    wide = attend(heads(0), heads(0), heads(1), added=neighbourhood((3, 5), std=1e6, prefix=1))
    constant = torch.ones(16, 16)
    constant[0] = constant[:, 0] = 0.0
    torch.testing.assert_close(wide, attend(heads(0), heads(0), heads(1), added=constant))


def test_neighbourhood_is_added_to_scaled_logits():
    keys = torch.tensor([2.0, 0.0])[None, None, :, None].expand(1, 1, 2, 4).contiguous()
    values = torch.tensor([[1.0], [0.0]]).expand(1, 1, 2, 4).contiguous()
    weight = attend(keys, keys, values, added=neighbourhood((1, 2), std=1.0, prefix=0))[0, 0, 0, 0]
    near, itself = math.exp(-0.5), 16 / math.sqrt(4) + 1.0  # 2 * 2 over 4 channels, over sqrt(4), plus the peak
    assert float(weight) == pytest.approx(math.exp(itself) / (math.exp(itself) + math.exp(near)), abs=1e-6)


def test_proxy_drops_pairs_below_the_mean_and_keeps_oneself():
    features = torch.tensor([[1.0, 0.0], [0.8, 0.6], [0.0, 1.0]]).reshape(1, 3, 1, 2)
    found = proxy_attention(features, beta=1.0, gamma=2.0)[0]
    mean = (3 + 2 * (0.8 + 0.0 + 0.6)) / 9
    itself, pair = math.exp(2 * (1 - mean)), math.exp(2 * (0.8 - mean))
    first = torch.tensor([itself, pair, 0.0]) / (itself + pair)
    torch.testing.assert_close(found[0], first)
    torch.testing.assert_close(found[2], torch.tensor([0.0, 0.0, 1.0]))  # 0.6 lies below the mean 0.644


def test_proxy_of_features_without_contrast_is_finite():
    same = proxy_attention(torch.ones(1, 2, 3, 4), beta=1.2, gamma=3.0)
    assert torch.equal(same, torch.eye(6)[None])  # every cosine lies below 1.2 times the mean
    assert torch.equal(proxy_attention(torch.zeros(1, 2, 3, 4), beta=1.2, gamma=3.0).sum(-1), torch.ones(1, 6))


def test_proxy_takes_the_mean_of_one_image():
    features = noise(2, 3, 4, 5)
    alone = proxy_attention(features[:1], beta=1.2, gamma=3.0)
    together = proxy_attention(torch.cat([features[:1], torch.ones(1, 3, 4, 5)]), beta=1.2, gamma=3.0)
    torch.testing.assert_close(together[:1], alone, atol=1e-7, rtol=0)


def test_low_precision_is_close_to_float32():
    added = neighbourhood((3, 5), std=2.0, prefix=1)
    exact = attend(heads(0), heads(0), heads(1), added=added)
    rough = attend(heads(0).bfloat16(), heads(0).bfloat16(), heads(1).bfloat16(), added=added)
    assert rough.dtype == torch.bfloat16
    torch.testing.assert_close(rough.float(), exact, atol=0.03, rtol=0)
