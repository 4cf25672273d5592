"""Fixed sine and cosine position embeddings of a grid."""

import torch
from jaxtyping import Float
from torch import Tensor

__all__ = ["sine_positions"]

BASE = 10_000.0  # longest wave length over the shortest, as in the first transformer


def sine_positions(rows: int, cols: int, width: int) -> Float[Tensor, "N C"]:
    """Position embeddings, row by row: the first half of the channels tells the row, the second the column.

    Parameters
    ----------
    width
        Channels, a multiple of 4.

    Examples
    --------
    >>> sine_positions(1, 2, 4).round(decimals=2)
    tensor([[0.0000, 1.0000, 0.0000, 1.0000],
            [0.0000, 1.0000, 0.8400, 0.5400]])
    """
    frequencies = BASE ** -(torch.arange(width // 4, dtype=torch.float64) / (width // 4))
    axes = [_waves(torch.arange(length, dtype=torch.float64), frequencies) for length in (rows, cols)]
    down, across = axes[0][:, None].expand(-1, cols, -1), axes[1][None].expand(rows, -1, -1)
    return torch.cat([down, across], dim=-1).flatten(0, 1).float()


def _waves(places: Tensor, frequencies: Tensor) -> Tensor:
    angles = places[:, None] * frequencies
    return torch.cat([angles.sin(), angles.cos()], dim=-1)
