"""Frozen image-text models: pictures and words into one space, and a record of everything that changes a value."""

import logging
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Float32, UInt8
from torch import nn

from labelgen.errors import ConfigError, ShapeError
from labelgen.nets.clip.build import activation_of, build_clip, clip_cosine
from labelgen.nets.clip.config import LOCAL_DIR, ClipModelConfig
from labelgen.nets.clip.names import Preprocess
from labelgen.nets.clip.open_clip_import import import_open_clip
from labelgen.nets.clip.source import ClipSource, find_clip
from labelgen.nets.clip.tokenizer import ClipTokenizer
from labelgen.nets.clip.view import native_view
from labelgen.nets.device import resolve_device
from labelgen.nets.precision import choose_dtype
from labelgen.nets.weights import parameter_hash

__all__ = ["ClipModel", "load_clip", "loaded_clip"]

LOG = logging.getLogger(__name__)

TEXT_BATCH = 128  # texts a pass; attention over 77 tokens stays below 100 MB


@dataclass(frozen=True, eq=False)
class ClipModel:
    """A frozen image-text model in eval mode; make one with `load_clip`.

    Parameters
    ----------
    config
        What was asked for, with model, arithmetic and device resolved: loading it again gives the same fingerprint.
    model
        The open_clip model. Its image tower computes in `dtype`, its text tower in float32.
    name
        open_clip's name of the architecture, with `-quickgelu` where its activation is that; or demo-clip.
    pretrained
        Tag of published weights; empty for others.
    weights_from
        `published`, `shipped`, `file:<name>`, `folder:<name>` or `random:seed<n>`.
    weights_sha256
        `parameter_hash` of both towers in float32.
    licence
        Of the weights, where it is known.
    activation, text_activation
        Of the two towers, read from the modules: `quick_gelu`, `gelu`, `gelu_tanh`, `relu`, ...
    preprocess
        How images are shown to it.
    native_size
        `(height, width)` in pixels of the images it was trained on.
    embed_dim
        Length of the joint vectors.
    context_length
        Tokens that the text tower reads, start and end included.
    logit_scale
        Factor on cosines that was learned (already exponentiated); about 100 for CLIP.
    logit_bias
        Added to scaled cosines before a sigmoid in models trained with one (SigLIP); else None.
    device
        Where it is.
    dtype
        Arithmetic of the image tower.
    tokenizer
        Words into token numbers.
    """

    config: ClipModelConfig
    model: nn.Module
    name: str
    pretrained: str
    weights_from: str
    weights_sha256: str
    licence: str
    activation: str
    text_activation: str
    preprocess: Preprocess
    native_size: tuple[int, int]
    embed_dim: int
    context_length: int
    logit_scale: float
    logit_bias: float | None
    device: torch.device
    dtype: torch.dtype
    tokenizer: ClipTokenizer

    @property
    def mean(self) -> tuple[float, float, float]:
        """Mean of RGB in [0, 1] that `normalise` subtracts."""
        return self.preprocess.mean

    @property
    def std(self) -> tuple[float, float, float]:
        """Standard deviation of RGB in [0, 1] that `normalise` divides by."""
        return self.preprocess.std

    def normalise(
        self, images: UInt8[np.ndarray, "B H W 3"] | UInt8[torch.Tensor, "B H W 3"]
    ) -> Float[torch.Tensor, "B 3 H W"]:
        """Turn RGB pictures of any one size into what the image tower takes, on its device and in its arithmetic."""
        if isinstance(images, np.ndarray):
            images = torch.from_numpy(np.require(images, requirements=["C", "W"]))
        pixels = images.to(self.device).permute(0, 3, 1, 2).to(torch.float32, memory_format=torch.contiguous_format)
        mean, std = (torch.tensor(v, device=self.device).reshape(1, 3, 1, 1) for v in (self.mean, self.std))
        return pixels.div_(255).sub_(mean).div_(std).to(self.dtype)

    def native_view(self, image: UInt8[np.ndarray, "H W 3"]) -> UInt8[np.ndarray, "h w 3"]:
        """Resize one picture to the native size, as its publisher does: cut to the centre, or squashed."""
        return native_view(image, self.native_size, self.preprocess)

    def encode_images(self, pixels: Float[torch.Tensor, "B 3 h w"]) -> Float32[torch.Tensor, "B D"]:
        """Unit vectors of whole pictures of the native size, normalised by `normalise`.

        Raises
        ------
        ShapeError
            When the pictures have another size.
        """
        if tuple(pixels.shape[2:]) != self.native_size:
            raise ShapeError(
                f"{self.name} takes whole images of {self.native_size} pixels, got {tuple(pixels.shape[2:])}",
                hint="use ClipModel.native_view",
            )
        with torch.inference_mode():
            vectors = self.model.encode_image(pixels.to(self.device, self.dtype))  # pyright: ignore[reportCallIssue]
            return nn.functional.normalize(vectors.float(), dim=-1)

    def encode_text(self, texts: Sequence[str]) -> Float32[torch.Tensor, "N D"]:
        """Unit vectors of texts, computed in float32 whatever the image tower does.

        Raises
        ------
        ConfigError
            When a text is longer than the text tower reads, or there are none.
        WeightsError
            When the tokenizer is not at hand or not the right one.
        """
        if not texts:
            raise ConfigError("there must be at least one text to encode")
        tokens = self.tokenizer(texts)
        with torch.inference_mode():
            parts = [
                self.model.encode_text(batch.to(self.device)).float()  # pyright: ignore[reportCallIssue]
                for batch in tokens.split(TEXT_BATCH)
            ]
            return nn.functional.normalize(torch.cat(parts), dim=-1)

    def fingerprint(self) -> dict[str, Any]:
        """Everything that changes a vector, and where the weights are from, as plain JSON values."""
        return {
            "model": self.name,
            "pretrained": self.pretrained,
            "weights_from": self.weights_from,
            "sha256": self.weights_sha256,
            "licence": self.licence,
            "activation": self.activation,
            "text_activation": self.text_activation,
            "mean": list(self.mean),
            "std": list(self.std),
            "interpolation": self.preprocess.interpolation,
            "resize_mode": self.preprocess.resize_mode,
            "native_size": list(self.native_size),
            "embed_dim": self.embed_dim,
            "context_length": self.context_length,
            "logit_scale": self.logit_scale,
            "logit_bias": self.logit_bias,
            "dtype": str(self.dtype).removeprefix("torch."),
            "open_clip": import_open_clip().__version__,
        }


