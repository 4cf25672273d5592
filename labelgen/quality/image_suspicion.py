"""What is computed of one image of a run before its images are ranked: certainty, agreement, overlap, issues."""

from dataclasses import dataclass

import numpy as np

from labelgen.errors import ConfigError, DataError, ShapeError
from labelgen.masks import LabelMap, SoftMask
from labelgen.quality.agreement import agreement_counts
from labelgen.quality.certainty import pixel_certainty, probabilities_of
from labelgen.quality.confident import ClassConfidence, given_probability, image_issues, softmin_score
from labelgen.quality.match import id_lookup, translate
from labelgen.quality.overlap import class_overlaps
from labelgen.quality.regions import Region, read_regions
from labelgen.store import LabelSource, RunFolder

__all__ = ["FirstLook", "ImageReader", "Probed", "SecondLook"]


@dataclass(frozen=True)
class Probed:
    """What predictions say of the labels of one image.

    Parameters
    ----------
    overlaps
        As `class_overlaps` gives them.
    confidence
        Sums of the probabilities of the given labels by class.
    given, softmin
        Their mean, and the mean that leans towards the smallest.
    regions
        What the labelled regions look like; None where the predictions do not say.
    """

    overlaps: np.ndarray
    confidence: ClassConfidence
    given: float
    softmin: float
    regions: tuple[Region, ...] | None = None


@dataclass(frozen=True)
class FirstLook:
    """One image in the first pass; None where something is not there.

    Parameters
    ----------
    counts
        Pixels by label.
    certainty
        Means of confidence, margin and entropy.
    by_class
        Their sums by label, and in a last row how many pixels those are of.
    agreement
        Pairs of labels at pixels that both sources label.
    """

    counts: np.ndarray
    certainty: np.ndarray | None
    by_class: np.ndarray | None
    agreement: np.ndarray | None
    probed: Probed | None


@dataclass(frozen=True)
class SecondLook:
    """One image in the second pass.

    Parameters
    ----------
    share
        Of the labelled pixels that are issues.
    issues
        Issues by given class.
    joint
        As `image_issues` gives it.
    """

    share: float
    issues: np.ndarray
    joint: np.ndarray


class ImageReader:
    """Reads and measures single images, in ids of the run's vocabulary; may be used from several threads.

    Raises
    ------
    ConfigError
        When there is nothing to rank by, or the predictions have no scores.
    DataError
        When two sources share no image.
    VocabularyError
        When their classes differ.
    """

    def __init__(self, run: LabelSource, against: LabelSource | None, probe: RunFolder | None) -> None:
        self.run, self.against, self.probe = run, against, probe
        self.classes, self.ignore = run.vocabulary.num_classes, run.vocabulary.ignore
        self.own = run if isinstance(run, RunFolder) and _has_scores(run) else None
        if probe is not None and not _has_scores(probe):
            raise ConfigError(
                f"predictions to compare with must come with scores, got none in {probe.path}",
                hint="segprobe crossfit RUN keeps them; other runs need --save-scores",
            )
        if self.own is None and against is None and probe is None:
            raise ConfigError(
                f"{run.path} has no scores of its own, so there is nothing to rank it by",
                hint=f"segprobe crossfit {run.path} makes predictions for --probe; or name other labels, --against RUN",
            )
        self.lookups = {}
        for other in (against, probe):
            if other is not None:
                self.lookups[id(other)] = id_lookup(
                    other.vocabulary, run.vocabulary, between=(f"labels of {other.name}", f"labels of {run.name}")
                )
                if not set(other.ids).intersection(run.ids):
                    raise DataError(f"{run.path} and {other.path} share no image", hint="are they of the same data?")
        records = {} if probe is None else probe.records()
        self.details = {sample_id: record.get("details", {}) for sample_id, record in records.items()}
        self.known = {id(other): set(other.ids) for other in (against, probe) if other is not None}

    def first(self, sample_id: str) -> FirstLook:
        """All that needs no thresholds."""
        labels = self.run.labels(sample_id)
        counts = np.bincount(labels.reshape(-1), minlength=self.classes)[: self.classes]
        certain, by_class = self._certainty(sample_id, labels)
        return FirstLook(counts, certain, by_class, self._agreement(sample_id, labels), self._probed(sample_id, labels))

    def second(self, sample_id: str, thresholds: np.ndarray) -> SecondLook | None:
        """What needs the mean self-confidence of each class; None for an image without predictions."""
        mask = self._predicted(sample_id)
        if mask is None:
            return None
        labels = self.run.labels(sample_id)
        found = image_issues(probabilities_of(mask), mask.class_ids, labels, thresholds, ignore=self.ignore)
        issues = np.bincount(labels[found.issues], minlength=self.classes)[: self.classes]
        return SecondLook(found.share, issues, found.joint)

    def _certainty(self, sample_id: str, labels: LabelMap) -> tuple[np.ndarray | None, np.ndarray | None]:
        mask = self.own.scores(sample_id) if self.own is not None else None
        if mask is None:
            return None, None
        _same_size(labels, mask, sample_id)
        scored, rows = pixel_certainty(probabilities_of(mask), num_classes=self.classes)
        given = labels[scored]
        labelled = given != self.ignore
        sums = [np.bincount(given[labelled], row[labelled], self.classes)[: self.classes] for row in rows]
        sums.append(np.bincount(given[labelled], minlength=self.classes)[: self.classes])
        means = rows.mean(axis=1) if rows.size else np.full(len(rows), np.nan)
        return means, np.stack(sums)

    def _agreement(self, sample_id: str, labels: LabelMap) -> np.ndarray | None:
        if self.against is None or sample_id not in self.known[id(self.against)]:
            return None
        other = translate(self.against.labels(sample_id), self.lookups[id(self.against)])
        return agreement_counts(labels, other, num_classes=self.classes, ignore=self.ignore, where=sample_id)

    def _probed(self, sample_id: str, labels: LabelMap) -> Probed | None:
        mask = self._predicted(sample_id)
        if mask is None:
            return None
        _same_size(labels, mask, sample_id)
        probabilities, ids = probabilities_of(mask), mask.class_ids
        classes, given = given_probability(probabilities, ids, labels, ignore=self.ignore)
        return Probed(
            class_overlaps(probabilities, ids, labels, num_classes=self.classes, ignore=self.ignore),
            ClassConfidence.of(classes, given, num_classes=self.classes),
            float(given.mean()) if given.size else float("nan"),
            softmin_score(given),
            self._regions(sample_id),
        )

    def _regions(self, sample_id: str) -> tuple[Region, ...] | None:
        assert self.probe is not None
        details = self.details.get(sample_id, {})
        return read_regions(details, self.lookups[id(self.probe)], f"{sample_id} in {self.probe.path}")

    def _predicted(self, sample_id: str) -> SoftMask | None:
        if self.probe is None or sample_id not in self.known[id(self.probe)]:
            return None
        mask = self.probe.scores(sample_id)
        lookup = self.lookups[id(self.probe)]
        if mask is None or lookup is None:
            return mask
        ids = [int(lookup[class_id]) for class_id in mask.class_ids]
        order = np.argsort(ids)
        return SoftMask(mask.scores[order], tuple(ids[i] for i in order))


def _has_scores(run: RunFolder) -> bool:
    return any("scores_sha256" in record for record in run.records().values())


def _same_size(labels: LabelMap, mask: SoftMask, sample_id: str) -> None:
    if labels.shape != mask.size:
        raise ShapeError(f"scores must have the size {labels.shape} of the labels, got {mask.size} in {sample_id}")
