"""Absent classes: what an image does not show should not be predicted anywhere in it."""

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from labelgen.errors import ConfigError
from segprobe.batches import UNLABELLED
from segprobe.objective import GridView, Term
from segprobe.terms.context import TermContext, box_of, nothing
from segprobe.terms.settings import AbsentSettings

__all__ = ["absent_loss", "make_absent", "shown_columns"]

EPSILON = 1e-6  # keeps the logarithm finite where a class has all the probability


def absent_loss(logits: Float[Tensor, "*T C"], absent: Bool[Tensor, "C"]) -> Float[Tensor, ""]:
    """`-sum over absent k of log(1 - p_ik + 1e-6)`, averaged over tokens; exactly 0 when no class is absent.

    Examples
    --------
    >>> value = absent_loss(torch.zeros(3, 2), torch.tensor([False, True]))
    >>> round(float(value), 4)  # ln 2
    0.6931
    """
    if not bool(absent.any()):
        return logits[:0].sum()
    probabilities = logits.softmax(dim=-1)[..., absent]
    # log1p would round 1 + 1e-6 - p no better; clamping keeps what is above 1 by rounding from a loss below 0
    return -(1 - probabilities + EPSILON).clamp(max=1.0).log().sum(dim=-1).mean()


def make_absent(settings: AbsentSettings, context: TermContext) -> Term:
    """Penalty on the probability of classes that an image does not show.

    Which classes it shows is read off its labels, background always among them: the term believes that the labels
    name every class of their image. Classes of dropped strokes count as shown, or the term would punish them where
    they are; this makes it stronger supervision than the labels that remain. Images of which it is not known, because
    strokes were dropped and not kept, are passed over.

    References
    ----------
    .. [1] Wu et al., "Sparsely Annotated Semantic Segmentation with Adaptive Gaussian Mixtures", CVPR 2023: the loss
       on image-level labels in its released code.

    Raises
    ------
    ConfigError
        When it is known of no image which classes it shows.
    """
    shown = shown_columns(context)
    if all(columns is None for columns in shown.values()):
        raise ConfigError(
            f"term absent must know which classes an image shows, but strokes of {context.labels.name} were dropped"
            f" and are not kept",
            hint="use the run of labelgen scribble itself, which keeps its strokes, or labels without --drop",
        )

    def term(view: GridView) -> Tensor:
        columns = shown[view.image.id]
        if columns is None:
            return nothing(view)
        absent = torch.ones(view.logits.shape[-1], dtype=torch.bool)
        absent[sorted({*columns, context.background} - {UNLABELLED})] = False
        return absent_loss(view.logits[box_of(view)], absent.to(view.logits.device))

    return term


def shown_columns(context: TermContext) -> dict[str, frozenset[int] | None]:
    """Columns of the classes that labels and strokes, dropped ones too, name in each image; None where unknown."""
    found: dict[str, frozenset[int] | None] = {}
    for sample_id, labels in context.labels.images.items():
        drawn = frozenset() if context.layers is None else context.layers.stroke_classes(sample_id)
        if drawn is None:
            found[sample_id] = None
            continue
        columns = context.column_of[sorted(drawn | set(labels.labelled()[1].tolist()))]
        found[sample_id] = frozenset(columns.tolist()) - {UNLABELLED}
    return found
