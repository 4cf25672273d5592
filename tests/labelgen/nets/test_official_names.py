"""Checkpoints with the keys and shapes of the published files, written out by hand, load into the models they are of.

`test_keymaps.py` makes such files from timm's names by the inverse of the renaming; here the names do not come from
timm, so that a mistake in both directions would show.
"""

import pytest
import torch

from labelgen.data.dataset import DataSpec
from labelgen.errors import WeightsError
from labelgen.nets.backbones import BackboneConfig, load_backbone
from labelgen.nets.weights import read_checkpoint
from segprobe.commands.flags import BackboneFlags
from tests.labelgen.nets.checkpoints import TINY
from tests.labelgen.nets.test_keymaps import with_tiny_options

D, DEPTH = TINY["embed_dim"], TINY["depth"]


def vit_keys(dim, depth, *, patch, tokens, scale=False, qkv_bias=True):
    """Keys of the ViT that DINO, DINOv2, iBOT, MAE, MoCo-v3 and I-JEPA share, in the files of their authors."""
    hidden = 4 * dim
    keys = {"pos_embed": (1, tokens, dim), "patch_embed.proj.weight": (dim, 3, patch, patch)}
    keys |= {"patch_embed.proj.bias": (dim,), "norm.weight": (dim,), "norm.bias": (dim,)}
    for block in range(depth):
        found = {
            "norm1.weight": (dim,),
            "norm1.bias": (dim,),
            "attn.qkv.weight": (3 * dim, dim),
            "attn.proj.weight": (dim, dim),
            "attn.proj.bias": (dim,),
            "norm2.weight": (dim,),
            "norm2.bias": (dim,),
            "mlp.fc1.weight": (hidden, dim),
            "mlp.fc1.bias": (hidden,),
            "mlp.fc2.weight": (dim, hidden),
            "mlp.fc2.bias": (dim,),
        }
        found |= {"attn.qkv.bias": (3 * dim,)} if qkv_bias else {}
        found |= {"ls1.gamma": (dim,), "ls2.gamma": (dim,)} if scale else {}
        keys |= {f"blocks.{block}.{name}": shape for name, shape in found.items()}
    return keys


def filled(shapes, prefix=""):
    """Random tensors under these names."""
    generator = torch.Generator().manual_seed(0)
    return {prefix + name: 0.2 * torch.randn(shape, generator=generator) for name, shape in shapes.items()}


CLASS = {"cls_token": (1, 1, D)}
GRID = 7 * 7  # of an image of 112 pixels in patches of 16; 8 * 8 in patches of 14
VIT16 = vit_keys(D, DEPTH, patch=16, tokens=GRID + 1) | CLASS
VIT14 = vit_keys(D, DEPTH, patch=14, tokens=65, scale=True) | CLASS | {"mask_token": (1, D)}


def dino_hub():
    """dino_deitsmall16_pretrain.pth: the teacher's backbone alone."""
    return filled(VIT16)


def dino_full():
    """dino_deitsmall16_pretrain_full_checkpoint.pth."""
    head = {"head.mlp.0.weight": (8, D), "head.mlp.0.bias": (8,), "head.last_layer.weight_g": (4, 1)}
    student = {key: value + 1 for key, value in filled(VIT16 | head, "module.backbone.").items()}
    return {"student": student, "teacher": filled(VIT16, "backbone.") | filled(head), "epoch": 800, "dino_loss": {}}


def dinov2_hub():
    """dinov2_vits14_pretrain.pth."""
    return filled(VIT14)


def dinov2_reg_hub():
    """dinov2_vits14_reg4_pretrain.pth; positions are of class and patches, registers have none."""
    return filled(VIT14 | {"register_tokens": (1, 4, D)})


