"""The confusion matrix with its column of unlabelled pixels, and the scores that follow from it.

What published evaluations do with a predicted 255, which are thus not comparable with each other:

============  ==============================================  ==========================================================
code          what it does                                    the same here
============  ==============================================  ==========================================================
PSA, SEAM     a miss of its true class                        `miss`; they give absent classes 0, here they are left out
IRN           counts as background                            `background`
EPS           leaves such pixels out, which raises the score  `exclude`
CLIP-ES,ToCo  lands in a cell of other classes, or fails      none; `error` makes sure that there is no such pixel
============  ==============================================  ==========================================================
"""

from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
from jaxtyping import Float64, Int64, Integer

from labelgen.errors import ConfigError, DataError, ShapeError
from labelgen.masks import IGNORE
from labelgen.quality.counting import count_pairs

__all__ = ["RULES", "Scores", "Unlabelled", "confusion_matrix", "pair_counts", "scores_from_confusion"]

Unlabelled = Literal["miss", "exclude", "background", "error"]
"""What a pixel without a label means: an error of its true class, nothing at all, the label `background`, or that the
labels are refused."""

RULES: tuple[Unlabelled, ...] = get_args(Unlabelled)


def pair_counts(
    truth: Integer[np.ndarray, "*size"],
    labels: Integer[np.ndarray, "*label_size"],
    *,
    num_classes: int,
    truth_ignore: int = IGNORE,
    label_ignore: int = IGNORE,
    where: str = "",
) -> Int64[np.ndarray, "{num_classes}+1 {num_classes}+1"]:
    """Count every pair of truth and label; the last row is void truth, the last column unlabelled pixels.

    Parameters
    ----------
    where
        Name of the image, for the error messages.

    Raises
    ------
    ShapeError
        When the two maps differ in size; nothing is resized.
    DataError
        When an id is neither below `num_classes` nor the ignore id, be it under void truth.
    ConfigError
        When an ignore id is one of the classes.

    Examples
    --------
    >>> truth, labels = np.array([[0, 255]], np.uint8), np.array([[255, 1]], np.uint8)
    >>> pair_counts(truth, labels, num_classes=2)
    array([[0, 0, 1],
           [0, 0, 0],
           [0, 1, 0]])
    """
    place = f" in {where}" if where else ""
    check_same_size(truth, labels, place=place)
    if num_classes < 1 or min(truth_ignore, label_ignore) < num_classes:
        raise ConfigError(
            f"the ignore ids must lie above the {num_classes} classes, got {truth_ignore} (truth) and {label_ignore}"
        )
    table = count_pairs(truth, labels, num_classes=num_classes, truth_ignore=truth_ignore, label_ignore=label_ignore)
    if table[-1].any():
        _refuse_foreign("truth", truth, num_classes, truth_ignore, place)
    if table[:, -1].any():
        _refuse_foreign("labels", labels, num_classes, label_ignore, place)
    return table[:-1, :-1]


def confusion_matrix(
    truth: Integer[np.ndarray, "*size"],
    labels: Integer[np.ndarray, "*label_size"],
    *,
    num_classes: int,
    truth_ignore: int = IGNORE,
    label_ignore: int = IGNORE,
) -> Int64[np.ndarray, "{num_classes} {num_classes}+1"]:
    """Count the pixels of each true class by their label; the last column holds the unlabelled ones.

    Matrices of several images add up. Void truth is never counted. Errors are those of `pair_counts`.

    Examples
    --------
    >>> truth, labels = np.array([[0, 0], [1, 1]], np.uint8), np.array([[255, 0], [1, 1]], np.uint8)
    >>> confusion_matrix(truth, labels, num_classes=2)
    array([[1, 0, 1],
           [0, 2, 0]])
    """
    counts = pair_counts(truth, labels, num_classes=num_classes, truth_ignore=truth_ignore, label_ignore=label_ignore)
    return counts[:-1]


