"""Parameter names of published checkpoints, family by family, turned into timm's names.

A checkpoint is recognised by its keys alone. What a family calls differently is renamed by a table of regular
expressions; what it holds besides the backbone (heads, mask tokens, decoders) is listed, and nothing else is dropped.
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import torch

from labelgen.errors import WeightsError

__all__ = ["FAMILIES", "KeyFamily", "load_strictly", "recognise", "to_timm", "unwrap"]

State = dict[str, torch.Tensor]

CONTAINERS = ("teacher", "target_encoder", "state_dict", "model_ema", "model", "encoder", "student")
"""Where training scripts keep the weights in their checkpoints, best first: DINO, iBOT, I-JEPA evaluate the teacher."""

HEADS = (r"head\.", r"fc\.", r"classifier\.", r"(dino|ibot)_head\.", r"pre_logits\.", r"head_dist\.")
SWIGLU = ((r"\.mlp\.w12\.", ".mlp.fc1."), (r"\.mlp\.w3\.", ".mlp.fc2."))
CHUNKS = ((r"^blocks\.\d+\.(\d+)\.", r"blocks.\1."),)


@dataclass(frozen=True)
class KeyFamily:
    """How one family of checkpoints names its parameters.

    Parameters
    ----------
    about
        Who writes files like this.
    marks
        Regular expressions; each must match the start of some key.
    prefix
        Only keys with this prefix belong to the backbone; it is removed.
    rename
        `(pattern, replacement)` pairs applied to each key in order.
    ignore
        Keys that begin like this belong to no backbone.
    convert
        Last step for what a renaming cannot express.
    """

    about: str
    marks: tuple[str, ...]
    prefix: str = ""
    rename: tuple[tuple[str, str], ...] = ()
    ignore: tuple[str, ...] = HEADS
    convert: Callable[[State], State] = field(default=lambda state: state)


def _merge_register_positions(state: State) -> State:
    """Add the class position to the class token; timm keeps positions of patches only beside registers."""
    positions = state.pop("pos_embed")
    return {**state, "cls_token": state["cls_token"] + positions[:, :1], "pos_embed": positions[:, 1:]}


def _check_zero_key_bias(state: State) -> State:
    """Drop the qkv bias of DINOv3, which timm leaves out of its models; refuse it where it is not zero."""
    for key in [key for key in state if key.endswith("attn.qkv.bias")]:
        bias = state.pop(key)
        query, _, value = bias.chunk(3)
        if query.any() or value.any():
            stem = key.removesuffix("qkv.bias")
            state[f"{stem}q_bias"], state[f"{stem}v_bias"] = query, value
    return state


def _fuse_qkv(state: State) -> State:
    """Stack the separate query, key and value projections into one."""
    for key in [key for key in state if ".attn.query." in key]:
        parts = [state.pop(key.replace("query", part)) for part in ("query", "key", "value")]
        state[key.replace("query", "qkv")] = torch.cat(parts)
    return state


def _hf_registers(state: State) -> State:
    fused = _fuse_qkv(state)
    return _merge_register_positions(fused) if "reg_token" in fused else fused


HF_RENAME = (
    (r"^(dinov2|vit|dinov2_with_registers)\.", ""),
    (r"^embeddings\.patch_embeddings\.projection\.", "patch_embed.proj."),
    (r"^embeddings\.position_embeddings$", "pos_embed"),
    (r"^embeddings\.register_tokens$", "reg_token"),
    (r"^embeddings\.", ""),
    (r"^encoder\.layer\.", "blocks."),
    (r"\.attention\.attention\.", ".attn."),
    (r"\.attention\.output\.dense\.", ".attn.proj."),
    (r"\.layer_scale(\d)\.lambda1$", r".ls\1.gamma"),
    (r"\.(layernorm_before)\.", ".norm1."),
    (r"\.(layernorm_after)\.", ".norm2."),
    (r"\.intermediate\.dense\.", ".mlp.fc1."),
    (r"(blocks\.\d+)\.output\.dense\.", r"\1.mlp.fc2."),
    (r"\.mlp\.weights_in\.", ".mlp.fc1."),
    (r"\.mlp\.weights_out\.", ".mlp.fc2."),
    (r"^layernorm\.", "norm."),
)

FAMILIES: dict[str, KeyFamily] = {
    "mocov3": KeyFamily(
        "MoCo-v3 training checkpoint",
        (r"base_encoder\.",),
        prefix="base_encoder.",
    ),
    "mocov2": KeyFamily("MoCo-v1/v2 training checkpoint", (r"encoder_q\.",), prefix="encoder_q."),
    "dinov3": KeyFamily(
        "DINOv3 (official names)",
        (r"storage_tokens",),
        rename=(
            *CHUNKS,
            (r"^storage_tokens", "reg_token"),
            (r"\.ls([12])\.gamma$", r".gamma_\1"),
            (r"\.mlp\.w1\.", ".mlp.fc1_g."),
            (r"\.mlp\.w2\.", ".mlp.fc1_x."),
            (r"\.mlp\.w3\.", ".mlp.fc2."),
        ),
        ignore=(*HEADS, r"mask_token", r"rope_embed\.", r".*\.bias_mask$", r"local_cls_norm\.", r"cls_norm\."),
        convert=_check_zero_key_bias,
    ),
    "dinov2-reg": KeyFamily(
        "DINOv2 with registers (official names)",
        (r"register_tokens",),
        rename=(*CHUNKS, (r"^register_tokens", "reg_token"), *SWIGLU),
        ignore=(*HEADS, r"mask_token"),
        convert=_merge_register_positions,
    ),
    "dinov2": KeyFamily(
        "DINOv2 (official names)",
        (r"mask_token", r"blocks\.[\d.]+\.ls1\.gamma"),
        rename=(*CHUNKS, *SWIGLU),
        ignore=(*HEADS, r"mask_token"),
    ),
    "huggingface": KeyFamily(
        "ViT, DINO or DINOv2 in the names of the transformers library",
        (r"(\w+\.)?embeddings\.patch_embeddings\.projection\.",),
        rename=HF_RENAME,
        ignore=(*HEADS, r"mask_token", r"pooler\."),
        convert=_hf_registers,
    ),
    "mae": KeyFamily(
        "MAE pre-training checkpoint",
        (r"decoder_pos_embed|decoder_embed\.",),
        ignore=(*HEADS, r"mask_token", r"decoder_"),
    ),
    "ibot": KeyFamily("iBOT training checkpoint", (r"masked_embed",), ignore=(*HEADS, r"masked_embed")),
    "vit": KeyFamily(
        "timm's own names, which DINO, iBOT, MAE and DeiT encoders share",
        (r"patch_embed\.proj\.", r"blocks\.0\."),
        ignore=(*HEADS, r"mask_token"),
    ),
    "timm": KeyFamily("timm's own names", ()),
}
"""Looked through from top to bottom; the last one fits anything, and strict loading then judges it."""


def unwrap(raw: Mapping[str, object]) -> State:
    """Find the tensors in a checkpoint and remove what wrappers put before their names.

    Raises
    ------
    WeightsError
        When the file holds no tensors.

    Examples
    --------
    >>> list(unwrap({"epoch": 3, "teacher": {"module.backbone.norm.bias": torch.zeros(2)}}))
    ['norm.bias']
    """
    for name in CONTAINERS:
        inner = raw.get(name)
        if isinstance(inner, Mapping):
            return unwrap(inner)
    state = {}
    for key, value in raw.items():
        if isinstance(value, torch.Tensor):
            state[re.sub(r"^((module|_orig_mod|backbone)\.)+", "", key)] = value
    if not state:
        raise WeightsError(f"a checkpoint must hold named tensors, got only {_shown(sorted(map(str, raw)))}")
    return state


def recognise(state: State) -> str:
    """Name of the first family in `FAMILIES` whose marks are all among the keys.

    Examples
    --------
    >>> recognise({"storage_tokens": torch.zeros(1, 4, 8)})
    'dinov3'
    """
    for name, family in FAMILIES.items():
        if all(any(re.match(mark, key) for key in state) for mark in family.marks):
            return name
    raise AssertionError("the last family has no marks")


def to_timm(state: State, family: str) -> State:
    """Rename and convert a state dict of `family` to timm's names; heads and mask tokens are left out.

    Examples
    --------
    >>> list(to_timm({"storage_tokens": torch.zeros(1, 4, 8), "mask_token": torch.zeros(1, 8)}, "dinov3"))
    ['reg_token']
    """
    rules = FAMILIES[family]
    renamed = {}
    for key, value in state.items():
        if not key.startswith(rules.prefix):
            continue
        name = key.removeprefix(rules.prefix)
        for pattern, replacement in rules.rename:
            name = re.sub(pattern, replacement, name)
        if not any(re.match(pattern, name) for pattern in rules.ignore):
            renamed[name] = value
    return rules.convert(renamed)


def load_strictly(model: torch.nn.Module, state: State, *, family: str, source: str) -> None:
    """Load `state` into `model`; every parameter must be given, fit, and be used.

    Raises
    ------
    WeightsError
        With the number and the first names of missing, unexpected and misshapen tensors.
    """
    wanted = model.state_dict()
    missing = [key for key in wanted if key not in state]
    unexpected = [key for key in state if key not in wanted]
    misshapen = [
        f"{key} {tuple(state[key].shape)} instead of {tuple(wanted[key].shape)}"
        for key in wanted
        if key in state and state[key].shape != wanted[key].shape
    ]
    faults = {"missing": missing, "unexpected": unexpected, "of another shape": misshapen}
    if any(faults.values()):
        listed = "; ".join(f"{len(keys)} {kind}: {_shown(keys)}" for kind, keys in faults.items() if keys)
        about = FAMILIES[family].about if family in FAMILIES else "the names of the model itself"
        raise WeightsError(
            f"{source}, read as {family!r} ({about}), must fit the model exactly, but {listed}",
            hint="give the model the file was made for with --backbone",
        )
    model.load_state_dict(state)


def _shown(keys: list[str]) -> str:
    return ", ".join(keys[:5]) + (", ..." if len(keys) > 5 else "")
