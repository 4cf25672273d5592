"""The ways an image is looked at: windows of patches, or tiles that are classified as wholes."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float32, UInt8
from torch.nn import functional as F

from labelgen.errors import ConfigError
from labelgen.nets.geometry import fitted_size, resize_image
from labelgen.nets.zeroshot.similarity import (
    Encode,
    ScoreMaps,
    Term,
    encode_windows,
    fused_features,
    grid_term,
    linear_weights,
    window_term,
)
from labelgen.nets.zeroshot.windows import axis_windows

__all__ = [
    "LONGEST_SIDE",
    "TILE_LEVELS",
    "Compare",
    "Windows",
    "cosine_scores",
    "grid_maps",
    "tile_maps",
    "window_maps",
]

LONGEST_SIDE = 2048  # of resized images, as in all public zero-shot code
TILE_LEVELS = (1, 2, 4)  # tiles of the short side and of a half and a quarter of it, as CLIP-DIY has them

Compare = Callable[[Float32[torch.Tensor, "*cells D"]], Float32[torch.Tensor, "K *cells"]]
"""Features of patches to one score per prompt."""


@dataclass(frozen=True)
class Windows:
    """How an image is cut up.

    Parameters
    ----------
    short_side
        The image is resized so that its short side has so many pixels (its long side never more than 2048).
    crop, stride
        Of the windows, in pixels of the resized image; crop 0 takes the image as a whole.
    batch
        Windows that go through the network together.
    flip
        Look at the mirrored image too and average.
    fuse_features
        Average the features of overlapping windows instead of their scores.
    """

    short_side: int = 336
    crop: int = 224
    stride: int = 112
    batch: int = 8
    flip: bool = False
    fuse_features: bool = False

    def __post_init__(self) -> None:
        if self.short_side < 1 or self.batch < 1:
            raise ConfigError(f"short_side and batch must be >= 1, got {self.short_side} and {self.batch}")
        axis_windows(self.short_side, crop=self.crop, stride=self.stride)


def cosine_scores(prototypes: Float32[torch.Tensor, "K D"]) -> Compare:
    """Cosines of features and prototypes."""

    def compare(features: torch.Tensor) -> torch.Tensor:
        return torch.movedim(F.normalize(features, dim=-1) @ prototypes.T, -1, 0)

    return compare


def window_maps(
    image: UInt8[np.ndarray, "H W 3"], encode: Encode, compare: Compare, windows: Windows, *, patch: int
) -> ScoreMaps:
    """Scores of prompts at every pixel, from the patches of windows.

    Parameters
    ----------
    patch
        Side in pixels of the patches of `encode`.
    """
    size = image.shape[0], image.shape[1]
    resized = fitted_size(size, policy="keep", side=windows.short_side, max_side=LONGEST_SIDE)
    pixels = resize_image(image, resized)
    term = _window_term(pixels, encode, compare, windows, patch=patch, size=size)
    if not windows.flip:
        return ScoreMaps((term,))
    mirrored = np.ascontiguousarray(pixels[:, ::-1])
    return ScoreMaps((term, _window_term(mirrored, encode, compare, windows, patch=patch, size=size).mirrored()))


def _window_term(
    pixels: np.ndarray, encode: Encode, compare: Compare, windows: Windows, *, patch: int, size: tuple[int, int]
) -> Term:
    resized = pixels.shape[0], pixels.shape[1]
    rows, columns = (axis_windows(length, crop=windows.crop, stride=windows.stride) for length in resized)
    features = encode_windows(pixels, encode, rows=rows, columns=columns, batch=windows.batch)
    if windows.fuse_features:
        features = fused_features(features, rows=rows, columns=columns, patch=patch, resized=resized)[None, None]
        rows, columns = ((0, resized[0]),), ((0, resized[1]),)
    return window_term(compare(features), rows=rows, columns=columns, patch=patch, resized=resized, size=size)


def tile_maps(
    image: UInt8[np.ndarray, "H W 3"],
    embed: Callable[[UInt8[np.ndarray, "B h w 3"]], Float32[torch.Tensor, "B D"]],
    compare: Compare,
    windows: Windows,
    *,
    levels: tuple[int, ...] = TILE_LEVELS,
) -> ScoreMaps:
    """Scores of prompts at every pixel, from square tiles of several sizes that are classified as wholes.

    Between the centres of the tiles of one size scores are interpolated bilinearly, beyond them they are constant;
    sizes are averaged. Works with every model that embeds whole images.

    Parameters
    ----------
    embed
        Square RGB pictures of one size to vectors.
    windows
        Crop and stride have no say: a tile is the short side divided by a level, and tiles are half a tile apart.

    References
    ----------
    .. [1] Wysoczanska et al., "CLIP-DIY: CLIP Dense Inference Yields Open-Vocabulary Semantic Segmentation For-Free",
       WACV 2024, arXiv 2309.14289. There the image is squashed to a square; here it keeps its proportions.
    """
    size = image.shape[0], image.shape[1]
    resized = fitted_size(size, policy="keep", side=windows.short_side, max_side=LONGEST_SIDE)
    pixels = resize_image(image, resized)
    terms = []
    for mirrored in (False, True) if windows.flip else (False,):
        view = np.ascontiguousarray(pixels[:, ::-1]) if mirrored else pixels
        for level in levels:
            term = _tile_term(view, embed, compare, side=max(1, min(resized) // level), batch=windows.batch, size=size)
            terms.append(term.mirrored() if mirrored else term)
    return ScoreMaps(tuple(terms))


def _tile_term(pixels: np.ndarray, embed, compare: Compare, *, side: int, batch: int, size: tuple[int, int]) -> Term:
    spans = [axis_windows(length, crop=side, stride=max(1, side // 2)) for length in pixels.shape[:2]]

    def encode(crops: np.ndarray) -> torch.Tensor:
        return embed(crops)[:, None, None]

    features = encode_windows(pixels, encode, rows=spans[0], columns=spans[1], batch=batch)
    scores = compare(features)[..., 0, 0]
    down, across = (
        _between_centres(axis, resized=resized, length=length)
        for axis, resized, length in zip(spans, pixels.shape[:2], size, strict=True)
    )
    return Term(down.to(scores.device), scores.contiguous(), across.to(scores.device))


def _between_centres(spans: tuple[tuple[int, int], ...], *, resized: int, length: int) -> torch.Tensor:
    """Weights `(length, tiles)`: linear between the centres of tiles, which need not be evenly spaced."""
    centres = np.array([(start + end) / 2 for start, end in spans])
    pixels = (np.arange(length) + 0.5) * resized / length
    positions = np.interp(pixels, centres, np.arange(len(centres)))
    return torch.from_numpy(linear_weights(positions, len(centres)).astype(np.float32))


def grid_maps(scores: Float32[torch.Tensor, "K h w"], *, size: tuple[int, int]) -> ScoreMaps:
    """Scores on one grid over the image as maps at its size."""
    return ScoreMaps((grid_term(scores, size=size),))
