"""timm's VisionTransformer behind open_clip, with a class token, average or attention (MAP) pooling as in SigLIP.

Every token goes to the joint space as if it were the only one: pooled alone, then through the heads. For attention
pooling by a latent query that is exact and needs no query: a softmax over one token is 1, so that the pooled vector is
`u + mlp(norm(u))` with `u` the projected value of the token. It is also what the pooling gives for a set of equal
tokens, which makes it for SigLIP what MaskCLIP is for CLIP.

References
----------
.. [1] X. Zhai et al., "Sigmoid Loss for Language Image Pre-Training", ICCV 2023, arXiv 2303.15343.
.. [2] X. Zhai et al., "Scaling Vision Transformers", CVPR 2022, arXiv 2106.04560 (MAP head).
"""

from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float
from torch.nn import functional as F

from labelgen.errors import ConfigError
from labelgen.nets.dense_clip.blocks import TILES_HINT
from labelgen.nets.dense_clip.embed import pad_to_multiple, resample_positions

__all__ = ["TimmVit", "map_head_alone", "read_timm_vit"]

KINDS = {"token": "timm-token", "avg": "timm-avg", "map": "timm-map"}
MAP_HEAD = {"q", "kv", "q_norm", "k_norm", "proj", "proj_drop", "norm", "mlp"}


@dataclass(frozen=True)
class TimmVit:
    """A view of an `open_clip.timm_model.TimmModel` around a timm ViT; holds no state of its own.

    Parameters
    ----------
    visual
        The tower: `trunk` and `head`.
    """

    visual: Any

    @property
    def kind(self) -> str:
        return KINDS[self.visual.trunk.global_pool]

    @property
    def prefix(self) -> int:
        return self.visual.trunk.num_prefix_tokens

    @property
    def patch(self) -> int:
        return self.visual.trunk.patch_embed.patch_size[0]

    @property
    def width(self) -> int:
        return self.visual.trunk.embed_dim

    @property
    def native_grid(self) -> tuple[int, int]:
        return tuple(self.visual.trunk.patch_embed.grid_size)

    @property
    def native_size(self) -> tuple[int, int]:
        return tuple(self.visual.trunk.patch_embed.img_size)

    @property
    def blocks(self) -> tuple[Any, ...]:
        return tuple(self.visual.trunk.blocks)

    def embed(self, images: Float[torch.Tensor, "B 3 H W"]) -> tuple[torch.Tensor, tuple[int, int]]:
        """Tokens (B, prefix + h w, C) before the first block, and the grid (h, w)."""
        trunk = self.visual.trunk
        patches = trunk.patch_embed.proj(pad_to_multiple(images, self.patch).to(trunk.patch_embed.proj.weight.dtype))
        grid = (patches.shape[2], patches.shape[3])
        patches = trunk.patch_embed.norm(patches.flatten(2).transpose(1, 2))
        before = [token for token in (trunk.cls_token, trunk.reg_token) if token is not None]
        before = [token.expand(len(patches), -1, -1).to(patches.dtype) for token in before]
        placed = 0 if trunk.no_embed_class else self.prefix
        positions = resample_positions(trunk.pos_embed[0], self.native_grid, grid, prefix=placed).to(patches.dtype)
        if trunk.no_embed_class:
            tokens = torch.cat([*before, patches + positions], dim=1)
        else:
            tokens = torch.cat([*before, patches], dim=1) + positions
        return trunk.norm_pre(tokens), grid

    def finish(self, tokens: Float[torch.Tensor, "B T C"]) -> Float[torch.Tensor, "B T D"]:
        """Every token alone through the pooling and the heads."""
        trunk = self.visual.trunk
        tokens = trunk.norm(tokens)
        if trunk.attn_pool is not None:
            tokens = map_head_alone(trunk.attn_pool, tokens)
        return self.visual.head(trunk.head(trunk.fc_norm(tokens)))


def map_head_alone(head: Any, tokens: Float[torch.Tensor, "B T C"]) -> Float[torch.Tensor, "B T C"]:
    """Every token alone through timm's `AttentionPoolLatent`.

    Parameters
    ----------
    head
        The pooling head.
    tokens
        Tokens after the final norm.

    Returns
    -------
    torch.Tensor
        For each token what the head gives for a set that holds only this token.
    """
    width = head.kv.weight.shape[0] // 2
    values = F.linear(tokens, head.kv.weight[width:], None if head.kv.bias is None else head.kv.bias[width:])
    alone = head.proj(values)
    return alone if head.mlp is None else alone + head.mlp(head.norm(alone))


def read_timm_vit(visual: Any) -> TimmVit:
    """Check that a timm tower is a plain ViT whose pooling can take a single token.

    Raises
    ------
    ConfigError
        For every other timm tower: EVA, NaFlex, convolutional and hybrid ones, other poolings.
    """
    trunk = visual.trunk
    name = type(trunk).__name__
    if name != "VisionTransformer":
        raise _refusal(f"is timm's {name}")
    children = {child for child, _ in trunk.patch_embed.named_children()}
    if not children <= {"proj", "norm"} or not isinstance(trunk.patch_embed.proj, torch.nn.Conv2d):
        raise _refusal(f"makes its patches by {type(trunk.patch_embed).__name__} with the parts {sorted(children)}")
    if trunk.patch_embed.patch_size[0] != trunk.patch_embed.patch_size[1]:
        raise _refusal(f"has patches of {trunk.patch_embed.patch_size} pixels, not square ones")
    if trunk.pos_embed is None:
        raise _refusal("has no learned positions")
    if trunk.global_pool not in KINDS:
        raise _refusal(f"pools by {trunk.global_pool!r}")
    heads = {child for child, _ in visual.head.named_children()}
    if not heads <= {"drop", "proj", "mlp"}:
        raise _refusal(f"has a head with the parts {sorted(heads)}")
    if trunk.attn_pool is not None:
        parts = {child for child, module in trunk.attn_pool.named_children() if module is not None}
        if not {"kv", "proj", "norm"} <= parts <= MAP_HEAD or trunk.attn_pool.pos_embed is not None:
            raise _refusal(f"pools by {type(trunk.attn_pool).__name__} with the parts {sorted(parts)}")
    return TimmVit(visual)


def _refusal(why: str) -> ConfigError:
    return ConfigError(f"dense embeddings need a plain ViT, but the image tower {why}", hint=TILES_HINT)
