"""Losses of CAM, SEAM and EPS, as pure functions of maps, tags and saliency."""

from typing import NamedTuple

import torch
from jaxtyping import Bool, Float
from torch import Tensor
from torch.nn.functional import binary_cross_entropy_with_logits

__all__ = [
    "Explained",
    "classification_loss",
    "ecr_loss",
    "eps_saliency_loss",
    "er_loss",
    "explain_saliency",
    "min_pool_loss",
    "minmax",
    "winning_class",
    "with_rest",
]

EPS = 1e-5  # of SEAM's normalisation
PIXEL_EPS = 1e-4  # of EPS, added for each pixel of the sum
SMALLEST = 0.25  # share of the pixels that the min-pool term looks at


def classification_loss(logits: Float[Tensor, "B C"], targets: Float[Tensor, "B C"]) -> Float[Tensor, ""]:
    """Multi-label soft margin: the mean binary cross-entropy over classes and images.

    Examples
    --------
    >>> round(float(classification_loss(torch.zeros(1, 2), torch.tensor([[1.0, 0.0]]))), 4)
    0.6931
    """
    return binary_cross_entropy_with_logits(logits, targets)


def minmax(maps: Float[Tensor, "B C H W"]) -> Float[Tensor, "B C H W"]:
    """Stretch the positive part of each map to [0, 1], as SEAM does; differentiable.

    Equal to `labelgen.seeds.normalise` with `how="minmax"`; a map that is nowhere positive becomes 0.

    References
    ----------
    .. [1] Wang et al., CVPR 2020, arXiv 2004.04581.
    """
    positive = maps.relu()
    low, high = positive.amin(dim=(2, 3), keepdim=True), positive.amax(dim=(2, 3), keepdim=True)
    return (positive - low - EPS).relu() / (high - low + EPS)


def with_rest(foreground: Float[Tensor, "B C H W"]) -> Float[Tensor, "B C1 H W"]:
    """Put a background before the maps: what the best class leaves of 1."""
    return torch.cat([1 - foreground.amax(dim=1, keepdim=True), foreground], dim=1)


def winning_class(maps: Float[Tensor, "B C1 H W"]) -> Float[Tensor, "B C1 H W"]:
    """Keep, at each pixel, the background (first) and the best class with its value; the other classes become 0."""
    foreground = maps[:, 1:]
    best = foreground.amax(dim=1, keepdim=True)
    return torch.cat([maps[:, :1], foreground.where(foreground >= best, 0)], dim=1)


def er_loss(first: Float[Tensor, "B C1 H W"], second: Float[Tensor, "B C1 H W"]) -> Float[Tensor, ""]:
    """Equivariance of the class maps of two views: the mean absolute difference over the classes, background left out.

    Parameters
    ----------
    first, second
        Normalised and gated, background first, on one grid.

    References
    ----------
    .. [1] Wang et al., CVPR 2020, arXiv 2004.04581, equation 5.
    """
    return (first[:, 1:] - second[:, 1:]).abs().mean()


def ecr_loss(
    target: Float[Tensor, "B C1 H W"], correlated: Float[Tensor, "B C1 H W"], *, hard_share: float = 0.2
) -> Float[Tensor, ""]:
    """Distance of the correlated maps of one view from the class maps of the other, over the hardest elements.

    Parameters
    ----------
    target
        Normalised and gated, with its background by `with_rest`; no gradient goes there.
    correlated
        Normalised and gated.
    hard_share
        The largest `floor(hard_share * C1 * H * W)` absolute differences of each image are averaged, at least one.

    References
    ----------
    .. [1] Wang et al., CVPR 2020, arXiv 2004.04581, equation 6; online hard example mining as in its program.
    """
    distance = (winning_class(target.detach()) - correlated).abs().flatten(1)
    count = max(1, int(hard_share * distance.shape[1]))
    return distance.topk(count, dim=1).values.mean()


def min_pool_loss(foreground: Float[Tensor, "B C H W"]) -> Float[Tensor, ""]:
    """Mean positive part of the smallest quarter of the pixels, each being that of its best class.

    Parameters
    ----------
    foreground
        Correlated maps of the classes, gated, not normalised.
    """
    best = foreground.amax(dim=1).flatten(1)
    count = max(1, int(SMALLEST * best.shape[1]))
    return best.topk(count, dim=1, largest=False).values.relu().mean()


class Explained(NamedTuple):
    """How classes explain a saliency map.

    Parameters
    ----------
    overlap
        Share of the confident pixels of a class that are salient; 0 for a class without any.
    foreground
        The class is in the image, and its overlap is above tau.
    background
        The class is in the image, and its overlap is not above tau: its map counts as background.
    """

    overlap: Float[Tensor, "B C"]
    foreground: Bool[Tensor, "B C"]
    background: Bool[Tensor, "B C"]


@torch.no_grad()
def explain_saliency(
    probabilities: Float[Tensor, "B C1 H W"],
    saliency: Float[Tensor, "B H W"],
    targets: Float[Tensor, "B C"],
    *,
    tau: float,
) -> Explained:
    """Select the classes that belong to what is salient; without gradient.

    Parameters
    ----------
    probabilities
        Of classes and, last, the background.

    References
    ----------
    .. [1] Lee et al., CVPR 2021, arXiv 2105.08965, equation 4.
    """
    confident = (probabilities[:, :-1] > 0.5).float()
    salient = (saliency > 0.5).float()[:, None]
    # the programs add eps to each pixel of the denominator's sum
    overlap = (confident * salient).sum(dim=(2, 3)) / (confident + PIXEL_EPS).sum(dim=(2, 3))
    present = targets > 0.5
    return Explained(overlap, present & (overlap > tau), present & (overlap <= tau))


def eps_saliency_loss(
    maps: Float[Tensor, "B C1 H W"],
    saliency: Float[Tensor, "B H W"],
    targets: Float[Tensor, "B C"],
    *,
    tau: float = 0.4,
    lam: float = 0.5,
) -> Float[Tensor, ""]:
    """How badly the maps of the classes and of the background explain the saliency: a mean squared error.

    Parameters
    ----------
    maps
        Raw, background last.
    saliency
        In [0, 1], on the grid of the maps.
    tau
        See `EpsConfig`.
    lam
        Weight of the foreground in the estimate, the complement of the background having the rest.

    References
    ----------
    .. [1] Lee et al., CVPR 2021, arXiv 2105.08965, equations 1 to 3 and 5.
    """
    probabilities = maps.softmax(dim=1)
    chosen = explain_saliency(probabilities, saliency, targets, tau=tau)
    classes = probabilities[:, :-1]
    foreground = (classes * chosen.foreground[:, :, None, None]).sum(dim=1)
    background = probabilities[:, -1] + (classes * chosen.background[:, :, None, None]).sum(dim=1)
    estimate = lam * foreground + (1 - lam) * (1 - background)
    return (estimate - saliency).square().mean()
