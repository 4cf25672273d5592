"""What a confusion matrix says about labels with holes, and about one image of many."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Int64

from labelgen.quality.confusion import (
    Scores,
    Unlabelled,
    mean_of_numbers,
    ratio,
    scores_from_confusion,
    single_ratio,
    split_unlabelled,
)

__all__ = ["ImageRow", "foreground_scores", "image_row", "missed_classes"]


@dataclass(frozen=True)
class ImageRow:
    """The figures of one image; fractions, nan where there is no answer.

    Parameters
    ----------
    id
        Name of the image.
    miou
        Mean IoU over the classes of this image under the chosen rule. Not comparable with the pooled figure.
    miou_labelled
        The same over labelled pixels.
    coverage
        Labelled share of valid pixels.
    pixel_accuracy
        Correct share under the chosen rule.
    num_classes
        How many classes `miou` is over.
    present
        How many classes the truth has here.
    missed
        Ids of classes in the truth without any labelled pixel on them.
    missing
        Whether there was no label file at all.
    """

    id: str
    miou: float
    miou_labelled: float
    coverage: float
    pixel_accuracy: float
    num_classes: int
    present: int
    missed: tuple[int, ...]
    missing: bool


def image_row(
    sample_id: str,
    matrix: Int64[np.ndarray, "C C+1"],
    *,
    unlabelled: Unlabelled,
    background: int | None,
    missing: bool = False,
) -> ImageRow:
    """Sum up one image.

    Examples
    --------
    >>> row = image_row("a", np.array([[1, 0, 1], [0, 0, 2]]), unlabelled="miss", background=None)
    >>> row.miou, row.miou_labelled, row.coverage, row.missed
    (0.25, 1.0, 0.25, (1,))
    """
    square, lost = split_unlabelled(matrix, unlabelled, background)
    iou = _iou(square, lost)
    truth_pixels = matrix.sum(axis=1)
    valid = truth_pixels.sum()
    return ImageRow(
        id=sample_id,
        miou=mean_of_numbers(iou),
        miou_labelled=mean_of_numbers(_iou(matrix[:, :-1], np.zeros_like(lost))),
        coverage=single_ratio(valid - matrix[:, -1].sum(), valid),
        pixel_accuracy=single_ratio(np.trace(square), square.sum() + lost.sum()),
        num_classes=int(np.isfinite(iou).sum()),
        present=int((truth_pixels > 0).sum()),
        missed=missed_classes(matrix),
        missing=missing,
    )


def _iou(square: np.ndarray, lost: np.ndarray) -> np.ndarray:
    correct = np.diagonal(square)
    return ratio(correct, square.sum(axis=1) + square.sum(axis=0) + lost - correct)


def missed_classes(matrix: Int64[np.ndarray, "C C+1"]) -> tuple[int, ...]:
    """Classes in the truth on whose pixels there is no label of any class.

    Examples
    --------
    >>> missed_classes(np.array([[1, 0, 1], [0, 0, 2]]))
    (1,)
    """
    missed = (matrix[:, -1] > 0) & (matrix[:, :-1].sum(axis=1) == 0)
    return tuple(int(class_id) for class_id in np.flatnonzero(missed))


def foreground_scores(matrix: Int64[np.ndarray, "C C+1"], *, background: int, unlabelled: Unlabelled) -> Scores:
    """Scores of the two classes background (0) and foreground (1: everything else).

    Examples
    --------
    >>> matrix = np.array([[4, 0, 0, 0], [0, 1, 1, 0], [0, 0, 0, 2]])  # classes 1 and 2 confused: no matter
    >>> foreground_scores(matrix, background=0, unlabelled="miss").iou
    array([1. , 0.5])
    """
    group = (np.arange(len(matrix)) != background).astype(int)
    two = np.zeros((2, 3), np.int64)
    np.add.at(two, (group[:, None], np.append(group, 2)[None, :]), matrix)
    return scores_from_confusion(two, unlabelled=unlabelled, background=0)
