"""Checkpoints in each family's own names load into timm's models, tensor for tensor."""

import re

import pytest
import timm
import torch

from labelgen.errors import ConfigError, WeightsError
from labelgen.nets.backbones import BackboneConfig, load_backbone, parameter_hash
from labelgen.nets.weights import read_checkpoint
from tests.labelgen.nets.checkpoints import HEADS, TINY, save_tiny, tiny_model

VIT = "vit_small_patch16_224"


def dino(state):
    return {"epoch": 99, "student": {}, "teacher": {**{f"backbone.{k}": v for k, v in state.items()}, **HEADS}}


def ibot(state):
    backbone = {f"module.backbone.{k}": v for k, v in state.items()}
    return {"teacher": {**backbone, "module.backbone.masked_embed": torch.ones(1, 32), **HEADS}}


def ibot_extracted(state):
    return {"state_dict": state}


def mae(state):
    decoder = {"decoder_pos_embed": torch.ones(1, 197, 8), "decoder_blocks.0.norm1.weight": torch.ones(8)}
    return {"model": {**state, "mask_token": torch.ones(1, 1, 8), **decoder}}


def mocov3(state):
    online = {f"module.base_encoder.{k}": v for k, v in state.items()}
    other = {f"module.momentum_encoder.{k}": v + 1 for k, v in state.items()}
    heads = {"module.base_encoder.head.0.weight": torch.ones(4, 32), "module.predictor.0.weight": torch.ones(4, 4)}
    return {"epoch": 300, "state_dict": {**online, **other, **heads}}


def ijepa(state):
    context = {f"module.{k}": v + 1 for k, v in state.items()}
    return {"encoder": context, "target_encoder": {f"module.{k}": v for k, v in state.items()}, "predictor": {}}


def dinov2(state):
    return {**state, "mask_token": torch.ones(1, 32)}


def dinov2_chunked(state):
    chunked = {re.sub(r"^blocks\.(\d+)\.", r"blocks.0.\1.", k): v for k, v in state.items()}
    teacher = {f"backbone.{k}": v for k, v in chunked.items()} | {"dino_head.mlp.0.weight": torch.ones(4, 32)}
    return {"teacher": {**teacher, "backbone.mask_token": torch.ones(1, 32)}}


def dinov2_giant(state):
    return {k.replace("mlp.fc1.", "mlp.w12.").replace("mlp.fc2.", "mlp.w3."): v for k, v in dinov2(state).items()}


def dinov2_reg(state):
    """The official class token has its own position; half of timm's is put there (exact in floating point)."""
    state = dict(state)
    half = state.pop("cls_token") / 2
    positions = torch.cat([half, state.pop("pos_embed")], dim=1)
    tokens = {"cls_token": half, "pos_embed": positions, "register_tokens": state.pop("reg_token")}
    return {**state, **tokens, "mask_token": torch.ones(1, 32)}


def dinov3(state):
    renamed = {
        re.sub(r"gamma_(\d)", r"ls\1.gamma", k).replace("reg_token", "storage_tokens"): v for k, v in state.items()
    }
    extra = {
        "mask_token": torch.ones(1, 32),
        "rope_embed.periods": torch.ones(4),
        "local_cls_norm.bias": torch.ones(32),
    }
    for block in range(TINY["depth"]):
        extra[f"blocks.{block}.attn.qkv.bias"] = torch.zeros(96)
        extra[f"blocks.{block}.attn.qkv.bias_mask"] = torch.ones(96)
    return {**renamed, **extra}


def huggingface(state):
    """Names of the transformers library, with query, key and value apart."""
    names = [
        (r"^patch_embed\.proj\.", "embeddings.patch_embeddings.projection."),
        (r"^pos_embed$", "embeddings.position_embeddings"),
        (r"^cls_token$", "embeddings.cls_token"),
        (r"^blocks\.(\d+)\.", r"encoder.layer.\1."),
        (r"\.attn\.qkv\.", ".attention.attention.QKV."),
        (r"\.attn\.proj\.", ".attention.output.dense."),
        (r"\.ls(\d)\.gamma$", r".layer_scale\1.lambda1"),
        (r"^norm\.", "layernorm."),
    ]
    out = {"embeddings.mask_token": torch.ones(1, 32)}
    for key, value in state.items():
        for pattern, replacement in names:
            key = re.sub(pattern, replacement, key)  # noqa: PLW2901
        if "QKV" in key:
            parts = value.chunk(3)
            out |= {key.replace("QKV", part): v for part, v in zip(("query", "key", "value"), parts, strict=True)}
        else:
            out[key] = value
    return out


CASES = {
    "timm": (VIT, dict, "vit"),
    "dino": (VIT, dino, "vit"),
    "ibot": (VIT, ibot, "ibot"),
    "ibot-extracted": (VIT, ibot_extracted, "vit"),
    "mae": ("vit_base_patch16_224", mae, "mae"),
    "mocov3": (VIT, mocov3, "mocov3"),
    "ijepa": ("vit_huge_patch14_gap_224", ijepa, "vit"),
    "dinov2": ("vit_small_patch14_dinov2", dinov2, "dinov2"),
    "dinov2-chunked": ("vit_small_patch14_dinov2", dinov2_chunked, "dinov2"),
    "dinov2-giant": ("vit_giant_patch14_dinov2", dinov2_giant, "dinov2"),
    "dinov2-reg": ("vit_small_patch14_reg4_dinov2", dinov2_reg, "dinov2-reg"),
    "dinov3": ("vit_small_patch16_dinov3", dinov3, "dinov3"),
    "huggingface": ("vit_small_patch14_dinov2", huggingface, "huggingface"),
}


