"""Labels of the character of ZeroSeg's without any training: segments of an SSL ViT, named by tiles and dense CLIP.

This is not the model of the paper. It keeps what makes such labels special: a few segments of coarse outline, each with
one class, often wrong as a whole.
"""

import numpy as np
import torch
from jaxtyping import Bool, Float, Float32, Float64, Int64
from torch.nn import functional as F

from labelgen.errors import ShapeError

__all__ = ["cluster", "nearest_tiles", "tile_shares", "zeroseg_lite"]

SEGMENTS = 8  # as the last stage of ZeroSeg
OVERLAP = 0.1  # share of a segment that a tile must hold to speak for it
ROUNDS = 50  # of k-means, at most


def zeroseg_lite(
    tokens: Float32[np.ndarray, "h w E"],
    dense: Float32[np.ndarray, "gh gw D"],
    tiles: Float32[np.ndarray, "T D"],
    boxes: Float[np.ndarray, "N 4"],
    prototypes: Float32[np.ndarray, "P D"],
    *,
    rng: np.random.Generator,
    segments: int = SEGMENTS,
) -> Float32[np.ndarray, "P h w"]:
    """Similarity of the segment at each token to each prompt.

    A segment k has a pooled dense vector u_k; among the tiles that hold a tenth of it or more, the tile j with the
    least |u_k - v_j|_1 speaks for it, and its similarity to a prompt t is (v_j . t + u_k . t) / 2.

    Parameters
    ----------
    tokens
        Features of a self-supervised ViT.
    dense
        Patch embeddings of a CLIP model for the same image, on any grid over it.
    tiles
        Unit CLIP vectors of tiles; without that of the whole image.
    boxes
        Top, left, bottom, right of each tile as shares of the image, in [0, 1].
    prototypes
        Unit vectors of the prompts.
    rng
        Of the first centres of the clusters.
    segments
        Clusters of tokens; fewer when there are fewer different tokens.

    Raises
    ------
    ShapeError
        When tiles and boxes differ in number.
    """
    if len(tiles) != len(boxes) or not len(tiles):
        raise ShapeError(f"there must be one box for each tile and a tile at least, got {len(boxes)} and {len(tiles)}")
    height, width, channels = tokens.shape
    labels = cluster(tokens.reshape(-1, channels), segments, rng=rng)
    one_hot = labels[None] == np.arange(labels.max() + 1)[:, None]
    pooled = _pooled(dense, one_hot.reshape(-1, height, width))
    shares = tile_shares(one_hot.reshape(-1, height, width), boxes)
    chosen = nearest_tiles(pooled, tiles, shares)
    similarity = (tiles[chosen] @ prototypes.T + pooled @ prototypes.T) / 2
    return np.ascontiguousarray(similarity[labels].T.reshape(-1, height, width), np.float32)


def cluster(rows: Float32[np.ndarray, "N E"], count: int, *, rng: np.random.Generator) -> Int64[np.ndarray, " N"]:
    """K-means on unit rows, begun by k-means++; the clusters are numbered by their first row.

    Returns
    -------
    ndarray
        A cluster for each row; fewer clusters than asked for when there are fewer different rows.

    Examples
    --------
    >>> rows = np.array([[1, 0], [0, 1], [1, 0.1]], np.float32)
    >>> cluster(rows, 2, rng=np.random.default_rng(0))
    array([0, 1, 0])
    """
    unit = rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-12)
    unit = unit.astype(np.float64)
    centres = _first_centres(unit, count, rng)
    labels = np.zeros(len(unit), np.int64)
    for step in range(ROUNDS):
        new = _distances(unit, centres).argmin(axis=1)
        if step and (new == labels).all():
            break
        labels = new
        for number in np.unique(labels):  # a cluster that has lost all its rows keeps its centre
            centres[number] = unit[labels == number].mean(axis=0)
    _, first, inverse = np.unique(labels, return_index=True, return_inverse=True)
    return np.argsort(np.argsort(first))[inverse].astype(np.int64)


def _first_centres(unit: Float64[np.ndarray, "N E"], count: int, rng: np.random.Generator) -> np.ndarray:
    """Rows drawn one after the other, each with a chance that grows as its squared distance to those before."""
    centres = [unit[rng.integers(len(unit))]]
    while len(centres) < min(count, len(unit)):
        squared = _distances(unit, np.stack(centres)).min(axis=1)
        total = squared.sum()
        if total <= 1e-12 * len(unit):
            break
        centres.append(unit[np.searchsorted(np.cumsum(squared), rng.random() * total, side="right")])
    return np.stack(centres)


def _distances(rows: np.ndarray, centres: np.ndarray) -> Float64[np.ndarray, "N K"]:
    """Squared, never below 0."""
    squares = (rows**2).sum(axis=1)[:, None] - 2 * rows @ centres.T + (centres**2).sum(axis=1)
    return np.maximum(squares, 0)


def _pooled(dense: Float32[np.ndarray, "gh gw D"], masks: Bool[np.ndarray, "K h w"]) -> Float32[np.ndarray, "K D"]:
    """Unit mean of the unit dense vectors in each segment."""
    planes = F.normalize(torch.from_numpy(np.ascontiguousarray(dense)), dim=-1).permute(2, 0, 1)[None]
    planes = F.interpolate(planes, size=masks.shape[1:], mode="bilinear", align_corners=False)[0].flatten(1).T
    means = torch.from_numpy(masks.reshape(len(masks), -1)).float() @ planes
    return F.normalize(means, dim=-1).numpy()


def tile_shares(masks: Bool[np.ndarray, "K h w"], boxes: Float[np.ndarray, "T 4"]) -> Float64[np.ndarray, "K T"]:
    """Share of each segment's tokens whose centre lies in each tile.

    Examples
    --------
    >>> masks = np.array([[[True, True, True, False]]])
    >>> tile_shares(masks, np.array([[0, 0, 1, 0.5], [0, 0.5, 1, 1]])).round(3)
    array([[0.667, 0.333]])
    """
    rows, cols = ((np.arange(length) + 0.5) / length for length in masks.shape[1:])
    top, left, bottom, right = boxes.T[:, :, None]
    inside_rows, inside_cols = (rows >= top) & (rows < bottom), (cols >= left) & (cols < right)
    inside = inside_rows[:, :, None] & inside_cols[:, None, :]
    flat = masks.reshape(len(masks), -1).astype(np.float64)
    return flat @ inside.reshape(len(inside), -1).T / flat.sum(axis=1, keepdims=True)


def nearest_tiles(
    vectors: Float32[np.ndarray, "K D"], tiles: Float32[np.ndarray, "T D"], shares: Float64[np.ndarray, "K T"]
) -> Int64[np.ndarray, " K"]:
    """The tile of least L1 distance for each segment, among those that hold enough of it (else among all)."""
    distances = np.abs(vectors[:, None].astype(np.float64) - tiles[None]).sum(axis=-1)
    holds = shares >= OVERLAP
    holds |= ~holds.any(axis=1, keepdims=True)
    return np.where(holds, distances, np.inf).argmin(axis=1).astype(np.int64)
