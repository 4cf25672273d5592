"""The last block with another attention, with or without its residual and its feed-forward.

    Y = output(A V);   R = Y + rho X;   F = R + phi feed_forward(R)

with `A` the kernel of the method, and `rho` and `phi` 1 or 0. Layer scales of the block are applied in both places.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import torch
from jaxtyping import Float
from torch.nn import functional as F

from labelgen.nets.dense_clip.blocks import Block
from labelgen.nets.dense_clip.kernels import attend, correlative_attention, neighbourhood, proxy_attention
from labelgen.nets.dense_clip.names import BETA, GAMMA, STD

__all__ = ["RULES", "Heads", "Layout", "Rule", "last_block"]


@runtime_checkable
class Heads(Protocol):
    """Whatever projects normed tokens to queries, keys and values, (B, T, C) to (B, heads, T, d)."""

    def queries(self, normed: torch.Tensor, /) -> torch.Tensor: ...
    def keys(self, normed: torch.Tensor, /) -> torch.Tensor: ...
    def values(self, normed: torch.Tensor, /) -> torch.Tensor: ...


@dataclass(frozen=True)
class Layout:
    """Where the tokens lie, and the numbers of the kernels.

    Parameters
    ----------
    grid
        `(h, w)` of the patches.
    prefix
        Class and register tokens before them.
    std, beta, gamma
        Of `naclip` and `proxy`; see `names`.
    external
        (B, h', w', E) features of another backbone, for `proxy`.
    """

    grid: tuple[int, int]
    prefix: int
    std: float = STD
    beta: float = BETA
    gamma: float = GAMMA
    external: torch.Tensor | None = None


@dataclass(frozen=True)
class Rule:
    """One row of the table of methods: the attention, and what of the block is kept."""

    attended: Callable[[Heads, torch.Tensor, Layout], torch.Tensor]
    residual: bool
    feed_forward: bool


def last_block(
    block: Block, tokens: Float[torch.Tensor, "B T C"], *, method: str, layout: Layout
) -> Float[torch.Tensor, "B T C"]:
    """Run the last block by the rule of `method`.

    Parameters
    ----------
    block
        The last block.
    tokens
        Its input, class and register tokens first.
    method
        One of `names.LAST_BLOCK`.
    layout
        Where the tokens lie.
    """
    rule = RULES[method]
    result = block.output(rule.attended(block, block.norm1(tokens), layout))
    if rule.residual:
        result = tokens + result
    if rule.feed_forward:
        result = result + block.feed_forward(result)
    return result


def _as_trained(heads: Heads, normed: torch.Tensor, layout: Layout) -> torch.Tensor:
    return attend(heads.queries(normed), heads.keys(normed), heads.values(normed))


def _own_value(heads: Heads, normed: torch.Tensor, layout: Layout) -> torch.Tensor:
    return heads.values(normed)


def _correlative(heads: Heads, normed: torch.Tensor, layout: Layout) -> torch.Tensor:
    return correlative_attention(heads.queries(normed), heads.keys(normed), heads.values(normed))


def _queries_to_queries(heads: Heads, normed: torch.Tensor, layout: Layout) -> torch.Tensor:
    queries = heads.queries(normed)
    return attend(queries, queries, heads.values(normed))


def _neighbours(heads: Heads, normed: torch.Tensor, layout: Layout) -> torch.Tensor:
    keys = heads.keys(normed)
    near = neighbourhood(layout.grid, std=layout.std, prefix=layout.prefix).to(keys.device)
    return attend(keys, keys, heads.values(normed), added=near)


def _proxy(heads: Heads, normed: torch.Tensor, layout: Layout) -> torch.Tensor:
    """Values on the grid of the other backbone, mixed by its cosines, then back on the grid of the tower."""
    external = layout.external
    assert external is not None  # checked where the images come in
    values = heads.values(normed)
    batch, num_heads, _, width = values.shape
    before, patches = values[:, :, : layout.prefix], values[:, :, layout.prefix :]
    planes = patches.transpose(2, 3).reshape(batch, num_heads * width, *layout.grid)
    there = external.shape[1:3]
    mixed = _resized(planes, there).flatten(2).transpose(1, 2)
    attention = proxy_attention(external, beta=layout.beta, gamma=layout.gamma)
    mixed = (attention.to(mixed.dtype) @ mixed).transpose(1, 2).unflatten(2, there)
    back = _resized(mixed, layout.grid).reshape(batch, num_heads, width, -1).transpose(2, 3)
    return torch.cat([before, back], dim=2)


def _resized(planes: torch.Tensor, size: tuple[int, int] | torch.Size) -> torch.Tensor:
    if tuple(planes.shape[-2:]) == tuple(size):
        return planes
    shrinks = size[0] < planes.shape[-2] or size[1] < planes.shape[-1]
    resized = F.interpolate(planes.float(), size=tuple(size), mode="bilinear", align_corners=False, antialias=shrinks)
    return resized.to(planes.dtype)


RULES: dict[str, Rule] = {
    "clip": Rule(_as_trained, residual=True, feed_forward=True),
    "maskclip": Rule(_own_value, residual=True, feed_forward=True),
    "maskclip-v": Rule(_own_value, residual=False, feed_forward=False),
    "sclip": Rule(_correlative, residual=True, feed_forward=True),
    "clearclip": Rule(_queries_to_queries, residual=False, feed_forward=False),
    "naclip": Rule(_neighbours, residual=False, feed_forward=False),
    "proxy": Rule(_proxy, residual=False, feed_forward=False),
}
