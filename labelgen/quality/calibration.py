"""Calibration of scores against truth: do pixels of confidence .8 have the right class in 8 of 10 cases?

Only histograms and sums are kept, so that data sets of any size fit. Neighbouring pixels are not independent, so their
number says nothing about how certain these figures are.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Bool, Float32, Float64, Int64, Integer

from labelgen.errors import ConfigError
from labelgen.masks import IGNORE
from labelgen.quality.confusion import check_same_size, mean_of_numbers, single_ratio

__all__ = ["BINS", "Calibration", "bin_of", "expected_error"]

BINS = 15
"""Guo et al. 2017, section 3."""

FINE = 2**12
"""Steps of confidence from which bins of equal mass are put together."""

FLOOR = 2.0**-24
"""Smallest probability in the log-likelihood: the smallest step of float16, in which scores are kept."""


def bin_of(confidence: Float64[np.ndarray, " N"], *, bins: int) -> Int64[np.ndarray, " N"]:
    """Number of the bin of each confidence; bin b is (b / bins, (b + 1) / bins], and 0 is in the first.

    Examples
    --------
    >>> bin_of(np.array([0.0, 0.25, 0.26, 1.0]), bins=4)
    array([0, 0, 1, 3])
    """
    return np.searchsorted(np.arange(1, bins) / bins, confidence, side="left").astype(np.int64)


def expected_error(histogram: Float64[np.ndarray, "3 bins"]) -> float:
    """Mean over all pixels of the distance between accuracy and confidence of their bin; nan without a pixel.

    Parameters
    ----------
    histogram
        Rows: pixels, sum of their confidence, how many of them are right.

    Examples
    --------
    >>> expected_error(np.array([[1.0, 3.0], [0.25, 2.75], [0.0, 3.0]]))
    0.125
    """
    count, confidence, right = histogram
    return single_ratio(float(np.abs(right - confidence).sum()), float(count.sum()))


@dataclass
class Calibration:
    """Histograms over the pixels of any number of images.

    Parameters
    ----------
    equal
        Of the largest probability: rows as in `expected_error`, bins of equal width.
    fine
        The same in many narrow steps.
    by_class
        For each class the same of its probability, right where the truth is that class.
    squares, logs
        Sums of the Brier score and of the negative log-likelihood.
    floored
        Pixels whose true class has a probability below the floor of the log-likelihood.
    """

    equal: Float64[np.ndarray, "3 bins"]
    fine: Float64[np.ndarray, "3 steps"]
    by_class: Float64[np.ndarray, "C 3 bins"]
    squares: float = 0.0
    logs: float = 0.0
    floored: int = 0

    @classmethod
    def empty(cls, num_classes: int, *, bins: int = BINS) -> "Calibration":
        """Before the first image.

        Raises
        ------
        ConfigError
            When there is no bin.
        """
        if bins < 1:
            raise ConfigError(f"calibration needs at least one bin, got {bins}")
        return cls(np.zeros((3, bins)), np.zeros((3, FINE)), np.zeros((num_classes, 3, bins)))

    def add(self, other: "Calibration") -> None:
        """Take another image in."""
        self.equal += other.equal
        self.fine += other.fine
        self.by_class += other.by_class
        self.squares += other.squares
        self.logs += other.logs
        self.floored += other.floored

    @classmethod
    def of(
        cls,
        probabilities: Float32[np.ndarray, "C H W"],
        class_ids: tuple[int, ...],
        truth: Integer[np.ndarray, "rows columns"],
        *,
        num_classes: int,
        truth_ignore: int = IGNORE,
        bins: int = BINS,
    ) -> "Calibration":
        """Histograms of one image, over the valid pixels that have a score.

        Parameters
        ----------
        probabilities
            Summing to 1, or 0 everywhere at a pixel without a score. Classes without a plane have probability 0.

        Raises
        ------
        ShapeError
            When probabilities and truth differ in size.

        References
        ----------
        .. [1] Guo et al., "On Calibration of Modern Neural Networks", ICML 2017, arXiv 1706.04599, equation 3.
        .. [2] Nixon et al., "Measuring Calibration in Deep Learning", CVPR workshops 2019, arXiv 1904.01685: bins of
           equal mass, and all classes.

        Examples
        --------
        >>> probabilities = np.array([[[0.75, 0.25]], [[0.25, 0.75]]], np.float32)
        >>> found = Calibration.of(probabilities, (0, 1), np.array([[0, 0]], np.uint8), num_classes=2)
        >>> found.ece, found.brier
        (0.25, 0.625)
        """
        check_same_size(truth, probabilities[0] if len(probabilities) else np.zeros(probabilities.shape[1:]))
        found = cls.empty(num_classes, bins=bins)
        counted = (truth != truth_ignore) & probabilities.any(axis=0)
        values, true = probabilities[:, counted].astype(np.float64), truth[counted]
        if not true.size:
            return found
        names = np.asarray(class_ids)
        best, right = values.max(axis=0), names[values.argmax(axis=0)] == true
        found.equal[:] = _histogram(best, right, bin_of(best, bins=bins), bins)
        found.fine[:] = _histogram(best, right, bin_of(best, bins=FINE), FINE)
        of_truth = np.zeros(len(true))
        for plane, class_id in zip(values, class_ids, strict=True):
            here = true == class_id
            of_truth[here] = plane[here]
            found.by_class[class_id] = _histogram(plane, here, bin_of(plane, bins=bins), bins)
        for class_id in set(range(num_classes)) - set(class_ids):  # probability 0 everywhere
            found.by_class[class_id, :, 0] = len(true), 0, (true == class_id).sum()
        found.squares = float((values**2).sum() - 2 * of_truth.sum() + len(true))
        found.logs = float(-np.log(np.maximum(of_truth, FLOOR)).sum())
        found.floored = int((of_truth < FLOOR).sum())
        return found

    @property
    def pixels(self) -> int:
        """Valid pixels that have a score."""
        return int(self.equal[0].sum())

    @property
    def ece(self) -> float:
        """Expected calibration error of the largest probability, bins of equal width."""
        return expected_error(self.equal)

    @property
    def adaptive_ece(self) -> float:
        """The same with bins of about equal mass, whose edges lie on steps of 1 / 4096."""
        return expected_error(_equal_mass(self.fine, self.equal.shape[1]))

    @property
    def class_ece(self) -> Float64[np.ndarray, " C"]:
        """Calibration error of the probability of each class; nan for one that is neither true nor ever probable."""
        _, confidence, right = self.by_class.sum(axis=2).T
        errors = np.array([expected_error(histogram) for histogram in self.by_class])
        return np.where((confidence > 0) | (right > 0), errors, np.nan)

    @property
    def brier(self) -> float:
        """Mean over pixels of the squared distance between probabilities and truth, summed over classes; in [0, 2]."""
        return single_ratio(self.squares, self.pixels)

    @property
    def nll(self) -> float:
        """Mean negative logarithm of the probability of the true class."""
        return single_ratio(self.logs, self.pixels)

    def to_json(self) -> dict[str, Any]:
        """All figures, nan where there is none, and the reliability diagram."""
        count, confidence, right = self.equal
        diagram = [
            {"confidence": single_ratio(c, n), "accuracy": single_ratio(r, n), "pixels": int(n)}
            for n, c, r in zip(count, confidence, right, strict=True)
        ]
        return {
            "ece": self.ece,
            "adaptive_ece": self.adaptive_ece,
            "class_ece": mean_of_numbers(self.class_ece),
            "nll": self.nll,
            "brier": self.brier,
            "accuracy": single_ratio(right.sum(), count.sum()),
            "confidence": single_ratio(confidence.sum(), count.sum()),
            "pixels": self.pixels,
            "pixels_below_floor": self.floored,
            "bins": diagram,
        }


def _histogram(
    confidence: np.ndarray, right: Bool[np.ndarray, " N"], places: np.ndarray, bins: int
) -> Float64[np.ndarray, "3 bins"]:
    rows = (None, confidence, right.astype(np.float64))
    return np.stack([np.bincount(places, row, bins).astype(np.float64) for row in rows])


def _equal_mass(fine: Float64[np.ndarray, "3 steps"], bins: int) -> Float64[np.ndarray, "3 bins"]:
    """Neighbouring steps put together; a step goes where the middle of its pixels would."""
    count = fine[0]
    middle = count.cumsum() - count / 2
    place = np.minimum((middle * bins / max(count.sum(), 1)).astype(np.int64), bins - 1)
    return np.stack([np.bincount(place, row, bins) for row in fine])
