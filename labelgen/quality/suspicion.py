"""How suspicious each image and class of a run is, without truth: two passes over its labels and scores.

The first pass sums up certainty, agreement and overlap; the second looks for labels that a probe contradicts, which
needs the mean self-confidence of each class from the first. Only sums by image and class are kept.
"""

from dataclasses import dataclass, field

import numpy as np
from jaxtyping import Float64, Int64

from labelgen.quality.agreement import Agreement, agreement_of
from labelgen.quality.certainty import FIGURES
from labelgen.quality.confident import ClassConfidence
from labelgen.quality.confusion import ratio
from labelgen.quality.image_suspicion import FirstLook, ImageReader, SecondLook
from labelgen.quality.in_order import Progress, on_threads
from labelgen.quality.overlap import relative_overlap, soft_iou
from labelgen.quality.regions import Region, combined_score, image_margin
from labelgen.store import LabelSource, RunFolder
from labelgen.vocab import Vocabulary

__all__ = ["SCORES", "Score", "Suspicion", "suspicion_of"]


@dataclass(frozen=True)
class Score:
    """One way to rank images.

    Parameters
    ----------
    needs
        What it is computed from: the `scores` of the run, other labels (`against`), or out-of-sample predictions
        (`probe`).
    low
        Whether low values are suspicious, else high ones.
    sentence
        What it is.
    """

    needs: str
    low: bool
    sentence: str


SCORES: dict[str, Score] = {
    "combined": Score("probe", True, "probe and region together, each in standard deviations from its median"),
    "probe": Score("probe", True, "soft IoU of labels and out-of-sample predictions, relative to what its classes get"),
    "region": Score("probe", True, "how much more the labelled regions look like their class than like another one"),
    "given": Score("probe", True, "mean out-of-sample probability of the given label"),
    "softmin": Score("probe", True, "the same mean, leaning towards the worst pixels (softmin, T = 0.1)"),
    "confident": Score("probe", False, "share of labelled pixels that confident learning takes for wrong"),
    "agreement": Score("against", True, "mIoU with the other labels over pixels that both label"),
    "confidence": Score("scores", True, "mean of the largest class probability in the run's own scores"),
    "margin": Score("scores", True, "mean of the largest less the second largest probability"),
    "entropy": Score("scores", False, "mean entropy over the logarithm of the number of classes"),
}
"""By name; of those that can be had, the first is the usual one to rank by."""


@dataclass
class Suspicion:
    """What two passes found; arrays by image follow the order of `ids`, nan where an image has no answer.

    Parameters
    ----------
    name, vocabulary, ids
        Of the run.
    values
        Value of each score that can be had, by image.
    class_values
        The same by class, over all its labelled pixels; softmin has none.
    pixels, images
        Labelled pixels of each class, and images that have it.
    worst_class
        For each image the class of the smallest overlap relative to what it usually gets; -1 without predictions.
    odd_region
        The region of each image that looks least like its class, if that is less than like another one; else None.
    agreement
        With the other labels, over all images; None without such.
    joint
        Labelled pixels by given and confidently predicted class; None without predictions.
    missing
        Images without an answer by what is missing: `scores`, `against` or `probe`.
    """

    name: str
    vocabulary: Vocabulary
    ids: tuple[str, ...]
    values: dict[str, Float64[np.ndarray, " N"]] = field(default_factory=dict)
    class_values: dict[str, Float64[np.ndarray, " C"]] = field(default_factory=dict)
    pixels: Int64[np.ndarray, " C"] = field(default_factory=lambda: np.zeros(0, np.int64))
    images: Int64[np.ndarray, " C"] = field(default_factory=lambda: np.zeros(0, np.int64))
    worst_class: Int64[np.ndarray, " N"] = field(default_factory=lambda: np.zeros(0, np.int64))
    odd_region: list[Region | None] = field(default_factory=list)
    agreement: Agreement | None = None
    joint: Int64[np.ndarray, "C C"] | None = None
    missing: dict[str, int] = field(default_factory=dict)

    def suspicion(self, name: str) -> Float64[np.ndarray, " N"]:
        """A score turned so that high is suspicious."""
        return -self.values[name] if SCORES[name].low else self.values[name]

    def order(self, name: str) -> list[int]:
        """Indices of the images, the most suspicious first, ties by id; those without an answer come last."""
        key = np.where(np.isnan(self.values[name]), -np.inf, self.suspicion(name))
        return sorted(range(len(self.ids)), key=lambda index: (-key[index], self.ids[index]))


def suspicion_of(
    run: LabelSource,
    *,
    against: LabelSource | None = None,
    probe: RunFolder | None = None,
    workers: int = 0,
    progress: Progress | None = None,
) -> Suspicion:
    """Compute every score that the run, and what is compared with it, allow.

    Parameters
    ----------
    run
        Labels to look at; its own scores are used where it kept them.
    against
        Other labels of the same images.
    probe
        A run of out-of-sample predictions with scores, as `segprobe crossfit` makes it.
    workers
        Threads; 0 for one per core. They change nothing but the time.

    Raises
    ------
    ConfigError
        When no score can be had: no scores in the run, and nothing to compare with; or the predictions have none.
    DataError
        When files cannot be read, differ in size, or the sources share no image.
    VocabularyError
        When the classes differ.
    """
    reader = ImageReader(run, against, probe)
    result = Suspicion(run.name, run.vocabulary, run.ids)
    passes = 2 if probe else 1
    first = _FirstPass(result, reader)
    for done, found in enumerate(on_threads(reader.first, run.ids, workers=workers), start=1):
        first.add(found)
        _say(progress, done, len(run.ids) * passes)
    thresholds = first.finish()
    if probe is not None:
        second = _SecondPass(result, first.confidence.counts)
        issues = on_threads(lambda sample_id: reader.second(sample_id, thresholds), run.ids, workers=workers)
        for done, issue in enumerate(issues, start=1):
            second.add(issue)
            _say(progress, done + len(run.ids), len(run.ids) * passes)
        second.finish()
    result.values = {name: result.values[name] for name in SCORES if name in result.values}
    return result


