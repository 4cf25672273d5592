"""Every threshold of the foreground at once: one histogram over the pixels, whose sums are all confusion matrices."""

from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np
from jaxtyping import Float32, Float64, Int64, Integer

from labelgen.errors import ConfigError, DataError
from labelgen.masks import IGNORE, SoftMask
from labelgen.quality.confusion import Unlabelled, check_same_size, scores_from_confusion

__all__ = ["BINS", "CurvePoint", "ThresholdHistogram", "best_point", "curve_points", "image_histogram"]

BINS = 1000
"""Steps between thresholds 0 and 1; every hundredth, as published curves have it, is among them."""

MOST_BINS = 10_000


@dataclass
class ImageCounts:
    """The histogram of one image, over the classes that it has.

    Parameters
    ----------
    truth_ids, class_ids
        Vocabulary ids of the rows and columns.
    counts
        Pixels by true class, best foreground class, and bin of its score.
    """

    truth_ids: Int64[np.ndarray, " T"]
    class_ids: Int64[np.ndarray, " K"]
    counts: Int64[np.ndarray, "T K cells"]


def image_histogram(
    truth: Integer[np.ndarray, "H W"],
    mask: SoftMask,
    *,
    background: int,
    num_classes: int,
    bins: int = BINS,
    truth_ignore: int = IGNORE,
    empty_is_background: bool = False,
    where: str = "",
) -> ImageCounts:
    """Count the valid pixels of one image by true class, best foreground class and bin of its score.

    The background plane is not looked at. The bin of a score is the number of thresholds that it exceeds, so that a
    pixel is foreground at threshold k / bins exactly where its bin exceeds k: bin 0 holds scores of 0, the last one
    those above 1. Thresholds are float32, as scores are. Ties between classes go to the smaller id.

    Parameters
    ----------
    mask
        Scores with a plane for background and one for each class that the image was said to show.
    empty_is_background
        Whether a pixel without any score was given none by the classes, too. Else it abstains, and what the classes
        said of it is lost.

    Raises
    ------
    ShapeError
        When truth and scores differ in size.
    DataError
        When there is no plane for background, or a pixel abstains.

    Examples
    --------
    >>> scores = np.array([[[0.5, 0.5, 0.5]], [[0.0, 0.5, 0.75]]], np.float32)
    >>> image = image_histogram(
    ...     np.array([[0, 7, 7]], np.uint8), SoftMask(scores, (0, 7)), background=0, num_classes=8, bins=4
    ... )
    >>> image.truth_ids.tolist(), image.class_ids.tolist(), image.counts[:, 0].tolist()
    ([0, 7], [7], [[1, 0, 0, 0, 0, 0], [0, 0, 1, 1, 0, 0]])
    """
    place = f" in {where}" if where else ""
    check_same_size(truth, mask.scores[0] if len(mask.scores) else np.empty(mask.size), place=place)
    if background not in mask.class_ids:
        raise DataError(
            f"scores must have a plane for background to be swept over thresholds, got classes {mask.class_ids}{place}",
            hint="the curve is for seeds: labelgen cam --save-scores",
        )
    valid = truth != truth_ignore
    if not empty_is_background:
        _refuse_abstaining(mask, valid, place)
    planes = [index for index, class_id in enumerate(mask.class_ids) if class_id != background]
    class_ids = np.array([mask.class_ids[index] for index in planes] or [background], np.int64)
    scores = mask.scores[planes] if planes else np.zeros((1, *mask.size), np.float32)  # then all is background
    bin_of = thresholds_exceeded(scores.max(axis=0)[valid], bins=bins)
    true_of = truth[valid]
    truth_ids = np.flatnonzero(np.bincount(true_of, minlength=1))
    if truth_ids.size and truth_ids[-1] >= num_classes:
        raise DataError(f"truth must be ids < {num_classes} or {truth_ignore}, got {truth_ids[-1]}{place}")
    row_of_id = np.zeros(num_classes, np.int64)
    row_of_id[truth_ids] = np.arange(len(truth_ids))
    shape = (len(truth_ids), len(class_ids), bins + 2)
    cell = (row_of_id[true_of] * len(class_ids) + scores.argmax(axis=0)[valid]) * (bins + 2) + bin_of
    counts = np.bincount(cell, minlength=int(np.prod(shape))).reshape(shape).astype(np.int64, copy=False)
    return ImageCounts(truth_ids, class_ids, counts)


def thresholds_exceeded(scores: Float32[np.ndarray, " N"], *, bins: int) -> Int64[np.ndarray, " N"]:
    """How many of the float32 thresholds 0, 1 / bins, ..., 1 each score exceeds; as a binary search would find.

    Examples
    --------
    >>> thresholds_exceeded(np.array([0, 0.25, 0.26, 1, 1.5], np.float32), bins=4).tolist()
    [0, 1, 2, 4, 5]
    """
    limits = np.append((np.arange(bins + 1) / bins).astype(np.float32), np.float32(np.inf))
    count = np.clip(np.ceil(scores.astype(np.float64) * bins), 0, bins + 1).astype(np.int64)
    count += limits[count] < scores  # k / bins is rounded, to either side
    count -= (count > 0) & (limits[count - 1] >= scores)
    return count


