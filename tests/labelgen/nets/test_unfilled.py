"""Networks whose weights follow are built without random numbers, and with the same weights in the end."""

import pytest
import torch
from timm.layers import trunc_normal_

from labelgen.nets.demo_clip import build_demo_clip
from labelgen.nets.demo_ssvt import build_demo_ssvt
from labelgen.nets.unfilled import DRAWS, unfilled

FILLS = [
    torch.nn.init.kaiming_uniform_,
    torch.nn.init.xavier_normal_,
    torch.nn.init.normal_,
    torch.nn.init.trunc_normal_,
    trunc_normal_,
]


@pytest.mark.parametrize("fill", FILLS, ids=lambda fill: f"{fill.__module__}.{fill.__name__}")
def test_no_initialiser_draws(fill):
    before = torch.get_rng_state()
    with unfilled(True):
        fill(torch.zeros(8, 8))
    assert torch.equal(torch.get_rng_state(), before)
    with unfilled(False):
        fill(torch.zeros(8, 8))
    assert not torch.equal(torch.get_rng_state(), before)


def test_constants_are_filled():
    with unfilled(True):
        layer = torch.nn.LayerNorm(4)
        scale = torch.ones([]) * 2.5
    assert layer.weight.tolist() == [1.0] * 4 and scale == 2.5


@pytest.mark.parametrize("build", [build_demo_clip, build_demo_ssvt])
def test_loaded_networks_are_the_same_and_random_ones_are_random(build, monkeypatch):
    found = {**build().state_dict(), **dict(build().named_buffers())}
    first, other = build(pretrained=False, seed=1), build(pretrained=False, seed=2)
    assert any(not torch.equal(a, b) for a, b in zip(first.parameters(), other.parameters(), strict=True))
    monkeypatch.setattr("labelgen.nets.unfilled.DRAWS", frozenset())
    expected = {**build().state_dict(), **dict(build().named_buffers())}
    assert DRAWS and found.keys() == expected.keys()
    assert all(torch.equal(tensor, expected[name]) for name, tensor in found.items())
