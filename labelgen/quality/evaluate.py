"""Score all labels of a run against the truth, image after image, keeping only sums."""

from dataclasses import dataclass, field

import numpy as np
from jaxtyping import Int64

from labelgen.data.dataset import Dataset
from labelgen.engine import LOCAL, Engine
from labelgen.errors import ConfigError, DataError
from labelgen.quality.boundary import band_confusions, boundary_counts, check_bands
from labelgen.quality.boundary_f1 import tolerance_in_pixels
from labelgen.quality.confusion import RULES, Unlabelled, pair_counts, refuse_unlabelled
from labelgen.quality.in_order import Progress, scored
from labelgen.quality.intervals import class_counts
from labelgen.quality.match import id_lookup, translate
from labelgen.quality.more_counts import MoreCounts
from labelgen.quality.sparse import ImageRow, image_rows
from labelgen.store import LabelSource, RunFolder
from labelgen.vocab import Vocabulary

__all__ = ["Evaluation", "QualityOptions", "evaluate"]

BATCH = 64  # images whose rows are summed up at once


@dataclass(frozen=True)
class QualityOptions:
    """What to measure.

    Parameters
    ----------
    unlabelled
        What a pixel without a label counts as: `miss`, `exclude`, `background`, or `error` where none may be.
    boundary
        Also count boundary IoU.
    bands
        Also count within so many pixels of each contour; empty for not.
    intervals
        Also keep counts by image and class, which intervals over images need.
    boundary_f1
        Also compare contours, within this tolerance: in pixels, or below 1 as a share of the diagonal; 0 for not.
    panoptic
        Also match objects: instances where the truth knows them, else components.
    calibration
        Also compare the scores of the run, where it kept them, with the truth.

    Raises
    ------
    ConfigError
        When the rule is unknown, the bands do not increase, or the tolerance is negative.
    """

    unlabelled: Unlabelled = "miss"
    boundary: bool = False
    bands: tuple[int, ...] = ()
    intervals: bool = False
    boundary_f1: float = 0.0
    panoptic: bool = False
    calibration: bool = False

    def __post_init__(self) -> None:
        if self.unlabelled not in RULES:
            raise ConfigError(f"unlabelled must be {', '.join(RULES[:-1])} or {RULES[-1]}, got {self.unlabelled!r}")
        if self.bands:
            check_bands(self.bands)
        if self.boundary_f1:
            tolerance_in_pixels(self.boundary_f1, (1, 1))


@dataclass
class Evaluation:
    """The sums over one run; `labelgen.quality.document` turns them into figures.

    Parameters
    ----------
    name
        Name of the run.
    vocabulary
        That of the truth.
    options
        What was measured.
    counts
        Pairs of truth and label over all images; last row void truth, last column unlabelled.
    boundary
        Rows of `boundary_counts`; None when not asked for.
    bands
        One confusion matrix a band; None when not asked for.
    more
        Counts of contours and objects, and histograms of scores, where they were asked for.
    images
        One row per image of the truth, in order of ids.
    extra
        Ids of labels without truth, which nothing can be said about.
    class_counts
        What `class_counts` makes of each image, in parts; empty when not asked for.
    """

    name: str
    vocabulary: Vocabulary
    options: QualityOptions
    counts: Int64[np.ndarray, "D D"]
    boundary: Int64[np.ndarray, "4 C"] | None
    bands: Int64[np.ndarray, "bands C C+1"] | None
    more: MoreCounts = field(default_factory=MoreCounts)
    images: list[ImageRow] = field(default_factory=list)
    extra: tuple[str, ...] = ()
    class_counts: list[Int64[np.ndarray, "N 3 C"]] = field(default_factory=list)

    @property
    def matrix(self) -> Int64[np.ndarray, "C C+1"]:
        """The confusion matrix: rows truth, last column unlabelled."""
        return self.counts[:-1]

    @property
    def missing(self) -> tuple[str, ...]:
        """Ids of the truth without a label file; they count as wholly unlabelled."""
        return tuple(row.id for row in self.images if row.missing)


@dataclass(frozen=True)
class _ImageSums:
    id: str
    missing: bool
    counts: np.ndarray
    boundary: np.ndarray | None
    bands: np.ndarray | None
    more: MoreCounts


