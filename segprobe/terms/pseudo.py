"""Pseudo-labels: a second, dense label map beside the scribbles, believed less."""

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from segprobe.labels import LabelSet
from segprobe.layers import PSEUDO, Layers, need_layer
from segprobe.memory import Memory
from segprobe.objective import GridView, Term
from segprobe.terms.context import TermContext, nothing
from segprobe.terms.settings import PseudoSettings

__all__ = ["check_pseudo", "make_pseudo", "smoothed_cross_entropy"]

LIMIT = 2**29  # bytes of counts: 8 for each class that a cell shows


def smoothed_cross_entropy(
    logits: Float[Tensor, "T C"], counts: Float[Tensor, "T C"], *, smoothing: float
) -> Float[Tensor, ""]:
    """Average the cross-entropy over the labelled pixels of all cells; exactly 0 when none is labelled.

    The target of a pixel of class k is `(1 - eps) [k] + eps / C`, and its prediction that of its token.

    Parameters
    ----------
    counts
        Labelled pixels of each class in each cell.

    Examples
    --------
    >>> counts = torch.tensor([[3.0, 1.0], [0.0, 0.0]])
    >>> round(float(smoothed_cross_entropy(torch.zeros(2, 2), counts, smoothing=0.1)), 4)
    0.6931
    """
    total = counts.sum()
    if not bool(total > 0):
        return logits[:0].sum()
    targets = (1 - smoothing) * counts + smoothing * counts.sum(dim=1, keepdim=True) / counts.shape[1]
    return -(targets * logits.log_softmax(dim=1)).sum() / total


def check_pseudo(settings: PseudoSettings, labels: LabelSet, layers: Layers | None) -> None:
    """Refuse labels without a layer of pseudo-labels, before anything expensive is done."""
    need_layer(layers, PSEUDO, of="term pseudo")


def make_pseudo(settings: PseudoSettings, context: TermContext) -> Term:
    """Label-smoothed cross-entropy on the layer `pseudo` of promoted labels.

    Every pixel of the layer counts, at the logits of the token in whose cell it lies. Classes that no label of the run
    shows have no logit; their pixels do not count.

    References
    ----------
    .. [1] Zhang et al., "Scribble Hides Class", AAAI 2024, arXiv 2402.17555: the class-label loss, smoothing .1.

    Raises
    ------
    ConfigError
        When the labels have no such layer.
    """
    check_pseudo(settings, context.labels, context.layers)
    memory = Memory(limit=LIMIT)

    def counts_of(view: GridView) -> np.ndarray:
        sample_id, geometry = view.image.id, view.image.geometry

        def make() -> tuple[np.ndarray, np.ndarray]:
            counts = context.counts(sample_id, geometry, layer=PSEUDO).reshape(-1)
            places = np.flatnonzero(counts)
            return places.astype(np.int32), counts[places].astype(np.float32)

        places, numbers = memory.get((sample_id, geometry), make, size=lambda kept: sum(array.nbytes for array in kept))
        counts = np.zeros(view.logits.numel(), np.float32)
        counts[places] = numbers
        return counts.reshape(-1, view.logits.shape[-1])

    def term(view: GridView) -> Tensor:
        counts = torch.from_numpy(counts_of(view)).to(view.logits)
        if not bool(counts.any()):
            return nothing(view)
        return smoothed_cross_entropy(view.logits.flatten(0, 1), counts, smoothing=settings.smoothing)

    return term