@pytest.mark.parametrize("case", CASES)
def test_every_family_loads_exactly(case, tmp_path, monkeypatch):
    name, rename, family = CASES[case]
    monkeypatch.setattr("labelgen.nets.construction.read_checkpoint", with_tiny_options)
    model = tiny_model(name, **({"img_size": 112} if "dinov3" not in name else {}))
    path = tmp_path / "published.pth"
    torch.save(rename(model.state_dict()), path)
    assert read_checkpoint(path).family == family
    backbone = load_backbone(BackboneConfig(name, weights=str(path), norm="gap" not in name))
    assert backbone.spec.weights_sha256 == parameter_hash(model)
    assert backbone.spec.weights_from == "file:published.pth"


def with_tiny_options(path):
    """Published checkpoints are of full-size models; these are tiny ones."""
    checkpoint = read_checkpoint(path)
    checkpoint.timm_kwargs.update(TINY)
    return checkpoint


def test_resnet_of_moco(tmp_path):
    model = timm.create_model("resnet18", num_classes=0)
    state = {f"module.encoder_q.{k}": v for k, v in model.state_dict().items()}
    path = tmp_path / "moco.pth.tar"
    torch.save(
        {"state_dict": {**state, "module.encoder_q.fc.0.weight": torch.ones(2, 2), "module.queue": torch.ones(2)}}, path
    )
    backbone = load_backbone(BackboneConfig("resnet18", weights=str(path)))
    assert read_checkpoint(path).family == "mocov2"
    assert backbone.spec.weights_sha256 == parameter_hash(model)


def test_dinov3_with_a_real_bias_is_refused_by_the_model_without(tmp_path, monkeypatch):
    monkeypatch.setattr("labelgen.nets.construction.read_checkpoint", with_tiny_options)
    state = dinov3(tiny_model("vit_small_patch16_dinov3").state_dict())
    state["blocks.0.attn.qkv.bias"] = torch.ones(96)
    torch.save(state, tmp_path / "biased.pth")
    with pytest.raises(WeightsError, match=r"unexpected: blocks.0.attn.q_bias, blocks.0.attn.v_bias"):
        load_backbone(BackboneConfig("vit_small_patch16_dinov3", weights=str(tmp_path / "biased.pth")))


def test_faults_are_listed(tmp_path):
    model = tiny_model(VIT)
    state = model.state_dict()
    del state["norm.bias"], state["blocks.1.norm1.weight"]
    state |= {f"extra.{n}": torch.ones(1) for n in range(7)}
    state["norm.weight"] = torch.ones(3)
    path = save_tiny(tmp_path / "bad.safetensors", model, name=VIT, state=state)
    with pytest.raises(WeightsError) as caught:
        load_backbone(BackboneConfig("", weights=str(path)))
    message = str(caught.value)
    assert "read as 'vit'" in message
    assert "2 missing: blocks.1.norm1.weight, norm.bias" in message
    assert "7 unexpected: extra.0, extra.1, extra.2, extra.3, extra.4, ..." in message
    assert "1 of another shape: norm.weight (3,) instead of (32,)" in message


def test_a_checkpoint_that_would_run_code_is_refused(tmp_path):
    class Evil:
        def __reduce__(self):
            return (exec, ("raise SystemExit('executed')",))

    torch.save({"state_dict": Evil()}, tmp_path / "evil.pth")
    with pytest.raises(WeightsError, match="would run code when loaded"):
        read_checkpoint(tmp_path / "evil.pth")


@pytest.mark.parametrize("suffix", ["pth", "safetensors"])
def test_damaged_and_missing_files(tmp_path, suffix):
    path = tmp_path / f"weights.{suffix}"
    with pytest.raises(WeightsError, match="must exist"):
        read_checkpoint(path)
    path.write_bytes(b"not a checkpoint")
    with pytest.raises(WeightsError, match=r"weights\."):
        read_checkpoint(path)


def test_a_checkpoint_without_tensors(tmp_path):
    torch.save({"epoch": 3}, tmp_path / "empty.pth")
    with pytest.raises(WeightsError, match="must hold named tensors, got only epoch"):
        read_checkpoint(tmp_path / "empty.pth")


def test_metadata_names_the_model_and_its_normalisation(tmp_path):
    path = save_tiny(tmp_path / "w.safetensors", tiny_model(VIT), name=VIT, mean=[0.1, 0.2, 0.3], std=[0.5, 0.5, 0.5])
    spec = load_backbone(BackboneConfig("", weights=str(path))).spec
    assert (spec.name, spec.dim, spec.mean, spec.std) == (VIT, 32, (0.1, 0.2, 0.3), (0.5, 0.5, 0.5))
    with pytest.raises(ConfigError, match=r"says it holds weights of vit_small_patch16_224, .* asked for is resnet18"):
        load_backbone(BackboneConfig("resnet18", weights=str(path)))


def test_positions_of_another_grid_keep_their_own(tmp_path):
    """A checkpoint trained at 112 pixels gives a model of 112 pixels, not positions resampled once more."""
    path = save_tiny(tmp_path / "w.safetensors", tiny_model(VIT, img_size=112), name=VIT)
    assert load_backbone(BackboneConfig("", weights=str(path))).spec.native_size == 112


def test_a_name_is_needed(tmp_path):
    torch.save(tiny_model(VIT).state_dict(), tmp_path / "w.pth")
    with pytest.raises(ConfigError, match="which model do the weights"):
        load_backbone(BackboneConfig("", weights=str(tmp_path / "w.pth")))