def evaluate(
    source: LabelSource,
    truth: Dataset,
    options: QualityOptions = QualityOptions(),
    *,
    workers: int = 0,
    engine: Engine = LOCAL,
    progress: Progress | None = None,
) -> Evaluation:
    """Score every image of the truth; an image without a label file counts as wholly unlabelled.

    Decoding and counting release the GIL, so that threads use all cores. Memory does not grow with the number of
    pixels. The result does not depend on the number of workers, nor on the engine.

    Parameters
    ----------
    source
        The labels.
    truth
        The data set whose truth is right.
    workers
        Threads, or actors of a Ray cluster; 0 for one per core.
    engine
        Where they are.
    progress
        Called with images done, images in all, and a note.

    Raises
    ------
    VocabularyError
        When labels and truth do not have the same classes.
    ConfigError
        When unlabelled pixels are to be background and there is no background class.
    DataError
        When an image cannot be read, differs in size from its truth or holds a foreign id (all are looked at before,
        and the first few named), no image of the truth has a label at all, the truth is void everywhere, or, with the
        rule `error`, a pixel is unlabelled.
    """
    vocabulary = truth.vocabulary
    if options.unlabelled == "background" and vocabulary.background is None:
        raise ConfigError(
            f"unlabelled pixels cannot count as background: vocabulary {vocabulary.name!r} has no background class",
            hint="use --unlabelled miss or --unlabelled exclude",
        )
    lookup = id_lookup(source.vocabulary, vocabulary)
    labelled = set(source.ids)
    if not labelled:
        raise DataError(
            f"{source.name} has no labelled image yet",
            hint="the command that makes the run, typed again, goes on with it",
        )
    if not labelled.intersection(truth.ids):
        raise DataError(
            f"no label of {source.name} belongs to an image of the truth: labels such as "
            f"{_first(source.ids)}, truth such as {_first(truth.ids)}",
            hint="is it the right --truth and --split? Ids are relative paths without suffix",
        )

    score = _Scorer(source, truth, options, frozenset(labelled), lookup)
    result = _empty(source.name, vocabulary, options)
    result.extra = tuple(sorted(labelled.difference(truth.ids)))
    batch: list[_ImageSums] = []
    for image in scored(score, source, truth, workers=workers, engine=engine, progress=progress):
        batch.append(image)
        if len(batch) == BATCH:
            _add(result, batch)
            batch.clear()
    _add(result, batch)
    if not result.matrix.any():
        raise DataError(
            f"the truth has no labelled pixel: its {len(truth.ids)} images, such as {_first(truth.ids)}, are all void",
            hint="is it the right --truth, --split and --vocab? Void in the files may be a class in another vocabulary",
        )
    return result


@dataclass(frozen=True)
class _Scorer:
    """Scores one image; picklable."""

    source: LabelSource
    truth: Dataset
    options: QualityOptions
    labelled: frozenset[str]
    lookup: np.ndarray | None

    def __call__(self, sample_id: str) -> _ImageSums:
        source, truth, options, vocabulary = self.source, self.truth, self.options, self.truth.vocabulary
        sample = truth.load(sample_id, {"truth"}) if options.panoptic else None
        true_map = truth.truth(sample_id) if sample is None else sample.need_truth()
        missing = sample_id not in self.labelled
        if missing:
            labels = np.full_like(true_map, vocabulary.ignore)
        else:
            labels = translate(source.labels(sample_id), self.lookup)
        found, labels = _score_image(sample_id, true_map, labels, vocabulary, options, missing=missing)
        if options.boundary_f1:
            sparse = options.unlabelled == "exclude"
            found.more.count_contours(
                true_map, labels, vocabulary, tolerance=options.boundary_f1, exclude_unlabelled=sparse
            )
        if sample is not None:
            found.more.count_objects(true_map, sample.instances, labels, vocabulary)
        if options.calibration and isinstance(source, RunFolder) and not missing:
            found.more.count_scores(true_map, source.scores(sample_id), vocabulary, lookup=self.lookup)
        return found


def _score_image(
    sample_id: str,
    truth: np.ndarray,
    labels: np.ndarray,
    vocabulary: Vocabulary,
    options: QualityOptions,
    *,
    missing: bool,
) -> tuple[_ImageSums, np.ndarray]:
    """The sums of one image, and its labels with what the rule makes of unlabelled pixels."""
    ids = {
        "num_classes": vocabulary.num_classes,
        "truth_ignore": vocabulary.ignore,
        "label_ignore": vocabulary.ignore,
    }
    counts = pair_counts(truth, labels, **ids, where=sample_id)
    if options.unlabelled == "error":
        refuse_unlabelled(
            int(counts[:-1, -1].sum()), where=f"{sample_id}, which has no label file" if missing else sample_id
        )
    bands = band_confusions(truth, labels, bands=options.bands, **ids) if options.bands else None
    boundary = None
    if options.unlabelled == "background" and (options.boundary or options.boundary_f1 or options.panoptic):
        labels = labels.copy()
        labels[labels == vocabulary.ignore] = vocabulary.background
    if options.boundary:
        exclude = options.unlabelled == "exclude"
        boundary = boundary_counts(truth, labels, **ids, exclude_unlabelled=exclude)
    return _ImageSums(sample_id, missing, counts, boundary, bands, MoreCounts()), labels


def _empty(name: str, vocabulary: Vocabulary, options: QualityOptions) -> Evaluation:
    C = vocabulary.num_classes
    return Evaluation(
        name=name,
        vocabulary=vocabulary,
        options=options,
        counts=np.zeros((C + 1, C + 1), np.int64),
        boundary=np.zeros((4, C), np.int64) if options.boundary else None,
        bands=np.zeros((len(options.bands), C, C + 1), np.int64) if options.bands else None,
        more=MoreCounts.empty(
            C, contours=bool(options.boundary_f1), objects=options.panoptic, calibration=options.calibration
        ),
    )


def _add(result: Evaluation, batch: list[_ImageSums]) -> None:
    if not batch:
        return
    counts = np.stack([image.counts for image in batch])
    result.counts += counts.sum(axis=0)
    if result.options.intervals:
        result.class_counts.append(class_counts(counts[:, :-1]))
    result.images += image_rows(
        [image.id for image in batch],
        counts[:, :-1],
        unlabelled=result.options.unlabelled,
        background=result.vocabulary.background,
        missing=[image.missing for image in batch],
    )
    for image in batch:
        if result.boundary is not None:
            result.boundary += image.boundary
        if result.bands is not None:
            result.bands += image.bands
        result.more.add(image.more)


def _first(ids: tuple[str, ...]) -> str:
    return repr(ids[0]) if ids else "none at all"
