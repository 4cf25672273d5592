"""Self-training: a head is trained, corrects the labels of its own training images, and a head is trained again.

While a fit goes on, each round has a folder of its own, `round-<n>/`, with the metrics, the checkpoint and, once it is
complete, the head of the round, so that an interrupted fit goes on in the round where it stopped.
"""

import functools
import json
import logging
import shutil
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import numpy as np
from jaxtyping import Float32

from labelgen.errors import RunFolderError
from labelgen.masks import LabelMap, write_atomic
from labelgen.nets.training import CHECKPOINT, Progress
from labelgen.untrusted import parse_json, read_bounded
from labelgen.vocab import Vocabulary
from segprobe.batches import FeatureSource
from segprobe.corrections import ConfidentConfig
from segprobe.heads import Head, load_head_state
from segprobe.labels import LabelSet
from segprobe.relabel import Changes, confident_labels, relabelled
from segprobe.runtime import Runtime
from segprobe.training import METRICS

__all__ = ["RoundsResult", "TrainOnce", "Trained", "correct_confident", "remove_rounds", "train_in_rounds"]

log = logging.getLogger(__name__)

HEAD = "head.safetensors"
RECORD = "round.json"
OWN_FILES = frozenset({HEAD, RECORD, METRICS, CHECKPOINT})


@dataclass(frozen=True)
class Trained:
    """What one training did.

    Parameters
    ----------
    losses
        Of the updates of this call.
    steps
        Updates of the whole training; 0 for a closed form.
    figures
        What else is to be known of it.
    """

    losses: list[float]
    steps: int
    figures: Mapping[str, Any] = field(default_factory=dict)


@runtime_checkable
class TrainOnce(Protocol):
    """One whole training of a head, in place."""

    def __call__(self, head: Head, labels: LabelSet, *, folder: Path | None, progress: Progress | None) -> Trained: ...


@dataclass(frozen=True)
class RoundsResult:
    """The last head, and what happened on the way.

    Parameters
    ----------
    head
        Of the last round.
    steps
        Updates of all rounds.
    losses
        Of the updates of this call.
    rounds
        For each round its number, updates, last loss, the `Changes` that the correction before it made, and what else
        its training had to tell.
    """

    head: Head
    steps: int
    losses: list[float]
    rounds: list[dict[str, Any]]


def train_in_rounds(
    train: TrainOnce,
    new_head: Callable[[], Head],
    labels: LabelSet,
    features: FeatureSource,
    *,
    rounds: int,
    settings: ConfidentConfig,
    gamma: float,
    folder: Path | None,
    device: str,
    runtime: Runtime,
    progress: Progress | None,
) -> RoundsResult:
    """Train, and then `rounds` times correct the initial labels by the head at hand and train again.

    Every process corrects all labels, since all have the same head; only the first one writes.

    Parameters
    ----------
    new_head
        Makes an untrained head.
    gamma
        Exponent of the confidence, where labels have weights.
    """
    head, losses, found = new_head(), [], []
    for number in range(rounds + 1):
        place = None if folder is None else folder / f"round-{number}"
        record = None if place is None else _finished(place)
        if record is not None:
            head = _load_head(place, new_head(), device)  # type: ignore[arg-type]
            found.append(record)
            continue
        current, changes = labels, None
        if number:
            current, changes = _corrected(labels, head, features, settings, gamma=gamma, device=device)
        head = head if number and settings.start == "continue" else new_head()
        if place is not None and runtime.is_main:
            place.mkdir(exist_ok=True)
        runtime.barrier()
        trained = train(head.to(device), current, folder=place, progress=_shown(progress, number, rounds))
        losses += trained.losses
        found.append(_record(number, trained, changes))
        if place is not None and runtime.is_main:
            _save(place, head, found[-1])
    if folder is not None and runtime.is_main:
        _join_metrics(folder, found)
    return RoundsResult(head, sum(record["steps"] for record in found), losses, found)


