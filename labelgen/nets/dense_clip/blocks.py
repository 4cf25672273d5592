"""Transformer blocks of open_clip and timm read as their parts: projections, norms, scales, feed-forward."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float
from torch.nn import functional as F

from labelgen.errors import ConfigError
from labelgen.nets.dense_clip.kernels import attend

__all__ = ["TILES_HINT", "Block", "read_block", "run_blocks"]

TILES_HINT = "choose a plain open_clip or timm ViT, or --method tiles, which works with every model"

# Post-norm and parallel blocks have the same parts in another order, so that the class counts too.
NATIVE_CLASSES = ("ResidualAttentionBlock", "CustomResidualAttentionBlock")
TIMM_CLASSES = ("Block",)
NATIVE_BLOCK = {"ln_1", "attn", "ls_1", "ln_attn", "ln_2", "mlp", "ls_2"}
NATIVE_ATTENTION = {"out_proj", "ln_q", "ln_k", "ln_inner", "attn_drop", "out_drop"}
TIMM_BLOCK = {"norm1", "attn", "ls1", "drop_path1", "norm2", "mlp", "ls2", "drop_path2"}
TIMM_ATTENTION = {"qkv", "q_norm", "k_norm", "attn_drop", "norm", "gate", "proj", "proj_drop"}


@dataclass(frozen=True)
class Block:
    """The parts of one pre-norm block, `x + scale1(attention(norm1(x)))` then `x + scale2(mlp(norm2(x)))`.

    Parameters
    ----------
    norm1, scale1, norm2, mlp, scale2
        Modules of the model itself; a block without layer scale has identities.
    weight, bias
        Rows of queries, keys and values, in this order; the bias may be missing.
    query_norm, key_norm, inner_norm
        Identities in most models.
    project
        Output projection.
    num_heads
        Heads of the attention.
    """

    norm1: Any
    scale1: Any
    norm2: Any
    mlp: Any
    scale2: Any
    weight: torch.Tensor
    bias: torch.Tensor | None
    query_norm: Any
    key_norm: Any
    inner_norm: Any
    project: Any
    num_heads: int

    def queries(self, normed: Float[torch.Tensor, "B T C"]) -> Float[torch.Tensor, "B heads T d"]:
        """Queries of tokens after `norm1`."""
        return self.query_norm(self._rows(normed, 0))

    def keys(self, normed: Float[torch.Tensor, "B T C"]) -> Float[torch.Tensor, "B heads T d"]:
        """Keys of tokens after `norm1`."""
        return self.key_norm(self._rows(normed, 1))

    def values(self, normed: Float[torch.Tensor, "B T C"]) -> Float[torch.Tensor, "B heads T d"]:
        """Values of tokens after `norm1`."""
        return self._rows(normed, 2)

    def output(self, attended: Float[torch.Tensor, "B heads T d"]) -> Float[torch.Tensor, "B T C"]:
        """What the block adds to its input for attended values: heads joined, projected and scaled."""
        return self.scale1(self.project(self.inner_norm(attended.transpose(1, 2).flatten(2))))

    def feed_forward(self, tokens: Float[torch.Tensor, "B T C"]) -> Float[torch.Tensor, "B T C"]:
        """What the second half of the block adds."""
        return self.scale2(self.mlp(self.norm2(tokens)))

    def __call__(self, tokens: Float[torch.Tensor, "B T C"]) -> Float[torch.Tensor, "B T C"]:
        """Run the block as it was trained."""
        normed = self.norm1(tokens)
        tokens = tokens + self.output(attend(self.queries(normed), self.keys(normed), self.values(normed)))
        return tokens + self.feed_forward(tokens)

    def _rows(self, normed: torch.Tensor, which: int) -> torch.Tensor:
        width = self.weight.shape[0] // 3
        rows = slice(which * width, (which + 1) * width)
        projected = F.linear(normed, self.weight[rows], None if self.bias is None else self.bias[rows])
        return projected.unflatten(-1, (self.num_heads, -1)).transpose(1, 2)


def run_blocks(blocks: Iterable[Any], tokens: Float[torch.Tensor, "B T C"]) -> Float[torch.Tensor, "B T C"]:
    """Run blocks one after the other by their parts.

    Without gradients PyTorch sends `MultiheadAttention` to a kernel of its own that, on a CPU, is slower than scaled
    dot product attention: by their parts the blocks of ViT-B take about a tenth less time in float32 and no more in
    bfloat16, with the same result.
    """
    for block in blocks:
        tokens = read_block(block)(tokens)
    return tokens


def read_block(block: Any) -> Block:
    """Read a block of an open_clip or timm ViT.

    Raises
    ------
    ConfigError
        When it has parts whose meaning for a replaced attention is unknown.
    """
    names, kind = _children(block), type(block).__name__
    if kind in NATIVE_CLASSES and {"ln_1", "attn", "ln_2", "mlp"} <= names <= NATIVE_BLOCK:
        return _native(block)
    if kind in TIMM_CLASSES and {"norm1", "attn", "norm2", "mlp"} <= names <= TIMM_BLOCK and hasattr(block.attn, "qkv"):
        return _timm(block)
    raise _refusal(block, f"has the parts {', '.join(sorted(names))}")


def _native(block: Any) -> Block:
    attention = block.attn
    if not _children(attention) <= NATIVE_ATTENTION:
        raise _refusal(block, f"has an attention with the parts {sorted(_children(attention))}")
    if getattr(attention, "in_proj_weight", None) is None:
        raise _refusal(block, "has no joint projection of queries, keys and values")
    if getattr(attention, "bias_k", None) is not None or getattr(attention, "add_zero_attn", False):
        raise _refusal(block, "attends to keys that are no tokens")
    for name, meaning in (("logit_scale", "scaled cosine attention"), ("head_scale", "scaled heads")):
        if getattr(attention, name, None) is not None:
            raise _refusal(block, f"has {meaning}")
    if not isinstance(getattr(block, "ln_attn", _IDENTITY), torch.nn.Identity):
        raise _refusal(block, "normalises after the attention")
    return Block(
        norm1=block.ln_1,
        scale1=getattr(block, "ls_1", _IDENTITY),
        norm2=block.ln_2,
        mlp=block.mlp,
        scale2=getattr(block, "ls_2", _IDENTITY),
        weight=attention.in_proj_weight,
        bias=attention.in_proj_bias,
        query_norm=getattr(attention, "ln_q", _IDENTITY),
        key_norm=getattr(attention, "ln_k", _IDENTITY),
        inner_norm=getattr(attention, "ln_inner", _IDENTITY),
        project=attention.out_proj,
        num_heads=attention.num_heads,
    )


def _timm(block: Any) -> Block:
    attention = block.attn
    if not _children(attention) <= TIMM_ATTENTION or type(attention).__name__ != "Attention":
        raise _refusal(block, f"has the attention {type(attention).__name__}")
    if getattr(attention, "gate", None) is not None:
        raise _refusal(block, "gates its attention")
    return Block(
        norm1=block.norm1,
        scale1=getattr(block, "ls1", _IDENTITY),
        norm2=block.norm2,
        mlp=block.mlp,
        scale2=getattr(block, "ls2", _IDENTITY),
        weight=attention.qkv.weight,
        bias=attention.qkv.bias,
        query_norm=attention.q_norm,
        key_norm=attention.k_norm,
        inner_norm=getattr(attention, "norm", _IDENTITY),
        project=attention.proj,
        num_heads=attention.num_heads,
    )


_IDENTITY = torch.nn.Identity()


def _children(module: Any) -> set[str]:
    return {name for name, child in module.named_children() if child is not None}


def _refusal(block: Any, why: str) -> ConfigError:
    return ConfigError(f"blocks must be plain pre-norm ones, but {type(block).__name__} {why}", hint=TILES_HINT)
