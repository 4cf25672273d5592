"""Attention kernels for the last block: what replaces attending from queries to keys.

All take heads of shape (B, heads, T, d) and scale dot products by `d ** -0.5`. The softmax is computed in float32.

References
----------
.. [1] C. Zhou et al., "Extract Free Dense Labels from CLIP", ECCV 2022, arXiv 2112.01071 (MaskCLIP).
.. [2] F. Wang et al., "SCLIP: Rethinking Self-Attention for Dense Vision-Language Inference", ECCV 2024,
       arXiv 2312.01597, section 3.2.
.. [3] M. Lan et al., "ClearCLIP: Decomposing CLIP Representations for Dense Vision-Language Inference", ECCV 2024,
       arXiv 2407.12442.
.. [4] S. Hajimiri et al., "Pay Attention to Your Neighbours: Training-Free Open-Vocabulary Semantic Segmentation",
       WACV 2025, arXiv 2404.08181, section 3.
.. [5] M. Lan et al., "ProxyCLIP: Proxy Attention Improves CLIP for Open-Vocabulary Segmentation", ECCV 2024,
       arXiv 2408.04883, section 3.3.
"""

import torch
from jaxtyping import Float, Float32
from torch.nn import functional as F

__all__ = ["attend", "correlative_attention", "neighbourhood", "proxy_attention"]


def attend(
    queries: Float[torch.Tensor, "B heads T d"],
    keys: Float[torch.Tensor, "B heads T d"],
    values: Float[torch.Tensor, "B heads T d"],
    *,
    added: Float[torch.Tensor, "T T"] | None = None,
) -> Float[torch.Tensor, "B heads T d"]:
    """Softmax attention; `added` is added to the scaled logits of every head.

    Examples
    --------
    >>> values = torch.tensor([[[[1.0, 0.0], [3.0, 0.0]]]])
    >>> attend(torch.zeros(1, 1, 2, 2), torch.zeros(1, 1, 2, 2), values)[0, 0]
    tensor([[2., 0.],
            [2., 0.]])
    """
    mask = None if added is None else added.to(queries.dtype)
    return F.scaled_dot_product_attention(queries, keys, values, attn_mask=mask)


def correlative_attention(
    queries: Float[torch.Tensor, "B heads T d"],
    keys: Float[torch.Tensor, "B heads T d"],
    values: Float[torch.Tensor, "B heads T d"],
) -> Float[torch.Tensor, "B heads T d"]:
    """Queries to queries plus keys to keys, summed as in the public code of SCLIP: rows sum to 2."""
    return attend(queries, queries, values) + attend(keys, keys, values)


def neighbourhood(grid: tuple[int, int], *, std: float, prefix: int) -> Float32[torch.Tensor, "T T"]:
    """Gaussian of the distance between patches, `exp(-|p - q|^2 / (2 std^2))`, with peak 1.

    Rows and columns of the `prefix` tokens, which have no place, are 0. The Gaussian of both axes is the product of
    those of each, so that it costs one multiplication per pair and need not be kept.

    Parameters
    ----------
    grid
        `(h, w)` in patches.
    std
        In patches.
    prefix
        Class and register tokens before the patches.

    Examples
    --------
    >>> neighbourhood((1, 3), std=1.0, prefix=1)
    tensor([[0.0000, 0.0000, 0.0000, 0.0000],
            [0.0000, 1.0000, 0.6065, 0.1353],
            [0.0000, 0.6065, 1.0000, 0.6065],
            [0.0000, 0.1353, 0.6065, 1.0000]])
    """
    rows, columns = (_gaussian(length, std) for length in grid)
    patches = torch.kron(rows, columns)
    return F.pad(patches, (prefix, 0, prefix, 0))


def _gaussian(length: int, std: float) -> torch.Tensor:
    place = torch.arange(length, dtype=torch.float32)
    return torch.exp(-((place[:, None] - place[None]) ** 2) / (2.0 * std**2))


def proxy_attention(
    features: Float[torch.Tensor, "B h w E"], *, beta: float, gamma: float
) -> Float32[torch.Tensor, "B N N"]:
    """Attention from cosines of another network's features.

    Logits are `gamma * (cosine - beta * mean)`; pairs below 0 do not attend to each other. The mean is over the pairs
    of one image, so that results do not depend on what else is in the batch, and a token always attends to itself,
    so that features without any contrast give no empty row. The public code does neither.

    Examples
    --------
    >>> two_halves = torch.tensor([[1.0, 0.0], [1.0, 0.0], [0.0, 1.0]]).reshape(1, 1, 3, 2)
    >>> proxy_attention(two_halves, beta=1.2, gamma=3.0)[0]
    tensor([[0.5000, 0.5000, 0.0000],
            [0.5000, 0.5000, 0.0000],
            [0.0000, 0.0000, 1.0000]])
    """
    flat = F.normalize(features.float().flatten(1, 2), dim=-1)
    cosine = flat @ flat.transpose(1, 2)
    logits = gamma * (cosine - beta * cosine.mean(dim=(1, 2), keepdim=True))
    itself = torch.eye(logits.shape[-1], dtype=torch.bool, device=logits.device)
    return logits.masked_fill((logits < 0) & ~itself, float("-inf")).softmax(dim=-1)