def correct_confident(
    labels: LabelMap,
    probabilities: Float32[np.ndarray, "C H W"],
    *,
    settings: ConfidentConfig,
    vocabulary: Vocabulary,
) -> LabelMap:
    """Correct one label map as `confident` says; the tags of an image are the classes of its labels and background."""
    allowed = None
    if settings.tags:
        shown = {int(class_id) for class_id in np.unique(labels)} - {vocabulary.ignore}
        allowed = shown | ({vocabulary.background} if vocabulary.background is not None else set())
    return confident_labels(
        labels,
        probabilities,
        confidence=settings.confidence,
        everywhere=settings.pixels == "all",
        allowed=allowed,
        ignore=vocabulary.ignore,
    )


def remove_rounds(folder: Path) -> None:
    """Remove what rounds keep while a fit goes on."""
    for place in folder.glob("round-*"):
        if {path.name for path in place.iterdir() if not path.match(".*.tmp")} <= OWN_FILES:
            shutil.rmtree(place)


def _corrected(
    labels: LabelSet, head: Head, features: FeatureSource, settings: ConfidentConfig, *, gamma: float, device: str
) -> tuple[LabelSet, Changes]:
    correct = functools.partial(correct_confident, settings=settings, vocabulary=labels.vocabulary)
    corrected, changes = relabelled(labels, head.to(device), features, correct, gamma=gamma, device=device)
    if not changes.changed + changes.added and settings.pixels == "unlabelled" and changes.coverage == 1:
        log.warning("no label was changed: every pixel has one; --correct confident,pixels=all lets them be replaced")
    elif not changes.changed + changes.added:
        log.warning(
            "no label was changed: the head is nowhere surer than %g of another one; give a lower confidence",
            settings.confidence,
        )
    return corrected, changes


def _shown(progress: Progress | None, number: int, rounds: int) -> Progress | None:
    if progress is None:
        return None
    return lambda done, total, note: progress(number * total + done, (rounds + 1) * total, f"round {number}: {note}")


def _record(number: int, trained: Trained, changes: Changes | None) -> dict[str, Any]:
    loss = trained.losses[-1] if trained.losses else None
    shares = asdict(changes) if changes else {}
    return {"round": number, "steps": trained.steps, "loss": loss, **shares, **trained.figures}


def _finished(place: Path) -> dict[str, Any] | None:
    try:
        return parse_json(read_bounded(place / RECORD))
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        raise RunFolderError(
            f"a finished round cannot be read: {place / RECORD} ({error})", hint="--overwrite begins the fit again"
        ) from error


def _save(place: Path, head: Head, record: dict[str, Any]) -> None:
    from safetensors.torch import save

    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in head.state_dict().items()}
    write_atomic(place / HEAD, save(tensors))
    write_atomic(place / RECORD, (json.dumps(record) + "\n").encode())


def _load_head(place: Path, head: Head, device: str) -> Head:
    from safetensors import SafetensorError
    from safetensors.torch import load

    try:
        state = load((place / HEAD).read_bytes())
    except (OSError, SafetensorError) as error:
        raise RunFolderError(
            f"the head of a round cannot be read: {place / HEAD} ({error})", hint="--overwrite begins the fit again"
        ) from error
    return load_head_state(head, state, where=str(place)).to(device)


def _join_metrics(folder: Path, found: list[dict[str, Any]]) -> None:
    """One metrics.jsonl of all rounds, whose steps go on counting; each correction has a line of its own."""
    lines, first = [], 0
    for record in found:
        number = record["round"]
        if number:
            shares = {key: record[key] for key in ("changed", "added", "agreement", "coverage")}
            lines.append({"step": first, "round": number, **shares})
        path = folder / f"round-{number}" / METRICS
        for text in path.read_text(encoding="utf-8").splitlines() if path.is_file() else ():
            line = parse_json(text)
            lines.append({**line, "step": first + line["step"], "round": number})
        first += record["steps"]
    write_atomic(folder / METRICS, "".join(json.dumps(line) + "\n" for line in lines).encode())
