"""A linear head over a trained projection, for terms that shape the space in which tokens are compared."""

from jaxtyping import Float
from torch import Tensor, nn

from segprobe.head_settings import ProjectionSettings
from segprobe.heads.head import Head, folded_matrix

__all__ = ["ProjectionHead"]


class ProjectionHead(Head):
    """Logits `W (P z) + b` of standardised tokens z, with a trained projection P to a few channels.

    On frozen features a term that compares tokens has nothing to act on; here it acts on `project`. There is no
    non-linearity between P and W: the head remains linear in the tokens, of rank `dim`, so that it follows wrong labels
    no further than the linear head, and what a term changes is due to the term. P starts with orthonormal rows, which
    change the cosines between tokens least.

    Examples
    --------
    >>> import torch
    >>> head = ProjectionHead(torch.zeros(8), torch.ones(8), num_classes=3, settings=ProjectionSettings(dim=4))
    >>> head.project(torch.zeros(5, 8)).shape, head(torch.zeros(5, 8)).shape
    (torch.Size([5, 4]), torch.Size([5, 3]))
    """

    def __init__(
        self,
        mean: Float[Tensor, "D"],
        std: Float[Tensor, "D"],
        *,
        num_classes: int,
        settings: ProjectionSettings,
    ) -> None:
        super().__init__(mean, std, num_classes=num_classes, width=settings.dim)
        self.projection = nn.Linear(len(mean), settings.dim)
        nn.init.orthogonal_(self.projection.weight)
        nn.init.zeros_(self.projection.bias)

    def project(self, tokens: Float[Tensor, "*T D"]) -> Float[Tensor, "*T d"]:
        """Projected tokens, with gradients."""
        return self.projection(self.standardised(tokens))

    def forward(self, tokens: Float[Tensor, "*T D"]) -> Float[Tensor, "*T C"]:
        """Logits of tokens."""
        return self.classify(self.project(tokens))

    def folded(self) -> tuple[Float[Tensor, "C D"], Float[Tensor, "C"]]:
        """Matrix and bias that act on raw features; the two matrices become one."""
        weight, bias = folded_matrix(self.projection, self.mean, self.std)
        return self.classify.weight @ weight, self.classify.weight @ bias + self.classify.bias
