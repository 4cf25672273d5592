"""How wrong labels came out, measured against the ground truth of their image."""

from typing import Any

import numpy as np

from labelgen.masks import LabelMap
from labelgen.quality.boundary import boundary_counts
from labelgen.quality.confusion import confusion_matrix, scores_from_confusion

__all__ = ["achieved_noise"]


def achieved_noise(truth: LabelMap, labels: LabelMap, *, num_classes: int, ignore: int) -> dict[str, Any]:
    """Measure labels in one image; values are fractions, None where an image gives no answer.

    Returns
    -------
    dict
        `miou` (unlabelled pixels count as misses), `boundary_iou` (mean over classes), `flip_rate` (share of valid
        pixels with a wrong label), `unlabelled_rate` (share of valid pixels without one), `wrong_pixels` and
        `valid_pixels` to pool the rates over images.

    Examples
    --------
    >>> truth, labels = np.array([[0, 0, 1, 1]], np.uint8), np.array([[0, 0, 0, 255]], np.uint8)
    >>> noise = achieved_noise(truth, labels, num_classes=2, ignore=255)
    >>> noise["flip_rate"], noise["unlabelled_rate"], noise["valid_pixels"]
    (0.25, 0.25, 4)
    """
    matrix = confusion_matrix(truth, labels, num_classes=num_classes, truth_ignore=ignore, label_ignore=ignore)
    valid = int(matrix.sum())
    wrong = int(matrix[:, :-1].sum() - np.trace(matrix))
    return {
        "miou": _rounded(scores_from_confusion(matrix).miou),
        "boundary_iou": _rounded(_boundary_iou(truth, labels, num_classes, ignore)),
        "flip_rate": _rounded(wrong / valid if valid else float("nan")),
        "unlabelled_rate": _rounded(int(matrix[:, -1].sum()) / valid if valid else float("nan")),
        "wrong_pixels": wrong,
        "valid_pixels": valid,
    }


def _boundary_iou(truth: LabelMap, labels: LabelMap, num_classes: int, ignore: int) -> float:
    both, union, _, _ = boundary_counts(
        truth, labels, num_classes=num_classes, truth_ignore=ignore, label_ignore=ignore
    )
    present = union > 0
    return float((both[present] / union[present]).mean()) if present.any() else float("nan")


def _rounded(value: float) -> float | None:
    return round(value, 6) if np.isfinite(value) else None
