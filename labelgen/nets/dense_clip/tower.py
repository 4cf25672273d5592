"""Which image towers are understood, and the facts about them."""

from dataclasses import dataclass
from typing import Any

import torch

from labelgen.errors import ConfigError
from labelgen.nets.dense_clip.blocks import TILES_HINT, read_block
from labelgen.nets.dense_clip.names import METHODS
from labelgen.nets.dense_clip.native_vit import NativeVit, read_native_vit
from labelgen.nets.dense_clip.timm_vit import TimmVit, read_timm_vit

__all__ = ["Tower", "Vit", "read_vit", "tower_of"]

NATIVE_PARTS = ("conv1", "class_embedding", "positional_embedding", "ln_pre", "transformer", "ln_post", "proj")


@dataclass(frozen=True)
class Tower:
    """Facts about an image tower.

    Parameters
    ----------
    kind
        `native` (open_clip's own ViT), or `timm-token`, `timm-avg`, `timm-map` (SigLIP) by the pooling of a timm ViT.
    patch
        Side of a patch in pixels.
    width
        Channels of a token inside the tower.
    depth
        Blocks.
    heads
        Heads of the last block.
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
"""An image tower in three steps: `embed` to tokens, `run` blocks, `finish` in the joint space."""


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
    vit = read_vit(model)
    last = read_block(vit.blocks[-1])
    with torch.no_grad():
        embed_dim = vit.finish(last.weight.new_zeros(1, 1, vit.width)).shape[-1]
    return Tower(
        kind=vit.kind,
        patch=vit.patch,
        width=vit.width,
        depth=len(vit.blocks),
        heads=last.num_heads,
        prefix=vit.prefix,
        native_grid=vit.native_grid,
        native_size=vit.native_size,
        embed_dim=embed_dim,
        methods=METHODS,
    )


def read_vit(model: Any) -> Vit:
    """View the image tower as a ViT, having checked its last block.

    Raises
    ------
    ConfigError
        When the tower is not understood.
    """
    visual = getattr(model, "visual", None)
    if visual is None:
        raise ConfigError(f"the model must be an open_clip model with an image tower, got {type(model).__name__}")
    if all(hasattr(visual, part) for part in NATIVE_PARTS):
        vit = read_native_vit(visual)
    elif hasattr(visual, "trunk"):
        vit = read_timm_vit(visual)
    else:
        raise ConfigError(
            f"dense embeddings need a plain ViT, but the image tower is {type(visual).__name__}", hint=TILES_HINT
        )
    read_block(vit.blocks[-1])
    return vit
