"""Which labelled pixels the loss reads, and how logits are read there: bilinearly, from the token grid.

For a linear head, reading logits at a pixel equals up-sampling all of them and picking that pixel, because
interpolation weights sum to 1. K pixels drawn without replacement give the same expectation as all of them at a
fraction of the cost, and make scribbles, points and dense maps one code path.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Float32, Int64
from torch import Tensor
from torch.nn import functional as F

from labelgen.nets.geometry import Geometry
from segprobe.labels import ClassIds, ImageLabels

__all__ = [
    "PixelSample",
    "bilinear_corners",
    "bilinear_matrix",
    "read_logits",
    "sample_pixels",
    "upsample_logits",
]


@dataclass(frozen=True)
class PixelSample:
    """Labelled pixels drawn from one image.

    Parameters
    ----------
    pixels
        Flat indices `row * W + col`.
    classes
        Vocabulary id of each.
    weights
        How many labelled pixels of the image each one stands for, so that they sum to the number of labelled pixels;
        times the weights that labels have of their own.
    """

    pixels: Int64[np.ndarray, "K"]
    classes: Int64[np.ndarray, "K"]
    weights: Float32[np.ndarray, "K"]


def sample_pixels(labels: ImageLabels, rng: np.random.Generator, *, count: int, balanced: bool = False) -> PixelSample:
    """Draw at most `count` labelled pixels of an image without replacement.

    Uniform: every labelled pixel is equally likely and stands for N / K pixels. Balanced: half of `count` is shared
    out over the classes in proportion to their pixels and half evenly; a pixel of class c stands for N_c / K_c. Both
    leave the expectation of a weighted sum over pixels as it is; balanced lowers its variance for rare classes.

    Examples
    --------
    >>> labels = ImageLabels.of(np.array([[255, 3, 3, 0]], np.uint8))
    >>> drawn = sample_pixels(labels, np.random.default_rng(0), count=2)
    >>> len(drawn.pixels), float(drawn.weights.sum())
    (2, 3.0)
    """
    pixels, classes = labels.labelled()
    own = labels.labelled_weights()
    total = len(pixels)
    if total <= count:
        stands_for = np.ones(total, np.float32)
        return PixelSample(pixels, classes.astype(np.int64), stands_for if own is None else own)
    if balanced:
        chosen, stands_for = _draw_balanced(classes, rng, count)
    else:
        chosen = rng.choice(total, size=count, replace=False, shuffle=False)
        stands_for = np.full(count, total / count, np.float32)
    weights = stands_for if own is None else stands_for * own[chosen]
    return PixelSample(pixels[chosen], classes[chosen].astype(np.int64), weights)


def _draw_balanced(
    classes: ClassIds, rng: np.random.Generator, count: int
) -> tuple[Int64[np.ndarray, "K"], Float32[np.ndarray, "K"]]:
    present, sizes = np.unique(classes, return_counts=True)
    parts, weights = [], []
    for class_id, size, share in zip(present, sizes, balanced_shares(sizes, count)):
        members = np.flatnonzero(classes == class_id)
        parts.append(members[rng.choice(size, size=share, replace=False, shuffle=False)])
        weights.append(np.full(share, size / share, np.float32))
    return np.concatenate(parts), np.concatenate(weights)


def balanced_shares(sizes: Int64[np.ndarray, "C"], count: int) -> Int64[np.ndarray, "C"]:
    """Share `count` draws out over classes: half by size, half evenly, at least 1 and at most all of each.

    Examples
    --------
    >>> balanced_shares(np.array([900, 98, 2]), 100)
    array([72, 26,  2])
    """
    wanted = 0.5 * count * sizes / sizes.sum() + 0.5 * count / len(sizes)
    shares = np.clip(np.round(wanted).astype(np.int64), 1, sizes)
    # What small classes cannot use goes to those with pixels left; rounding is evened out the same way.
    while (missing := count - int(shares.sum())) > 0 and (free := shares < sizes).any():
        extra = np.maximum(1, (missing * free * wanted / (free * wanted).sum()).astype(np.int64)) * free
        shares = np.minimum(shares + extra, sizes)
    while (surplus := int(shares.sum()) - count) > 0 and shares.max() > 1:
        largest = int(shares.argmax())
        shares[largest] -= min(surplus, int(shares[largest]) - 1)
    return shares


def bilinear_corners(
    geometry: Geometry, pixels: Int64[np.ndarray, "K"]
) -> tuple[Int64[np.ndarray, "K corners"], Float32[np.ndarray, "K corners"]]:
    """Find the four tokens around each pixel of the original image, and their weights.

    Coordinates are clamped to the grid at the border, exactly as `torch.nn.functional.interpolate` does with
    `mode="bilinear", align_corners=False`.

    Returns
    -------
    tuple
        Token indices `i * w + j` and weights that sum to 1.
    """
    rows, cols = np.divmod(pixels, geometry.size[1])
    u, v = geometry.token_coordinates(rows.astype(np.float64), cols.astype(np.float64))
    top, bottom, down = _neighbours(u, geometry.grid[0])
    left, right, across = _neighbours(v, geometry.grid[1])
    width = geometry.grid[1]
    corners = np.stack([top * width + left, top * width + right, bottom * width + left, bottom * width + right], axis=1)
    weights = np.stack(
        [(1 - down) * (1 - across), (1 - down) * across, down * (1 - across), down * across], axis=1
    ).astype(np.float32)
    return corners, weights


def _neighbours(
    position: Float[np.ndarray, "K"], length: int
) -> tuple[Int64[np.ndarray, "K"], Int64[np.ndarray, "K"], Float[np.ndarray, "K"]]:
    position = np.clip(position, 0, length - 1)
    lower = position.astype(np.int64)
    return lower, np.minimum(lower + 1, length - 1), position - lower


def read_logits(
    logits: Float[Tensor, "T C"], corners: Int64[Tensor, "K corners"], weights: Float[Tensor, "K corners"]
) -> Float[Tensor, "K C"]:
    """Interpolate token logits at pixels, given what `bilinear_corners` found.

    Examples
    --------
    >>> logits = torch.tensor([[0.0], [4.0]])
    >>> read_logits(logits, torch.tensor([[0, 1, 0, 1]]), torch.tensor([[0.75, 0.25, 0.0, 0.0]]))
    tensor([[1.]])
    """
    return _Read.apply(logits, corners, weights)  # type: ignore[no-any-return]


class _Read(torch.autograd.Function):
    """Weighted sum of four rows; on a CPU its backward takes half the time of `embedding_bag`'s own."""

    @staticmethod
    def forward(ctx: Any, logits: Tensor, corners: Tensor, weights: Tensor) -> Tensor:
        ctx.save_for_backward(corners, weights)
        ctx.rows = len(logits)
        return F.embedding_bag(corners, logits, per_sample_weights=weights, mode="sum")

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None, None]:
        corners, weights = ctx.saved_tensors
        (gradient,) = gradients
        parts = gradient[:, None, :] * weights[:, :, None]
        total = gradient.new_zeros(ctx.rows, gradient.shape[1])
        return total.index_add_(0, corners.flatten(), parts.flatten(0, 1)), None, None


