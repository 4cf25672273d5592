"""Checkpoints of image-text models: read without running anything, compared with the model, and loaded strictly."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from labelgen.errors import WeightsError
from labelgen.nets.clip.open_clip_import import import_open_clip
from labelgen.nets.clip.script_archive import is_script_archive, read_script_archive
from labelgen.nets.weights import read_safetensors, read_torch

__all__ = ["ClipCheckpoint", "fit_state", "likely_architectures", "read_clip_checkpoint"]

State = dict[str, torch.Tensor]

WRAPPERS = ("state_dict", "model_state_dict", "model")
"""Where training scripts keep the weights in their checkpoints."""

COMPUTED = ("attn_mask", "text.attn_mask", "text.transformer.embeddings.position_ids")
"""Tensors that models make themselves, which some files hold nevertheless: traced ones, old ones of transformers."""

OPENAI_BUFFERS = ("input_resolution", "context_length", "vocab_size")
"""Numbers that OpenAI's own files hold beside the weights, and no others do."""


@dataclass(frozen=True)
class ClipCheckpoint:
    """Tensors of a file, by open_clip's names.

    Parameters
    ----------
    path
        The file.
    state
        Tensors by name.
    by_openai
        Whether it is in the form of OpenAI's releases, whose models compute with QuickGELU.
    about
        What a file written by labelgen tells about itself; else empty.
    """

    path: Path
    state: State
    by_openai: bool
    about: Mapping[str, Any]


def read_clip_checkpoint(path: Path) -> ClipCheckpoint:
    """Read a `.safetensors`, `.pt`, `.pth` or `.bin` checkpoint, or one of OpenAI's TorchScript archives.

    Raises
    ------
    WeightsError
        When the file is missing, damaged, holds no tensors, or would run code when loaded.
    """
    if not path.is_file():
        raise WeightsError(f"the weights file must exist, got {path}", hint="give the path of a checkpoint")
    if path.suffix in (".npz", ".npy"):
        raise WeightsError(f"checkpoints in numpy form are not read, got {path}", hint="save it as .safetensors")
    about: Mapping[str, Any] = {}
    if path.suffix == ".safetensors":
        raw, about = read_safetensors(path)
    else:
        raw = read_script_archive(path) if is_script_archive(path) else read_torch(path)
    by_openai = all(key in raw for key in OPENAI_BUFFERS)
    return ClipCheckpoint(path, _bare(raw, path), by_openai, about)


def _bare(raw: Mapping[str, object], path: Path) -> State:
    """Tensors without wrappers, prefixes of parallel or compiled training, and OpenAI's three numbers."""
    for wrapper in WRAPPERS:
        if isinstance(inner := raw.get(wrapper), Mapping):
            raw = inner
            break
    state = {key: value for key, value in raw.items() if isinstance(value, torch.Tensor) and key not in OPENAI_BUFFERS}
    for prefix in ("module.", "_orig_mod."):
        if state and all(key.startswith(prefix) for key in state):
            state = {key.removeprefix(prefix): value for key, value in state.items()}
    if any(key.startswith("vision_model.") for key in state):
        raise WeightsError(
            f"{path} names its tensors as the transformers package does; open_clip's names are needed",
            hint="take open_clip_model.safetensors of the same model, or OpenAI's own .pt file",
        )
    if not any(key.startswith(("visual.", "image_encoder.")) for key in state):
        shown = ", ".join(list(map(str, raw))[:3])
        raise WeightsError(
            f"{path} holds no image-text model: no key begins with 'visual.' ({len(raw)} keys: {shown}, ...)",
            hint="--weights takes open_clip's state dict of both towers; an image tower alone has no words",
        )
    return state


def fit_state(model: nn.Module, state: State, *, name: str, where: str) -> None:
    """Load a state into a model, every tensor of it, after open_clip's renaming of other publishers' keys.

    Raises
    ------
    WeightsError
        When keys are missing or left over, or shapes differ: one line with the counts, and which model it may be.
    """
    state = _adapted(model, dict(state))
    wanted = {key: tuple(tensor.shape) for key, tensor in model.state_dict().items()}
    missing = [key for key in wanted if key not in state]
    unknown = [key for key in state if key not in wanted]
    different = [key for key in wanted if key in state and tuple(state[key].shape) != wanted[key]]
    if missing or unknown or different:
        parts = [
            f"{len(missing)} keys missing{_example(missing)}" if missing else "",
            f"{len(unknown)} unknown{_example(unknown)}" if unknown else "",
            f"{len(different)} of another shape{_shapes(different, state, wanted)}" if different else "",
        ]
        fitting = likely_architectures(state)
        raise WeightsError(
            f"the weights in {where} do not fit {name}: {'; '.join(part for part in parts if part)}, "
            f"of {len(wanted)}{_sizes(state, model)}",
            hint=f"by its shapes it is {' or '.join(fitting[:4])}: choose that with --model"
            if fitting
            else "choose the model that these weights were trained as with --model",
        )
    model.load_state_dict(state, strict=True)