@dataclass(frozen=True)
class Scores:
    """What one confusion matrix says; all values are fractions, nan where a class gives no answer.

    Parameters
    ----------
    unlabelled
        The rule that was applied to unlabelled pixels.
    iou
        TP / (TP + FP + FN) by class; nan where a class is in neither truth nor labels, 0 where it is only labelled.
    precision
        TP / (TP + FP); nan where nothing got the label.
    recall
        TP / (TP + FN); nan where the truth has no such pixel.
    fp_rate
        FP / (TP + FN), over-activation; may exceed 1; nan without true pixels.
    fn_rate
        FN / (TP + FN), under-activation; nan without true pixels.
    coverage
        Labelled share of the true pixels of the class, whatever the rule; nan without true pixels.
    truth_pixels, label_pixels
        Counts by class over valid pixels, whatever the rule.
    miou
        Mean of `iou` over the classes where it is a number.
    num_classes
        How many classes that mean is over.
    pixel_accuracy
        Correct share of the counted pixels.
    mean_accuracy
        Mean of `recall` over classes in the truth.
    frequency_weighted_iou
        Mean of `iou` weighted by true pixels.
    accuracy_labelled
        Correct share of the labelled pixels, whatever the rule.
    overall_coverage
        Labelled share of all valid pixels, whatever the rule.
    """

    unlabelled: Unlabelled
    iou: Float64[np.ndarray, " C"]
    precision: Float64[np.ndarray, " C"]
    recall: Float64[np.ndarray, " C"]
    fp_rate: Float64[np.ndarray, " C"]
    fn_rate: Float64[np.ndarray, " C"]
    coverage: Float64[np.ndarray, " C"]
    truth_pixels: Int64[np.ndarray, " C"]
    label_pixels: Int64[np.ndarray, " C"]
    miou: float
    num_classes: int
    pixel_accuracy: float
    mean_accuracy: float
    frequency_weighted_iou: float
    accuracy_labelled: float
    overall_coverage: float


def scores_from_confusion(
    matrix: Int64[np.ndarray, "C C+1"], *, unlabelled: Unlabelled = "miss", background: int | None = None
) -> Scores:
    """Turn a confusion matrix into scores, pooled over everything it counted.

    Parameters
    ----------
    unlabelled
        `miss`: an unlabelled pixel is an error of its true class but predicts nothing. `exclude`: it does not
        count. `background`: it counts as labelled `background`. `error`: there must be none.
    background
        Id of the background class; only for `unlabelled="background"`.

    Raises
    ------
    ConfigError
        When the rule is unknown, or is `background` and there is no background class.
    DataError
        When the rule is `error` and a pixel is unlabelled.

    Examples
    --------
    >>> matrix = np.array([[1, 0, 1], [0, 2, 0]])
    >>> scores_from_confusion(matrix).iou, scores_from_confusion(matrix, unlabelled="exclude").iou
    (array([0.5, 1. ]), array([1., 1.]))
    """
    labelled, missed = split_unlabelled(matrix, unlabelled, background)
    correct = np.diagonal(labelled)
    truth_total = labelled.sum(axis=1) + missed
    label_total = labelled.sum(axis=0)
    iou = ratio(correct, truth_total + label_total - correct)
    recall = ratio(correct, truth_total)
    raw_truth, raw_labels = matrix.sum(axis=1), matrix[:, :-1].sum(axis=0)
    return Scores(
        unlabelled=unlabelled,
        iou=iou,
        precision=ratio(correct, label_total),
        recall=recall,
        fp_rate=ratio(label_total - correct, truth_total),
        fn_rate=ratio(truth_total - correct, truth_total),
        coverage=ratio(matrix[:, :-1].sum(axis=1), raw_truth),
        truth_pixels=raw_truth,
        label_pixels=raw_labels,
        miou=mean_of_numbers(iou),
        num_classes=int(np.isfinite(iou).sum()),
        pixel_accuracy=single_ratio(correct.sum(), truth_total.sum()),
        mean_accuracy=mean_of_numbers(recall),
        frequency_weighted_iou=single_ratio((np.nan_to_num(iou) * truth_total).sum(), truth_total.sum()),
        accuracy_labelled=single_ratio(np.trace(matrix), raw_labels.sum()),
        overall_coverage=single_ratio(raw_labels.sum(), raw_truth.sum()),
    )


