"""Prototypes: predictions should agree with how near a token is to the mean of each class."""

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor, nn
from torch.nn import functional as F

from segprobe.batches import UNLABELLED, FeatureSource
from segprobe.objective import GridView, Term
from segprobe.terms.absent import shown_columns
from segprobe.terms.context import TermContext, box_of, in_space, nothing
from segprobe.terms.settings import PrototypeSettings

__all__ = [
    "ClassMeans",
    "PrototypeTerm",
    "affinities",
    "class_means",
    "distances_to",
    "make_prototype",
    "prototype_loss",
]

EPSILON = 1e-6  # keeps logarithms finite at probabilities of 0 and 1


def make_prototype(settings: PrototypeSettings, context: TermContext) -> Term:
    """Agreement with Gaussian affinities to class means, after AGMM.

    The mean of a class is that of the labelled tokens of the image. A class that the image shows without a labelled
    token, as after dropped strokes, has the mean over the data set instead, where it is known which classes an image
    shows. With a frozen backbone this mean is taken once, over the first view of every image; with a tuned one, or on a
    projection, it is a running mean of each process's own images, which therefore depends on the number of processes.

    With distance d, the affinity is `G_ik = exp(-(d_ik / sigma)^2)`. The loss is half the binary cross-entropy of
    `p_ik` against `G_ik`, averaged over tokens and the classes that have a mean. Where features are trained there come,
    as in the paper's code, half the binary cross-entropy of `G_ik` against the label on labelled tokens, and the mean
    over pairs of class means of `exp(-(d / sigma)^2)`, which keeps them apart; on frozen features these two are
    constants and are left out. `distance=mean-abs,sigma=1` is the paper's choice for trained features. Exactly 0 when
    no token has a label.

    References
    ----------
    .. [1] Wu et al., "Sparsely Annotated Semantic Segmentation with Adaptive Gaussian Mixtures", CVPR 2023. The
       adaptive variance of the paper is not in the released code, nor here: sigma is a setting.
    """
    if settings.features == "projection":
        context.need_projection(of="term prototype,features=projection")
    head = context.head
    moving = context.features is None or settings.features == "projection"
    width = head.classify.in_features if settings.features == "projection" else head.dim
    module = ClassMeans(len(context.labels.class_ids), width).to(head.mean.device)
    if not moving and context.features is not None:
        module.fill(*_data_means(context, context.features))
    return PrototypeTerm(settings, context, module, shown_columns(context), moving)


class ClassMeans(nn.Module):
    """Means of classes over many images, which checkpoints keep.

    Parameters
    ----------
    count
        Classes.
    width
        Channels.
    """

    bank: Tensor
    seen: Tensor

    def __init__(self, count: int, width: int) -> None:
        super().__init__()
        self.register_buffer("bank", torch.zeros(count, width))
        self.register_buffer("seen", torch.zeros(count, dtype=torch.bool))

    def fill(self, means: Float[Tensor, "C D"], seen: Bool[Tensor, "C"]) -> None:
        """Take these means."""
        self.bank.copy_(means)
        self.seen.copy_(seen)

    def follow(self, means: Float[Tensor, "C D"], present: Bool[Tensor, "C"], *, momentum: float) -> None:
        """Move the means of the classes that are present; the first mean of a class is taken as it is."""
        old = torch.where(self.seen[:, None], self.bank, means)
        moved = momentum * old + (1 - momentum) * means
        self.fill(torch.where(present[:, None], moved, self.bank), self.seen | present)


@dataclass(frozen=True)
class PrototypeTerm:
    """The term; `module` is kept with the head.

    Parameters
    ----------
    shown
        Columns of the classes that each image is known to show; None where that is unknown.
    moving
        Whether the means over many images change as training goes on.
    """

    settings: PrototypeSettings
    context: TermContext
    module: ClassMeans
    shown: Mapping[str, frozenset[int] | None]
    moving: bool

    def __call__(self, view: GridView) -> Tensor:
        """The loss of one image."""
        box = box_of(view)
        columns = self.context.columns(view.image.id, view.image.geometry)[box].flatten().to(view.logits.device)
        features = in_space(view, self.settings.features)[box].flatten(0, 1)
        means, present = class_means(features, columns, len(self.module.bank))
        if not bool(present.any()):
            return nothing(view)
        if self.moving:
            self.module.follow(means.detach(), present, momentum=self.settings.momentum)
        borrowed = self._borrowed(view.image.id, present)
        means = torch.where(borrowed[:, None], self.module.bank, means)
        used = present | borrowed
        return prototype_loss(view.logits[box].flatten(0, 1), features, columns, means, used, settings=self.settings)

    def _borrowed(self, sample_id: str, present: Tensor) -> Tensor:
        """Classes without a labelled token that the image is known to show, as far as their means are known."""
        shown = torch.zeros_like(present)
        shown[sorted(self.shown[sample_id] or ())] = True
        return shown & ~present & self.module.seen


