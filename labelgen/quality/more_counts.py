"""What is counted of one image only when it is asked for: contours, objects, calibration of scores."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float64, Int32, Int64

from labelgen.masks import LabelMap, SoftMask
from labelgen.quality.boundary_f1 import boundary_f1_counts
from labelgen.quality.calibration import Calibration
from labelgen.quality.certainty import probabilities_of
from labelgen.quality.panoptic import panoptic_counts, segments_of
from labelgen.vocab import Vocabulary

__all__ = ["MoreCounts"]


@dataclass
class MoreCounts:
    """Sums over any number of images; None where they were not asked for.

    Parameters
    ----------
    contours
        Rows of `boundary_f1_counts`.
    objects
        Rows of `panoptic_counts`.
    instance_images
        Images whose truth knows instances; of the others components are compared.
    calibration
        Histograms of the scores; of images without scores nothing is in them.
    scored_images
        Images with scores.
    """

    contours: Int64[np.ndarray, "4 C"] | None = None
    objects: Float64[np.ndarray, "4 C"] | None = None
    instance_images: int = 0
    calibration: Calibration | None = None
    scored_images: int = 0

    @classmethod
    def empty(cls, num_classes: int, *, contours: bool, objects: bool, calibration: bool) -> "MoreCounts":
        """Before the first image."""
        return cls(
            np.zeros((4, num_classes), np.int64) if contours else None,
            np.zeros((4, num_classes)) if objects else None,
            calibration=Calibration.empty(num_classes) if calibration else None,
        )

    def add(self, other: "MoreCounts") -> None:
        """Take another image in."""
        if self.contours is not None:
            self.contours += other.contours
        if self.objects is not None:
            self.objects += other.objects
        if self.calibration is not None and other.calibration is not None:
            self.calibration.add(other.calibration)
        self.instance_images += other.instance_images
        self.scored_images += other.scored_images

    def count_contours(
        self, truth: LabelMap, labels: LabelMap, vocabulary: Vocabulary, *, tolerance: float, exclude_unlabelled: bool
    ) -> None:
        """Count the contours of one image."""
        self.contours = boundary_f1_counts(
            truth,
            labels,
            num_classes=vocabulary.num_classes,
            tolerance=tolerance,
            truth_ignore=vocabulary.ignore,
            label_ignore=vocabulary.ignore,
            exclude_unlabelled=exclude_unlabelled,
        )

    def count_objects(
        self,
        truth: LabelMap,
        instances: Int32[np.ndarray, "H W"] | None,
        labels: LabelMap,
        vocabulary: Vocabulary,
    ) -> None:
        """Match the objects of one image."""
        ids = {"background": vocabulary.background, "ignore": vocabulary.ignore}
        self.objects = panoptic_counts(
            segments_of(truth, instances, **ids),
            segments_of(labels, **ids),
            truth == vocabulary.ignore,
            num_classes=vocabulary.num_classes,
        )
        self.instance_images = int(instances is not None)

    def count_scores(
        self, truth: LabelMap, mask: SoftMask | None, vocabulary: Vocabulary, *, lookup: np.ndarray | None
    ) -> None:
        """Put the scores of one image into histograms.

        Parameters
        ----------
        lookup
            From class ids of the scores to those of the truth, as `id_lookup` gives it; None where they are the same.
        """
        if mask is None:
            return
        names = mask.class_ids if lookup is None else tuple(int(lookup[class_id]) for class_id in mask.class_ids)
        self.calibration = Calibration.of(
            probabilities_of(mask),
            names,
            truth,
            num_classes=vocabulary.num_classes,
            truth_ignore=vocabulary.ignore,
        )
        self.scored_images = 1