def dinov3_hub():
    """dinov3_vits16_pretrain_lvd1689m-*.pth: rotary positions, a masked bias of the keys, no learned positions."""
    keys = vit_keys(D, DEPTH, patch=16, tokens=1, scale=True, qkv_bias=False)
    del keys["pos_embed"]
    state = filled(keys | CLASS | {"storage_tokens": (1, 4, D), "mask_token": (1, D), "rope_embed.periods": (4,)})
    for block in range(DEPTH):
        state[f"blocks.{block}.attn.qkv.bias"] = torch.zeros(3 * D)
        state[f"blocks.{block}.attn.qkv.bias_mask"] = torch.ones(3 * D)
    return state


def ibot_full():
    """checkpoint.pth of iBOT's pre-training."""
    backbone = filled(VIT16 | {"masked_embed": (1, D)}, "module.backbone.")
    heads = filled({"module.head.mlp.0.weight": (8, D), "module.head.last_layer.weight_v": (4, 8)})
    return {"teacher": backbone | heads, "student": {}, "epoch": 799, "ibot_loss": {}}


def ibot_teacher():
    """checkpoint_teacher.pth: the extracted backbone."""
    return {"state_dict": filled(VIT16)}


def mae_encoder():
    """mae_pretrain_vit_base.pth."""
    return {"model": filled(VIT16)}


def mae_full():
    """mae_pretrain_vit_base_full.pth, with its decoder."""
    decoder = vit_keys(8, 1, patch=16, tokens=1)
    names = {f"decoder_{key}": shape for key, shape in decoder.items() if key.startswith(("blocks", "norm"))}
    more = {"decoder_pos_embed": (1, GRID + 1, 8), "decoder_embed.weight": (8, D), "decoder_embed.bias": (8,)}
    more |= {"decoder_pred.weight": (768, 8), "decoder_pred.bias": (768,), "mask_token": (1, 1, 8)}
    return {"model": filled(VIT16 | names | more)}


def mocov3():
    """vit-s-300ep.pth.tar."""
    heads = {"module.base_encoder.head.0.weight": (8, D), "module.base_encoder.head.1.running_mean": (8,)}
    heads |= {"module.predictor.0.weight": (8, 8), "module.predictor.1.num_batches_tracked": ()}
    momentum = {key: value + 1 for key, value in filled(VIT16, "module.momentum_encoder.").items()}
    return {
        "epoch": 300,
        "arch": "vit_small",
        "state_dict": filled(VIT16, "module.base_encoder.") | momentum | filled(heads),
    }


def ijepa():
    """IN1K-vit.h.14-300e.pth.tar: no class token; the target encoder is evaluated."""
    keys = vit_keys(D, DEPTH, patch=14, tokens=64)
    context = {key: value + 1 for key, value in filled(keys, "module.").items()}
    predictor = filled({"module.predictor_embed.weight": (8, D), "module.mask_token": (1, 1, 8)})
    return {"encoder": context, "predictor": predictor, "target_encoder": filled(keys, "module."), "epoch": 300}


FILES = {  # file: (model, family that it is recognised as)
    dino_hub: ("vit_small_patch16_224", "vit"),
    dino_full: ("vit_small_patch16_224", "vit"),
    dinov2_hub: ("vit_small_patch14_dinov2", "dinov2"),
    dinov2_reg_hub: ("vit_small_patch14_reg4_dinov2", "dinov2-reg"),
    dinov3_hub: ("vit_small_patch16_dinov3", "dinov3"),
    ibot_full: ("vit_small_patch16_224", "ibot"),
    ibot_teacher: ("vit_small_patch16_224", "vit"),
    mae_encoder: ("vit_base_patch16_224", "vit"),
    mae_full: ("vit_base_patch16_224", "mae"),
    mocov3: ("vit_small_patch16_224", "mocov3"),
    ijepa: ("vit_huge_patch14_gap_224", "vit"),
}


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.__name__)
def test_official_files_load(file, tmp_path, monkeypatch):
    name, family = FILES[file]
    monkeypatch.setattr("labelgen.nets.construction.read_checkpoint", with_tiny_options)
    path = tmp_path / "official.pth"
    torch.save(file(), path)
    assert read_checkpoint(path).family == family
    found = load_backbone(BackboneConfig(name, weights=str(path), norm="gap" not in name, dtype="float32"))
    loaded = found.model.state_dict()
    source = tensors_of(file())
    for key in ("blocks.0.norm1.bias", "blocks.1.attn.qkv.weight", "blocks.1.mlp.fc2.bias", "patch_embed.proj.weight"):
        assert torch.equal(loaded[key], source[key]), key
    if "ls1" in "".join(source):
        scale = "blocks.1.gamma_2" if "blocks.1.gamma_2" in loaded else "blocks.1.ls2.gamma"
        assert torch.equal(loaded[scale], source["blocks.1.ls2.gamma"])
    picture, geometry = found.prepare(torch.zeros(112, 112, 3, dtype=torch.uint8).numpy())
    assert found.tokens(picture[None]).shape == (1, *geometry.grid, D)