def _refuse_abstaining(mask: SoftMask, valid: np.ndarray, place: str) -> None:
    abstaining = int(((mask.scores.max(axis=0) == 0) & valid).sum())
    if abstaining:
        raise DataError(
            f"{abstaining} pixels abstain{place}: what the classes said of them is not in the scores, so no threshold "
            "can be set against it",
            hint="make the seeds with one background, such as fixed:0.2, and without an ignore band (dual, band)",
        )


@dataclass
class ThresholdHistogram:
    """Sums of `image_histogram` over images; histograms of parts of a data set add up.

    Parameters
    ----------
    num_classes
        Classes of the vocabulary.
    background
        Id that pixels below the threshold get.
    bins
        Thresholds are 0, 1 / bins, ..., 1.

    Raises
    ------
    ConfigError
        When the number of bins is out of range.
    """

    num_classes: int
    background: int
    bins: int = BINS
    counts: Int64[np.ndarray, "C C cells"] = field(init=False, repr=False)
    unlabelled: Int64[np.ndarray, " C"] = field(init=False, repr=False)
    images: int = field(init=False, default=0)

    def __post_init__(self) -> None:
        if not 2 <= self.bins <= MOST_BINS:
            raise ConfigError(f"bins must lie in [2, {MOST_BINS}], got {self.bins}", hint=f"{BINS} is usual")
        self.counts = np.zeros((self.num_classes, self.num_classes, self.bins + 2), np.int64)
        self.unlabelled = np.zeros(self.num_classes, np.int64)

    def add(self, image: ImageCounts) -> None:
        """Add one image."""
        for row, truth_id in enumerate(image.truth_ids):
            self.counts[truth_id, image.class_ids] += image.counts[row]
        self.images += 1

    def add_unlabelled(self, truth_counts: Int64[np.ndarray, " C"]) -> None:
        """Add an image without scores, by the valid pixels of each true class."""
        self.unlabelled += truth_counts
        self.images += 1

    def matrices(self) -> Iterator[tuple[float, Int64[np.ndarray, "C C+1"]]]:
        """Each threshold, in ascending order, and its confusion matrix; the last column holds unlabelled pixels."""
        at_least = np.cumsum(self.counts[..., ::-1], axis=-1)[..., ::-1]
        everything = at_least[..., 0].sum(axis=1)
        for k in range(self.bins + 1):
            above = at_least[..., k + 1]
            matrix = np.column_stack([above, self.unlabelled])
            matrix[:, self.background] += everything - above.sum(axis=1)
            yield k / self.bins, matrix


@dataclass(frozen=True)
class CurvePoint:
    """What one threshold gives; fractions, nan where there is no answer.

    Parameters
    ----------
    threshold
        Foreground exceeds it.
    miou
        Mean IoU over `num_classes` classes, background included.
    iou
        IoU of each class.
    foreground
        Share of the valid pixels that are foreground.
    """

    threshold: float
    miou: float
    num_classes: int
    iou: Float64[np.ndarray, " C"]
    foreground: float


def curve_points(histogram: ThresholdHistogram, *, unlabelled: Unlabelled = "miss") -> list[CurvePoint]:
    """Score all thresholds under one rule for unlabelled pixels, of which only images without scores have any.

    Examples
    --------
    >>> scores = np.array([[[0.5, 0.5]], [[0.2, 0.8]]], np.float32)
    >>> histogram = ThresholdHistogram(num_classes=2, background=0, bins=2)
    >>> mask = SoftMask(scores, (0, 1))
    >>> histogram.add(image_histogram(np.array([[0, 1]]), mask, background=0, num_classes=2, bins=2))
    >>> [(point.threshold, point.miou, point.foreground) for point in curve_points(histogram)]
    [(0.0, 0.25, 1.0), (0.5, 1.0, 0.5), (1.0, 0.25, 0.0)]
    """
    points = []
    for threshold, matrix in histogram.matrices():
        scores = scores_from_confusion(matrix, unlabelled=unlabelled, background=histogram.background)
        labelled = matrix[:, :-1].sum(axis=0)
        foreground = (labelled.sum() - labelled[histogram.background]) / max(int(matrix.sum()), 1)
        points.append(CurvePoint(threshold, scores.miou, scores.num_classes, scores.iou, float(foreground)))
    return points


def best_point(points: list[CurvePoint]) -> CurvePoint:
    """The point of the highest mIoU; of several the one with the lowest threshold."""
    return max(points, key=lambda point: (np.nan_to_num(point.miou, nan=-1.0), -point.threshold))
