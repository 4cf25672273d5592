"""Which class each labelled region looks like, by a classifier of whole regions that never saw its image's labels.

A pixel of a cat's back could be a dog's, and so a head that names pixels is unsure of it; the mean of the tokens over
all that an image labels as cat says much more. One vector for each image and class, ridge regression on one-hot
classes, one round in which regions that look like another class count less, and predictions out of sample.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float32, Float64, Int64

from segprobe.batches import FeatureSource, ImageTokens
from segprobe.cells import cell_counts
from segprobe.labels import ImageLabels, LabelSet

__all__ = ["RegionConfig", "RegionTokens", "held_out_scores", "judged_regions", "region_tokens"]

SMALLEST_SPREAD = 1e-6  # of a channel that is the same everywhere


@dataclass(frozen=True)
class RegionConfig:
    """Settings of the classifier of regions.

    Parameters
    ----------
    penalty
        Weight of the squared norm, for inputs whose squared length is 1 on average.
    rounds
        Times that it is fitted again with less weight on regions that look like another class.
    softness
        Margin, between the output of the given class and that of the best other one, at which a region keeps
        1 / (1 + e^-1) = .73 of its weight; at the opposite margin it keeps .27.
    least_weight
        No region counts less than this.
    least_cells
        A region must have labelled pixels worth so many tokens, or be the largest of its image.
    """

    penalty: float = 1.0
    rounds: int = 1
    softness: float = 0.1
    least_weight: float = 0.05
    least_cells: float = 0.3


@dataclass(frozen=True)
class RegionTokens:
    """The mean token of each labelled class of each image.

    Parameters
    ----------
    tokens
        Standardised by channel over the regions.
    images, columns
        Number of the image and column of the class of each region.
    pixels
        Labelled pixels of each region.
    """

    tokens: Float32[np.ndarray, "R D"]
    images: Int64[np.ndarray, "R"]
    columns: Int64[np.ndarray, "R"]
    pixels: Int64[np.ndarray, "R"]


def region_tokens(
    labels: LabelSet, features: FeatureSource, *, class_ids: tuple[int, ...], config: RegionConfig
) -> RegionTokens:
    """Average the tokens over the labelled pixels of each class, and over the views of the image.

    Parameters
    ----------
    class_ids
        Classes whose regions are looked at; column k is class_ids[k].
    """
    column_of = np.full(labels.vocabulary.num_classes, -1, np.int64)
    column_of[list(class_ids)] = np.arange(len(class_ids))
    rows, images, columns, pixels = [], [], [], []
    count = len(features.views)
    for number, (sample_id, image) in enumerate(labels.images.items()):
        views = [_means_by_class(image, features.features(sample_id, view), column_of) for view in range(count)]
        means, counted, cells = (np.mean(part, axis=0) for part in zip(*views, strict=True))
        for column in np.flatnonzero((counted > 0) & ((cells >= config.least_cells) | (cells == cells.max()))):
            rows.append(means[column])
            images.append(number)
            columns.append(int(column))
            pixels.append(round(counted[column]))
    tokens = np.stack(rows) if rows else np.zeros((0, 0))
    if rows:
        tokens = (tokens - tokens.mean(axis=0)) / np.maximum(tokens.std(axis=0), SMALLEST_SPREAD)
    return RegionTokens(tokens.astype(np.float32), *(np.array(part, np.int64) for part in (images, columns, pixels)))


def _means_by_class(
    image: ImageLabels, found: ImageTokens, column_of: Int64[np.ndarray, "V"]
) -> tuple[Float64[np.ndarray, "C D"], Float64[np.ndarray, "C"], Float64[np.ndarray, "C"]]:
    """Mean token of each class, its labelled pixels, and the tokens that they are worth."""
    counts = cell_counts(image, found.geometry, column_of).astype(np.float64)
    counts = counts.reshape(-1, counts.shape[-1])
    tokens = np.asarray(found.tokens, np.float64).reshape(len(counts), -1)
    pixels = counts.sum(axis=0)
    cells = (counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)).sum(axis=0)
    return (counts.T @ tokens) / np.maximum(pixels, 1)[:, None], pixels, cells


def held_out_scores(
    regions: RegionTokens, folds: Int64[np.ndarray, "R"], *, num_classes: int, config: RegionConfig
) -> Float64[np.ndarray, "R C"]:
    """Output of the ridge regression of the other folds for each region and class, around [0, 1].

    Parameters
    ----------
    folds
        Fold of the image of each region.

    References
    ----------
    .. [1] Northcutt et al., "Confident Learning", JAIR 2021, arXiv 1911.00068, section 3: why out of sample.
    .. [2] Reed et al., "Training deep neural networks on noisy labels with bootstrapping", arXiv 1412.6596: why
       examples that the model contradicts should count less.
    """
    inputs = np.asarray(regions.tokens, np.float64) / np.sqrt(max(regions.tokens.shape[1], 1))
    targets = np.eye(num_classes)[regions.columns]
    scores = np.zeros((len(inputs), num_classes))
    for fold in np.unique(folds):
        out, used = folds == fold, folds != fold
        weights = _weights(inputs[used], targets[used], folds[used], config)
        scores[out] = _ridge(inputs[used], targets[used], weights, inputs[out], config.penalty)
    return scores


def _weights(
    inputs: np.ndarray, targets: np.ndarray, folds: np.ndarray, config: RegionConfig
) -> Float64[np.ndarray, "R"]:
    """How much each region counts: less where the others say another class.

    The folds that are left cross-fit among themselves, since weights that the wanted fold had a part in would let its
    labels reach its own predictions.
    """
    weights, columns = np.ones(len(inputs)), targets.argmax(axis=1)
    for _ in range(config.rounds):
        scores = np.zeros_like(targets)
        for fold in np.unique(folds):
            out, used = folds == fold, folds != fold
            scores[out] = _ridge(inputs[used], targets[used], weights[used], inputs[out], config.penalty)
        margins = np.clip(_margins(scores, columns)[0] / config.softness, -50, 50)
        weights = np.maximum(1 / (1 + np.exp(-margins)), config.least_weight)
    return weights


def _ridge(
    inputs: np.ndarray, targets: np.ndarray, weights: np.ndarray, wanted: np.ndarray, penalty: float
) -> np.ndarray:
    """Predictions of a weighted ridge regression, by whichever of its two forms has the smaller matrix."""
    if not len(inputs):
        return np.zeros((len(wanted), targets.shape[1]))
    mean = np.average(targets, axis=0, weights=weights)
    if len(inputs) <= inputs.shape[1]:
        kernel = inputs @ inputs.T
        kernel[np.diag_indices(len(kernel))] += penalty / weights
        return wanted @ (inputs.T @ np.linalg.solve(kernel, targets - mean)) + mean
    weighted = inputs * weights[:, None]
    gram = inputs.T @ weighted
    gram[np.diag_indices(len(gram))] += penalty
    return wanted @ np.linalg.solve(gram, weighted.T @ (targets - mean)) + mean


def _margins(
    scores: Float64[np.ndarray, "R C"], columns: Int64[np.ndarray, "R"]
) -> tuple[Float64[np.ndarray, "R"], Int64[np.ndarray, "R"]]:
    """Output of the given class less that of the best other one, and which that is."""
    rows = np.arange(len(scores))
    others = scores.copy()
    others[rows, columns] = -np.inf
    best = others.argmax(axis=1) if len(scores) else np.zeros(0, np.int64)
    return scores[rows, columns] - others[rows, best], best


def judged_regions(
    labels: LabelSet,
    features: FeatureSource,
    fold_of: Mapping[str, int],
    config: RegionConfig = RegionConfig(),
) -> dict[str, list[dict[str, float | int]]]:
    """Say of each labelled region which other class it looks most like, and how much more or less than its own.

    Background is no object, so its regions are left out where the vocabulary has it.

    Parameters
    ----------
    fold_of
        Fold of each image; its regions are judged by what was learned from the other folds.

    Returns
    -------
    dict
        By image id a list with, for each region, `class` and `other` as class ids, `margin`, the output for the given
        class less that for `other`, in about [-1, 1], and `pixels`. Empty for images without regions, and for all
        images where fewer than two classes have any.
    """
    background = labels.vocabulary.background
    class_ids = tuple(class_id for class_id in labels.class_ids if class_id != background)
    found: dict[str, list[dict[str, float | int]]] = {sample_id: [] for sample_id in labels.images}
    if len(class_ids) < 2:
        return found
    regions = region_tokens(labels, features, class_ids=class_ids, config=config)
    ids = list(labels.images)
    folds = np.array([fold_of[ids[number]] for number in regions.images], np.int64)
    scores = held_out_scores(regions, folds, num_classes=len(class_ids), config=config)
    margins, others = _margins(scores, regions.columns)
    for number, column, pixels, margin, other in zip(
        regions.images, regions.columns, regions.pixels, margins, others, strict=True
    ):
        entry = {"class": class_ids[column], "other": class_ids[other], "margin": round(float(margin), 5)}
        found[ids[number]].append({**entry, "pixels": int(pixels)})
    return found
