import numpy as np
import pytest
import torch

from labelgen.demo.scenes import draw_scene
from labelgen.errors import WeightsError
from labelgen.nets import demo_ssvt
from labelgen.nets.demo_ssvt import (
    DEMO_MEAN,
    DEMO_STD,
    DEMO_WEIGHTS,
    WIDTH,
    build_demo_ssvt,
    demo_ssvt_metadata,
    save_demo_ssvt,
)


@pytest.mark.parametrize(("height", "width"), [(8, 8), (64, 88), (160, 128)])
def test_tokens_for_any_multiple_of_the_patch(height, width):
    model = build_demo_ssvt(pretrained=False).eval()
    with torch.no_grad():
        tokens = model(torch.zeros(2, 3, height, width))
    assert tokens.shape == (2, height * width // 64, WIDTH)


def test_random_weights_follow_the_seed_and_leave_the_global_generator_alone():
    torch.manual_seed(5)
    before = torch.random.get_rng_state()
    first, again, other = (build_demo_ssvt(pretrained=False, seed=seed) for seed in (1, 1, 2))
    assert torch.equal(torch.random.get_rng_state(), before)
    assert torch.equal(first.blocks[0].attn.qkv.weight, again.blocks[0].attn.qkv.weight)
    assert not torch.equal(first.blocks[0].attn.qkv.weight, other.blocks[0].attn.qkv.weight)


def test_shipped_weights_are_small_and_say_where_they_come_from():
    assert DEMO_WEIGHTS.stat().st_size < 8_000_000
    about = demo_ssvt_metadata()
    assert len(about["sha256"]) == 64
    assert about["steps_done"] == about["recipe"]["cycles"][-1][0] > 0


def test_shipped_weights_give_the_stored_tokens():
    """Golden values: the first channels of one token in the middle of the first val scene."""
    image = draw_scene("val", 0).image
    pixels = (image / 255 - np.array(DEMO_MEAN)) / np.array(DEMO_STD)
    model = build_demo_ssvt().eval()
    with torch.no_grad():
        tokens = model(torch.from_numpy(pixels.transpose(2, 0, 1)[None]).float())
    assert tokens.shape == (1, 320, WIDTH)
    expected = [0.6644, -0.0978, 0.5913, 0.5224, -0.1363, 0.5042, 0.7934, 0.171]
    assert np.allclose(tokens[0, 150, : len(expected)].numpy(), expected, atol=1e-3)


def test_saving_and_loading_keeps_every_weight_within_float16(tmp_path, monkeypatch):
    model = build_demo_ssvt(pretrained=False, seed=3)
    save_demo_ssvt(model, tmp_path / "w.safetensors", about={"steps_done": 7})
    assert demo_ssvt_metadata(tmp_path / "w.safetensors")["steps_done"] == 7
    monkeypatch.setattr(demo_ssvt, "DEMO_WEIGHTS", tmp_path / "w.safetensors")
    loaded = build_demo_ssvt()
    for name, tensor in model.state_dict().items():
        assert torch.equal(loaded.state_dict()[name], tensor.half().float())


def test_missing_damaged_and_foreign_weights_are_refused(tmp_path, monkeypatch):
    path = tmp_path / "w.safetensors"
    monkeypatch.setattr(demo_ssvt, "DEMO_WEIGHTS", path)
    with pytest.raises(WeightsError, match="no such file"):
        build_demo_ssvt()
    path.write_bytes(b"not a weight file")
    with pytest.raises(WeightsError, match="do not fit"):
        build_demo_ssvt()
    model = build_demo_ssvt(pretrained=False)
    model.norm = torch.nn.LayerNorm(8)
    save_demo_ssvt(model, path, about={})
    with pytest.raises(WeightsError, match="size mismatch"):
        build_demo_ssvt()
