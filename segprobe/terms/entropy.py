"""Entropy: predictions should be certain."""

from jaxtyping import Float
from torch import Tensor

from segprobe.objective import GridView, Term
from segprobe.terms.context import TermContext, box_of
from segprobe.terms.settings import EntropySettings

__all__ = ["make_entropy", "token_entropy"]


def token_entropy(logits: Float[Tensor, "*T C"]) -> Float[Tensor, "*T"]:
    """`-sum_k p_k log p_k` in nats, finite for any finite logits.

    Examples
    --------
    >>> import torch
    >>> [round(float(value), 4) for value in token_entropy(torch.tensor([[0.0, 0.0], [1e4, -1e4]]))]
    [0.6931, 0.0]
    """
    logs = logits.log_softmax(dim=-1)
    return (logs.exp() * -logs).sum(dim=-1)


def make_entropy(settings: EntropySettings, context: TermContext) -> Term:
    """Mean entropy of the tokens on the image, labelled ones as well.

    References
    ----------
    .. [1] Grandvalet & Bengio, "Semi-supervised Learning by Entropy Minimization", NeurIPS 2004.
    """

    def term(view: GridView) -> Tensor:
        return token_entropy(view.logits[box_of(view)]).mean()

    return term
