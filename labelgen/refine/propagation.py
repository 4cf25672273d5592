"""Averages over patches that look alike: rows of an affinity matrix, computed block by block."""

from collections.abc import Callable

import torch
from jaxtyping import Float32

__all__ = ["AffinityRows", "dinoiser_rows", "local_log_weights", "propagate", "proxy_rows"]

MAX_ENTRIES = 2**24
"""Of the affinity matrix at once: 64 MiB in float32."""

AffinityRows = Callable[[int, int], torch.Tensor]
"""`rows(start, stop)` gives these rows of the affinity matrix; each sums to 1."""


def dinoiser_rows(
    unit: Float32[torch.Tensor, "N D"], start: int, stop: int, *, threshold: float, local: torch.Tensor | None = None
) -> Float32[torch.Tensor, "n N"]:
    """Rows of `a_ij [a_ij > threshold]`, divided by their sums; a_ij is the cosine, the diagonal is always 1.

    Parameters
    ----------
    unit
        Features of length 1.
    local
        Logarithms of further factors, `(n, N)`.

    References
    ----------
    .. [1] Wysoczanska et al., "CLIP-DINOiser: Teaching CLIP a Few DINO Tricks", ECCV 2024, arXiv 2312.12359, eq. 2.
    """
    cosines = _cosines(unit, start, stop)
    weights = torch.where(cosines > threshold, cosines, 0).clamp_min(0)
    if local is not None:
        weights = weights * local.exp()
    return weights / weights.sum(dim=1, keepdim=True)


def proxy_rows(
    unit: Float32[torch.Tensor, "N D"],
    start: int,
    stop: int,
    *,
    beta: float,
    gamma: float,
    local: torch.Tensor | None = None,
) -> Float32[torch.Tensor, "n N"]:
    """Rows of softmax(M), `M_ij = gamma (a_ij - beta mean(a))` where that is not negative, minus infinity elsewhere.

    The diagonal stays, so that a flat image gives no empty row. The mean is over all pairs of this image.

    References
    ----------
    .. [1] Lan et al., "ProxyCLIP: Proxy Attention Improves CLIP for Open-Vocabulary Segmentation", ECCV 2024,
       arXiv 2408.04883, eq. 5 and 6.
    """
    average = unit.mean(dim=0)
    mean = average @ average  # the mean over all pairs, without the pairs
    logits = gamma * (_cosines(unit, start, stop) - beta * mean)
    is_self = torch.arange(start, stop, device=unit.device)[:, None] == torch.arange(len(unit), device=unit.device)
    logits = logits.masked_fill((logits < 0) & ~is_self, -torch.inf)
    if local is not None:
        logits = logits + local
    return logits.softmax(dim=1)


def _cosines(unit: torch.Tensor, start: int, stop: int) -> torch.Tensor:
    cosines = unit[start:stop] @ unit.T
    rows = torch.arange(stop - start, device=unit.device)
    cosines[rows, rows + start] = 1  # exactly, and for features of length 0 too
    return cosines


def local_log_weights(
    grid: tuple[int, int], start: int, stop: int, *, radius: float, device: torch.device
) -> Float32[torch.Tensor, "n N"]:
    """`-d_ij^2 / (2 radius^2)` for the distance in cells between cells `start` to `stop` and all cells.

    References
    ----------
    .. [1] Hajimiri et al., "Pay Attention to Your Neighbours: Training-Free Open-Vocabulary Semantic Segmentation",
       WACV 2025, arXiv 2404.08181, eq. 6, where it is added to logits too, though under another exponential.
    """
    index = torch.arange(grid[0] * grid[1], device=device)
    places = torch.stack([index // grid[1], index % grid[1]], dim=1).float()
    squares = torch.stack([(places[start:stop, None, axis] - places[None, :, axis]) ** 2 for axis in (0, 1)]).sum(0)
    return -squares / (2 * radius**2)


def propagate(
    rows: AffinityRows,
    sums: Float32[torch.Tensor, "N C"],
    votes: Float32[torch.Tensor, "N"],
    *,
    steps: int = 1,
    max_entries: int = MAX_ENTRIES,
) -> tuple[Float32[torch.Tensor, "N C"], Float32[torch.Tensor, "N"]]:
    """Replace the scores of each cell by an average over like cells: `A sums / A votes`, `steps` times.

    Parameters
    ----------
    sums, votes
        Of each cell, as `labelgen.refine.cells.pixels_to_cells` gives them. A cell without a vote gives none; where
        every cell votes in full, the result is `A sums`.
    max_entries
        Bound on the entries of A in memory at once.

    Returns
    -------
    tuple
        Scores, and 1 for each cell that any vote reached, 0 for those that still abstain.
    """
    count = len(sums)
    block = max(1, max_entries // count)
    for _ in range(steps):
        voted = torch.cat([sums, votes[:, None]], dim=1)
        parts = [rows(start, min(start + block, count)) @ voted for start in range(0, count, block)]
        reached = torch.cat(parts)
        weight = reached[:, -1:]
        votes = (weight[:, 0] > 0).float()
        sums = torch.where(weight > 0, reached[:, :-1] / weight.clamp_min(torch.finfo(weight.dtype).tiny), 0)
    return sums, votes
