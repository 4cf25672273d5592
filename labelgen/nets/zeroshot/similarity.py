"""Similarity maps at full size out of windows of patches, one map at a time.

Up-sampling a window, averaging windows and resizing to the image are all linear and act on rows and columns apart. So
a finished map is `rows @ scores @ columns.T`, where `scores` holds the values of all patches of all windows, and no map
of any other size is ever kept: with hundreds of classes the memory stays that of a few maps.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import torch
from jaxtyping import Float32, Float64, UInt8
from torch.nn import functional as F

__all__ = [
    "Encode",
    "ScoreMaps",
    "Term",
    "encode_windows",
    "fused_features",
    "grid_term",
    "linear_weights",
    "window_term",
]

Encode = Callable[[UInt8[np.ndarray, "B H W 3"]], Float32[torch.Tensor, "B h w D"]]
"""RGB pictures of one size to features of their patches; the grid covers the picture from its top left corner, and its
last patches may reach beyond it."""

Span = tuple[int, int]


@dataclass(frozen=True, eq=False)
class Term:
    """Maps in the form `rows @ scores[k] @ columns.T`, on one device.

    Parameters
    ----------
    rows, columns
        `(H, a)` and `(W, b)`: how much each patch says about each pixel row and column of the image.
    scores
        `(K, a, b)`: one map per prompt.
    """

    rows: Float32[torch.Tensor, "H a"]
    scores: Float32[torch.Tensor, "K a b"]
    columns: Float32[torch.Tensor, "W b"]

    def mirrored(self) -> "Term":
        """The same maps, left and right exchanged."""
        return Term(self.rows, self.scores, self.columns.flip(0))


@dataclass(frozen=True, eq=False)
class ScoreMaps:
    """Maps at the size of the image: the mean of one or more terms.

    Examples
    --------
    >>> maps = ScoreMaps((grid_term(torch.tensor([[[0.0, 1.0]]]), size=(2, 4)),))
    >>> maps.plane(0)
    tensor([[0.0000, 0.2500, 0.7500, 1.0000],
            [0.0000, 0.2500, 0.7500, 1.0000]])
    """

    terms: tuple[Term, ...]

    def __len__(self) -> int:
        """Number of maps."""
        return len(self.terms[0].scores)

    @property
    def size(self) -> tuple[int, int]:
        """`(H, W)` in pixels."""
        return self.terms[0].rows.shape[0], self.terms[0].columns.shape[0]

    def plane(self, index: int) -> Float32[torch.Tensor, "H W"]:
        """One map. It does not depend on which others are asked for."""
        parts = [term.rows @ term.scores[index] @ term.columns.T for term in self.terms]
        return torch.stack(parts).mean(dim=0) if len(parts) > 1 else parts[0]

    def with_scores(self, change: Callable[[torch.Tensor], torch.Tensor]) -> "ScoreMaps":
        """Maps of changed scores; `change` gets and returns `(K, a, b)` and may change K."""
        return ScoreMaps(tuple(Term(term.rows, change(term.scores), term.columns) for term in self.terms))


def encode_windows(
    pixels: UInt8[np.ndarray, "H W 3"], encode: Encode, *, rows: Sequence[Span], columns: Sequence[Span], batch: int
) -> Float32[torch.Tensor, "n m h w D"]:
    """Features of all windows of one image, `batch` windows at a time.

    Parameters
    ----------
    rows, columns
        Spans of `axis_windows`; all of one length.

    Returns
    -------
    torch.Tensor
        By row of windows, column of windows, row and column of patches.
    """
    crops = [pixels[top:bottom, left:right] for top, bottom in rows for left, right in columns]
    parts = [encode(np.stack(crops[start : start + batch])) for start in range(0, len(crops), batch)]
    features = torch.cat(parts) if len(parts) > 1 else parts[0]
    return features.reshape(len(rows), len(columns), *features.shape[1:])


def window_term(
    scores: Float32[torch.Tensor, "K n m h w"],
    *,
    rows: Sequence[Span],
    columns: Sequence[Span],
    patch: int,
    resized: tuple[int, int],
    size: tuple[int, int],
) -> Term:
    """Maps of the image out of scores of the patches of its windows.

    Each window is up-sampled bilinearly to its pixels, windows are averaged where they overlap, and the result is
    resized bilinearly (`align_corners=False`, no antialiasing) to the image: the protocol of the zero-shot papers.

    Parameters
    ----------
    patch
        Side of a patch in pixels of the resized image.
    resized
        `(H', W')` of the image that the windows cut up.
    size
        `(H, W)` of the maps.
    """
    down = _axis_matrix(tuple(rows), cells=scores.shape[3], patch=patch, resized=resized[0], length=size[0])
    across = _axis_matrix(tuple(columns), cells=scores.shape[4], patch=patch, resized=resized[1], length=size[1])
    flat = scores.permute(0, 1, 3, 2, 4).flatten(3, 4).flatten(1, 2)
    return Term(_on(down, scores), flat.contiguous(), _on(across, scores))


def grid_term(scores: Float32[torch.Tensor, "K h w"], *, size: tuple[int, int]) -> Term:
    """Maps of the image out of one grid of equal cells that cover it."""
    down, across = (
        linear_weights(_source(length, cells), cells) for length, cells in zip(size, scores.shape[1:], strict=True)
    )
    return Term(_on(down, scores), scores.contiguous(), _on(across, scores))


def fused_features(
    features: Float32[torch.Tensor, "n m h w D"],
    *,
    rows: Sequence[Span],
    columns: Sequence[Span],
    patch: int,
    resized: tuple[int, int],
) -> Float32[torch.Tensor, "h2 w2 D"]:
    """Average unit features of overlapping windows on one grid of patches over the resized image.

    Each patch of the grid takes the value that a window, interpolated bilinearly, has at the patch's centre. Where
    windows begin at multiples of the patch nothing is interpolated.
    """
    unit = F.normalize(features, dim=-1)
    down, across = (
        _centre_matrix(spans, cells=cells, patch=patch, length=length)
        for spans, cells, length in ((rows, features.shape[2], resized[0]), (columns, features.shape[3], resized[1]))
    )
    flat = unit.permute(0, 2, 1, 3, 4).flatten(2, 3).flatten(0, 1)
    return torch.einsum("ya,abd,xb->yxd", _on(down, features), flat, _on(across, features))


def linear_weights(positions: Float64[np.ndarray, "N"], cells: int) -> Float64[np.ndarray, "N cells"]:
    """Weights of linear interpolation at positions in cell coordinates (0 = centre of the first cell), clamped.

    Examples
    --------
    >>> linear_weights(np.array([-0.5, 0.25, 1.0]), 2)
    array([[1.  , 0.  ],
           [0.75, 0.25],
           [0.  , 1.  ]])
    """
    positions = np.clip(positions, 0, cells - 1)
    first = np.minimum(positions.astype(np.int64), max(cells - 2, 0))
    share = positions - first
    weights = np.zeros((len(positions), cells))
    index = np.arange(len(positions))
    weights[index, first] = 1 - share
    if cells > 1:
        weights[index, first + 1] += share
    return weights


def _source(length: int, cells: int) -> np.ndarray:
    """Positions, in cells, of the pixels of an axis that `cells` equal cells cover."""
    return (np.arange(length) + 0.5) * cells / length - 0.5


@lru_cache(maxsize=64)  # photographs of one data set share a few sizes
def _axis_matrix(spans: tuple[Span, ...], *, cells: int, patch: int, resized: int, length: int) -> np.ndarray:
    """Weights `(length, windows * cells)` of one axis."""
    at_resized = _mean_of_windows(np.arange(resized) + 0.5, spans, cells=cells, patch=patch)
    return linear_weights(_source(length, resized), resized) @ at_resized


def _centre_matrix(spans: Sequence[Span], *, cells: int, patch: int, length: int) -> np.ndarray:
    """Weights `(patches, windows * cells)` of one axis, read at the centres of its patches."""
    # the last patch may reach beyond the image; what is known of it lies within
    centres = np.minimum((np.arange(-(-length // patch)) + 0.5) * patch, length - 0.5)
    return _mean_of_windows(centres, spans, cells=cells, patch=patch)


def _mean_of_windows(positions: np.ndarray, spans: Sequence[Span], *, cells: int, patch: int) -> np.ndarray:
    parts, covered = [], np.zeros(len(positions))
    for start, end in spans:
        inside = (positions >= start) & (positions < end)
        parts.append(linear_weights((positions - start) / patch - 0.5, cells) * inside[:, None])
        covered += inside
    assert (covered > 0).all(), "windows leave no pixel out"
    return np.concatenate(parts, axis=1) / covered[:, None]


def _on(weights: np.ndarray, like: torch.Tensor) -> torch.Tensor:
    return torch.from_numpy(weights.astype(np.float32)).to(like.device)
