"""open_clip's own VisionTransformer, read in three steps: tokens, blocks, joint space."""

from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float

from labelgen.errors import ConfigError
from labelgen.nets.dense_clip.blocks import TILES_HINT
from labelgen.nets.dense_clip.embed import pad_to_multiple, resample_positions

__all__ = ["NativeVit", "read_native_vit"]


@dataclass(frozen=True)
class NativeVit:
    """A view of an `open_clip.transformer.VisionTransformer`; holds no state of its own.

    Parameters
    ----------
    visual
        The tower.
    """

    visual: Any
    kind: str = "native"
    prefix: int = 1

    @property
    def patch(self) -> int:
        return self.visual.conv1.stride[0]

    @property
    def width(self) -> int:
        return self.visual.class_embedding.shape[0]

    @property
    def native_grid(self) -> tuple[int, int]:
        return tuple(self.visual.grid_size)

    @property
    def native_size(self) -> tuple[int, int]:
        return tuple(self.visual.image_size)

    @property
    def blocks(self) -> tuple[Any, ...]:
        return tuple(self.visual.transformer.resblocks)

    def embed(self, images: Float[torch.Tensor, "B 3 H W"]) -> tuple[torch.Tensor, tuple[int, int]]:
        """Tokens (B, 1 + h w, C) before the first block, and the grid (h, w)."""
        visual = self.visual
        patches = visual.conv1(pad_to_multiple(images, self.patch).to(visual.conv1.weight.dtype))
        grid = (patches.shape[2], patches.shape[3])
        patches = patches.flatten(2).transpose(1, 2)
        first = visual.class_embedding.to(patches.dtype).expand(len(patches), 1, -1)
        positions = resample_positions(visual.positional_embedding, self.native_grid, grid, prefix=1)
        return visual.ln_pre(torch.cat([first, patches], dim=1) + positions.to(patches.dtype)), grid

    def finish(self, tokens: Float[torch.Tensor, "*any C"]) -> Float[torch.Tensor, "*any D"]:
        """Every token to the joint space, as the class token goes."""
        normed = self.visual.ln_post(tokens)
        return normed if self.visual.proj is None else normed @ self.visual.proj


def read_native_vit(visual: Any) -> NativeVit:
    """Check that the pooling of an open_clip ViT says how a single token reaches the joint space.

    Raises
    ------
    ConfigError
        For CoCa's attention pooling, a norm after the pooling, and towers that give no pooled vector.
    """
    if getattr(visual, "attn_pool", None) is not None:
        raise _refusal("pools by attention (CoCa), which has no rule for single tokens")
    if getattr(visual, "final_ln_after_pool", False):
        raise _refusal("normalises after pooling (final_ln_after_pool)")
    if visual.pool_type not in ("tok", "avg"):
        raise _refusal(f"has pool_type {visual.pool_type!r}, and so no vector per image")
    kernel, stride = visual.conv1.kernel_size, visual.conv1.stride
    if kernel != stride or stride[0] != stride[1]:
        raise _refusal(f"has patches of {kernel} pixels every {stride}, not square ones side by side")
    return NativeVit(visual)


def _refusal(why: str) -> ConfigError:
    return ConfigError(
        f"dense embeddings need a plain ViT, but this open_clip VisionTransformer {why}", hint=TILES_HINT
    )
