"""Gated CRF loss: neighbours of like colour should not be given to different classes."""

from typing import Any

import torch
from jaxtyping import Bool, Float
from torch import Tensor
from torch.nn import functional as F

from segprobe.batches import UNLABELLED
from segprobe.objective import GridView, Term
from segprobe.terms.context import TermContext, box_of, nothing
from segprobe.terms.settings import GatedCrfSettings

__all__ = ["gated_crf", "half_window", "make_gated_crf", "pair_kernel"]


def make_gated_crf(settings: GatedCrfSettings, context: TermContext) -> Term:
    """Gated CRF loss on the token grid.

    The kernel over places, colours and, where asked for, features is taken as given: no gradient goes through it.
    Padding neither speaks nor is spoken to. With `source=unlabelled`, tokens whose class is known from labels do not
    speak: their own loss tells them what they are. The released code switches the loss on after half a per cent of the
    training; here it is on from the first step.

    References
    ----------
    .. [1] Obukhov et al., "Gated CRF Loss for Weakly Supervised Semantic Image Segmentation", NeurIPS 2019 workshops,
       arXiv 1906.04651; radius 5, kernel over places 6 and colours .1, weight .1 as released.
    """
    guides = context.need_guides(of="term gated-crf")

    def term(view: GridView) -> Tensor:
        sample_id, geometry, box = view.image.id, view.image.geometry, box_of(view)
        colours = guides.rgb(sample_id, geometry)[box].to(view.logits)
        parts = [colours / settings.rgb]
        if settings.features:
            features = F.normalize(view.head.standardised(view.tokens.detach())[box], dim=-1)
            parts.append(features / settings.features)
        source = torch.ones(colours.shape[:2], dtype=torch.bool, device=colours.device)
        if settings.source == "unlabelled":
            source = (context.columns(sample_id, geometry)[box] == UNLABELLED).to(colours.device)
        if not bool(source.any()):
            return nothing(view)
        kernels = pair_kernel(torch.cat(parts, dim=-1), source, radius=settings.radius, xy=settings.xy)
        return gated_crf(view.logits[box].softmax(dim=-1), kernels)

    return term


def half_window(radius: int) -> list[tuple[int, int]]:
    """Offsets of one half of a square window without its centre; the other half are their opposites.

    Examples
    --------
    >>> half_window(1)
    [(0, 1), (1, -1), (1, 0), (1, 1)]
    """
    side = range(-radius, radius + 1)
    return [(down, right) for down in side for right in side if (down, right) > (0, 0)]


def pair_kernel(
    features: Float[Tensor, "h w D"], source: Bool[Tensor, "h w"], *, radius: int, xy: float
) -> list[tuple[tuple[int, int], Float[Tensor, "_ _"]]]:
    """Weigh each pair of neighbours: `K_ij (m_i + m_j)`, `K_ij = exp(-(|i - j|^2 / xy^2 + |f_i - f_j|^2) / 2)`.

    m is the gate of the source. A pair is heard from both sides, hence the sum.

    Parameters
    ----------
    features
        Already divided by their standard deviations.

    Returns
    -------
    list
        Offset, and the weight of the pairs (i, i + offset) for all i for which both are on the grid.
    """
    found = []
    gate = source.to(features)
    for offset in half_window(radius):
        if abs(offset[0]) >= features.shape[0] or abs(offset[1]) >= features.shape[1]:
            continue
        here, there = _pair(offset)
        near = (offset[0] ** 2 + offset[1] ** 2) / xy**2
        alike = (features[here] - features[there]).square().sum(dim=-1)
        found.append((offset, torch.exp(-0.5 * (near + alike)) * (gate[here] + gate[there])))
    return found


def gated_crf(
    probabilities: Float[Tensor, "h w C"], kernels: list[tuple[tuple[int, int], Float[Tensor, "_ _"]]]
) -> Float[Tensor, ""]:
    """`1 / N sum_i sum_j m_j K_ij (1 - p_i . p_j)` over tokens i and their neighbours j; >= 0.

    A constant prediction that is certain gives 0; a constant uncertain one does not. Exactly 0 on a single token.

    Examples
    --------
    >>> two = torch.tensor([[[1.0, 0.0], [0.0, 1.0]]])
    >>> kernels = pair_kernel(torch.zeros(1, 2, 1), torch.ones(1, 2, dtype=torch.bool), radius=1, xy=1e6)
    >>> float(gated_crf(two, kernels)), float(gated_crf(two[:, :1].expand(1, 2, 2), kernels))
    (1.0, 0.0)
    """
    count = probabilities.shape[0] * probabilities.shape[1]
    return _Energy.apply(probabilities, kernels) / count  # type: ignore[no-any-return]


class _Energy(torch.autograd.Function):
    """`sum over pairs of k_ij (1 - p_i . p_j)`; its gradient, the weighted neighbours, is at hand already."""

    @staticmethod
    def forward(ctx: Any, probabilities: Tensor, kernels: list[tuple[tuple[int, int], Tensor]]) -> Tensor:
        heard = torch.zeros_like(probabilities)
        total = probabilities.new_zeros(())
        for offset, weights in kernels:
            here, there = _pair(offset)
            spoken = weights[..., None] * probabilities[there]
            heard[here] += spoken
            heard[there] += weights[..., None] * probabilities[here]
            # a dot product may exceed 1 by rounding; the energy may not fall below 0
            total += (weights - (spoken * probabilities[here]).sum(dim=-1)).clamp_min(0).sum()
        ctx.save_for_backward(heard)
        return total

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        (heard,) = ctx.saved_tensors
        return -heard * gradients[0], None


def _pair(offset: tuple[int, int]) -> tuple[tuple[slice, slice], tuple[slice, slice]]:
    """Slices of the tokens that have a neighbour at an offset, and of these neighbours."""
    down, right = offset
    rows, below = slice(0, -down or None), slice(down, None)
    if right >= 0:
        return (rows, slice(0, -right or None)), (below, slice(right, None))
    return (rows, slice(-right, None)), (below, slice(0, right))
