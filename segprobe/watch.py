"""ADELE on a head: predictions are compared with the labels after each epoch, and labels corrected when it is time."""

import functools
import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float64, Int64

from labelgen.correct.adele import IouFitTrigger, relabel
from labelgen.errors import RunFolderError
from labelgen.masks import write_atomic
from labelgen.nets.training import append_metrics
from labelgen.untrusted import parse_json, read_bounded
from segprobe.batches import BatchMaker
from segprobe.corrections import AdeleConfig
from segprobe.heads import Head
from segprobe.labels import LabelSet
from segprobe.relabel import load_labels, relabelled, save_labels
from segprobe.runtime import ALONE, Runtime
from segprobe.sampling import PixelSample, bilinear_corners, read_logits, sample_pixels
from segprobe.training import METRICS

__all__ = ["AdeleWatch", "label_ious", "remove_watch", "watched_predictions"]

STATE = "adele.json"
LABELS = "adele-*.npz"
WATCHED = 256  # pixels of an image at which predictions are compared
WATCH = 11  # stream of random numbers that draws them
KEPT = 2  # corrected label sets on disk: those in force, and those before, to which the last checkpoint may belong


def watched_predictions(
    maker: BatchMaker, head: Head, labels: LabelSet, ids: Sequence[str]
) -> Iterator[tuple[str, PixelSample, Int64[np.ndarray, "K"]]]:
    """What a head says at labelled pixels of images, read from their first view.

    Yields
    ------
    tuple
        Id, at most 256 labelled pixels, the same at each call, and the class id that is predicted at each of them.
    """
    class_ids = np.asarray(labels.class_ids)
    for number, sample_id in enumerate(ids):
        image = labels.images[sample_id]
        rng = np.random.default_rng([maker.config.seed, WATCH, number])
        drawn = sample_pixels(replace(image, weights=None), rng, count=WATCHED)
        found = maker.source.features(sample_id, 0)
        corners, shares = (torch.from_numpy(part) for part in bilinear_corners(found.geometry, drawn.pixels))
        with torch.no_grad():
            logits = head(found.tokens.to(maker.device, torch.float32)).flatten(0, 1).cpu()
            said = read_logits(logits, corners, shares).argmax(1).numpy()
        yield sample_id, drawn, class_ids[said]


def label_ious(maker: BatchMaker, head: Head) -> Float64[np.ndarray, "C"]:
    """IoU of each class of the vocabulary between predictions and labels, over labelled pixels.

    Each of the watched pixels stands for as many as it was drawn from. NaN for classes that are in neither.
    """
    classes = maker.labels.vocabulary.num_classes
    both, labelled, predicted = np.zeros((3, classes))
    for _, drawn, said in watched_predictions(maker, head, maker.labels, maker.labels.ids):
        labelled += np.bincount(drawn.classes, drawn.weights, classes)
        predicted += np.bincount(said, drawn.weights, classes)
        right = said == drawn.classes
        both += np.bincount(said[right], drawn.weights[right], classes)
    union = labelled + predicted - both
    return np.divide(both, union, out=np.full(classes, np.nan), where=union > 0)


@dataclass
class AdeleWatch:
    """Looks after each epoch whether a class begins to be memorised, and from then on corrects labels after epochs.

    Parameters
    ----------
    maker
        Makes the batches; its labels are exchanged. Those it has at first are the initial labels.
    settings
        Of the trigger and the correction.
    most
        Corrections at most.
    folder
        Where the state is kept; None keeps nothing.
    """

    maker: BatchMaker
    settings: AdeleConfig
    most: int
    folder: Path | None = None
    runtime: Runtime = ALONE
    history: list[dict[str, Any]] = field(default_factory=list)
    """A line for each epoch: step, epoch, iou by class id, triggered classes, and what a correction did."""

    def __post_init__(self) -> None:
        self.initial = self.maker.labels
        self.watched = BatchMaker(self.maker.source, self.initial, self.maker.config, device=self.maker.device)
        self.trigger = IouFitTrigger(self.initial.vocabulary.num_classes, self.settings.ratio)

    def resume(self, step: int) -> None:
        """Take up what was in force after so many updates.

        Raises
        ------
        RunFolderError
            When the state is damaged.
        """
        if self.folder is None or not step:
            return
        path = self.folder / STATE
        try:
            lines = parse_json(read_bounded(path)) if path.is_file() else []
            self.history = [line for line in lines if line["step"] <= step]
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise RunFolderError(
                f"state of the corrections cannot be read: {path} ({error})", hint="--overwrite begins the fit again"
            ) from error
        for line in self.history:
            self._log(line)
            for class_id in line["triggered"]:
                self.trigger.triggered.setdefault(class_id, line["epoch"])
        last = [line for line in self.history if "changed" in line]
        if last:
            self.maker.exchange(load_labels(self._file(last[-1]["step"]), self.initial))

    def after(self, step: int, head: Head) -> bool:
        """Look and correct after an update; whether there is something that a checkpoint must go with."""
        epoch, rest = divmod(step, self.maker.steps_per_epoch)
        if rest or step >= self.maker.num_steps:
            return False
        ious = label_ious(self.watched, head)
        line: dict[str, Any] = {
            "step": step,
            "epoch": epoch,
            "iou": {str(class_id): float(iou) for class_id, iou in enumerate(ious) if np.isfinite(iou)},
        }
        self._log(line)
        triggered = self.trigger.update(epoch)
        line["triggered"] = sorted(triggered)
        correct = bool(triggered) and sum("changed" in past for past in self.history) < self.most
        if correct:
            line |= self._correct(step, head, triggered)
        self.history.append(line)
        if self.folder is not None and self.runtime.is_main:
            append_metrics(self.folder / METRICS, line)
            write_atomic(self.folder / STATE, (json.dumps(self.history) + "\n").encode())
        return correct

    def figures(self) -> dict[str, Any]:
        """Epoch in which each class was triggered, by id, and the corrections, for probe.json."""
        corrections = [{k: v for k, v in line.items() if k != "iou"} for line in self.history if "changed" in line]
        triggered = {str(class_id): epoch for class_id, epoch in sorted(self.trigger.triggered.items())}
        return {"triggered": triggered, "corrections": corrections}

    def _correct(self, step: int, head: Head, triggered: frozenset[int]) -> dict[str, float]:
        vocabulary = self.initial.vocabulary
        correct = functools.partial(
            relabel,
            triggered=triggered,
            background=vocabulary.background,
            confidence=self.settings.confidence,
            ignore=vocabulary.ignore,
        )
        corrected, changes = relabelled(
            self.initial,
            head,
            self.maker.source,
            correct,
            gamma=self.maker.config.confidence,
            device=self.maker.device,
        )
        self.maker.exchange(corrected)
        if self.folder is not None and self.runtime.is_main:
            save_labels(self._file(step), corrected)
            for old in sorted(self.folder.glob(LABELS))[:-KEPT]:
                old.unlink()
        return asdict(changes)

    def _log(self, line: dict[str, Any]) -> None:
        ious = [line["iou"].get(str(class_id), np.nan) for class_id in range(self.trigger.num_classes)]
        self.trigger.log(line["epoch"], ious)

    def _file(self, step: int) -> Path:
        assert self.folder is not None
        return self.folder / f"adele-{step:09}.npz"


def remove_watch(folder: Path) -> None:
    """Remove what is kept while a fit goes on."""
    for path in (folder / STATE, *folder.glob(LABELS)):
        path.unlink(missing_ok=True)
