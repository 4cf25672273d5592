"""Boundary F1: how much of the contours of labels and truth lies near each other, by class."""

from dataclasses import dataclass

import cv2
import numpy as np
from jaxtyping import Bool, Float32, Float64, Int64, Integer

from labelgen.errors import ConfigError
from labelgen.masks import IGNORE
from labelgen.quality.boundary import complete_void
from labelgen.quality.confusion import check_same_size, mean_of_numbers, ratio

__all__ = ["BoundaryF1", "boundary_f1", "boundary_f1_counts", "class_contours", "tolerance_in_pixels"]

TOLERANCE = 0.0075
"""Share of the image diagonal; Csurka et al. 2013, section 3.2."""


@dataclass(frozen=True)
class BoundaryF1:
    """By class, nan where neither labels nor truth have a contour of it.

    Parameters
    ----------
    precision
        Share of the contour of the labels within the tolerance of the contour of the truth; nan without the former.
    recall
        Share of the contour of the truth within the tolerance of that of the labels; nan without the former.
    f1
        Their harmonic mean; 0 where only one side has a contour.
    mean
        Mean of `f1` over the classes where it is a number.
    """

    precision: Float64[np.ndarray, " C"]
    recall: Float64[np.ndarray, " C"]
    f1: Float64[np.ndarray, " C"]
    mean: float


def tolerance_in_pixels(tolerance: float, size: tuple[int, int]) -> float:
    """A tolerance below 1 is a share of the image diagonal, else it is in pixels.

    Raises
    ------
    ConfigError
        When it is not above 0.

    Examples
    --------
    >>> tolerance_in_pixels(3, (300, 400)), tolerance_in_pixels(0.01, (300, 400))
    (3.0, 5.0)
    """
    if not 0 < tolerance < float("inf"):
        raise ConfigError(
            f"the tolerance of boundary F1 must be above 0, got {tolerance}",
            hint="3 is in pixels; below 1 it is a share of the diagonal, 0.0075 is usual",
        )
    return float(tolerance) if tolerance >= 1 else float(tolerance * np.hypot(*size))


def class_contours(labels: Integer[np.ndarray, "H W"], *, ignore: int = IGNORE) -> Bool[np.ndarray, "H W"]:
    """Mark labelled pixels with a 4-neighbour of another class, on both sides of the contour.

    Neighbours without a label, and the edge of the image, make no contour.

    Examples
    --------
    >>> class_contours(np.array([[0, 0, 1, 1, 255, 0]], np.uint8)).astype(int)
    array([[0, 1, 1, 0, 0, 0]])
    """
    known = labels != ignore
    contour = np.zeros(labels.shape, bool)
    down = (labels[1:] != labels[:-1]) & known[1:] & known[:-1]
    right = (labels[:, 1:] != labels[:, :-1]) & known[:, 1:] & known[:, :-1]
    contour[1:] |= down
    contour[:-1] |= down
    contour[:, 1:] |= right
    contour[:, :-1] |= right
    return contour


def boundary_f1_counts(
    truth: Integer[np.ndarray, "H W"],
    labels: Integer[np.ndarray, "rows columns"],
    *,
    num_classes: int,
    tolerance: float = TOLERANCE,
    truth_ignore: int = IGNORE,
    label_ignore: int = IGNORE,
    exclude_unlabelled: bool = False,
) -> Int64[np.ndarray, "4 {num_classes}"]:
    """Count contour pixels, and those near the contour of the same class on the other side; counts add up.

    Void is completed first, so that the contour of an object with a void ring runs in the middle of the ring (see
    `complete_void`). A contour pixel farther than the tolerance from all pixels with truth is left out: nobody knows
    what is right there. Distances are Euclidean.

    Parameters
    ----------
    tolerance
        In pixels from 1 up; below 1 a share of the image diagonal.
    exclude_unlabelled
        Leave out contour pixels of the truth that have no label.

    Returns
    -------
    Int64[np.ndarray, "4 {num_classes}"]
        Rows: contour pixels of the labels that are near, all of them, contour pixels of the truth that are near, all.

    References
    ----------
    .. [1] Csurka et al., "What is a good evaluation measure for semantic segmentation?", BMVC 2013, section 3.2. There
       by image and by class against the rest; here by class with both sides of each contour, pooled over the data set.
    .. [2] Perazzi et al., "A Benchmark Dataset and Evaluation Methodology for Video Object Segmentation", CVPR 2016,
       section 4 (the F-measure of contours).

    Examples
    --------
    >>> truth = np.array([[0, 0, 0, 1, 1, 1]], np.uint8)
    >>> labels = np.array([[0, 0, 0, 0, 1, 1]], np.uint8)
    >>> boundary_f1_counts(truth, labels, num_classes=2, tolerance=1).T.tolist()
    [[1, 1, 1, 1], [1, 1, 1, 1]]
    """
    check_same_size(truth, labels)
    radius = tolerance_in_pixels(tolerance, truth.shape)
    full_truth, full_labels = complete_void(truth, labels, truth_ignore=truth_ignore, label_ignore=label_ignore)
    judged = _within(truth != truth_ignore, radius)
    true_contour = class_contours(full_truth, ignore=truth_ignore) & judged
    label_contour = class_contours(full_labels, ignore=label_ignore) & judged
    if exclude_unlabelled:
        true_contour &= full_labels != label_ignore
    counts = np.zeros((4, num_classes), np.int64)
    for class_id in np.unique(np.concatenate([full_truth[true_contour], full_labels[label_contour]])):
        if class_id >= num_classes:
            continue
        of_truth, of_labels = true_contour & (full_truth == class_id), label_contour & (full_labels == class_id)
        counts[:, class_id] = (
            (of_labels & _within(of_truth, radius)).sum(),
            of_labels.sum(),
            (of_truth & _within(of_labels, radius)).sum(),
            of_truth.sum(),
        )
    return counts


def boundary_f1(counts: Int64[np.ndarray, "4 C"]) -> BoundaryF1:
    """Turn counts, of one image or of many, into shares.

    Examples
    --------
    >>> found = boundary_f1(np.array([[2, 0, 0], [4, 0, 3], [3, 0, 0], [3, 0, 0]]))
    >>> found.f1.round(3).tolist(), round(found.mean, 3)
    ([0.667, nan, 0.0], 0.333)
    """
    near_labels, all_labels, near_truth, all_truth = counts
    precision, recall = ratio(near_labels, all_labels), ratio(near_truth, all_truth)
    present = (all_labels > 0) | (all_truth > 0)
    p, r = np.nan_to_num(precision), np.nan_to_num(recall)
    f1 = np.divide(2 * p * r, p + r, out=np.where(present, 0.0, np.nan), where=p + r > 0)
    return BoundaryF1(precision, recall, f1, mean_of_numbers(f1))


def _within(marked: Bool[np.ndarray, "H W"], radius: float) -> Bool[np.ndarray, "H W"]:
    """Pixels at most so far from a marked one."""
    if not marked.any():
        return np.zeros(marked.shape, bool)
    distance: Float32[np.ndarray, "H W"] = cv2.distanceTransform(
        (~marked).astype(np.uint8), cv2.DIST_L2, cv2.DIST_MASK_PRECISE
    )
    return distance <= np.float32(radius)
