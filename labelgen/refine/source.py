"""What refining a finished run starts from: its scores, or its hard labels with a stated certainty."""

import dataclasses
import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from labelgen.data.inputs import InputFile, with_input
from labelgen.data.sample import Generate, Sample
from labelgen.errors import ConfigError, DataError, RunFolderError, ShapeError
from labelgen.masks import IGNORE, LabelMap, SoftMask, one_hot
from labelgen.store import MaskFolder, RunFolder
from labelgen.store.layout import MANIFEST

__all__ = ["CERTAINTY", "Start", "certain_scores", "make_start"]

CERTAINTY = 0.7
"""Score of a hard label where nothing else is said; IRN's for its CRF (Ahn et al., CVPR 2019, their code)."""

UNKNOWN = "unknown"
"""Supervision behind a folder of masks that says nothing of itself."""


@dataclass(frozen=True)
class Start:
    """Labels to repair, and in which form. Picklable, so that worker processes can read them.

    Parameters
    ----------
    source
        A complete run, or a folder of masks.
    certainty
        Score of the label of a pixel, > 0.5 and <= 1, so that refiners that change nothing leave the labels as they
        are. None: the scores that the run kept.

    Raises
    ------
    ConfigError
        When the certainty is out of range, or left out where there are no scores.
    RunFolderError
        When the run is not complete.
    """

    source: RunFolder | MaskFolder
    certainty: float | None = None

    def __post_init__(self) -> None:
        source = self.source
        if isinstance(source, RunFolder) and not source.complete:
            raise RunFolderError(
                f"only a complete run is refined, but {source.path} is unfinished ({len(source.ids)} images so far)",
                hint="give the command that makes it again; it goes on from there",
            )
        if self.certainty is not None and not 0.5 < self.certainty <= 1:
            raise ConfigError(
                f"certainty must lie in (0.5, 1], got {self.certainty}",
                hint=f"{CERTAINTY} is usual; below 0.5 a label could be overruled by a class that nobody named",
            )
        if self.certainty is None and not has_scores(source):
            raise ConfigError(
                f"{source.path} keeps no scores, so a certainty for its labels is needed",
                hint=f"certainty {CERTAINTY}, or make the run again with --save-scores",
            )

    @property
    def supervision(self) -> frozenset[str]:
        """What the labels of the source rest on."""
        return frozenset(self.source.header["supervision"] if isinstance(self.source, RunFolder) else {UNKNOWN})

    def facts(self) -> dict[str, Any]:
        """The source, as JSON values for run.json: by the hash of its manifest it is known again."""
        path = self.source.path
        if not isinstance(self.source, RunFolder):
            return {"path": path.as_posix(), "method": None}
        header = self.source.header
        return {
            "path": path.as_posix(),
            "method": header["method"],
            "config": header["config"],
            "facts": header.get("facts", {}),
            "models": header["models"],
            "seed": header["seed"],
            "manifest_sha256": hashlib.sha256((path / MANIFEST).read_bytes()).hexdigest(),
        }

    @property
    def min_score(self) -> float:
        """Score that a pixel must exceed to be labelled: that of the run when its scores are used."""
        if self.certainty is None and isinstance(self.source, RunFolder):
            return float(self.source.header["min_score"])
        return 0.0


def has_scores(source: RunFolder | MaskFolder) -> bool:
    """Whether a source kept the scores behind its labels."""
    return isinstance(source, RunFolder) and bool(source.header["save_scores"])


def certain_scores(labels: LabelMap, *, certainty: float, ignore: int = IGNORE) -> SoftMask:
    """Scores that say of each pixel that its label is right with this certainty.

    The other classes of the image share the rest evenly; the only class of an image leaves the rest to nobody.
    Unlabelled pixels abstain.

    Examples
    --------
    >>> mask = certain_scores(np.array([[0, 3, 255]], np.uint8), certainty=0.75)
    >>> mask.class_ids, mask.scores[:, 0].tolist()
    ((0, 3), [[0.75, 0.25, 0.0], [0.25, 0.75, 0.0]])
    """
    mask = one_hot(labels, ignore=ignore)
    others = max(len(mask.class_ids) - 1, 1)
    scores = np.where(mask.scores > 0, np.float32(certainty), np.float32((1 - certainty) / others))
    scores[:, labels == ignore] = 0
    return dataclasses.replace(mask, scores=scores)


def make_start(start: Start) -> Generate:
    """The function that reads the scores of one image; warnings, strokes and details of a run are kept.

    Each mask says, under `inputs` of its details, which file it was read from and its sha256. A file that is not what
    the manifest of its run says is refused.
    """
    source = start.source
    records = source.records() if isinstance(source, RunFolder) else {}
    known = records or set(source.ids)
    read = _read_scores if start.certainty is None else _read_labels

    def generate(sample: Sample, rng: np.random.Generator) -> SoftMask:
        if sample.id not in known:
            raise DataError(
                f"{source.path} has no label for image {sample.id!r}",
                hint="failures.jsonl there says why" if records else "leave the image out with --ids",
            )
        path, mask = read(start, sample.id)
        if mask.size != sample.size:
            raise ShapeError(
                f"labels must have the size {sample.size} of their image, got {mask.size} in {path}",
                hint="are these the images that were labelled? Nothing is resized silently",
            )
        record = records.get(sample.id, {})
        file = _unchanged(path, record, scores=start.certainty is None)
        details = with_input(record.get("details", {}), file)
        return dataclasses.replace(mask, details=details, warnings=tuple(record.get("warnings", ())))

    return generate


def _read_scores(start: Start, sample_id: str) -> tuple[Path, SoftMask]:
    source = start.source
    assert isinstance(source, RunFolder)  # only runs have scores
    path, mask = source.scores_file(sample_id), source.scores(sample_id)
    if path is None or mask is None:
        raise DataError(f"no scores of image {sample_id!r} in {source.path}", hint="labelgen verify lists damage")
    return path, mask


def _read_labels(start: Start, sample_id: str) -> tuple[Path, SoftMask]:
    source = start.source
    assert start.certainty is not None
    labels = source.labels(sample_id)
    mask = certain_scores(labels, certainty=start.certainty, ignore=source.vocabulary.ignore)
    if isinstance(source, RunFolder):
        mask = dataclasses.replace(mask, strokes=source.strokes(sample_id) or ())
    return source.label_file(sample_id), mask


def _unchanged(path: Path, record: Mapping[str, Any], *, scores: bool) -> InputFile:
    """The file as it was read; refused when the manifest says otherwise."""
    file = InputFile.read(path)
    if record and file.sha256 != record["scores_sha256" if scores else "sha256"]:
        raise DataError(
            f"{path} is not what its run has written (sha256 differs from {MANIFEST})",
            hint="labelgen verify lists damage; without the file, the command of the run makes it again",
        )
    return file