def tensors_of(raw):
    """The tensors that are to be loaded, by the names of the plain ViT, picked here without the code under test."""
    for container in ("teacher", "target_encoder", "state_dict", "model"):
        if container in raw:
            raw = raw[container]
            break
    kept = {key: value for key, value in raw.items() if "momentum_encoder" not in key}
    return {key.split("backbone.")[-1].split("base_encoder.")[-1].removeprefix("module."): v for key, v in kept.items()}


def test_registers_keep_the_position_of_the_class_token(tmp_path, monkeypatch):
    monkeypatch.setattr("labelgen.nets.construction.read_checkpoint", with_tiny_options)
    path = tmp_path / "official.pth"
    raw = dinov2_reg_hub()
    torch.save(raw, path)
    loaded = load_backbone(BackboneConfig("vit_small_patch14_reg4_dinov2", weights=str(path))).model.state_dict()
    assert torch.equal(loaded["cls_token"], raw["cls_token"] + raw["pos_embed"][:, :1])
    assert torch.equal(loaded["pos_embed"], raw["pos_embed"][:, 1:])
    assert torch.equal(loaded["reg_token"], raw["register_tokens"])


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.__name__)
def test_a_tensor_that_is_missing_is_named(file, tmp_path, monkeypatch):
    name, _ = FILES[file]
    monkeypatch.setattr("labelgen.nets.construction.read_checkpoint", with_tiny_options)
    raw = file()
    for state in [raw, *(value for value in raw.values() if isinstance(value, dict))]:
        for key in [key for key in state if key.endswith("blocks.1.mlp.fc2.weight")]:
            del state[key]
    path = tmp_path / "official.pth"
    torch.save(raw, path)
    with pytest.raises(WeightsError, match=r"1 missing: blocks\.1\.mlp\.fc2\.weight"):
        load_backbone(BackboneConfig(name, weights=str(path), norm="gap" not in name))


@pytest.mark.slow
def test_the_command_line_takes_the_file_of_dinov2_as_it_comes_from_its_authors(tmp_path):
    """`--backbone vit_small_patch14_dinov2 --weights FILE`, at the published size."""
    shapes = vit_keys(384, 12, patch=14, tokens=37 * 37 + 1, scale=True)
    raw = filled(shapes | {"cls_token": (1, 1, 384), "mask_token": (1, 384)})
    path = tmp_path / "dinov2_vits14_pretrain.pth"
    torch.save(raw, path)
    flags = BackboneFlags(backbone="vit_small_patch14_dinov2", weights=str(path), dtype="float32", size=28)
    found = load_backbone(flags.config(DataSpec("voc")))
    assert torch.equal(found.model.blocks[11].mlp.fc2.weight, raw["blocks.11.mlp.fc2.weight"])
    assert torch.equal(found.model.pos_embed, raw["pos_embed"])
    assert found.spec.dim == 384
