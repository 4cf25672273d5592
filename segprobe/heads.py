"""Light heads: from standardised tokens to class logits, token by token.

Every head keeps the mean and standard deviation of the features as buffers, in the place of a batch normalisation:
nothing drifts, nothing depends on the batch, and a linear head folds into one matrix.
"""

from collections.abc import Callable

import torch
from jaxtyping import Float
from torch import Tensor, nn

from labelgen.errors import ConfigError, RunFolderError

__all__ = ["HEADS", "Head", "LinearHead", "MlpHead", "load_head_state", "make_head"]

LEAST_STD = 1e-6  # a channel that never varies carries nothing; this keeps it finite


class Head(nn.Module):
    """What all heads have: the statistics of the features, and a last linear layer that starts at zero.

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


class LinearHead(Head):
    """Logits `((x - mean) / std) W^T + b`; the linear probe of the papers.

    Examples
    --------
    >>> head = LinearHead(torch.zeros(4), torch.ones(4), num_classes=3)
    >>> head(torch.zeros(5, 4)).shape
    torch.Size([5, 3])
    """

    def __init__(self, mean: Float[Tensor, "D"], std: Float[Tensor, "D"], *, num_classes: int, hidden: int = 0) -> None:
        super().__init__(mean, std, num_classes=num_classes, width=len(mean))

    def forward(self, tokens: Float[Tensor, "*T D"]) -> Float[Tensor, "*T C"]:
        """Logits of tokens."""
        return self.classify(self.standardised(tokens))

    def folded(self) -> tuple[Float[Tensor, "C D"], Float[Tensor, "C"]]:
        """Matrix and bias that act on raw features: W / std, and b - W (mean / std)."""
        weight = self.classify.weight / self.std
        return weight, self.classify.bias - weight @ self.mean


class MlpHead(Head):
    """One hidden layer; fits more, and so follows wrong labels further than a linear head does.

    It is applied to tokens and its logits are interpolated; interpolated features would make another function.
    """

    def __init__(
        self, mean: Float[Tensor, "D"], std: Float[Tensor, "D"], *, num_classes: int, hidden: int = 256
    ) -> None:
        super().__init__(mean, std, num_classes=num_classes, width=hidden)
        self.hidden = nn.Linear(len(mean), hidden)

    def forward(self, tokens: Float[Tensor, "*T D"]) -> Float[Tensor, "*T C"]:
        """Logits of tokens."""
        return self.classify(nn.functional.gelu(self.hidden(self.standardised(tokens))))


HEADS: dict[str, Callable[..., Head]] = {"linear": LinearHead, "ridge": LinearHead, "mlp": MlpHead}
"""Ridge is the linear head whose matrix is solved for instead of trained; see `ridge.py`."""


def make_head(
    kind: str,
    mean: Float[Tensor, "D"],
    std: Float[Tensor, "D"],
    *,
    num_classes: int,
    hidden: int = 256,
    seed: int = 0,
) -> Head:
    """Build a head; its random weights depend on the seed alone.

    Raises
    ------
    ConfigError
        For an unknown kind.
    """
    if kind not in HEADS:
        raise ConfigError(f"head must be one of {', '.join(HEADS)}, got {kind!r}")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return HEADS[kind](mean.cpu(), std.cpu(), num_classes=num_classes, hidden=hidden)


def load_head_state(head: Head, state: dict[str, Tensor], *, where: str) -> Head:
    """Fill a head with saved tensors.

    Raises
    ------
    RunFolderError
        When a tensor is missing, unknown or of another shape; each is named.
    """
    expected = head.state_dict()
    wrong = [f"{name} is missing" for name in expected if name not in state]
    wrong += [f"{name} is unknown" for name in state if name not in expected]
    wrong += [
        f"{name} must have shape {tuple(expected[name].shape)}, got {tuple(state[name].shape)}"
        for name in expected
        if name in state and state[name].shape != expected[name].shape
    ]
    if wrong:
        raise RunFolderError(
            f"the head does not fit its description in {where}: {'; '.join(wrong[:4])}",
            hint="probe.safetensors and probe.json belong together; was one of them replaced?",
        )
    head.load_state_dict(state)
    return head