def class_means(
    features: Float[Tensor, "N D"], columns: Int64[Tensor, "N"], count: int
) -> tuple[Float[Tensor, "count D"], Bool[Tensor, "count"]]:
    """Mean features of the tokens of each class, and which classes have any; the others have a mean of 0.

    Examples
    --------
    >>> means, present = class_means(torch.tensor([[1.0], [3.0], [9.0]]), torch.tensor([1, 1, -1]), 2)
    >>> means.tolist(), present.tolist()
    ([[0.0], [2.0]], [False, True])
    """
    labelled = columns != UNLABELLED
    one_hot = F.one_hot(columns[labelled], count).to(features)
    numbers = one_hot.sum(dim=0)
    return one_hot.T @ features[labelled] / numbers.clamp_min(1)[:, None], numbers > 0


def distances_to(features: Float[Tensor, "N D"], means: Float[Tensor, "K D"], *, distance: str) -> Float[Tensor, "N K"]:
    """Cosine distance 1 - cos in [0, 2], or the mean over channels of |f - c|."""
    if distance == "cosine":
        return 1 - F.normalize(features, dim=-1) @ F.normalize(means, dim=-1).T
    return torch.stack([(features - mean).abs().mean(dim=-1) for mean in means], dim=1)


def affinities(distances: Float[Tensor, "*N"], *, sigma: float) -> Float[Tensor, "*N"]:
    """`exp(-(d / sigma)^2)`."""
    return torch.exp(-(distances / sigma).square())


def prototype_loss(
    logits: Float[Tensor, "N C"],
    features: Float[Tensor, "N D"],
    columns: Int64[Tensor, "N"],
    means: Float[Tensor, "C D"],
    used: Bool[Tensor, "C"],
    *,
    settings: PrototypeSettings,
) -> Float[Tensor, ""]:
    """The loss of `make_prototype`, given the class means.

    Parameters
    ----------
    used
        Which classes have a mean, at least one.
    """
    chosen = torch.nonzero(used)[:, 0]
    gaps = distances_to(features, means[chosen], distance=settings.distance)
    near = affinities(gaps, sigma=settings.sigma)
    logs = logits.log_softmax(dim=1)[:, chosen]
    others = (1 - logs.exp() + EPSILON).clamp(max=1.0).log()
    loss = -0.5 * (near * logs + (1 - near) * others).mean()
    if not features.requires_grad:
        return loss
    labelled = columns != UNLABELLED
    if bool(labelled.any()):
        right = columns[labelled, None] == chosen
        of_right = (gaps[labelled] / settings.sigma).square()  # -log G
        of_wrong = -(1 - near[labelled] + EPSILON).clamp(max=1.0).log()
        loss = loss + 0.5 * torch.where(right, of_right, of_wrong).mean()
    if len(chosen) > 1:
        between = affinities(
            distances_to(means[chosen], means[chosen], distance=settings.distance), sigma=settings.sigma
        )
        pairs = torch.triu_indices(len(chosen), len(chosen), offset=1, device=between.device)
        loss = loss + between[pairs[0], pairs[1]].mean()
    return loss


def _data_means(context: TermContext, source: FeatureSource) -> tuple[Tensor, Tensor]:
    """Mean standardised features of the labelled tokens of each class over the first views of all images."""
    head = context.head
    count = len(context.labels.class_ids)
    total = torch.zeros(count, head.dim, dtype=torch.float64)
    numbers = torch.zeros(count, dtype=torch.float64)
    mean, std = head.mean.cpu(), head.std.cpu()
    for sample_id in context.labels.ids:
        found = source.features(sample_id, 0)
        columns = context.columns(sample_id, found.geometry).flatten()
        labelled = columns != UNLABELLED
        rows = (found.tokens.flatten(0, 1)[labelled].float() - mean) / std
        total.index_add_(0, columns[labelled], rows.double())
        numbers += torch.bincount(columns[labelled], minlength=count)
    return (total / numbers.clamp_min(1)[:, None]).float(), numbers > 0
