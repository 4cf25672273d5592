"""A baseline in the place of a backbone: encoder and decoder in one network whose tokens a linear head classifies."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from labelgen.errors import ConfigError
from labelgen.nets.architectures import Architecture
from labelgen.nets.backbone_config import BackboneConfig
from labelgen.nets.backbones import Backbone, freeze
from labelgen.nets.device import resolve_device
from labelgen.nets.keymaps import load_strictly
from labelgen.nets.weights import options_in, read_safetensors
from segprobe.baselines.decoders import DECODERS, make_decoder
from segprobe.baselines.encoders import build_encoder, read_maps
from segprobe.tuning.noise import ImageNoise

__all__ = ["BaselineModel", "load_baseline", "load_trained_baseline"]


class BaselineModel(nn.Module):
    """Encoder and decoder.

    Parameters
    ----------
    encoder
        Architecture with the stages that the decoder reads.
    decoder
        From their maps to one.
    noise
        Where the decoder's dropout draws from.
    """

    def __init__(self, encoder: Architecture, decoder: nn.Module, noise: ImageNoise) -> None:
        super().__init__()
        self.about = encoder.with_model(nn.Identity())
        self.encoder = encoder.model
        self.decoder = decoder
        self.noise = noise

    def forward(self, batch: Float[Tensor, "B channels height width"]) -> Float[Tensor, "B C h w"]:
        """Features that the head classifies."""
        return self.decoder(read_maps(self.about, self.encoder, batch))


@dataclass(frozen=True)
class BaselineArchitecture(Architecture):
    """How a `BaselineModel` is read as a grid of tokens."""

    def read(self, batch: Float[Tensor, "B channels height width"]) -> Float[Tensor, "B h w D"]:
        """Features of the decoder."""
        return self.model(batch).permute(0, 2, 3, 1)


def load_baseline(
    name: str, config: BackboneConfig, *, device: str = "cpu", pretrained: bool = True, seed: int = 0
) -> Backbone:
    """Build a baseline with the published, given or random weights of its encoder, and a random decoder.

    Parameters
    ----------
    name
        Row of `DECODERS`.
    config
        The encoder. An output stride of 0 is that of the baseline.
    seed
        Of the decoder, and of a random encoder.

    Raises
    ------
    ConfigError
        When the encoder lacks the stages that the decoder reads, or other arithmetic than float32 is asked for.
    WeightsError
        When weights are missing or do not fit.
    """
    model, encoder = _build(name, config, pretrained=pretrained, seed=seed)
    return _as_backbone(name, model, encoder, config, device=device)


def load_trained_baseline(name: str, config: BackboneConfig, *, device: str = "cpu") -> Backbone:
    """Build a baseline from the weights that a fit has saved: `config.weights` is the file beside the probe.

    Raises
    ------
    WeightsError
        When the file is damaged or does not fit.
    """
    path = Path(config.weights)
    state, about = read_safetensors(path)
    options: Mapping[str, Any] = options_in(about, path)
    model, encoder = _build(name, replace(config, weights=""), pretrained=False, seed=0, options=options)
    load_strictly(model, state, family="own", source=str(path))  # type: ignore[arg-type]
    encoder = replace(
        encoder,
        mean=tuple(about.get("mean", encoder.mean)),
        std=tuple(about.get("std", encoder.std)),
        weights_from=f"file:{path.name}",
    )
    return _as_backbone(name, model, encoder, config, device=device)


def _build(
    name: str,
    config: BackboneConfig,
    *,
    pretrained: bool,
    seed: int,
    options: Mapping[str, Any] | None = None,
) -> tuple[BaselineModel, Architecture]:
    kind = DECODERS[name]
    if config.output_stride and config.output_stride not in kind.output_strides:
        known = ", ".join(map(str, kind.output_strides))
        raise ConfigError(f"the output stride of {name} must be one of {known}, got {config.output_stride}")
    if config.dtype not in ("auto", "float32"):
        raise ConfigError(
            f"the parameters of a baseline are float32, got dtype {config.dtype}",
            hint="--amp chooses the arithmetic of its training",
        )
    stride = config.output_stride or kind.output_stride
    encoder = build_encoder(config, kind, pretrained=pretrained, seed=seed, options=options)
    if encoder.family != "vit" and kind.output_stride and encoder.strides[-1] != stride:
        raise ConfigError(
            f"{name} needs an encoder of output stride {stride}, but that of {encoder.name} is {encoder.strides[-1]}",
            hint="choose an encoder that can be dilated, such as a ResNet or MobileNet",
        )
    noise = ImageNoise()
    decoder = make_decoder(name, list(encoder.dims), output_stride=stride, noise=noise, seed=seed)
    return BaselineModel(encoder, decoder, noise), encoder


def _as_backbone(
    name: str, model: BaselineModel, encoder: Architecture, config: BackboneConfig, *, device: str
) -> Backbone:
    """Describe a baseline as a backbone, all choices resolved."""
    model.eval()
    side = 4 * encoder.multiple
    with torch.inference_mode():
        features = model(torch.zeros(1, 3, side, side))
    values = {key: value for key, value in vars(encoder).items() if key != "model"}
    seen = {"family": name, "strides": (side // features.shape[2],), "dims": (features.shape[1],)}
    architecture = BaselineArchitecture(model=model, **{**values, **seen})
    settled = replace(config, norm=encoder.norm)
    return freeze(architecture, settled, dtype=torch.float32, device=resolve_device(device))