def _adapted(model: nn.Module, state: State) -> State:
    """Apply the changes of form that mean the same model."""
    import_open_clip()
    from open_clip.convert import convert_state_dict

    state = convert_state_dict(model, state)  # pyright: ignore[reportArgumentType]
    own = model.state_dict()
    if "text_projection" in state and "positional_embedding" not in own:  # before open_clip had towers apart
        text = ("text_projection", "positional_embedding", "token_embedding", "transformer.", "ln_final")
        state = {f"text.{key}" if key.startswith(text) else key: value for key, value in state.items()}
    for key in ("logit_scale", "logit_bias"):  # a number, or a vector of one
        if key in state and key in own and state[key].numel() == 1:
            state[key] = state[key].reshape(own[key].shape)
    return {key: value for key, value in state.items() if key in own or key not in COMPUTED}


def _example(keys: list[str]) -> str:
    return f" ({keys[0]}, ...)" if len(keys) > 1 else f" ({keys[0]})"


def _shapes(keys: list[str], state: State, wanted: Mapping[str, tuple[int, ...]]) -> str:
    key = keys[0]
    return f" ({key} is {tuple(state[key].shape)}, not {wanted[key]})"


def _sizes(state: State, model: nn.Module) -> str:
    """What differs in the joint space, because that is what a user sees first."""
    theirs, ours = _embed_dim(state), _embed_dim(model.state_dict())
    return f"; its embedding has {theirs} numbers, not {ours}" if theirs and ours and theirs != ours else ""


def _embed_dim(state: Mapping[str, torch.Tensor]) -> int:
    for key, axis in (("text_projection", 1), ("text.text_projection", 1), ("text.text_projection.weight", 0)):
        if key in state and state[key].ndim == 2:
            return int(state[key].shape[axis])
    return 0


def _signature(state: Mapping[str, torch.Tensor]) -> dict[str, Any]:
    """Sizes of the architecture that the shapes of its tensors give away."""
    text = "text." if "text.token_embedding.weight" in state else ""
    found: dict[str, Any] = {"embed_dim": _embed_dim(state) or None}
    if (words := state.get(f"{text}token_embedding.weight")) is not None:
        found["vocab_size"], found["text_width"] = (int(n) for n in words.shape)
    if (places := state.get(f"{text}positional_embedding")) is not None:
        found["context_length"] = int(places.shape[0])
    found["text_layers"] = _count(state, rf"{re.escape(text)}transformer\.resblocks\.(\d+)\.")
    patch, grid = state.get("visual.conv1.weight"), state.get("visual.positional_embedding")
    if patch is not None and grid is not None and patch.ndim == 4:
        found |= {"patch_size": int(patch.shape[-1]), "width": int(patch.shape[0])}
        found["layers"] = _count(state, r"visual\.transformer\.resblocks\.(\d+)\.")
        found["image_size"] = round((grid.shape[0] - 1) ** 0.5) * int(patch.shape[-1])
    patch, grid = state.get("visual.trunk.patch_embed.proj.weight"), state.get("visual.trunk.pos_embed")
    if patch is not None and grid is not None and patch.ndim == 4 and grid.ndim == 3:
        found["timm"] = True
        found["image_size"] = int(grid.shape[1] ** 0.5) * int(patch.shape[-1])
    return {key: value for key, value in found.items() if value}


def _count(state: Mapping[str, torch.Tensor], pattern: str) -> int:
    return len({match[1] for key in state if (match := re.match(pattern, key))})


def likely_architectures(state: Mapping[str, torch.Tensor]) -> list[str]:
    """Names of the open_clip models whose sizes are those of a state, without their QuickGELU variants."""
    open_clip = import_open_clip()
    wanted = _signature(state)
    if not {"image_size", "embed_dim"} <= set(wanted):
        return []
    names = [name for name in open_clip.list_models() if not name.endswith("-quickgelu")]
    return [name for name in names if _fits(open_clip.get_model_config(name), wanted)]


def _fits(config: Mapping[str, Any], wanted: Mapping[str, Any]) -> bool:
    vision, text = config["vision_cfg"], config["text_cfg"]
    size = vision.get("image_size", 224)
    size = size[0] if isinstance(size, list | tuple) else size
    has = {
        "embed_dim": config["embed_dim"],
        "vocab_size": text.get("vocab_size", 49408),
        "text_width": text.get("width", 512),
        "context_length": text.get("context_length", 77),
        "text_layers": text.get("layers", 12),
        "timm": "timm_model_name" in vision,
        "patch_size": vision.get("patch_size", 16),
        "width": vision.get("width", 768),
        "layers": vision.get("layers", 12),
        "image_size": size,
    }
    if "timm" not in wanted and has["timm"]:
        return False
    return all(has[key] == value for key, value in wanted.items())