def ratio(part: np.ndarray, whole: np.ndarray) -> Float64[np.ndarray, " C"]:
    """Divide by class; nan where there is nothing to divide by.

    Examples
    --------
    >>> ratio(np.array([1, 0]), np.array([2, 0]))
    array([0.5, nan])
    """
    return np.divide(part, whole, out=np.full(len(whole), np.nan), where=whole > 0)


def single_ratio(part: int | float | np.number, whole: int | float | np.number) -> float:
    """Divide two sums; nan when the whole is 0."""
    return float(part) / float(whole) if whole > 0 else float("nan")


def mean_of_numbers(values: Float64[np.ndarray, " C"]) -> float:
    """Mean of the values that are numbers; nan when there is none, never 0 or 1 in its place."""
    numbers = values[np.isfinite(values)]
    return float(numbers.mean()) if numbers.size else float("nan")


def check_same_size(truth: np.ndarray, labels: np.ndarray, *, place: str = "") -> None:
    """Refuse labels of another size than the truth.

    Raises
    ------
    ShapeError
        With both sizes.
    """
    if truth.shape != labels.shape:
        raise ShapeError(
            f"labels must have the size {truth.shape} of the truth, got {labels.shape}{place}",
            hint="nothing is resized silently; make the labels at the size of the image",
        )


def split_unlabelled(
    matrix: Int64[np.ndarray, "*images C C+1"], unlabelled: str, background: int | None
) -> tuple[Int64[np.ndarray, "*images C C"], Int64[np.ndarray, "*images C"]]:
    """Split matrices into their labelled square and the unlabelled pixels that count as misses under a rule.

    Raises
    ------
    ConfigError, DataError
        As `scores_from_confusion`.
    """
    square, missing = matrix[..., :-1], matrix[..., -1]
    if unlabelled == "miss":
        return square, missing
    if unlabelled == "exclude":
        return square, np.zeros_like(missing)
    if unlabelled == "error":
        refuse_unlabelled(int(missing.sum()))
        return square, missing
    if unlabelled != "background":
        raise ConfigError(f"unlabelled must be {', '.join(RULES[:-1])} or {RULES[-1]}, got {unlabelled!r}")
    if background is None:
        raise ConfigError(
            "unlabelled pixels can count as background only in a vocabulary that has a background class",
            hint="use --unlabelled miss or --unlabelled exclude",
        )
    square = square.copy()
    square[..., background] += missing
    return square, np.zeros_like(missing)


def refuse_unlabelled(count: int, *, where: str = "") -> None:
    """Refuse labels with holes, for the rule `error`.

    Raises
    ------
    DataError
        With the number of unlabelled pixels, if there are any.
    """
    if count:
        raise DataError(
            f"every pixel that counts must be labelled, got {count} without a label{f' in {where}' if where else ''}",
            hint="--unlabelled miss, exclude or background says what such a pixel is",
        )


def _refuse_foreign(kind: str, ids: np.ndarray, num_classes: int, ignore: int, place: str) -> None:
    foreign = [int(i) for i in np.unique(ids) if not 0 <= i < num_classes and i != ignore]
    shown = ", ".join(map(str, foreign[:5])) + (" ..." if len(foreign) > 5 else "")
    raise DataError(
        f"{kind} must be ids < {num_classes} or {ignore}, got {shown}{place}",
        hint="is this the right --vocab for these masks?",
    )
