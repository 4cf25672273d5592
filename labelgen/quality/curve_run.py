"""The threshold curve of a run: one pass over its saved scores, and what its own labels give on the same images."""

from collections.abc import Collection
from dataclasses import dataclass

import numpy as np
from jaxtyping import Int64

from labelgen.data.dataset import Dataset
from labelgen.engine import LOCAL, Engine
from labelgen.errors import ConfigError, DataError
from labelgen.masks import SoftMask
from labelgen.quality.confusion import Unlabelled, confusion_matrix
from labelgen.quality.curve import BINS, ImageCounts, ThresholdHistogram, image_histogram
from labelgen.quality.in_order import Progress, scored
from labelgen.quality.match import id_lookup, translate
from labelgen.seeds.backgrounds import BackgroundRule, Dual
from labelgen.seeds.recorded import recorded_background
from labelgen.store import RunFolder

__all__ = ["CurveOptions", "RunCurve", "run_curve"]


@dataclass(frozen=True)
class CurveOptions:
    """What to sweep.

    Parameters
    ----------
    bins
        Steps between thresholds 0 and 1.
    unlabelled
        What images without scores count as; see `labelgen.quality.confusion`.
    select_on
        Ids on which a threshold is chosen; all figures are then of the other images. None to choose none.
    """

    bins: int = BINS
    unlabelled: Unlabelled = "miss"
    select_on: tuple[str, ...] | None = None


@dataclass
class RunCurve:
    """The sums behind the curve of one run; `labelgen.quality.curve_document` turns them into figures.

    Parameters
    ----------
    run
        The run.
    truth
        The data set whose truth is right.
    reported
        Histogram of the images that are reported on.
    selecting
        Histogram of the images on which a threshold is chosen; None without such.
    own
        Confusion matrix of the run's own labels on the reported images.
    rule
        How the run itself set a background against its classes, where it says so.
    """

    run: RunFolder
    truth: Dataset
    options: CurveOptions
    reported: ThresholdHistogram
    selecting: ThresholdHistogram | None
    own: Int64[np.ndarray, "C C+1"]
    rule: BackgroundRule | None


@dataclass(frozen=True)
class _Counts:
    id: str
    image: ImageCounts | None
    own: np.ndarray


@dataclass(frozen=True)
class _Counter:
    """Counts the pixels of one image by their scores; picklable."""

    run: RunFolder
    truth: Dataset
    known: frozenset[str]
    lookup: np.ndarray | None
    bins: int
    empty_is_background: bool

    def __call__(self, sample_id: str) -> _Counts:
        run, vocabulary = self.run, self.truth.vocabulary
        true_map = self.truth.truth(sample_id)
        ids = {"num_classes": vocabulary.num_classes, "truth_ignore": vocabulary.ignore}
        if sample_id not in self.known:
            nothing = np.full_like(true_map, vocabulary.ignore)
            own = confusion_matrix(true_map, nothing, label_ignore=vocabulary.ignore, **ids)
            return _Counts(sample_id, None, own)
        labels = translate(run.labels(sample_id), self.lookup)
        mask = run.scores(sample_id)
        if mask is None:
            raise DataError(f"no scores of image {sample_id!r} in {run.path}", hint="labelgen verify lists damage")
        own = confusion_matrix(true_map, labels, label_ignore=vocabulary.ignore, **ids)
        if not mask.class_ids:  # the method had nothing to say, not even that all is background
            return _Counts(sample_id, None, own)
        assert vocabulary.background is not None
        image = image_histogram(
            true_map,
            translated(mask, self.lookup),
            background=vocabulary.background,
            bins=self.bins,
            empty_is_background=self.empty_is_background,
            where=sample_id,
            **ids,
        )
        return _Counts(sample_id, image, own)


