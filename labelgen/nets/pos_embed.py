"""Positions of a ViT on another grid, as the official DINO and DINOv2 code resamples them.

timm resamples by size with antialiasing. The official models without registers scale by `(n + 0.1) / M` without
antialiasing, which shifts every position a little; heads trained on such features notice.
"""

import math
from types import MethodType
from typing import Any

import torch
from jaxtyping import Float

from labelgen.errors import ConfigError

__all__ = ["official_positions", "use_official_positions"]

OFFSET = 0.1  # DINO and DINOv2, `interpolate_pos_encoding`: keeps floor(M * (n + 0.1) / M) at n


def official_positions(
    positions: Float[torch.Tensor, "one N D"], grid: tuple[int, int], *, prefix: int, registers: bool
) -> Float[torch.Tensor, "one M D"]:
    """Resample square-grid positions to `grid`.

    Parameters
    ----------
    positions
        `prefix` entries for the class token, then the patches of a square grid, row by row.
    grid
        `(h, w)` wanted.
    prefix
        How many entries come before the patches; they are kept.
    registers
        Models with registers are resampled by size with antialiasing, those without by factor `(n + 0.1) / M`.

    References
    ----------
    .. [1] Oquab et al., "DINOv2: Learning Robust Visual Features without Supervision", 2023, arXiv 2304.07193.
    .. [2] Darcet et al., "Vision Transformers Need Registers", ICLR 2024, arXiv 2309.16588.
    """
    kept, patches = positions[:, :prefix], positions[:, prefix:]
    side = math.isqrt(patches.shape[1])
    if grid == (side, side):
        return positions
    image = patches.float().reshape(1, side, side, -1).permute(0, 3, 1, 2)
    if registers:
        resized = torch.nn.functional.interpolate(image, size=grid, mode="bicubic", antialias=True)
    else:
        factors = ((grid[0] + OFFSET) / side, (grid[1] + OFFSET) / side)
        resized = torch.nn.functional.interpolate(image, scale_factor=factors, mode="bicubic")
    flat = resized.permute(0, 2, 3, 1).reshape(1, grid[0] * grid[1], -1).to(positions.dtype)
    return torch.cat([kept, flat], dim=1)


def use_official_positions(model: Any) -> None:
    """Make a timm `VisionTransformer` resample its positions the official way; each grid is computed once.

    Raises
    ------
    ConfigError
        When the model has no learned positions to resample.
    """
    if getattr(model, "pos_embed", None) is None or not hasattr(model, "num_reg_tokens"):
        raise ConfigError(
            "pos_interp=official needs a plain ViT with learned positions",
            hint="models with rotary positions compute them for any grid: use pos_interp=timm",
        )
    known: dict[tuple, torch.Tensor] = {}

    def positions(model: Any, grid: tuple[int, int]) -> torch.Tensor:
        table, prefix = model.pos_embed, 0 if model.no_embed_class else model.num_prefix_tokens
        key = (grid, table.device, table.dtype)
        if key in known and not table.requires_grad:
            return known[key]
        resampled = official_positions(table, grid, prefix=prefix, registers=bool(model.num_reg_tokens))
        if not table.requires_grad:  # nothing can be kept while it is being trained
            known[key] = resampled
        return resampled

    def embed(model: Any, patches: torch.Tensor) -> torch.Tensor:
        batch, height, width, dim = patches.shape
        tokens = patches.reshape(batch, height * width, dim)
        extra = [token.expand(batch, -1, -1) for token in (model.cls_token, model.reg_token) if token is not None]
        if model.no_embed_class:
            return torch.cat([*extra, tokens + positions(model, (height, width))], dim=1)
        return torch.cat([*extra, tokens], dim=1) + positions(model, (height, width))

    model._pos_embed = MethodType(embed, model)  # a method, so that a deep copy of the model uses its own positions
