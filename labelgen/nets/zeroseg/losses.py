"""The losses of ZeroSeg as plain functions: global distillation, segment matching, pixel reconstruction; and one more.

With the teacher's vectors v_1 (whole image) ... v_T (tiles), the global vector z and the segments g_i of the student,

    L_distill = sum_t |z - v_t|_1,     L_match = sum_i min_{t >= 2} |g_i - v_t|_1,     L_rec = MSE on hidden patches.

The fourth is not in the paper and off in its preset. With a_in the share that segment i has of the visible patch n,

    L_locate = sum_{t >= 2} |u_t - v_t|_1,     u_t = sum_i sum_{n in tile t} a_in g_i, scaled to unit length,

ties the vector of a segment to the place of its patches, which the other terms leave to chance: to match, all segments
may take the vector of the one tile that is easiest to tell.

All are means over the images of a batch. The teacher's vectors are constants: no gradient reaches them.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float
from torch import Tensor
from torch.nn import functional as F

from labelgen.nets.zeroseg.config import LossConfig

__all__ = ["Losses", "distill_loss", "locate_loss", "match_loss", "patches_of", "reconstruction_loss", "total_loss"]

VARIANCE_FLOOR = 1e-6  # of a patch without any contrast, as MAE's


@dataclass(frozen=True)
class Losses:
    """The terms, unweighted, and their weighted sum."""

    total: Float[Tensor, ""]
    reconstruct: Float[Tensor, ""]
    distill: Float[Tensor, ""]
    match: Float[Tensor, ""]
    locate: Float[Tensor, ""]


def distill_loss(
    image_vectors: Float[Tensor, "B D"],
    teacher: Float[Tensor, "B T D"],
    *,
    reduction: str = "sum",
    normalise: bool = True,
) -> Float[Tensor, ""]:
    """L1 distance of the global vector to the teacher's vectors of all scales.

    Parameters
    ----------
    teacher
        Vectors of the tiles, the whole image first.
    reduction
        `sum` over the vectors and their entries, or `mean` over both.
    normalise
        Scale all vectors to unit length first.

    Examples
    --------
    >>> z, v = torch.tensor([[1.0, 0.0]]), torch.tensor([[[0.0, 1.0], [1.0, 0.0], [0.0, -1.0]]])
    >>> float(distill_loss(z, v)), round(float(distill_loss(z, v, reduction="mean")), 4)
    (4.0, 0.6667)
    """
    image_vectors, teacher = _prepared(image_vectors, teacher, normalise)
    distances = (image_vectors[:, None] - teacher).abs()
    return _reduced(distances.sum(dim=-1), width=teacher.shape[-1], reduction=reduction)


def match_loss(
    segments: Float[Tensor, "B G D"],
    teacher: Float[Tensor, "B T D"],
    *,
    reduction: str = "sum",
    normalise: bool = True,
) -> Float[Tensor, ""]:
    """L1 distance of each segment to the nearest tile; the whole image, which comes first, is left out.

    Examples
    --------
    >>> g = torch.tensor([[[1.0, 0.0], [0.0, -1.0]]])
    >>> v = torch.tensor([[[1.0, 0.0], [0.0, 1.0], [0.0, -1.0]]])
    >>> float(match_loss(g, v)), float(match_loss(g, v, reduction="mean"))
    (2.0, 0.5)
    """
    segments, teacher = _prepared(segments, teacher, normalise)
    distances = torch.cdist(segments, teacher[:, 1:], p=1)
    return _reduced(distances.amin(dim=-1), width=teacher.shape[-1], reduction=reduction)


def locate_loss(
    segments: Float[Tensor, "B G D"],
    taken: Float[Tensor, "B G K"],
    inside: Bool[Tensor, "B T K"],
    teacher: Float[Tensor, "B T D"],
    *,
    reduction: str = "sum",
    normalise: bool = True,
) -> Float[Tensor, ""]:
    """L1 distance of each tile to the mean of its segments, weighted by the patches that they have in it.

    Parameters
    ----------
    taken
        Share that each segment has of each visible patch.
    inside
        Which visible patches lie in which tile. The whole image, which comes first, and tiles without any visible
        patch are left out.

    Examples
    --------
    >>> g, taken = torch.eye(2)[None], torch.tensor([[[1.0, 1.0, 0.0], [0.0, 0.0, 1.0]]])
    >>> inside = torch.tensor([[[True, True, True], [True, True, False], [False, False, True], [False, False, False]]])
    >>> v = torch.tensor([[[0.6, 0.8], [1.0, 0.0], [1.0, 0.0], [0.0, 1.0]]])
    >>> float(locate_loss(g, taken, inside, v))
    2.0
    """
    segments, teacher = _prepared(segments, teacher, normalise)
    weights = inside[:, 1:].float() @ taken.float().transpose(1, 2)
    seen = inside[:, 1:].any(dim=-1)
    mixed = weights @ segments / weights.sum(dim=-1, keepdim=True).clamp(min=1e-6)
    mixed = F.normalize(mixed, dim=-1) if normalise else mixed
    distances = (mixed - teacher[:, 1:]).abs().sum(dim=-1) * seen
    if reduction == "mean":
        return distances.sum() / seen.sum().clamp(min=1) / teacher.shape[-1]
    return distances.sum(dim=-1).mean()


def reconstruction_loss(
    predicted: Float[Tensor, "B N pixels"],
    images: Float[Tensor, "B 3 H W"],
    hidden: Bool[Tensor, "B N"],
    *,
    patch: int,
    norm_pixels: bool = True,
) -> Float[Tensor, ""]:
    """Mean squared error on the pixels of hidden patches; 0 when no patch is hidden.

    Parameters
    ----------
    norm_pixels
        The target is each patch free of its own mean and variance.

    References
    ----------
    .. [1] He et al., "Masked Autoencoders Are Scalable Vision Learners", CVPR 2022, arXiv 2111.06377; section 3.
    """
    target = patches_of(images, patch)
    if norm_pixels:
        mean, variance = target.mean(dim=-1, keepdim=True), target.var(dim=-1, keepdim=True)
        target = (target - mean) / (variance + VARIANCE_FLOOR) ** 0.5
    errors = (predicted.float() - target).square().mean(dim=-1)
    return (errors * hidden).sum() / hidden.sum().clamp(min=1)


def patches_of(images: Float[Tensor, "B 3 H W"], patch: int) -> Float[Tensor, "B N pixels"]:
    """Cut images into patches, row by row; the values of a patch lie in the order row, column, channel.

    Examples
    --------
    >>> image = torch.arange(8.0).reshape(1, 1, 2, 4).expand(1, 3, 2, 4)
    >>> patches_of(image, 2)[0, :, ::3]
    tensor([[0., 1., 4., 5.],
            [2., 3., 6., 7.]])
    """
    rows, cols = images.shape[2] // patch, images.shape[3] // patch
    cut = images.unflatten(3, (cols, patch)).unflatten(2, (rows, patch))
    return cut.permute(0, 2, 4, 3, 5, 1).flatten(3).flatten(1, 2)


def total_loss(
    reconstruct: Float[Tensor, ""],
    image_vectors: Float[Tensor, "B D"],
    segments: Float[Tensor, "B G D"],
    taken: Float[Tensor, "B G K"],
    inside: Bool[Tensor, "B T K"],
    teacher: Float[Tensor, "B T D"],
    config: LossConfig,
) -> Losses:
    """Put the terms together with their weights."""
    options = {"reduction": config.reduction, "normalise": config.normalise}
    distill = distill_loss(image_vectors, teacher, **options)
    match = match_loss(segments, teacher, **options)
    locate = locate_loss(segments, taken, inside, teacher, **options)
    total = config.reconstruct * reconstruct + config.distill * distill + config.match * match + config.locate * locate
    return Losses(total, reconstruct, distill, match, locate)


def _prepared(ours: Tensor, teacher: Tensor, normalise: bool) -> tuple[Tensor, Tensor]:
    ours, teacher = ours.float(), teacher.detach().float()
    if normalise:
        return F.normalize(ours, dim=-1), F.normalize(teacher, dim=-1)
    return ours, teacher


def _reduced(distances: Float[Tensor, "B vectors"], *, width: int, reduction: str) -> Float[Tensor, ""]:
    """Sum or mean over the vectors (and the entries, already summed), then the mean over the images."""
    if reduction == "mean":
        return distances.mean() / width
    return distances.sum(dim=-1).mean()
