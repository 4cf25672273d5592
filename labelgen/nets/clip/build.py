"""Build an image-text model from open_clip's config, and what can be read from the built modules."""

import copy
from collections.abc import Mapping
from typing import Any

import torch
from torch import nn

from labelgen.errors import ConfigError, WeightsError
from labelgen.nets.clip.checkpoint import fit_state
from labelgen.nets.clip.config import DEMO_CLIP
from labelgen.nets.clip.open_clip_import import import_open_clip
from labelgen.nets.clip.source import ClipSource
from labelgen.nets.precision import smooth_noise
from labelgen.nets.unfilled import unfilled

__all__ = ["activation_of", "build_clip", "clip_cosine"]

ACTIVATIONS = {
    "QuickGELU": "quick_gelu",
    "GELU": "gelu",
    "GELUTanh": "gelu_tanh",
    "ReLU": "relu",
    "SiLU": "silu",
}
"""Class names of the activations that open_clip, timm and torch build towers from."""


def build_clip(source: ClipSource, *, pretrained: bool, seed: int) -> Any:
    """Build the model of a source, in float32 on the CPU, and load its weights strictly.

    Parameters
    ----------
    seed
        Of what is random before weights are loaded; torch's global generator is left as it was.

    Raises
    ------
    ConfigError
        When the model is of a kind that labelgen has no use for.
    WeightsError
        When the weights do not fit, or a package that the model needs is missing.
    """
    if source.name == DEMO_CLIP:
        return _build_demo(source, pretrained=pretrained, seed=seed)
    with torch.random.fork_rng(devices=[]), unfilled(source.checkpoint is not None):
        torch.manual_seed(seed)
        model = _build_open_clip(source.name, source.config)
    if source.checkpoint:
        fit_state(model, source.checkpoint.state, name=source.name, where=str(source.checkpoint.path))
    return model


def _build_demo(source: ClipSource, *, pretrained: bool, seed: int) -> Any:
    from labelgen.nets.demo_clip import build_demo_clip, whole_state

    model: Any = build_demo_clip(pretrained=pretrained and source.checkpoint is None, seed=seed)
    if source.checkpoint:
        # files of the demo model hold only the word vectors that were trained
        fit_state(model, whole_state(source.checkpoint.state), name=source.name, where=str(source.checkpoint.path))
    return model


def _build_open_clip(name: str, config: Mapping[str, Any]) -> Any:
    open_clip = import_open_clip()
    if "multimodal_cfg" in config:
        raise ConfigError(f"{name} is a captioning model (CoCa), which has no dense image tower", hint="try ViT-B-16")
    options = copy.deepcopy(dict(config))
    has_own_text = options.pop("custom_text", False) or "hf_model_name" in options["text_cfg"]
    if "timm_model_name" in options["vision_cfg"]:
        options["vision_cfg"]["timm_model_pretrained"] = False  # all weights come from the checkpoint
    if "hf_model_name" in options["text_cfg"]:
        options["text_cfg"]["hf_model_pretrained"] = False
    kind = open_clip.CustomTextCLIP if has_own_text else open_clip.CLIP
    try:
        return kind(**options)
    except (ImportError, OSError, RuntimeError, TypeError) as error:
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise WeightsError(
            f"{name} cannot be built by open_clip {open_clip.__version__}: {reason}",
            hint="its text tower is one of the package transformers: pip install transformers"
            if "hf_model_name" in options["text_cfg"]
            else "a newer open_clip_torch or timm may know it",
        ) from error


def activation_of(tower: nn.Module) -> str:
    """Activations that the modules of a tower compute, whatever its config or name say; `none` without any.

    Examples
    --------
    >>> activation_of(nn.Sequential(nn.Linear(2, 2), nn.GELU()))
    'gelu'
    >>> activation_of(nn.GELU(approximate="tanh"))
    'gelu_tanh'
    """
    found = set()
    for module in tower.modules():
        name = ACTIVATIONS.get(type(module).__name__)
        if name == "gelu" and getattr(module, "approximate", "none") == "tanh":
            name = "gelu_tanh"
        if name:
            found.add(name)
    return "+".join(sorted(found)) or "none"


def clip_cosine(visual: Any, dtype: torch.dtype, size: tuple[int, int]) -> float:
    """Smallest mean cosine, over image vectors and patch tokens, between `dtype` and float32 on smooth noise.

    Parameters
    ----------
    visual
        The image tower, in float32 on the CPU.
    size
        Native `(height, width)` in pixels.
    """
    batch = smooth_noise(size)
    cheap = copy.deepcopy(visual).to(dtype)
    with torch.inference_mode():
        exact, rough = _read(visual, batch), _read(cheap, batch.to(dtype))
    cosines = [nn.functional.cosine_similarity(a, b.float(), dim=1).mean() for a, b in zip(exact, rough, strict=True)]
    return float(min(cosines))


def _read(visual: Any, batch: torch.Tensor) -> list[torch.Tensor]:
    if not hasattr(visual, "forward_intermediates"):
        return [visual(batch)]
    found = visual.forward_intermediates(batch, indices=1, normalize_intermediates=True)
    return [found["image_features"], found["image_intermediates"][-1]]
