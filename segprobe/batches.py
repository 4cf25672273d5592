"""What a training step sees: a pure function of the seed and the number of the step, so resuming needs no state."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

import numpy as np
import torch
from jaxtyping import Float, Int64
from torch import Tensor

from labelgen.errors import ShapeError
from labelgen.nets.geometry import Geometry
from segprobe.class_weights import class_weights
from segprobe.config import FitConfig
from segprobe.labels import ImageLabels, LabelSet
from segprobe.sampling import bilinear_corners, read_logits, sample_pixels, upsample_logits

__all__ = [
    "BatchImage",
    "BatchMaker",
    "FeatureSource",
    "ImageTokens",
    "TokenBatch",
    "check_sizes",
    "read_at_pixels",
]

UNLABELLED = -1  # not 255, which may be the column of a class
ORDER, VIEW, PIXELS, DROPOUT = range(4)  # streams of random numbers that must not meet


@runtime_checkable
class ImageTokens(Protocol):
    """The tokens of one image in one view."""

    @property
    def tokens(self) -> Float[Tensor, "h w D"]:
        """float16 or float32, on the CPU."""
        ...

    @property
    def geometry(self) -> Geometry:
        """Where the pixels went."""
        ...


@runtime_checkable
class FeatureSource(Protocol):
    """Where tokens come from: a `FeatureCache`, or a stand-in."""

    @property
    def views(self) -> Sequence[object]:
        """The views of each image."""
        ...

    @property
    def mean(self) -> Any:
        """Mean of each channel."""
        ...

    @property
    def std(self) -> Any:
        """Standard deviation of each channel."""
        ...

    def features(self, sample_id: str, view_index: int) -> ImageTokens:
        """Tokens and geometry of one view of one image."""
        ...


@dataclass(frozen=True)
class TokenBatch:
    """Tokens of several images, and the labelled pixels that the loss reads from them.

    Parameters
    ----------
    tokens
        Only the tokens that are needed, of all images one after the other.
    owners
        Which image of the batch each token belongs to.
    corners, corner_weights
        The four tokens around each pixel and their bilinear weights.
    columns
        Column of the true class of each pixel in the logits.
    pixel_weights
        Weight of each pixel in the loss.
    grids
        With full sampling: geometry and first token of each image, whose logits are up-sampled; `columns` and
        `pixel_weights` then hold every pixel, unlabelled ones as -1, and there are no corners.
    images
        Which images, in which views, and where their tokens begin; their grids are whole when `BatchMaker.whole` is.
    """

    tokens: Float[Tensor, "T D"]
    owners: Int64[Tensor, "T"]
    corners: Int64[Tensor, "K corners"]
    corner_weights: Float[Tensor, "K corners"]
    columns: Int64[Tensor, "P"]
    pixel_weights: Float[Tensor, "P"]
    grids: tuple[tuple[Geometry, int], ...] = ()
    images: tuple["BatchImage", ...] = ()

    @property
    def weight(self) -> float:
        """Sum of the weights of the labelled pixels: what the loss divides by."""
        return float(self.pixel_weights.sum())


@dataclass(frozen=True)
class BatchImage:
    """One image of a batch.

    Parameters
    ----------
    id
        Of the sample.
    view
        Index into the views of the features.
    geometry
        Of this view.
    first
        Its first row in `TokenBatch.tokens`; with whole grids it has `h * w` rows, row by row.
    """

    id: str
    view: int
    geometry: Geometry
    first: int


class BatchMaker:
    """Makes the batch of any step.

    Parameters
    ----------
    source
        Tokens of every image of `labels`.
    config
        batch_size, sampling, pixels, reduction, class_weights, feature_dropout and seed are used.
    whole
        Keep all tokens of each image, for what looks at whole grids; otherwise only those that some pixel reads.
    """

    def __init__(
        self,
        source: FeatureSource,
        labels: LabelSet,
        config: FitConfig,
        *,
        device: str = "cpu",
        whole: bool = False,
    ) -> None:
        self.source = source
        self.labels = labels
        self.config = config
        self.device = device
        self.whole = whole
        self.ids = labels.ids
        self.batch_size = min(config.batch_size, len(self.ids))
        self.steps_per_epoch = -(-len(self.ids) // self.batch_size)
        self.class_weights = class_weights(config.class_weights, labels)
        self.column_of = np.full(labels.vocabulary.num_classes, UNLABELLED, np.int64)
        self.column_of[list(labels.class_ids)] = np.arange(len(labels.class_ids))

    def exchange(self, labels: LabelSet) -> None:
        """Go on with other labels of the same images and classes."""
        assert labels.ids == self.ids and labels.class_ids == self.labels.class_ids
        self.labels = labels
        self.class_weights = class_weights(self.config.class_weights, labels)

    @property
    def num_steps(self) -> int:
        """Updates of the whole fit."""
        return self.config.steps or self.config.epochs * self.steps_per_epoch

    def chosen(self, step: int) -> list[tuple[str, int]]:
        """Ids and views of a step: each epoch visits every image once, and each image takes its views in turn."""
        epoch, position = divmod(step, self.steps_per_epoch)
        order = np.random.default_rng([self.config.seed, ORDER, epoch]).permutation(len(self.ids))
        first_view = np.random.default_rng([self.config.seed, VIEW]).integers(len(self.source.views), size=len(order))
        images = order[position * self.batch_size : (position + 1) * self.batch_size]
        return [(self.ids[i], int(first_view[i] + epoch) % len(self.source.views)) for i in images]

    def batch(self, step: int, *, part: tuple[int, int] = (0, 1)) -> TokenBatch | None:
        """The batch of a step, or one process's part of it.

        Parameters
        ----------
        part
            `(rank, world)`: images rank, rank + world, ... of the batch. Each image draws its pixels from a generator
            of its own, so that the parts hold exactly what the whole batch holds.

        Returns
        -------
        TokenBatch or None
            None when the batch has too few images for this process to get one.
        """
        chosen = self.chosen(step)
        own = range(part[0], len(chosen), part[1])
        rngs = [np.random.default_rng([self.config.seed, PIXELS, step, number]) for number in own]
        return self.assemble([chosen[number] for number in own], rngs) if rngs else None

    def assemble(
        self, chosen: Sequence[tuple[str, int]], rng: np.random.Generator | Sequence[np.random.Generator]
    ) -> TokenBatch:
        """Read tokens and draw pixels for the given images and views, with one generator for all or one for each."""
        rngs = [rng] * len(chosen) if isinstance(rng, np.random.Generator) else rng
        if self.config.sampling == "full":
            return self._full(chosen)
        tokens, corners, weights, columns, pixel_weights, owners, images = [], [], [], [], [], [], []
        first = 0
        for number, ((sample_id, view), own) in enumerate(zip(chosen, rngs, strict=True)):
            features = self.source.features(sample_id, view)
            labels = self._labels(sample_id, features.geometry)
            drawn = sample_pixels(labels, own, count=self.config.pixels, balanced=self.config.sampling == "balanced")
            at, share = bilinear_corners(features.geometry, drawn.pixels)
            if self.whole:
                rows = features.tokens.reshape(-1, features.tokens.shape[-1])
            else:
                rows, at = _only_needed(features.tokens, at)
            images.append(BatchImage(sample_id, view, features.geometry, first))
            tokens.append(rows)
            corners.append(at + first)
            weights.append(share)
            columns.append(self.column_of[drawn.classes])
            pixel_weights.append(self._reduced(drawn.weights, drawn.classes))
            owners.append(np.full(len(rows), number))
            first += len(rows)
        return TokenBatch(
            tokens=torch.cat(tokens).to(self.device, torch.float32),
            owners=self._tensor(owners),
            corners=self._tensor(corners),
            corner_weights=self._tensor(weights),
            columns=self._tensor(columns),
            pixel_weights=self._tensor(pixel_weights),
            images=tuple(images),
        )

    def _full(self, chosen: Sequence[tuple[str, int]]) -> TokenBatch:
        tokens, owners, columns, pixel_weights, grids, images = [], [], [], [], [], []
        first = 0
        for number, (sample_id, view) in enumerate(chosen):
            features = self.source.features(sample_id, view)
            labels = self._labels(sample_id, features.geometry)
            pixels, classes = labels.labelled()
            own = labels.labelled_weights()
            column = np.full(labels.size[0] * labels.size[1], UNLABELLED, np.int64)
            column[pixels] = self.column_of[classes]
            weight = np.zeros(len(column), np.float32)
            weight[pixels] = self._reduced(np.ones(len(pixels), np.float32) if own is None else own, classes)
            rows = features.tokens.reshape(-1, features.tokens.shape[-1])
            tokens.append(rows)
            columns.append(column)
            pixel_weights.append(weight)
            owners.append(np.full(len(rows), number))
            grids.append((features.geometry, first))
            images.append(BatchImage(sample_id, view, features.geometry, first))
            first += len(rows)
        return TokenBatch(
            tokens=torch.cat(tokens).to(self.device, torch.float32),
            owners=self._tensor(owners),
            corners=torch.empty(0, 4, dtype=torch.int64, device=self.device),
            corner_weights=torch.empty(0, 4, device=self.device),
            columns=self._tensor(columns),
            pixel_weights=self._tensor(pixel_weights),
            grids=tuple(grids),
            images=tuple(images),
        )

    def dropout_mask(
        self, batch: TokenBatch, step: int, dim: int, *, part: tuple[int, int] = (0, 1)
    ) -> Float[Tensor, "T D"] | None:
        """Channels to keep, scaled so that the mean stays; the same channels for all tokens of an image."""
        rate = self.config.feature_dropout
        if not rate:
            return None
        rng = np.random.default_rng([self.config.seed, DROPOUT, step])
        kept = (rng.random((self.batch_size, dim)) >= rate)[part[0] :: part[1]]
        return torch.from_numpy((kept / (1 - rate)).astype(np.float32)).to(self.device)[batch.owners]

    def _labels(self, sample_id: str, geometry: Geometry) -> ImageLabels:
        check_size(self.labels, sample_id, geometry)
        return self.labels.images[sample_id]

    def _reduced(self, weights: np.ndarray, classes: np.ndarray) -> np.ndarray:
        """Weights with those of the classes; with reduction `image` they sum to 1, or to 0 where all are 0."""
        if self.config.class_weights != "none":
            weights = (weights * self.class_weights[classes]).astype(np.float32)
        total = weights.sum() if self.config.reduction == "image" else 1.0
        return weights / total if total > 0 else weights

    def _tensor(self, parts: Sequence[np.ndarray]) -> Tensor:
        return torch.from_numpy(np.concatenate(parts)).to(self.device)


def check_sizes(labels: LabelSet, source: FeatureSource) -> None:
    """Refuse labels of another size than their images.

    Raises
    ------
    ShapeError
        Naming the first image.
    """
    for sample_id in labels.ids:
        check_size(labels, sample_id, source.features(sample_id, 0).geometry)


def check_size(labels: LabelSet, sample_id: str, geometry: Geometry) -> None:
    """Refuse the labels of one image when they have another size than it."""
    size = labels.images[sample_id].size
    if size != geometry.size:
        raise ShapeError(
            f"labels must have the size {geometry.size} of the image, got {size} in {sample_id} of {labels.name}",
            hint="nothing is resized silently; make the labels at the size of the image",
        )


def _only_needed(
    tokens: Float[Tensor, "h w D"], corners: Int64[np.ndarray, "K corners"]
) -> tuple[Float[Tensor, "T D"], Int64[np.ndarray, "K corners"]]:
    """Keep the tokens that some pixel touches, which are few for clicks, and renumber the corners."""
    rows = tokens.reshape(-1, tokens.shape[-1])
    touched = np.zeros(len(rows), bool)
    touched[corners] = True
    needed = np.flatnonzero(touched)
    if len(needed) == len(rows):
        return rows, corners
    number = np.cumsum(touched) - 1
    return rows[torch.from_numpy(needed)], number[corners]


def read_at_pixels(values: Float[Tensor, "T C"], batch: TokenBatch) -> Float[Tensor, "P C"]:
    """Interpolate values of the tokens of a batch at its pixels."""
    if not batch.grids:
        return read_logits(values, batch.corners, batch.corner_weights)
    planes = []
    for geometry, first in batch.grids:
        height, width = geometry.grid
        grid = values[first : first + height * width].view(height, width, -1)
        planes.append(upsample_logits(grid, geometry).flatten(0, 1))
    return torch.cat(planes)