class _FirstPass:
    def __init__(self, result: Suspicion, reader: ImageReader) -> None:
        self.result, self.reader = result, reader
        classes = reader.classes
        self.counts: list[np.ndarray] = []
        self.certainty: list[np.ndarray] = []
        self.by_class = np.zeros((len(FIGURES) + 1, classes))
        self.agreement = np.zeros((classes, classes), np.int64)
        self.agreements: list[float] = []
        self.confidence = ClassConfidence.empty(classes)
        self.probed: list[tuple[float, float]] = []
        self.overlaps: list[np.ndarray] = []
        self.sums = np.zeros((3, classes))
        self.regions: list[tuple[Region, ...] | None] = []

    def add(self, found: FirstLook) -> None:
        self.counts.append(found.counts)
        nothing = np.full(len(FIGURES), np.nan)
        self.certainty.append(nothing if found.certainty is None else found.certainty)
        if found.by_class is not None:
            self.by_class += found.by_class
        self.agreements.append(np.nan if found.agreement is None else agreement_of(found.agreement).miou)
        if found.agreement is not None:
            self.agreement += found.agreement
        self.probed.append((np.nan, np.nan) if found.probed is None else (found.probed.given, found.probed.softmin))
        self.regions.append(None if found.probed is None else found.probed.regions)
        if found.probed is None:
            self.overlaps.append(np.full(self.reader.classes, np.nan))
        else:
            self.confidence.add(found.probed.confidence)
            self.overlaps.append(soft_iou(found.probed.overlaps))
            self.sums += found.probed.overlaps

    def finish(self) -> np.ndarray:
        """Write the sums into the result; returns the thresholds of the second pass."""
        result, reader = self.result, self.reader
        counts = np.stack(self.counts)
        result.pixels, result.images = counts.sum(axis=0), (counts > 0).sum(axis=0)
        if reader.own is not None:
            columns, pixels = np.stack(self.certainty).T, self.by_class[-1]
            means = np.divide(
                self.by_class[:-1], pixels, out=np.full_like(self.by_class[:-1], np.nan), where=pixels > 0
            )
            result.values |= dict(zip(FIGURES, columns, strict=True))
            result.class_values |= dict(zip(FIGURES, means, strict=True))
            result.missing["scores"] = int(np.isnan(columns[0]).sum())
        if reader.against is not None:
            result.values["agreement"] = np.array(self.agreements)
            result.agreement = agreement_of(self.agreement)
            result.class_values["agreement"] = result.agreement.iou
            result.missing["against"] = sum(i not in reader.known[id(reader.against)] for i in result.ids)
        thresholds = self.confidence.thresholds()
        if reader.probe is not None:
            overlaps = np.stack(self.overlaps)
            result.values["probe"] = relative_overlap(overlaps)
            result.values["given"], result.values["softmin"] = np.array(self.probed).T
            result.class_values |= {"probe": soft_iou(self.sums), "given": thresholds}
            result.worst_class = _worst_class(overlaps)
            result.missing["probe"] = sum(i not in reader.known[id(reader.probe)] for i in result.ids)
            self._finish_regions()
        return thresholds

    def _finish_regions(self) -> None:
        """The scores by region, where the predictions speak of any."""
        every = [region for regions in self.regions for region in regions or ()]
        if not every:
            return
        result, classes = self.result, self.reader.classes
        given = np.array([region.class_id for region in every])
        margins = np.bincount(given, [region.margin for region in every], classes)
        result.values["region"] = np.array([image_margin(regions or ()) for regions in self.regions])
        result.values["combined"] = combined_score(result.values["probe"], result.values["region"])
        result.class_values["region"] = ratio(margins, np.bincount(given, minlength=classes))
        lowest = [min(regions or (), key=lambda region: region.margin, default=None) for regions in self.regions]
        result.odd_region = [region if region and region.margin < 0 else None for region in lowest]


class _SecondPass:
    def __init__(self, result: Suspicion, pixels: np.ndarray) -> None:
        self.result, self.pixels = result, pixels
        classes = result.vocabulary.num_classes
        self.shares: list[float] = []
        self.issues = np.zeros(classes, np.int64)
        self.joint = np.zeros((classes, classes), np.int64)

    def add(self, found: SecondLook | None) -> None:
        self.shares.append(np.nan if found is None else found.share)
        if found is not None:
            self.issues += found.issues
            self.joint += found.joint

    def finish(self) -> None:
        result = self.result
        result.values["confident"] = np.array(self.shares)
        result.class_values["confident"], result.joint = ratio(self.issues, self.pixels), self.joint


def _worst_class(overlaps: np.ndarray) -> Int64[np.ndarray, " N"]:
    """Class of each image whose overlap is the smallest share of what the class gets on average."""
    present = np.isfinite(overlaps)
    filled = np.where(present, overlaps, 0)
    images = present.sum(axis=0)
    usual = np.divide(filled.sum(axis=0), images, out=np.ones(len(images)), where=images > 0)
    relative = np.where(present, filled / np.maximum(usual, 1e-12), np.inf)
    return np.where(present.any(axis=1), relative.argmin(axis=1), -1).astype(np.int64)


def _say(progress: Progress | None, done: int, total: int) -> None:
    if progress is not None:
        progress(done, total, "")
