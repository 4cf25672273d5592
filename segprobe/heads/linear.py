"""Heads of one matrix, or of one hidden layer: each token for itself."""

from jaxtyping import Float
from torch import Tensor, nn

from segprobe.head_settings import LinearSettings, MlpSettings
from segprobe.heads.head import Head, folded_matrix

__all__ = ["LinearHead", "MlpHead"]


class LinearHead(Head):
    """Logits `((x - mean) / std) W^T + b`; the linear probe of the papers.

    On several layers of the backbone, concatenated, it is the `ms` head of DINOv2; since every channel is standardised
    by itself, so is every layer.

    Examples
    --------
    >>> import torch
    >>> head = LinearHead(torch.zeros(4), torch.ones(4), num_classes=3)
    >>> head(torch.zeros(5, 4)).shape
    torch.Size([5, 3])
    """

    def __init__(
        self,
        mean: Float[Tensor, "D"],
        std: Float[Tensor, "D"],
        *,
        num_classes: int,
        settings: LinearSettings | None = None,
    ) -> None:
        super().__init__(mean, std, num_classes=num_classes, width=len(mean))

    def forward(self, tokens: Float[Tensor, "*T D"]) -> Float[Tensor, "*T C"]:
        """Logits of tokens."""
        return self.classify(self.standardised(tokens))

    def folded(self) -> tuple[Float[Tensor, "C D"], Float[Tensor, "C"]]:
        """Matrix and bias that act on raw features."""
        return folded_matrix(self.classify, self.mean, self.std)


class MlpHead(Head):
    """One hidden layer; fits more, and so follows wrong labels further than a linear head does.

    It is applied to tokens and its logits are interpolated; interpolated features would make another function.
    """

    def __init__(
        self,
        mean: Float[Tensor, "D"],
        std: Float[Tensor, "D"],
        *,
        num_classes: int,
        settings: MlpSettings,
    ) -> None:
        super().__init__(mean, std, num_classes=num_classes, width=settings.hidden)
        self.hidden = nn.Linear(len(mean), settings.hidden)

    def forward(self, tokens: Float[Tensor, "*T D"]) -> Float[Tensor, "*T C"]:
        """Logits of tokens."""
        return self.classify(nn.functional.gelu(self.hidden(self.standardised(tokens))))
