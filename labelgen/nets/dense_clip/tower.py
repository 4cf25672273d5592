"""Which image towers are understood, and the facts about them."""

from dataclasses import dataclass
from typing import Any

import torch

from labelgen.errors import ConfigError
from labelgen.nets.dense_clip.blocks import TILES_HINT, read_block
from labelgen.nets.dense_clip.clip_resnet import ClipResNet
from labelgen.nets.dense_clip.names import METHODS
from labelgen.nets.dense_clip.native_vit import NativeVit, read_native_vit
from labelgen.nets.dense_clip.timm_vit import TimmVit, read_timm_vit

__all__ = ["Tower", "Vit", "read_tower", "refuse_method", "tower_of"]

RESNET_PARTS = ("stem", "layer1", "layer4", "attnpool")
NATIVE_PARTS = ("conv1", "class_embedding", "positional_embedding", "ln_pre", "transformer", "ln_post", "proj")


@dataclass(frozen=True)
class Tower:
    """Facts about an image tower.

    Parameters
    ----------
    kind
        `native` (open_clip's own ViT); `timm-token`, `timm-avg`, `timm-map` (SigLIP) by the pooling of a timm ViT;
        `resnet` (open_clip's own).
    patch
        Side of a patch in pixels; the stride of a ResNet.
    width
        Channels of a token inside the tower.
    depth
        Blocks; 1, the attention pooling, for a ResNet.
    heads
        Heads of the last attention.
    prefix
        Class and register tokens.
    native_grid
        `(h, w)` in patches that the positions were trained for.
    native_size
        `(h, w)` in pixels that `encode_image` takes.
    embed_dim
        Dimension of the joint space.
    methods
        Methods that `patch_embeddings` can run on it.
    """

    kind: str
    patch: int
    width: int
    depth: int
    heads: int
    prefix: int
    native_grid: tuple[int, int]
    native_size: tuple[int, int]
    embed_dim: int
    methods: tuple[str, ...]


Vit = NativeVit | TimmVit
"""An image tower in three steps: `embed` to tokens, its `blocks`, and `finish` in the joint space."""


def tower_of(model: Any) -> Tower:
    """Facts about the image tower of an open_clip model.

    Parameters
    ----------
    model
        An `open_clip.CLIP` or `CustomTextCLIP`; anything with such a `visual`.

    Raises
    ------
    ConfigError
        When the tower is not understood; says why and what works instead.
    """
    tower = read_tower(model)
    if isinstance(tower, ClipResNet):
        depth, heads, embed_dim, methods = tower.depth, tower.heads, tower.embed_dim, tower.methods
    else:
        last = read_block(tower.blocks[-1])
        depth, heads, methods = len(tower.blocks), last.num_heads, METHODS
        with torch.no_grad():
            embed_dim = tower.finish(last.weight.new_zeros(1, 1, tower.width)).shape[-1]
    return Tower(
        kind=tower.kind,
        patch=tower.patch,
        width=tower.width,
        depth=depth,
        heads=heads,
        prefix=tower.prefix,
        native_grid=tower.native_grid,
        native_size=tower.native_size,
        embed_dim=embed_dim,
        methods=methods,
    )


def refuse_method(tower: Tower | ClipResNet, method: str) -> None:
    """Refuse a method that the tower cannot run.

    Raises
    ------
    ConfigError
        When it cannot; says which ones it can.
    """
    if method not in tower.methods:
        raise ConfigError(
            f"a tower of the kind {tower.kind} takes the methods {', '.join(tower.methods)}, got {method}",
            hint=TILES_HINT,
        )


def read_tower(model: Any) -> Vit | ClipResNet:
    """View the image tower in steps, having checked its blocks.

    Raises
    ------
    ConfigError
        When the tower is not understood.
    """
    visual = getattr(model, "visual", None)
    if visual is None:
        raise ConfigError(f"the model must be an open_clip model with an image tower, got {type(model).__name__}")
    if all(hasattr(visual, part) for part in RESNET_PARTS):
        return ClipResNet(visual)
    if all(hasattr(visual, part) for part in NATIVE_PARTS):
        vit = read_native_vit(visual)
    elif hasattr(visual, "trunk"):
        vit = read_timm_vit(visual)
    else:
        raise ConfigError(
            f"dense embeddings need a plain ViT, but the image tower is {type(visual).__name__}", hint=TILES_HINT
        )
    for block in vit.blocks:
        read_block(block)
    return vit
