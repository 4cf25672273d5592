"""What a confusion matrix says about labels with holes, and about one image of many."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Int64

from labelgen.quality.confusion import Scores, Unlabelled, ratio, scores_from_confusion, split_unlabelled

__all__ = ["ImageRow", "foreground_scores", "image_rows"]


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


def image_rows(
    sample_ids: Sequence[str],
    matrices: Int64[np.ndarray, "N C C+1"],
    *,
    unlabelled: Unlabelled,
    background: int | None,
    missing: Sequence[bool],
) -> list[ImageRow]:
    """Sum up N images, each by its own confusion matrix; many at once, because the matrices are small.

    Examples
    --------
    >>> matrix = np.array([[1, 0, 1], [0, 0, 2]])
    >>> (row,) = image_rows(["a"], matrix[None], unlabelled="miss", background=None, missing=[False])
    >>> row.miou, row.miou_labelled, row.coverage, row.missed
    (0.25, 1.0, 0.25, (1,))
    """
    square, lost = split_unlabelled(matrices, unlabelled, background)
    unlabelled_pixels, true_pixels = matrices[..., -1], matrices.sum(axis=2)
    valid = true_pixels.sum(axis=1)
    miou, num_classes = _mean_iou(square, lost)
    miou_labelled, _ = _mean_iou(matrices[..., :-1], np.zeros_like(lost))
    correct = np.trace(square, axis1=1, axis2=2)
    missed = (true_pixels > 0) & (unlabelled_pixels == true_pixels)
    columns = (
        miou.tolist(),
        miou_labelled.tolist(),
        ratio(valid - unlabelled_pixels.sum(axis=1), valid).tolist(),
        ratio(correct, square.sum(axis=(1, 2)) + lost.sum(axis=1)).tolist(),
        num_classes.tolist(),
        (true_pixels > 0).sum(axis=1).tolist(),
        [tuple(np.flatnonzero(row).tolist()) if row.any() else () for row in missed],
        missing,
    )
    return [ImageRow(*cells) for cells in zip(sample_ids, *columns, strict=True)]


def _mean_iou(square: np.ndarray, lost: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Mean IoU of each image, nan without any class, and the number of classes."""
    correct = np.diagonal(square, axis1=1, axis2=2)
    union = square.sum(axis=2) + square.sum(axis=1) + lost - correct
    num_classes = (union > 0).sum(axis=1)
    return ratio((correct / np.maximum(union, 1)).sum(axis=1), num_classes), num_classes


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
