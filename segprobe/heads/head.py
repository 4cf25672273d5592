"""What all heads have: the statistics of the features, and a last matrix that starts at zero.

Mean and standard deviation of the features are buffers in the place of a batch normalisation: nothing drifts, nothing
depends on the batch, and a first matrix can take them in.
"""

from collections.abc import Mapping

from jaxtyping import Float
from torch import Tensor, nn

__all__ = ["Head", "folded_matrix"]

LEAST_STD = 1e-6  # a channel that never varies carries nothing; this keeps it finite


class Head(nn.Module):
    """From tokens to class logits.

    Parameters
    ----------
    mean, std
        Of each feature channel.
    num_classes
        Logits.
    width
        Inputs of the last layer.
    """

    mean: Tensor
    std: Tensor
    needs_grid = False
    """Whether a token's logits depend on its neighbours, so that whole grids `(h, w, D)` must be given."""

    def __init__(self, mean: Float[Tensor, "D"], std: Float[Tensor, "D"], *, num_classes: int, width: int) -> None:
        super().__init__()
        self.register_buffer("mean", mean.float().clone())
        self.register_buffer("std", std.float().clamp_min(LEAST_STD))
        self.classify = nn.Linear(width, num_classes)
        nn.init.zeros_(self.classify.weight)
        nn.init.zeros_(self.classify.bias)

    @property
    def dim(self) -> int:
        """Feature channels."""
        return len(self.mean)

    def standardised(self, tokens: Float[Tensor, "*T D"]) -> Float[Tensor, "*T D"]:
        """Tokens of mean 0 and standard deviation 1."""
        return (tokens - self.mean) / self.std

    def make_room(self, state: Mapping[str, Tensor]) -> None:
        """Get ready for saved tensors whose sizes depend on the data; most heads have none."""


def folded_matrix(
    layer: nn.Linear, mean: Float[Tensor, "D"], std: Float[Tensor, "D"]
) -> tuple[Float[Tensor, "C D"], Float[Tensor, "C"]]:
    """Matrix and bias that act on raw features as a layer does on standardised ones: `W / std`, `b - W (mean / std)`.

    Examples
    --------
    >>> import torch
    >>> layer = nn.Linear(1, 1)
    >>> _ = layer.weight.data.fill_(6.0), layer.bias.data.fill_(1.0)
    >>> [value.item() for value in folded_matrix(layer, torch.tensor([5.0]), torch.tensor([2.0]))]
    [3.0, -14.0]
    """
    weight = layer.weight / std
    return weight, layer.bias - weight @ mean
