"""Cross-entropy over labelled pixels only."""

from jaxtyping import Float, Int64
from torch import Tensor

from labelgen.masks import IGNORE
from segprobe.losses.kernels import cross_entropy
from segprobe.losses.masked import masked_mean

__all__ = ["masked_cross_entropy"]


def masked_cross_entropy(
    logits: Float[Tensor, "N C"],
    labels: Int64[Tensor, "N"],
    *,
    weights: Float[Tensor, "N"] | None = None,
    ignore: int = IGNORE,
    progress: float = 1.0,
) -> Float[Tensor, ""]:
    """Average the cross-entropy over labelled pixels: sum(w * ce) / sum(w); see `masked_mean`.

    Parameters
    ----------
    labels
        Column of the true class in `logits`, or `ignore`.
    weights
        Weight of each pixel, >= 0; 1 when left out.
    progress
        Share of the updates that are done; this loss is the same throughout.

    Returns
    -------
    Tensor
        Exactly 0 with a gradient of exactly 0 when no pixel is labelled, or none has weight.

    Examples
    --------
    >>> import torch
    >>> logits = torch.zeros(3, 4)
    >>> round(float(masked_cross_entropy(logits, torch.tensor([0, 3, 255]))), 4)
    1.3863
    >>> float(masked_cross_entropy(logits, torch.tensor([255, 255, 255])))
    0.0
    """
    return masked_mean(cross_entropy, logits, labels, weights=weights, ignore=ignore)
