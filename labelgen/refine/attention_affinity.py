"""Class maps spread by the attention of a transformer: attention made an affinity, and boxes that limit its sources."""

from typing import Any

import numpy as np
import torch
from jaxtyping import Bool, Float, Float32

__all__ = ["component_boxes", "filter_attention", "sinkhorn_affinity", "spread_maps"]

ROUNDS = 3  # of column and row normalisation, as CLIP-ES
TINY = 1e-12  # a column without any attention stays one of zeros


def sinkhorn_affinity(attention: Float[torch.Tensor, "N N"], *, rounds: int = ROUNDS) -> Float[torch.Tensor, "N N"]:
    """Attention as a symmetric affinity whose rows and columns nearly sum to 1.

    `rounds` times the columns and then the rows are divided by their sums; the result is averaged with its transpose.

    Parameters
    ----------
    attention
        Non-negative; row i says where token i looks.
    rounds
        >= 1.

    References
    ----------
    .. [1] Lin et al., "CLIP is Also an Efficient Segmenter: A Text-Driven Approach for Weakly Supervised Semantic
       Segmentation", CVPR 2023, arXiv 2212.09506, section 3.3. It squares the matrix; see `spread_maps`.
    .. [2] Sinkhorn, "A Relationship Between Arbitrary Positive Matrices and Doubly Stochastic Matrices", 1964.

    Examples
    --------
    >>> attention = torch.tensor([[0.7, 0.2, 0.1], [0.3, 0.4, 0.3], [0.2, 0.2, 0.6]])
    >>> affinity = sinkhorn_affinity(attention)
    >>> (affinity @ affinity)[0]
    tensor([0.4589, 0.3118, 0.2301])
    """
    balanced = attention
    for _ in range(rounds):
        balanced = balanced / balanced.sum(dim=0, keepdim=True).clamp_min(TINY)
        balanced = balanced / balanced.sum(dim=1, keepdim=True).clamp_min(TINY)
    return (balanced + balanced.T) / 2


def component_boxes(plane: Float32[np.ndarray, "h w"], *, share: float) -> Bool[np.ndarray, "h w"]:
    """The bounding boxes of all connected parts of a map that reach a share of its maximum.

    Cells that touch at a corner are connected. Nothing where the map has no positive value.

    Parameters
    ----------
    plane
        Scaled so that 0 means none.
    share
        Of the maximum, in [0, 1].

    Examples
    --------
    >>> plane = np.array([[9, 0, 0, 0], [1, 9, 0, 0], [0, 0, 0, 8]], np.float32)
    >>> component_boxes(plane, share=0.5).astype(int).tolist()
    [[1, 1, 0, 0], [1, 1, 0, 0], [0, 0, 0, 1]]
    """
    from scipy.ndimage import find_objects, label

    boxes = np.zeros(plane.shape, bool)
    highest = plane.max(initial=0.0)
    if not highest > 0:
        return boxes
    parts: Any = label((plane >= share * highest) & (plane > 0), structure=np.ones((3, 3)))
    for box in find_objects(parts[0]):
        boxes[box] = True
    return boxes


def spread_maps(
    affinity: Float[torch.Tensor, "N N"], maps: Float32[np.ndarray, "C h w"], *, share: float
) -> Float32[np.ndarray, "C h w"]:
    """Spread class maps along the square of an affinity, from within the boxes of their strongest parts.

    `M* = (D^2 B) M`, where the diagonal `B` is 1 at cells in a box of `component_boxes`: cells outside are no
    sources, but may well receive. `D (D (B M))` is the same and needs no product of two matrices.

    Parameters
    ----------
    affinity
        `D`, of the cells in reading order; see `sinkhorn_affinity`.
    maps
        In [0, 1].
    share
        Of the maximum of each map, in [0, 1]; CLIP-ES .4 on VOC and .7 on COCO.

    Returns
    -------
    ndarray
        Not scaled again; a map of zeros stays one.

    References
    ----------
    .. [1] Lin et al., CLIP-ES, CVPR 2023, arXiv 2212.09506, equations 5 and 6 (class-aware attention-based affinity).
    """
    if not len(maps):
        return maps
    sources = maps * np.stack([component_boxes(plane, share=share) for plane in maps])
    columns = torch.from_numpy(sources.reshape(len(maps), -1).T).to(affinity)
    spread = affinity @ (affinity @ columns)
    return spread.T.reshape(maps.shape).float().cpu().numpy()


def filter_attention(
    layers: Float[torch.Tensor, "L N N"], affinity: Float[torch.Tensor, "N N"]
) -> tuple[Float[torch.Tensor, "N N"], Bool[torch.Tensor, "L"]]:
    """Mean attention of the layers that agree with an affinity, times that affinity.

    With both scaled so that their rows sum to 1, layer l deviates by `sum |A_l - affinity|`; layers that deviate more
    than the average are left out.

    Parameters
    ----------
    layers
        Attention of some blocks; rows sum to about 1.
    affinity
        Non-negative.

    Returns
    -------
    tuple
        The product, and which layers were kept: all of them if they deviate alike.

    References
    ----------
    .. [1] Zhang et al., "Frozen CLIP: A Strong Backbone for Weakly Supervised Semantic Segmentation", CVPR 2024,
       arXiv 2406.11189, the refining module. The affinity there is that of a decoder in training, `sigmoid(F^T F)`,
       whose rows are not scaled when it is compared.

    Examples
    --------
    >>> near = torch.tensor([[0.9, 0.1], [0.1, 0.9]])
    >>> filter_attention(torch.stack([near, near.flip(0)]), near)[1].tolist()
    [True, False]
    """
    wanted = affinity / affinity.sum(dim=1, keepdim=True).clamp_min(TINY)
    deviations = torch.stack(
        [(layer / layer.sum(1, keepdim=True).clamp_min(TINY) - wanted).abs().sum() for layer in layers]
    )
    is_kept = deviations <= deviations.mean() * (1 + 1e-6)  # rounding must not drop one of several equal layers
    return layers[is_kept].mean(dim=0) * affinity, is_kept