def bilinear_matrix(positions: Float[np.ndarray, "K"], length: int) -> Float32[np.ndarray, "K n"]:
    """Interpolation along one axis as a matrix: row k reads position k of a signal of `length` values.

    Examples
    --------
    >>> bilinear_matrix(np.array([-0.25, 0.25, 0.75, 1.25]), 2)
    array([[1.  , 0.  ],
           [0.75, 0.25],
           [0.25, 0.75],
           [0.  , 1.  ]], dtype=float32)
    """
    lower, upper, share = _neighbours(positions, length)
    matrix = np.zeros((len(positions), length), np.float32)
    rows = np.arange(len(positions))
    np.add.at(matrix, (rows, lower), 1 - share)
    np.add.at(matrix, (rows, upper), share)
    return matrix


def upsample_logits(logits: Float[Tensor, "h w C"], geometry: Geometry) -> Float[Tensor, "H W C"]:
    """Interpolate token logits at every pixel of the original image, resize, padding and mirroring undone.

    Interpolation is separable, so two small matrix products do it; the values are those of `read_logits`.
    """
    height, width = geometry.size
    u, _ = geometry.token_coordinates(np.arange(height, dtype=np.float64), np.zeros(height))
    _, v = geometry.token_coordinates(np.zeros(width), np.arange(width, dtype=np.float64))
    down = torch.from_numpy(bilinear_matrix(u, geometry.grid[0])).to(logits)
    across = torch.from_numpy(bilinear_matrix(v, geometry.grid[1])).to(logits)
    wide = torch.matmul(across, logits)  # (h, W, C)
    return torch.matmul(down, wide.flatten(1)).view(height, width, logits.shape[-1])