def run_curve(
    run: RunFolder,
    truth: Dataset,
    options: CurveOptions = CurveOptions(),
    *,
    workers: int = 0,
    engine: Engine = LOCAL,
    progress: Progress | None = None,
) -> RunCurve:
    """Sum up the scores of a run against the truth; an image without scores counts as wholly unlabelled.

    Memory does not grow with the number of pixels, and the result does not depend on the number of workers.

    Parameters
    ----------
    workers
        Threads, or actors of a Ray cluster; 0 for one per core.
    engine
        Where they are.

    Raises
    ------
    ConfigError
        When the run kept no scores, has no background class or leaves a band undecided, or the ids to select on are
        no proper part of the truth.
    VocabularyError
        When run and truth do not have the same classes.
    DataError
        When scores cannot be swept: no plane for background, pixels that abstain, another size than the truth.
    """
    rule, background = recorded_background(run.header), truth.vocabulary.background
    _check(run, rule, background)
    assert background is not None
    selecting = _selected(truth, options)
    vocabulary, lookup, known = truth.vocabulary, id_lookup(run.vocabulary, truth.vocabulary), set(run.ids)
    result = RunCurve(
        run,
        truth,
        options,
        reported=ThresholdHistogram(vocabulary.num_classes, background, options.bins),
        selecting=ThresholdHistogram(vocabulary.num_classes, background, options.bins) if selecting else None,
        own=np.zeros((vocabulary.num_classes, vocabulary.num_classes + 1), np.int64),
        rule=rule,
    )

    # a rule that gives a background everywhere, or none where only saliency says so, takes nothing away
    empty_is_background = rule is not None and run.header["method"] != "refine"
    count = _Counter(run, truth, frozenset(known), lookup, options.bins, empty_is_background)
    for counts in scored(count, run, truth, workers=workers, engine=engine, progress=progress):
        _add(result, counts, selecting)
    return result


def translated(mask: SoftMask, lookup: np.ndarray | None) -> SoftMask:
    """The same scores under the class ids of the truth."""
    if lookup is None:
        return mask
    class_ids = lookup[list(mask.class_ids)].astype(np.int64)
    order = np.argsort(class_ids)
    return SoftMask(mask.scores[order], tuple(int(class_ids[index]) for index in order))


def _add(result: RunCurve, counts: _Counts, selecting: Collection[str]) -> None:
    chooses = counts.id in selecting
    histogram = result.selecting if chooses else result.reported
    assert histogram is not None
    if counts.image is None:
        histogram.add_unlabelled(counts.own.sum(axis=1))
    else:
        histogram.add(counts.image)
    if not chooses:
        result.own += counts.own


def _check(run: RunFolder, rule: BackgroundRule | None, background: int | None) -> None:
    if not run.header["save_scores"]:
        raise ConfigError(
            f"a curve needs scores, and {run.path} keeps none", hint="make the run again with --save-scores"
        )
    if background is None or run.vocabulary.background is None:
        raise ConfigError(
            f"a curve sets a background against the classes, but vocabulary {run.vocabulary.name!r} has no such class",
            hint="use a vocabulary with a background class, such as voc",
        )
    if isinstance(rule, Dual):
        raise ConfigError(
            f"{run.path} was made with the background {rule}, whose undecided pixels have no scores any more",
            hint="make the run with one background, such as --background fixed:0.2, to sweep over thresholds",
        )


def _selected(truth: Dataset, options: CurveOptions) -> frozenset[str]:
    if options.select_on is None:
        return frozenset()
    chosen = frozenset(options.select_on)
    foreign = sorted(chosen.difference(truth.ids))
    if foreign or not chosen or len(chosen) == len(truth.ids):
        what = f"{len(foreign)} of them have no truth, such as {foreign[0]!r}" if foreign else f"got {len(chosen)} ids"
        raise ConfigError(
            f"ids to choose a threshold on must be some, not all, of the {len(truth.ids)} images of the truth: {what}",
            hint="the figures are of the images that are left",
        )
    return chosen
