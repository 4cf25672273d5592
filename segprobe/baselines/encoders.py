"""Encoders of the baselines: any network that a backbone can be, and the Mix Transformers of SegFormer."""

import re
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from types import MethodType
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from labelgen.errors import ConfigError, WeightsError
from labelgen.nets.architectures import Architecture, read_stages, read_vit
from labelgen.nets.backbone_config import BackboneConfig
from labelgen.nets.construction import build_architecture
from labelgen.nets.keymaps import load_strictly
from labelgen.nets.weights import read_checkpoint
from segprobe.baselines.decoders import DecoderKind, need_smp

__all__ = ["build_encoder", "read_maps"]

MIT = re.compile(r"mit_b[0-5]")
MIT_STRIDES = (4, 8, 16, 32)
IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


def build_encoder(
    config: BackboneConfig,
    kind: DecoderKind,
    *,
    pretrained: bool,
    seed: int,
    options: Mapping[str, Any] | None = None,
) -> Architecture:
    """Build the encoder of a baseline, with the stages that its decoder reads.

    Parameters
    ----------
    config
        Its layers are chosen by the decoder, and a CNN gives its stages as they are, without the layers that only its
        classifier uses.
    options
        As of `build_architecture`.

    Raises
    ------
    ConfigError
        When the network has no such stages, or does not take the output stride.
    WeightsError
        When weights are missing or do not fit.
    """
    if MIT.fullmatch(config.name):
        if config.output_stride not in (0, 32):
            raise ConfigError(f"{config.name} keeps its strides, got output_stride {config.output_stride}")
        found = _mix_transformer(config, pretrained=pretrained, seed=seed)
    else:
        found = _backbone(config, kind, pretrained=pretrained, seed=seed, options=options or {})
    return _with_stages(found, kind)


def read_maps(
    encoder: Architecture, model: Any, batch: Float[Tensor, "B channels height width"]
) -> list[Float[Tensor, "_ _ _ _"]]:
    """Maps of the stages that `build_encoder` chose, finest first."""
    if encoder.family == "vit":
        grid = batch.shape[2] // encoder.stride, batch.shape[3] // encoder.stride
        rows = read_vit(model, batch, encoder.layers, norm=encoder.norm)
        return [tokens.transpose(1, 2).unflatten(2, grid) for tokens in rows]
    if MIT.fullmatch(encoder.name):
        maps = model(batch)[-len(MIT_STRIDES) :]
        return [maps[layer] for layer in encoder.layers]
    return read_stages(model, batch, encoder.layers, norm=False)


def _backbone(
    config: BackboneConfig, kind: DecoderKind, *, pretrained: bool, seed: int, options: Mapping[str, Any]
) -> Architecture:
    """A network of `labelgen.nets`; a ViT has no stages to be dilated."""
    settings = replace(config, layers=(-1,))
    try:
        wanted = replace(settings, output_stride=config.output_stride or kind.output_stride, norm=False)
        return build_architecture(wanted, pretrained=pretrained, seed=seed, options=options)
    except ConfigError:
        plain = build_architecture(settings, pretrained=pretrained, seed=seed, options=options)
        if plain.family != "vit" or config.output_stride:
            raise
        return plain


def _mix_transformer(config: BackboneConfig, *, pretrained: bool, seed: int) -> Architecture:
    smp = need_smp()
    published = pretrained and not config.weights
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        try:
            model = smp.encoders.get_encoder(config.name, weights="imagenet" if published else None)
        except Exception as error:  # the hub's client raises a different type for each way to fail
            raise WeightsError(
                f"the weights of {config.name} could not be fetched ({type(error).__name__})",
                hint="give a checkpoint file: --weights FILE",
            ) from error
    origin = "published" if published else f"random:seed{seed}"
    if pretrained and config.weights:
        checkpoint = read_checkpoint(Path(config.weights))
        load_strictly(model, checkpoint.state, family=checkpoint.family, source=str(checkpoint.path))
        origin = f"file:{checkpoint.path.name}"
    model.group_matcher = MethodType(_mix_transformer_layers, model)
    channels = model.out_channels[-len(MIT_STRIDES) :]
    return Architecture(
        model=model,
        name=config.name,
        family="cnn",
        layers=tuple(range(len(MIT_STRIDES))),
        dims=tuple(channels),
        strides=MIT_STRIDES,
        multiple=MIT_STRIDES[-1],
        depth=len(MIT_STRIDES),
        prefix=0,
        norm=False,
        mean=IMAGENET_MEAN,
        std=IMAGENET_STD,
        native_size=224,
        licence="unknown",
        weights_from=origin,
    )


def _mix_transformer_layers(model: Any, coarse: bool = False) -> dict[str, Any]:
    """Which stage a parameter belongs to, in the form that timm's models answer with."""
    return {"blocks": [(r"^(?:patch_embed|block|norm)(\d)\.", None)]}


def _with_stages(found: Architecture, kind: DecoderKind) -> Architecture:
    """The same network, read at the stages of a decoder."""
    if found.family == "vit" and kind.strides != (0,):
        raise ConfigError(
            f"this decoder needs an encoder with stages of falling resolution, but {found.name} is a ViT",
            hint="choose a CNN or mit_b0 to mit_b5, or --baseline deeplabv1",
        )
    if found.family == "vit":
        return found
    dims, strides = _all_stages(found)
    layers = []
    for stride in kind.strides:
        if stride and stride not in strides:
            raise ConfigError(
                f"this decoder needs a stage of stride {stride}, but {found.name} has {', '.join(map(str, strides))}",
                hint="choose another encoder or --output-stride",
            )
        layers.append(len(strides) - 1 - strides[::-1].index(stride) if stride else len(strides) - 1)
    return replace(
        found,
        layers=tuple(layers),
        dims=tuple(dims[layer] for layer in layers),
        strides=tuple(strides[layer] for layer in layers),
    )


def _all_stages(found: Architecture) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Channels and strides of every stage."""
    if MIT.fullmatch(found.name):
        return found.dims, found.strides
    side = 4 * found.multiple
    with torch.inference_mode():
        maps = read_stages(found.model.eval(), torch.zeros(1, 3, side, side), tuple(range(found.depth)), norm=False)
    return tuple(stage.shape[1] for stage in maps), tuple(side // stage.shape[2] for stage in maps)
