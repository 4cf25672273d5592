"""What becomes of wrong labels during a training, epoch by epoch, where the truth is at hand to tell which are wrong.

Pixels with a wrong label are predicted correctly, or as the label says (memorised), or as something else; those with a
right label correctly or not. A head that keeps its memorised share small and flat ignores the mistakes of its labels;
one whose share grows from epoch to epoch learns them by heart, and early stopping or a correction would pay.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol, runtime_checkable

import numpy as np
from jaxtyping import Integer

from labelgen.errors import ConfigError
from labelgen.masks import LabelMap
from labelgen.nets.training import append_metrics
from segprobe.batches import BatchMaker
from segprobe.heads import Head
from segprobe.runtime import ALONE, Runtime
from segprobe.training import METRICS, Watch
from segprobe.watch import watched_predictions

__all__ = ["MemorisationWatch", "TruthReader", "Watches", "memorisation"]

IMAGES = 256  # evenly spread; with 256 pixels each, shares are known to a fraction of a per cent


@runtime_checkable
class TruthReader(Protocol):
    """Where the truth of an image comes from, such as a data set."""

    def truth(self, sample_id: str) -> LabelMap:
        """Class ids; void where it is not counted."""
        ...


def memorisation(
    labels: Integer[np.ndarray, "N"],
    truth: Integer[np.ndarray, "N"],
    said: Integer[np.ndarray, "N"],
) -> dict[str, float]:
    """Five counts that sum to N, of pixels with label and truth.

    References
    ----------
    .. [1] Liu et al., "Adaptive Early-Learning Correction for Segmentation from Noisy Annotations", CVPR 2022,
       arXiv 2110.03740, section 3.1, where wrong labels are split so.

    Examples
    --------
    >>> labels, truth, said = np.array([1, 1, 1, 2, 2]), np.array([0, 0, 0, 2, 2]), np.array([0, 1, 2, 2, 0])
    >>> list(memorisation(labels, truth, said).values())
    [1.0, 1.0, 1.0, 1.0, 1.0]
    """
    wrong, right, follows = labels != truth, said == truth, said == labels
    counts = {
        "wrong_corrected": wrong & right,
        "wrong_memorised": wrong & follows,
        "wrong_other": wrong & ~right & ~follows,
        "clean_correct": ~wrong & right,
        "clean_incorrect": ~wrong & ~right,
    }
    return {name: float(found.sum()) for name, found in counts.items()}


@dataclass
class MemorisationWatch:
    """Writes a line to metrics.jsonl after each epoch; nothing else changes.

    Parameters
    ----------
    maker
        Its labels at the beginning are those that are judged.
    images
        The data set.
    folder
        Of metrics.jsonl; None keeps only `last`.

    Raises
    ------
    ConfigError
        When there is no truth.
    """

    maker: BatchMaker
    images: object
    folder: Path | None = None
    runtime: Runtime = ALONE
    last: dict[str, float] = field(default_factory=dict)
    """Of the last epoch: of pixels with a wrong label the shares that are corrected, memorised, and something else; of
    pixels with a right label the share that is correct; and the share of wrong labels itself."""

    def __post_init__(self) -> None:
        if not isinstance(self.images, TruthReader):
            raise ConfigError("memorisation is judged by the truth of the data, and there is none")
        self.labels = self.maker.labels
        ids = self.labels.ids
        count = min(len(ids), IMAGES)
        self.ids = tuple(ids[number * len(ids) // count] for number in range(count))
        self._truth: dict[str, np.ndarray] = {}

    def resume(self, step: int) -> None:
        """Nothing is carried from one epoch to the next."""

    def after(self, step: int, head: Head) -> bool:
        """Look at the end of an epoch and of the training."""
        if step % self.maker.steps_per_epoch and step < self.maker.num_steps:
            return False
        total = dict.fromkeys(memorisation(*np.zeros((3, 0), np.int64)), 0.0)
        for sample_id, drawn, said in watched_predictions(self.maker, head, self.labels, self.ids):
            truth = self._truth_at(sample_id, drawn.pixels)
            known = truth != self.labels.vocabulary.ignore
            for name, count in memorisation(drawn.classes[known], truth[known], said[known]).items():
                total[name] += count
        self.last = _shares(total)
        if self.folder is not None and self.runtime.is_main:
            line = {"step": step, "epoch": round(step / self.maker.steps_per_epoch, 3), "memorisation": self.last}
            append_metrics(self.folder / METRICS, line)
        return False

    def _truth_at(self, sample_id: str, pixels: np.ndarray) -> np.ndarray:
        if sample_id not in self._truth:
            truth = self.images.truth(sample_id)  # type: ignore[attr-defined]
            self._truth[sample_id] = truth.reshape(-1)[pixels]
        return self._truth[sample_id]


def _shares(total: Mapping[str, float]) -> dict[str, float]:
    wrong = sum(count for name, count in total.items() if name.startswith("wrong"))
    clean = total["clean_correct"] + total["clean_incorrect"]
    shares = {name: count / wrong for name, count in total.items() if name.startswith("wrong") and wrong}
    return {
        "wrong_labels": wrong / max(wrong + clean, 1),
        **shares,
        **({"clean_correct": total["clean_correct"] / clean} if clean else {}),
    }


@dataclass(frozen=True)
class Watches:
    """Several that look at one training, one after the other."""

    each: tuple[Watch, ...]

    def resume(self, step: int) -> None:
        """Let each take up what was in force."""
        for watch in self.each:
            watch.resume(step)

    def after(self, step: int, head: Head) -> bool:
        """Let each look; whether one of them needs a checkpoint."""
        due = [watch.after(step, head) for watch in self.each]
        return any(due)
