"""From the loss of single pixels to that of a batch: the mean over labelled pixels, 0 where there are none."""

from collections.abc import Callable

from jaxtyping import Float, Int64
from torch import Tensor

from labelgen.masks import IGNORE

__all__ = ["EachPixel", "masked_loss", "masked_mean"]

EachPixel = Callable[[Tensor, Tensor, float], Tensor]
"""`each(logits (N, C), columns (N,), progress)`: the loss of each labelled pixel."""


def masked_loss(each: EachPixel) -> Callable[..., Tensor]:
    """The loss of a batch, `loss(logits, labels, *, weights=None, ignore=255, progress=1.0)`.

    It is `sum(w l) / sum(w)` over the labelled pixels of the batch (`masked_mean`). `progress` is the share of the
    updates that are done, in [0, 1]; that is how a loss knows where in the training it is.

    Examples
    --------
    >>> import torch
    >>> from segprobe.losses.kernels import cross_entropy
    >>> loss = masked_loss(lambda logits, columns, progress: cross_entropy(logits, columns))
    >>> round(float(loss(torch.zeros(2, 4), torch.tensor([1, 255]))), 4)
    1.3863
    """

    def loss(
        logits: Float[Tensor, "N C"],
        labels: Int64[Tensor, "N"],
        *,
        weights: Float[Tensor, "N"] | None = None,
        ignore: int = IGNORE,
        progress: float = 1.0,
    ) -> Float[Tensor, ""]:
        return masked_mean(
            lambda rows, columns: each(rows, columns, progress), logits, labels, weights=weights, ignore=ignore
        )

    return loss


def masked_mean(
    each: Callable[[Tensor, Tensor], Tensor],
    logits: Float[Tensor, "N C"],
    labels: Int64[Tensor, "N"],
    *,
    weights: Float[Tensor, "N"] | None,
    ignore: int,
) -> Float[Tensor, ""]:
    """Average a loss over labelled pixels: sum(w * l) / sum(w).

    Dividing by the labelled pixels and not by all of them keeps the step size independent of the coverage, which is a
    few per cent for scribbles.

    Returns
    -------
    Tensor
        Exactly 0 with a gradient of exactly 0 when no pixel is labelled, or none has weight.
    """
    labelled = labels != ignore
    if weights is not None:
        labelled = labelled & (weights > 0)
    if not bool(labelled.any()):
        return logits[:0].sum()
    if bool(labelled.all()):
        found, used = each(logits, labels), weights
    else:
        found = each(logits[labelled], labels[labelled])
        used = None if weights is None else weights[labelled]
    if used is None:
        return found.mean()
    return (found * used).sum() / used.sum()
