"""Where the encoder of the student starts: random weights, a self-supervised backbone, or its teacher's image tower."""

from dataclasses import replace
from typing import Any

import torch
from torch import nn

from labelgen.errors import ConfigError, WeightsError
from labelgen.nets.backbone_config import BackboneConfig
from labelgen.nets.backbones import load_backbone
from labelgen.nets.clip.model import ClipModel, load_clip
from labelgen.nets.dense_clip.tower import tower_of
from labelgen.nets.zeroseg.config import StudentConfig
from labelgen.nets.zeroseg.presets import FROM_TEACHER, Preset
from labelgen.nets.zeroseg.student import Student
from labelgen.nets.zeroseg.teacher import ImageTower

__all__ = ["fit_to_teacher", "start_encoder", "tower_weights"]

OTHER_INIT = "--init takes another start: a backbone with the sizes of the preset, or none"
NAMES = (  # of open_clip's image tower, and what timm calls them
    ("conv1.", "patch_embed.proj."),
    ("transformer.resblocks.", "blocks."),
    ("ln_pre.", "norm_pre."),
    ("ln_post.", "norm."),
    (".ln_", ".norm"),
    (".attn.in_proj_", ".attn.qkv."),
    (".attn.out_proj.", ".attn.proj."),
    (".mlp.c_fc.", ".mlp.fc1."),
    (".mlp.c_proj.", ".mlp.fc2."),
)


def fit_to_teacher(preset: Preset, tower: ImageTower) -> Preset:
    """Give the student the joint space of its teacher, and the form of its image tower when it starts from that.

    Raises
    ------
    ConfigError
        When the student starts from a tower that is no plain ViT of open_clip.
    """
    student = replace(preset.student, joint_dim=tower.embed_dim)
    if preset.init == FROM_TEACHER:
        student = _form_of(_clip_model(tower), student)
    return replace(preset, student=student)


def start_encoder(student: Student, name: str, *, weights: str = "", tower: ImageTower | None = None) -> dict[str, Any]:
    """Copy weights into the encoder; returns where it starts, for the record.

    Parameters
    ----------
    name
        `teacher`; `demo-ssvt`, or a timm ViT of the same sizes such as `vit_base_patch16_224.mae`; empty leaves random
        weights.
    weights
        Checkpoint of that backbone instead of its published weights.
    tower
        The teacher.

    Raises
    ------
    ConfigError
        When weights are given for a start that has its own.
    WeightsError
        When the tensors do not fit the encoder.
    """
    if name == FROM_TEACHER:
        if weights:
            raise ConfigError(f"the teacher has its own weights, got {weights!r} for its tower", hint=OTHER_INIT)
        clip = _clip_model(tower)
        state, sha256 = tower_weights(_in_float32(clip)), clip.weights_sha256
    elif name or weights:
        backbone = load_backbone(BackboneConfig(name, weights=weights, dtype="float32"))
        state, sha256, name = backbone.model.state_dict(), backbone.spec.weights_sha256, backbone.spec.name
    else:
        return {"name": "random", "sha256": ""}
    try:
        student.encoder.load_state_dict(state, strict=True)
    except RuntimeError as error:
        raise WeightsError(
            f"the weights of {name} do not fit the encoder of the student: {error}", hint=OTHER_INIT
        ) from error
    return {"name": name, "sha256": sha256}


def tower_weights(clip: ClipModel) -> dict[str, torch.Tensor]:
    """Weights of an image tower of open_clip in timm's names, without its last projection."""
    visual: Any = clip.model.visual
    state: dict[str, torch.Tensor] = {}
    for key, tensor in visual.state_dict().items():
        if key == "proj":
            continue
        if key == "class_embedding":
            state["cls_token"] = tensor[None, None]
        elif key == "positional_embedding":
            state["pos_embed"] = tensor[None]
        else:
            state[_timm_name(key)] = tensor
    return state


def _timm_name(key: str) -> str:
    """As timm calls a tensor of open_clip's image tower.

    Examples
    --------
    >>> _timm_name("transformer.resblocks.3.attn.in_proj_weight"), _timm_name("ln_post.bias")
    ('blocks.3.attn.qkv.weight', 'norm.bias')
    """
    for theirs, ours in NAMES:
        if theirs.startswith(".") or key.startswith(theirs):
            key = key.replace(theirs, ours)
    return key


def _form_of(clip: ClipModel, student: StudentConfig) -> StudentConfig:
    """Sizes of the image tower."""
    visual: Any = clip.model.visual
    tower = tower_of(clip.model)
    block = visual.transformer.resblocks[0] if tower.kind == "native" else None
    scaled = block is not None and not isinstance(getattr(block, "ls_1", nn.Identity()), nn.Identity)
    wide = block is not None and block.mlp.c_fc.out_features != 4 * tower.width
    height, width = tower.native_size
    if block is None or scaled or wide or height != width or clip.activation not in ("gelu", "quick_gelu"):
        raise ConfigError(
            f"a student starts from a plain ViT of open_clip, but the image tower of {clip.name} is another",
            hint=OTHER_INIT,
        )
    return replace(
        student,
        image_size=height,
        patch=tower.patch,
        stem="clip",
        activation=clip.activation,
        class_token=True,
        width=tower.width,
        depth=tower.depth,
        heads=tower.heads,
        mean=tuple(float(value) for value in clip.mean),
        std=tuple(float(value) for value in clip.std),
    )


def _clip_model(tower: ImageTower | None) -> ClipModel:
    if not isinstance(tower, ClipModel):
        raise ConfigError(
            f"a student starts from the tower of a CLIP model, got {type(tower).__name__}", hint=OTHER_INIT
        )
    return tower


def _in_float32(clip: ClipModel) -> ClipModel:
    """The same model as it is stored, where it computes in less."""
    if clip.dtype == torch.float32:
        return clip
    return load_clip(replace(clip.config, dtype="float32", device="cpu"))
