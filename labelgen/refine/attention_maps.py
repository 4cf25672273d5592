"""Attention of the last blocks of a frozen ViT, as the blocks compute it."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from jaxtyping import Float, Float32

from labelgen.errors import ConfigError
from labelgen.nets.backbones import Backbone

__all__ = ["attention_maps", "patch_attention"]


def patch_attention(
    network: Backbone, picture: Float32[torch.Tensor, "channels height width"], *, layers: int
) -> Float32[torch.Tensor, "L N N"]:
    """Attention from patch to patch in the last blocks, averaged over heads.

    Rows and columns of class and register tokens are left out, so that rows sum to 1 at most.

    Parameters
    ----------
    picture
        As `Backbone.prepare` gives it.
    layers
        How many blocks; 1 to the depth.

    Raises
    ------
    ConfigError
        When the network is no ViT whose attention can be read, or has fewer blocks.
    """
    spec = network.spec
    if spec.family != "vit":
        raise ConfigError(f"{spec.name} has no attention to read", hint="name a ViT, such as demo-ssvt")
    if not 1 <= layers <= spec.depth:
        raise ConfigError(f"layers must lie in [1, {spec.depth}] for {spec.name}, got {layers}")
    batch = picture[None].to(network.device, network.dtype)
    whole = attention_maps(network.model, batch, layers=layers)
    return whole[:, spec.prefix :, spec.prefix :]


def attention_maps(
    model: Any, batch: Float[torch.Tensor, "1 channels height width"], *, layers: int
) -> Float32[torch.Tensor, "L T T"]:
    """Softmax attention of the last blocks of a timm ViT, averaged over heads; all tokens.

    For the time of one forward pass these blocks compute their attention in steps and not in a fused kernel, and what
    they multiply the values with is read there; afterwards the model is as before, whatever happens.

    Parameters
    ----------
    model
        In eval mode.
    batch
        One image.

    Raises
    ------
    ConfigError
        When a block has no attention of the usual form.
    """
    attentions = [getattr(block, "attn", None) for block in list(model.blocks)[-layers:]]
    if not all(hasattr(a, "attn_drop") and hasattr(a, "fused_attn") for a in attentions):
        raise ConfigError(
            f"the attention of {type(model).__name__} cannot be read from {type(attentions[0]).__name__}",
            hint="name a plain ViT, such as demo-ssvt or vit_small_patch14_reg4_dinov2.lvd142m",
        )
    with torch.inference_mode(), _read_at(attentions) as found:
        model.forward_features(batch)
    if len(found) != len(attentions):
        raise ConfigError(f"{len(attentions)} blocks of {type(model).__name__} should attend once, got {len(found)}")
    return torch.stack(found)


@contextmanager
def _read_at(attentions: list[Any]) -> Iterator[list[torch.Tensor]]:
    found: list[torch.Tensor] = []

    def read(module: torch.nn.Module, inputs: tuple[torch.Tensor, ...]) -> None:
        found.append(inputs[0][0].float().mean(dim=0))

    fused = [attention.fused_attn for attention in attentions]
    handles = []
    try:
        for attention in attentions:
            attention.fused_attn = False
            handles.append(attention.attn_drop.register_forward_pre_hook(read))
        yield found
    finally:
        for handle in handles:
            handle.remove()
        for attention, was in zip(attentions, fused, strict=True):
            attention.fused_attn = was
