"""Confident learning on label maps: which labels do out-of-sample probabilities contradict, and how much per image.

Everything streams: a first pass over the images gives the mean self-confidence of each class, a second one the issues.
Nothing grows with the number of pixels of the data set. Unlabelled pixels take no part.
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float32, Float64, Int64, Integer

from labelgen.masks import IGNORE
from labelgen.quality.confusion import ratio

__all__ = ["ClassConfidence", "ImageIssues", "given_probability", "image_issues", "softmin_score"]

TEMPERATURE = 0.1
"""Of the softmin; Lad and Mueller 2023, section 3."""

SLACK = 1e-6
"""Added to probabilities before they are compared with a threshold, so that equal ones count as reaching it."""


def given_probability(
    probabilities: Float32[np.ndarray, "C H W"],
    class_ids: tuple[int, ...],
    labels: Integer[np.ndarray, "H W"],
    *,
    ignore: int = IGNORE,
) -> tuple[Int64[np.ndarray, " N"], Float64[np.ndarray, " N"]]:
    """Class and predicted probability of the given label, at every labelled pixel in reading order.

    Parameters
    ----------
    class_ids
        Of the planes; a label of another class has probability 0.

    Examples
    --------
    >>> probabilities = np.array([[[0.75, 0.5, 0.5]], [[0.25, 0.5, 0.5]]], np.float32)
    >>> given_probability(probabilities, (0, 3), np.array([[3, 255, 9]], np.uint8))
    (array([3, 9]), array([0.25, 0.  ]))
    """
    labelled = labels != ignore
    given = labels[labelled].astype(np.int64)
    found = np.zeros(len(given))
    for plane, class_id in zip(probabilities, class_ids, strict=True):
        here = given == class_id
        found[here] = plane[labelled][here]
    return given, found


def softmin_score(given: Float64[np.ndarray, " N"], *, temperature: float = TEMPERATURE) -> float:
    """Mean of the probabilities of the given labels that leans towards the smallest; nan without a labelled pixel.

    With q the probabilities, ``sum_i q_i softmax((1 - q) / T)_i``: the mean for a large T, the minimum for a small one.

    References
    ----------
    .. [1] Lad and Mueller, "Estimating label quality and errors in semantic segmentation data via any model", 2023,
       arXiv 2307.05080, section 3. There every pixel has a label; here those without one are left out.

    Examples
    --------
    >>> round(softmin_score(np.array([0.9, 0.1])), 3)
    0.1
    """
    if not given.size:
        return float("nan")
    exponents = (1 - given) / temperature
    weights = np.exp(exponents - exponents.max())
    return float((given * weights).sum() / weights.sum())


@dataclass
class ClassConfidence:
    """The first pass: sums of the probabilities of given labels by class.

    Parameters
    ----------
    sums, counts
        By class of the label, over all images so far.
    """

    sums: Float64[np.ndarray, " C"]
    counts: Int64[np.ndarray, " C"]

    @classmethod
    def empty(cls, num_classes: int) -> "ClassConfidence":
        """Before the first image."""
        return cls(np.zeros(num_classes), np.zeros(num_classes, np.int64))

    @classmethod
    def of(
        cls, classes: Int64[np.ndarray, " N"], given: Float64[np.ndarray, " N"], *, num_classes: int
    ) -> "ClassConfidence":
        """Sums over one image, from what `given_probability` returns."""
        sums = np.bincount(classes, given, num_classes)[:num_classes]
        return cls(sums, np.bincount(classes, minlength=num_classes)[:num_classes].astype(np.int64))

    def add(self, other: "ClassConfidence") -> None:
        """Take another image in."""
        self.sums += other.sums
        self.counts += other.counts

    def thresholds(self) -> Float64[np.ndarray, " C"]:
        """Mean self-confidence of each class; nan for a class that no pixel is labelled with.

        Examples
        --------
        >>> sums = ClassConfidence.of(np.array([0, 0, 2]), np.array([0.5, 1.0, 0.25]), num_classes=3)
        >>> sums.thresholds()
        array([0.75,  nan, 0.25])
        """
        return ratio(self.sums, self.counts)


@dataclass(frozen=True)
class ImageIssues:
    """The second pass, over one image.

    Parameters
    ----------
    issues
        Which pixels have a label that is likely wrong.
    joint
        Labelled pixels by given class (row) and confidently predicted class (column): the confident joint, unscaled.
        Pixels that reach no threshold are nowhere in it.
    labelled
        Pixels with a label.
    """

    issues: Bool[np.ndarray, "H W"]
    joint: Int64[np.ndarray, "C C"]
    labelled: int

    @property
    def share(self) -> float:
        """Share of the labelled pixels that are issues; nan without any."""
        return int(self.issues.sum()) / self.labelled if self.labelled else float("nan")


def image_issues(
    probabilities: Float32[np.ndarray, "C H W"],
    class_ids: tuple[int, ...],
    labels: Integer[np.ndarray, "H W"],
    thresholds: Float64[np.ndarray, " K"],
    *,
    ignore: int = IGNORE,
) -> ImageIssues:
    """Find the labels that out-of-sample probabilities contradict with confidence.

    A pixel is confidently of class j when p_j reaches the threshold of j; of several such classes the likeliest counts.
    It is an issue when that class is not its label, and its most probable class of all is not its label either.

    Parameters
    ----------
    thresholds
        By class id; nan for classes that no pixel of the data set is labelled with, which nothing is confidently of.

    References
    ----------
    .. [1] Northcutt, Jiang and Chuang, "Confident Learning: Estimating Uncertainty in Dataset Labels", JAIR 2021,
       arXiv 1911.00068, equations 1 and 2 (the confident joint), section 3.2 (its off-diagonal). Here by pixel.

    Examples
    --------
    >>> probabilities = np.array([[[0.9, 0.2, 0.55]], [[0.1, 0.8, 0.45]]], np.float32)
    >>> found = image_issues(probabilities, (0, 1), np.array([[0, 0, 1]], np.uint8), np.array([0.6, 0.7]))
    >>> found.issues.tolist(), found.joint.tolist()
    ([[False, True, False]], [[1, 1], [0, 0]])
    """
    labelled = labels != ignore
    limits = thresholds[list(class_ids)]
    limits = np.where(np.isnan(limits), np.inf, limits)
    values = probabilities[:, labelled]
    given = labels[labelled].astype(np.int64)
    reached = np.where(values + SLACK >= limits[:, None], values, -1)
    names = np.asarray(class_ids, np.int64)
    confident = names[reached.argmax(axis=0)]
    sure = (reached >= 0).any(axis=0)
    found = sure & (confident != given) & (names[values.argmax(axis=0)] != given)
    issues = np.zeros(labels.shape, bool)
    issues[labelled] = found
    classes = len(thresholds)
    pairs = given[sure] * classes + confident[sure]
    joint = np.bincount(pairs, minlength=classes * classes).reshape(classes, classes).astype(np.int64)
    return ImageIssues(issues, joint, len(given))
