"""Networks as the backbones use them: what they are, and how their layers are read as one grid of tokens."""

from dataclasses import dataclass, replace
from typing import Any

import torch
from jaxtyping import Float
from torch.nn.functional import interpolate

from labelgen.errors import ConfigError
from labelgen.nets.backbone_config import BackboneConfig

__all__ = ["Architecture", "describe_stages", "describe_vit", "is_vit", "read_stages", "read_vit"]


@dataclass(frozen=True)
class Architecture:
    """A network with what is needed to read tokens from it; fields as in `BackboneSpec`.

    Parameters
    ----------
    layers
        Resolved indices, rising.
    dims, strides
        Channels and pixels per token of each of them.
    """

    model: Any
    name: str
    family: str
    layers: tuple[int, ...]
    dims: tuple[int, ...]
    strides: tuple[int, ...]
    multiple: int
    depth: int
    prefix: int
    norm: bool
    mean: tuple[float, ...]
    std: tuple[float, ...]
    native_size: int
    licence: str
    weights_from: str

    @property
    def stride(self) -> int:
        """Pixels per token of the finest layer, which sets the grid."""
        return min(self.strides)

    @property
    def dim(self) -> int:
        """Channels of all layers together."""
        return sum(self.dims)

    def with_model(self, model: torch.nn.Module) -> "Architecture":
        """The same reading of another copy of the network."""
        return replace(self, model=model)

    def read(self, batch: Float[torch.Tensor, "B channels height width"]) -> Float[torch.Tensor, "B h w D"]:
        """Tokens of all layers; coarse layers are resampled bilinearly to the finest.

        Tokens of a CNN are taken to lie in the middle of their cells. By its padding the receptive field of a stride-32
        layer is centred 15.5 pixels beside it, but trained kernels make up for about half of that (measured on
        MobileNetV2), and neither placing is better for a linear probe.
        """
        if self.family == "vit":
            grid = batch.shape[2] // self.stride, batch.shape[3] // self.stride
            maps = read_vit(self.model, batch, self.layers, norm=self.norm)
            return torch.cat(maps, dim=-1).reshape(batch.shape[0], *grid, -1)
        maps = read_stages(self.model, batch, self.layers, norm=self.norm)
        size = maps[self.strides.index(self.stride)].shape[2:]
        same = [stage if stage.shape[2:] == size else interpolate(stage, size=size, mode="bilinear") for stage in maps]
        return torch.cat(same, dim=1).permute(0, 2, 3, 1)


def read_vit(model: Any, batch: torch.Tensor, layers: tuple[int, ...], *, norm: bool) -> list[torch.Tensor]:
    """Patch tokens `(B, N, D)` after the given blocks; class and register tokens are left out."""
    return model.forward_intermediates(
        batch, indices=list(layers), norm=norm, output_fmt="NLC", intermediates_only=True, stop_early=True
    )


def read_stages(model: Any, batch: torch.Tensor, layers: tuple[int, ...], *, norm: bool) -> list[torch.Tensor]:
    """Maps `(B, C, h, w)` after the given stages; with `norm` the last stage gives what the classifier would pool."""
    batch = batch.contiguous(memory_format=torch.channels_last)
    whole = norm and layers[-1] == len(model.feature_info) - 1
    if not whole:
        return model.forward_intermediates(batch, indices=list(layers), intermediates_only=True, stop_early=True)
    final, maps = model.forward_intermediates(batch, indices=list(layers))
    return [*maps[:-1], final]


def is_vit(model: Any) -> bool:
    """Whether a timm model is a column of blocks over one grid of patches."""
    return hasattr(model, "num_prefix_tokens") and hasattr(model, "blocks")


def describe_vit(model: Any, name: str, config: BackboneConfig, about: dict[str, Any]) -> Architecture:
    """Describe a ViT.

    Raises
    ------
    ConfigError
        When it has no final norm but is asked for one, or has no such layer.
    """
    if config.norm and isinstance(model.norm, torch.nn.Identity):
        raise ConfigError(f"{name} has no final norm for its tokens", hint="use norm=False (--no-norm)")
    patch = model.patch_embed.patch_size[0]
    layers = _resolve_layers(config.layers, len(model.blocks), name)
    return Architecture(
        model=model,
        name=name,
        family="vit",
        layers=layers,
        dims=(model.embed_dim,) * len(layers),
        strides=(patch,) * len(layers),
        multiple=patch,
        depth=len(model.blocks),
        prefix=model.num_prefix_tokens,
        norm=config.norm,
        native_size=model.patch_embed.img_size[0],
        **about,
    )


def describe_stages(model: Any, name: str, config: BackboneConfig, about: dict[str, Any]) -> Architecture:
    """Describe a CNN; sizes and channels are read from the maps it gives for a blank image.

    Raises
    ------
    ConfigError
        When it cannot give maps of its layers, has no such layer, or takes images of one size only.
    """
    if not hasattr(model, "forward_intermediates"):
        raise ConfigError(f"timm gives no maps of the layers of {name}", hint="choose a ViT, ResNet, EfficientNet, ...")
    layers = _resolve_layers(config.layers, len(model.feature_info), name)
    multiple = max(info["reduction"] for info in model.feature_info)
    side = 4 * multiple
    # on CPUs a forward pass of MobileNetV2 takes half the time or less with the channels of a pixel side by side
    model.to(memory_format=torch.channels_last)
    try:
        with torch.inference_mode():
            maps = read_stages(model.eval(), torch.zeros(1, 3, side, side), layers, norm=config.norm)
    except (AssertionError, RuntimeError, ValueError) as error:
        raise ConfigError(f"{name} does not take images of any size: {error}", hint="choose a ViT or a CNN") from error
    return Architecture(
        model=model,
        name=name,
        family="cnn",
        layers=layers,
        dims=tuple(stage.shape[1] for stage in maps),
        strides=tuple(side // stage.shape[2] for stage in maps),
        multiple=multiple,
        depth=len(model.feature_info),
        prefix=0,
        norm=config.norm,
        native_size=model.pretrained_cfg["input_size"][1],
        **about,
    )


def _resolve_layers(layers: tuple[int, ...], depth: int, name: str) -> tuple[int, ...]:
    if any(not -depth <= layer < depth for layer in layers):
        raise ConfigError(f"{name} has layers 0 to {depth - 1} (or -{depth} to -1), got {layers}")
    resolved = tuple(sorted(layer % depth for layer in layers))
    if len(set(resolved)) != len(resolved):
        raise ConfigError(f"each layer of {name} can be used once, got {layers}, which are {resolved}")
    return resolved
