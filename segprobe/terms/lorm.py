"""Localisation rectification (LoRM): foreground features should be what the rest of the image says they are."""

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from segprobe.batches import UNLABELLED
from segprobe.layers import PSEUDO
from segprobe.objective import GridView, Term
from segprobe.terms.context import TermContext, box_of, nothing
from segprobe.terms.settings import LormSettings

__all__ = ["Lorm", "LormModule", "make_lorm", "rectified"]


def make_lorm(settings: LormSettings, context: TermContext) -> Term:
    """LoRM on the projection of a head; with a frozen backbone there is nothing else that it could act on.

    With F the projected tokens of an image as unit vectors, `A = softmax_j(cos(W_q F_i, W_k F_j) / temperature)` over
    all tokens on the image, and `F'_i = gamma sum_j A_ij F_j`, the loss is the mean over the channels of foreground
    tokens of `(F - F')^2`. W_q, W_k and gamma are trained with the head and thrown away after it. A token is foreground
    when the pseudo-labels say so, or the labels where there is no layer of pseudo-labels. Exactly 0 without foreground.

    Four things differ from the released code. Only foreground tokens enter: there, the rectified features of background
    are 0, which pulls the features of background to 0 as well. The cosines are divided by a temperature: without, A is
    nearly uniform, e^2 between the largest and the smallest entry, and contracts foreground to the mean of the image.
    F are unit vectors: the loss of features of any length is least when they all vanish. And it looks at tokens of one
    image, so that A has (37 x 37)^2 entries and not more.

    References
    ----------
    .. [1] Zhang et al., "Scribble Hides Class", AAAI 2024, arXiv 2402.17555: localization rectification module.

    Raises
    ------
    ConfigError
        When the head does not project.
    """
    context.need_projection(of="term lorm")
    module = LormModule(context.head.classify.in_features, seed=context.seed).to(context.head.mean.device)
    layer = PSEUDO if context.layers is not None and PSEUDO in context.layers.names else ""
    return Lorm(settings, context, module, layer)


class LormModule(nn.Module):
    """The weights that the term trains: `W_q`, `W_k` and gamma."""

    def __init__(self, width: int, *, seed: int = 0) -> None:
        super().__init__()
        self.query = nn.Linear(width, width, bias=False)
        self.key = nn.Linear(width, width, bias=False)
        self.gamma = nn.Parameter(torch.ones(()))
        generator = torch.Generator().manual_seed(seed)
        for matrix in (self.query.weight, self.key.weight):
            nn.init.xavier_uniform_(matrix, generator=generator)


@dataclass(frozen=True)
class Lorm:
    """The term; `module` is trained with the head.

    Parameters
    ----------
    layer
        Where foreground is read off; empty for the labels.
    """

    settings: LormSettings
    context: TermContext
    module: LormModule
    layer: str = ""

    def __call__(self, view: GridView) -> Tensor:
        """The loss of one image."""
        box = box_of(view)
        columns = self.context.columns(view.image.id, view.image.geometry, layer=self.layer)[box].flatten()
        foreground = ((columns != UNLABELLED) & (columns != self.context.background)).to(view.logits.device)
        if not bool(foreground.any()):
            return nothing(view)
        features = F.normalize(view.head.project(view.tokens)[box].flatten(0, 1), dim=-1)  # type: ignore[operator]
        queries, keys = self.module.query(features[foreground]), self.module.key(features)
        found = self.module.gamma * rectified(features, queries, keys, temperature=self.settings.temperature)
        return (features[foreground] - found).square().mean()


def rectified(
    features: Float[Tensor, "N D"],
    queries: Float[Tensor, "M d"],
    keys: Float[Tensor, "N d"],
    *,
    temperature: float,
) -> Float[Tensor, "M D"]:
    """Attention by cosines: `softmax_j(cos(q_i, k_j) / temperature) F_j`.

    Examples
    --------
    >>> features = torch.tensor([[1.0], [5.0]])
    >>> keys = torch.tensor([[1.0, 0.0], [-1.0, 0.0]])
    >>> rectified(features, keys, keys, temperature=0.01).tolist()
    [[1.0], [5.0]]
    """
    cosines = F.normalize(queries, dim=-1) @ F.normalize(keys, dim=-1).T
    return (cosines / temperature).softmax(dim=1) @ features