_last_clip: tuple[ClipModelConfig, ClipModel] | None = None


def loaded_clip(config: ClipModelConfig) -> ClipModel:
    """The model, loaded once a process as long as no other is asked for; see `load_clip`."""
    global _last_clip
    if _last_clip is None or config not in (_last_clip[0], _last_clip[1].config):
        _last_clip = config, load_clip(config)
    return _last_clip[1]


def load_clip(config: ClipModelConfig, *, pretrained: bool = True, seed: int = 0) -> ClipModel:
    """Build an image-text model, load its weights strictly, and freeze it.

    Parameters
    ----------
    pretrained
        False gives random weights (and says so in `weights_from`); only for tests and comparisons.
    seed
        Of the random weights; torch's global generator is left as it was.

    Raises
    ------
    ConfigError
        When the model, tag, device or arithmetic does not exist here.
    WeightsError
        When weights are missing or do not fit, or open_clip cannot be imported.
    """
    device = resolve_device(config.device)
    source = find_clip(config, pretrained=pretrained, seed=seed)
    model = build_clip(source, pretrained=pretrained, seed=seed).eval().requires_grad_(False)
    sha256 = parameter_hash(model)
    visual, text = model.visual, getattr(model, "text", model)
    height, width = (visual.image_size,) * 2 if isinstance(visual.image_size, int) else visual.image_size
    dtype = choose_dtype(config.dtype, visual, device, cosine=lambda dtype: clip_cosine(visual, dtype, (height, width)))
    context_length = getattr(text, "context_length", 0) or source.config["text_cfg"].get("context_length", 77)
    loaded = ClipModel(
        config=_resolved(config, source, dtype, device),
        model=model.to(device),
        name=source.name,
        pretrained=source.pretrained,
        weights_from=source.weights_from,
        weights_sha256=sha256,
        licence=source.licence,
        activation=activation_of(visual),
        text_activation=activation_of(text.transformer),
        preprocess=source.preprocess,
        native_size=(height, width),
        embed_dim=int(source.config["embed_dim"]),
        context_length=context_length,
        logit_scale=float(model.logit_scale.exp()),
        logit_bias=None if model.logit_bias is None else float(model.logit_bias),
        device=device,
        dtype=dtype,
        tokenizer=ClipTokenizer(
            model=source.name,
            source=source.tokenizer,
            text_config=source.config["text_cfg"],
            context_length=context_length,
            vocabulary=text.token_embedding.num_embeddings if hasattr(text, "token_embedding") else 0,
            cache_dir=config.cache_dir,
        ),
    )
    visual.to(dtype)
    LOG.info("%s from %s, activation %s, %s", loaded.name, loaded.weights_from, loaded.activation, dtype)
    return loaded


def _resolved(config: ClipModelConfig, source: ClipSource, dtype: torch.dtype, device: torch.device) -> ClipModelConfig:
    """Put values for what was left to defaults and the machine, so that the same can be asked for elsewhere."""
    arithmetic: Any = str(dtype).removeprefix("torch.")
    weights = config.weights
    if config.is_folder:
        weights = f"{LOCAL_DIR}{Path(weights.removeprefix(LOCAL_DIR)).expanduser().resolve()}"
    elif weights:
        weights = str(Path(weights).expanduser().resolve())
    return replace(
        config,
        model="" if config.is_folder else source.name,
        pretrained=source.pretrained,
        weights=weights,
        dtype=arithmetic,
        device=str(device),
    )
