"""What a page knows of one run: the labels, the images, and how good they are where there is truth."""

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from labelgen.data.dataset import Dataset
from labelgen.masks import label_counts
from labelgen.quality.document import quality_document
from labelgen.quality.evaluate import Evaluation, QualityOptions, evaluate
from labelgen.quality.match import why_unscored
from labelgen.report.views import Shown
from labelgen.store import LabelSource, RunFolder
from labelgen.store.layout import MANIFEST

__all__ = ["DISTANCES", "ImageLabels", "MeasuredRun", "Ring", "measured", "rings"]

DISTANCES = (1, 2, 3, 5, 8, 12, 20, 32, 50)
"""Pixels from a contour of the truth; between two of them errors are counted together."""

Progress = Callable[[int, int, str], None]


@dataclass(frozen=True)
class Ring:
    """The pixels between two distances from a contour of the truth.

    Parameters
    ----------
    name
        The distances in pixels, such as `4-5`.
    pixels
        How many that are not void.
    wrong
        Share of them that is not labelled with the true class, unlabelled ones among them; nan without pixels.
    wrong_labelled
        Share of the labelled ones with another class; nan without any.
    """

    name: str
    pixels: int
    wrong: float
    wrong_labelled: float


@dataclass(frozen=True)
class ImageLabels:
    """How much of one image is labelled, and with what."""

    id: str
    coverage: float
    classes: dict[int, int]


@dataclass(frozen=True, eq=False)
class MeasuredRun:
    """A run as a page shows it.

    Parameters
    ----------
    name
        Unique among the runs of the page.
    path
        As it was named.
    shown
        Labels and images.
    evaluation, document
        None without truth.
    why_not
        Why there is no truth; empty where there is.
    is_subset
        Whether only some images were asked for, so that labels of others are no surprise.
    """

    name: str
    path: str
    shown: Shown
    evaluation: Evaluation | None
    document: dict[str, Any] | None
    why_not: str = ""
    is_subset: bool = False

    @property
    def header(self) -> dict[str, Any]:
        """Content of run.json; empty for a plain folder of masks."""
        return self.shown.source.header if isinstance(self.shown.source, RunFolder) else {}

    @cached_property
    def labels_sha256(self) -> str:
        """Hash of the manifest, which holds the hash of every label; empty for a plain folder."""
        path = self.shown.source.path / MANIFEST
        return hashlib.sha256(path.read_bytes()).hexdigest() if self.header and path.is_file() else ""

    @cached_property
    def images(self) -> list[ImageLabels]:
        """What the labels hold, image by image."""
        source = self.shown.source
        if isinstance(source, RunFolder):
            return [
                ImageLabels(i, record["coverage"], {int(c): n for c, n in record["classes"].items()})
                for i, record in source.records().items()
            ]
        return [_image_labels(source, sample_id) for sample_id in source.ids]


def _image_labels(source: LabelSource, sample_id: str) -> ImageLabels:
    labels = source.labels(sample_id)
    counts = label_counts(labels, ignore=source.vocabulary.ignore)[: source.vocabulary.num_classes]
    classes = {int(i): int(counts[i]) for i in np.flatnonzero(counts)}
    return ImageLabels(sample_id, sum(classes.values()) / max(labels.size, 1), classes)


def measured(
    source: LabelSource,
    dataset: Dataset | None,
    *,
    name: str = "",
    path: str = "",
    why_not: str = "",
    is_subset: bool = False,
    workers: int = 0,
    progress: Progress | None = None,
) -> MeasuredRun:
    """Measure a run against the truth of a data set, with boundaries, distances and intervals, where there is truth.

    Parameters
    ----------
    dataset
        None when it cannot be opened.
    why_not
        Why it cannot.
    is_subset
        See `MeasuredRun`.
    """
    name, path = name or source.name, path or Path(source.path).as_posix()
    if not why_not:
        why_not = "the images are not there" if dataset is None else why_unscored(source.vocabulary, dataset)
    if why_not or dataset is None:
        return MeasuredRun(name, path, Shown(source, dataset, has_truth=False), None, None, why_not)
    options = QualityOptions(boundary=True, bands=DISTANCES, intervals=True)
    evaluation = evaluate(source, dataset, options, workers=workers, progress=progress)
    evaluation.name = name
    supervision: Sequence[str] | None = source.header["supervision"] if isinstance(source, RunFolder) else None
    document = quality_document(evaluation, supervision=supervision)
    shown = Shown(source, dataset, has_truth=True)
    return MeasuredRun(name, path, shown, evaluation, document, is_subset=is_subset)


def rings(evaluation: Evaluation) -> list[Ring]:
    """Errors by distance from the contours of the truth, out of the bands of an evaluation."""
    if evaluation.bands is None:
        return []
    bands = evaluation.options.bands
    inside = [*evaluation.bands, evaluation.matrix]
    found, before, low = [], np.zeros_like(evaluation.matrix), 0
    for high, matrix in zip([*bands, None], inside, strict=True):
        ring = matrix - before
        pixels, labelled, right = ring.sum(), ring[:, :-1].sum(), np.trace(ring)
        name = f"> {low}" if high is None else f"{high}" if high == low + 1 else f"{low + 1}-{high}"
        found.append(
            Ring(
                name,
                int(pixels),
                1 - float(right / pixels) if pixels else float("nan"),
                1 - float(right / labelled) if labelled else float("nan"),
            )
        )
        before, low = matrix, high or low
    return found
