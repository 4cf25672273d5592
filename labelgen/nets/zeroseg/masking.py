"""Which patches the student sees while it is trained."""

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor

__all__ = ["hidden_patches", "take", "visible_patches"]


def visible_patches(batch: int, patches: int, *, mask: float, generator: torch.Generator) -> Int64[Tensor, "B visible"]:
    """Draw for each image the patches that stay visible, another set for each.

    Parameters
    ----------
    mask
        Share that is hidden; the number that stays is rounded, and at least 1.

    Returns
    -------
    Tensor
        Indices, rising in each row, on the CPU.

    Examples
    --------
    >>> visible_patches(2, 5, mask=0.6, generator=torch.Generator().manual_seed(0)).shape
    torch.Size([2, 2])
    """
    kept = max(1, round(patches * (1 - mask)))
    scores = torch.rand(batch, patches, generator=generator)
    return scores.argsort(dim=1, stable=True)[:, :kept].sort(dim=1).values


def hidden_patches(visible: Int64[Tensor, "B visible"], patches: int) -> Bool[Tensor, "B patches"]:
    """Where a patch is hidden.

    Examples
    --------
    >>> hidden_patches(torch.tensor([[0, 2]]), 4).tolist()
    [[False, True, False, True]]
    """
    hidden = torch.ones(len(visible), patches, dtype=torch.bool, device=visible.device)
    return hidden.scatter_(1, visible, False)


def take(tokens: Float[Tensor, "B N C"], indices: Int64[Tensor, "B K"]) -> Float[Tensor, "B K C"]:
    """The tokens of each image at its indices.

    Examples
    --------
    >>> take(torch.tensor([[[1.0], [2.0], [3.0]]]), torch.tensor([[0, 2]])).flatten().tolist()
    [1.0, 3.0]
    """
    return tokens.gather(1, indices[:, :, None].expand(-1, -1, tokens.shape[-1]))
