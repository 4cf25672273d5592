"""Cosine to the mean of each class: a head without a single trained weight."""

from jaxtyping import Float, Int64
from torch import Tensor
from torch.nn import functional as F

from segprobe.head_settings import PrototypeSettings
from segprobe.heads.head import Head

__all__ = ["PrototypeHead", "add_class_rows", "class_directions"]


class PrototypeHead(Head):
    """Logits `gain * cos(z, p_c)` of standardised tokens z and class directions p_c.

    Standardising takes away what all tokens share, which would else be most of every cosine. The rows of the last
    matrix are `gain * p_c`, its bias is 0.

    References
    ----------
    .. [1] Snell et al., "Prototypical Networks for Few-shot Learning", NeurIPS 2017, arXiv 1703.05175, section 2.3;
       with the cosine in the place of the squared distance.
    """

    def __init__(
        self,
        mean: Float[Tensor, "D"],
        std: Float[Tensor, "D"],
        *,
        num_classes: int,
        settings: PrototypeSettings,
    ) -> None:
        super().__init__(mean, std, num_classes=num_classes, width=len(mean))

    def directions(self, tokens: Float[Tensor, "*T D"]) -> Float[Tensor, "*T D"]:
        """Standardised tokens of length 1."""
        return F.normalize(self.standardised(tokens), dim=-1)

    def forward(self, tokens: Float[Tensor, "*T D"]) -> Float[Tensor, "*T C"]:
        """Logits of tokens."""
        return self.classify(self.directions(tokens))


def class_directions(sums: Float[Tensor, "C D"]) -> Float[Tensor, "C D"]:
    """Directions of length 1 from the weighted sums of the rows of each class; a class without rows stays 0.

    Examples
    --------
    >>> import torch
    >>> class_directions(torch.tensor([[3.0, 4.0], [0.0, 0.0]]))
    tensor([[0.6000, 0.8000],
            [0.0000, 0.0000]])
    """
    return F.normalize(sums, dim=-1)


def add_class_rows(
    sums: Float[Tensor, "C D"], rows: Float[Tensor, "N D"], classes: Int64[Tensor, "N"], weights: Float[Tensor, "N"]
) -> None:
    """Add weighted rows to the sum of their class, in place.

    Examples
    --------
    >>> import torch
    >>> sums = torch.zeros(2, 1)
    >>> add_class_rows(sums, torch.tensor([[1.0], [2.0]]), torch.tensor([1, 1]), torch.tensor([1.0, 3.0]))
    >>> sums
    tensor([[0.],
            [7.]])
    """
    sums.index_add_(0, classes, (rows * weights[:, None]).to(sums.dtype))
