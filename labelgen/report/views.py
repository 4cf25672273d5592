"""One image of a run as it is shown: small, with its truth, its labels and where they are wrong."""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from jaxtyping import Integer, UInt8

from labelgen.data.dataset import Dataset
from labelgen.errors import DataError
from labelgen.masks import LabelMap
from labelgen.quality.match import id_lookup, translate
from labelgen.report.overlays import errors_of, is_sparse, labelled_at
from labelgen.report.pictures import CLEAR_COLOURS, labels_at, picture_at, shown_size
from labelgen.store import LabelSource
from labelgen.vocab import Colour, Vocabulary

__all__ = ["Shown", "View", "colours_over"]

GREY = 200  # of an image that cannot be read


@dataclass(frozen=True, eq=False)
class View:
    """An image with what belongs to it, all at the size of its pictures.

    Parameters
    ----------
    labels
        None when the run has no label of this image.
    truth, errors
        None without truth.
    strokes
        Whether the labels are drawn as strokes.
    counts
        Labelled and true pixels of each class id together, at full size.
    label_classes
        Ids in the labels or in the truth.
    coverage
        Share of labelled pixels, in [0, 1]; with truth of those that are not void in it, as in all other figures.
    note
        What could not be read; empty when all is there.
    """

    id: str
    image: UInt8[np.ndarray, "h w 3"]
    labels: Integer[np.ndarray, "h w"] | None
    truth: Integer[np.ndarray, "h w"] | None
    errors: UInt8[np.ndarray, "h w"] | None
    strokes: bool
    counts: dict[int, int]
    coverage: float
    note: str = ""

    @property
    def classes(self) -> tuple[int, ...]:
        """Ids in the labels or in the truth, the largest first."""
        return tuple(sorted(self.counts, key=lambda class_id: (-self.counts[class_id], class_id)))


@dataclass(frozen=True)
class Shown:
    """Where pictures come from: labels, and the data set with their images and, if there is any, their truth.

    Parameters
    ----------
    dataset
        None when it cannot be opened: labels are then shown over plain grey.
    has_truth
        Whether the data set has truth in the classes of the labels.
    """

    source: LabelSource
    dataset: Dataset | None
    has_truth: bool

    @property
    def vocabulary(self) -> Vocabulary:
        """Of the views."""
        return self.dataset.vocabulary if self.dataset is not None and self.has_truth else self.source.vocabulary

    def labels(self, sample_id: str) -> LabelMap | None:
        """Labels in the ids of the views; None when the run has none of this image."""
        try:
            labels = self.source.labels(sample_id)
        except DataError:
            return None
        return translate(labels, id_lookup(self.source.vocabulary, self.vocabulary))

    def view(self, sample_id: str, *, side: int) -> View:
        """One image, its long side `side` pixels at most."""
        labels = self.labels(sample_id)
        truth = self.dataset.truth(sample_id) if self.dataset is not None and self.has_truth else None
        image, note = self._image(sample_id, truth if labels is None else labels)
        size = shown_size(image.shape[:2], smallest=0, largest=side)
        ignore = self.vocabulary.ignore
        maps = [m for m in (labels, truth) if m is not None]
        if any(m.shape != image.shape[:2] for m in maps):
            note, image = f"the image has another size, {image.shape[:2]}, than its labels", _grey(maps[0].shape)
            size = shown_size(image.shape[:2], smallest=0, largest=side)
        counts = sum((np.bincount(m.reshape(-1), minlength=ignore + 1) for m in maps), np.zeros(ignore + 1, np.int64))
        errors = None
        if labels is not None and truth is not None:
            errors = labelled_at(errors_of(truth, labels, self.vocabulary), size, ignore=255)
        return View(
            id=sample_id,
            image=picture_at(image, size),
            labels=None if labels is None else labelled_at(labels, size, ignore=ignore),
            truth=None if truth is None else labels_at(truth, size),
            errors=errors,
            strokes=labels is not None and is_sparse(labels, ignore=ignore),
            counts={int(i): int(counts[i]) for i in np.flatnonzero(counts[: self.vocabulary.num_classes])},
            coverage=_coverage(labels, truth, ignore=ignore),
            note=note if labels is not None else "no label of this image",
        )

    def _image(self, sample_id: str, instead: LabelMap | None) -> tuple[np.ndarray, str]:
        """The image, or grey of the size of the labels, and what is wrong."""
        try:
            if self.dataset is None:
                raise DataError("the images are not there")
            return self.dataset.image(sample_id), ""
        except DataError as error:
            if instead is None:
                raise
            return _grey(instead.shape), error.message


def _coverage(labels: LabelMap | None, truth: LabelMap | None, *, ignore: int) -> float:
    """Share of labelled pixels among those that count; 1 where none does."""
    if labels is None:
        return 0.0
    counted = labels != ignore if truth is None else (labels != ignore)[truth != ignore]
    return float(counted.mean()) if counted.size else 1.0


def _grey(size: tuple[int, ...]) -> np.ndarray:
    return np.full((*size[:2], 3), GREY, np.uint8)


def colours_over(views: Iterable[View], vocabulary: Vocabulary) -> dict[int, Colour]:
    """One colour for each class over several images, the largest classes get those easiest to tell."""
    totals: dict[int, int] = {}
    for view in views:
        for class_id, count in view.counts.items():
            totals[class_id] = totals.get(class_id, 0) + count
    present = sorted((i for i in totals if i != vocabulary.background), key=lambda i: (-totals[i], i))
    return {class_id: CLEAR_COLOURS[k % len(CLEAR_COLOURS)] for k, class_id in enumerate(present)}
