"""Overlap of labels with predicted probabilities by class, and how low it is for the class: the score by `probe`."""

import numpy as np
from jaxtyping import Float32, Float64, Integer

from labelgen.masks import IGNORE

__all__ = ["class_overlaps", "relative_overlap", "soft_iou"]

FLOOR = 1e-3
"""Smallest overlap that is told apart from none: less than one pixel of a region of thirty by thirty."""


def class_overlaps(
    probabilities: Float32[np.ndarray, "C H W"],
    class_ids: tuple[int, ...],
    labels: Integer[np.ndarray, "H W"],
    *,
    num_classes: int,
    ignore: int = IGNORE,
) -> Float64[np.ndarray, "3 {num_classes}"]:
    """Sum up what soft IoU needs, by class, over the labelled pixels; sums of several images add up.

    Returns
    -------
    Float64[np.ndarray, "3 {num_classes}"]
        Rows: probability of the class on its own label, pixels with the label, probability of the class everywhere.

    Examples
    --------
    >>> probabilities = np.array([[[0.75, 0.5, 0.25]], [[0.25, 0.5, 0.75]]], np.float32)
    >>> class_overlaps(probabilities, (0, 1), np.array([[0, 255, 0]], np.uint8), num_classes=2)
    array([[1., 0.],
           [2., 0.],
           [1., 1.]])
    """
    labelled = labels != ignore
    given = labels[labelled]
    sums = np.zeros((3, num_classes))
    sums[1] = np.bincount(given, minlength=num_classes)[:num_classes]
    for plane, class_id in zip(probabilities, class_ids, strict=True):
        values = plane[labelled].astype(np.float64)
        sums[0, class_id] = values[given == class_id].sum()
        sums[2, class_id] = values.sum()
    return sums


def soft_iou(sums: Float64[np.ndarray, "*images 3 C"]) -> Float64[np.ndarray, "*images C"]:
    """Overlap of labels and probabilities over their union; nan where the labels do not have the class.

    Examples
    --------
    >>> soft_iou(np.array([[1.0, 0.0], [2.0, 0.0], [1.0, 1.0]]))
    array([0.5, nan])
    """
    both, given, predicted = sums[..., 0, :], sums[..., 1, :], sums[..., 2, :]
    return np.divide(both, given + predicted - both, out=np.full(both.shape, np.nan), where=given > 0)


def relative_overlap(overlaps: Float64[np.ndarray, "N C"]) -> Float64[np.ndarray, " N"]:
    """Overlap of each image with what is usual for its classes: 1 is usual, less is suspicious, nan is unlabelled.

    The mean, over the classes that an image is labelled with, of the logarithm of their soft IoU less the mean of that
    logarithm over all images with the class; as a factor. Classes that a probe finds hard do not make their images
    suspicious by themselves, and a small object counts as much as its background.

    Parameters
    ----------
    overlaps
        Soft IoU of each image and class; nan where an image is not labelled with a class.

    Examples
    --------
    >>> overlaps = np.array([[0.8, np.nan], [0.8, 0.4], [0.8, 0.1]])
    >>> relative_overlap(overlaps).round(3).tolist()
    [1.0, 1.414, 0.707]
    """
    present = np.isfinite(overlaps)
    logs = np.log(np.maximum(np.where(present, overlaps, 1.0), FLOOR))
    images = present.sum(axis=0)
    usual = np.divide((logs * present).sum(axis=0), images, out=np.zeros(len(images)), where=images > 0)
    classes = present.sum(axis=1)
    total = ((logs - usual) * present).sum(axis=1)
    return np.exp(np.divide(total, classes, out=np.full(len(classes), np.nan), where=classes > 0))
