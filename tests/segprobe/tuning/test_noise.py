import numpy as np
import pytest
import torch
from torch import nn

from segprobe.tuning.noise import ImageDropout, ImageDropPath, ImageNoise, add_drop_path
from segprobe.tuning.precision import ScalerState, choose_amp


def rngs(*seeds):
    return [np.random.default_rng(seed) for seed in seeds]


@pytest.mark.parametrize("kind", [ImageDropout, ImageDropPath])
def test_an_image_draws_the_same_whoever_is_beside_it(kind):
    noise = ImageNoise()
    module, x = kind(noise, 0.5), torch.ones(3, 40, 2)
    with noise.drawn_from(rngs(1, 2, 3), "cpu"):
        together = module(x)
    for place, seed in enumerate((1, 2, 3)):
        with noise.drawn_from(rngs(seed), "cpu"):
            assert torch.equal(module(x[place : place + 1])[0], together[place])
    assert torch.equal(module(x), x)


def test_means_stay_and_paths_are_dropped_whole():
    noise = ImageNoise()
    x = torch.ones(400, 8)
    with noise.drawn_from(rngs(*range(400)), "cpu"):
        values, paths = ImageDropout(noise, 0.25)(x), ImageDropPath(noise, 0.25)(x)
    assert values.mean() == pytest.approx(1, abs=0.05)
    assert paths.mean() == pytest.approx(1, abs=0.1)
    assert paths.unique().tolist() == [0.0, pytest.approx(4 / 3)]
    assert torch.equal(paths, paths[:, :1].expand(-1, 8))


def test_rates_rise_with_depth():
    blocks = nn.ModuleList()
    for _ in range(3):
        block = nn.Module()
        block.drop_path1, block.drop_path2 = nn.Identity(), nn.Identity()
        blocks.append(block)
    add_drop_path(blocks, 0.4, ImageNoise())
    assert [block.drop_path2.rate for block in blocks] == [0.0, 0.2, 0.4]


def test_the_scale_of_the_loss_is_part_of_a_checkpoint():
    scaler = torch.amp.GradScaler("cpu", init_scale=8.0)
    weight = nn.Parameter(torch.ones(1))
    optimiser = torch.optim.SGD([weight], lr=0.1)
    scaler.scale(weight * torch.inf).sum().backward()
    scaler.step(optimiser)
    scaler.update()
    assert weight.item() == 1.0  # a gradient that is not finite moves nothing
    fresh = torch.amp.GradScaler("cpu", init_scale=8.0)
    ScalerState(fresh).load_state_dict(ScalerState(scaler).state_dict())
    assert fresh.get_scale() == 4.0


def test_types():
    cpu = torch.device("cpu")
    assert choose_amp("float32", cpu) == torch.float32
    assert choose_amp("bfloat16", cpu) == torch.bfloat16
    assert choose_amp("auto", cpu) in (torch.float32, torch.bfloat16)
    with pytest.raises(ValueError, match="needs a GPU"):
        choose_amp("float16", cpu)
