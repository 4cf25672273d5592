"""What a training step sees: a pure function of the seed and the number of the step, so resuming needs no state."""

import hashlib
import logging
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from jaxtyping import Float16, Float32, UInt8
from torch import Tensor

from labelgen.data.dataset import Dataset
from labelgen.data.inputs import InputFile
from labelgen.errors import ShapeError
from labelgen.nets.cam.augment import View, training_view
from labelgen.nets.cam.config import TrainingConfig
from labelgen.nets.cam.network import Reading
from labelgen.nets.cam.tags import Targets
from labelgen.nets.saliency import SaliencySource
from labelgen.nets.training import rows_of_step

__all__ = ["Batch", "SaliencyMaps", "StepBatches", "step_seed"]

log = logging.getLogger(__name__)

VIEW, DROPOUT = 1, 2  # streams of random numbers that must not meet; 0 is the order
READERS = 4  # threads that decode and cut images ahead
MEMORY = 2 * 1024**3  # bytes of images, and of saliency maps, that are kept


@dataclass(frozen=True)
class Batch:
    """What one update sees.

    Parameters
    ----------
    images
        Normalised; padding is 0.
    targets
        1 for each class that the image shows.
    saliency
        In [0, 1], for EPS only.
    """

    images: Float32[Tensor, "B 3 S S"]
    targets: Float32[Tensor, "B C"]
    saliency: Float32[Tensor, "B S S"] | None = None

    def to(self, device: torch.device) -> "Batch":
        """The same on a device."""
        saliency = None if self.saliency is None else self.saliency.to(device)
        return Batch(self.images.to(device), self.targets.to(device), saliency)


class SaliencyMaps:
    """The saliency of the images of a data set, found once each as far as memory allows.

    Parameters
    ----------
    source
        Where maps come from. Files are all read at once at the beginning, so that a missing one is noticed before the
        training, and are remembered by their hashes.
    """

    def __init__(self, source: SaliencySource, dataset: Dataset) -> None:
        self.source = source
        self.dataset = dataset
        self._known: dict[str, Float16[np.ndarray, "H W"]] = {}
        self._room = MEMORY
        self._files = hashlib.sha256()
        first = dataset.ids[0]
        self.from_files = self._find(first)[1] is not None
        if self.from_files:
            for sample_id in dataset.ids:
                file = self._find(sample_id)[1]
                self._files.update(f"{sample_id} {file.sha256 if file else ''}\n".encode())

    def of(self, sample_id: str) -> Float32[np.ndarray, "H W"]:
        """The map of one image, rounded to float16."""
        known = self._known.get(sample_id)
        return (self._find(sample_id)[0] if known is None else known).astype(np.float32)

    def facts(self) -> dict[str, Any]:
        """What decides the maps; for files the hash of all of them, too."""
        files = {"files_sha256": self._files.hexdigest()} if self.from_files else {}
        return {**self.source.facts(), **files}

    def _find(self, sample_id: str) -> tuple[Float16[np.ndarray, "H W"], InputFile | None]:
        image = self.dataset.image(sample_id)
        found, file = self.source.map(sample_id, image)
        if found.shape != image.shape[:2]:
            raise ShapeError(
                f"saliency must have the size {image.shape[:2]} of its image, got {found.shape} for {sample_id}",
                hint="nothing is resized silently; make the maps at the size of the images",
            )
        rounded = found.astype(np.float16)
        if sample_id not in self._known and rounded.nbytes <= self._room:
            self._known[sample_id] = rounded
            self._room -= rounded.nbytes
        return rounded, file


class StepBatches:
    """The batch of every step.

    Parameters
    ----------
    dataset
        Images; nothing else of it is read.
    targets
        Their classes.
    reading
        How the network takes images.
    saliency
        For EPS.
    """

    def __init__(
        self,
        dataset: Dataset,
        targets: Targets,
        reading: Reading,
        config: TrainingConfig,
        *,
        saliency: SaliencyMaps | None = None,
    ) -> None:
        self.dataset = dataset
        self.targets = targets
        self.reading = reading
        self.config = config
        self.saliency = saliency
        self.num_steps = config.num_steps(len(dataset.ids))
        self._known: dict[str, UInt8[np.ndarray, "H W 3"]] = {}
        self._room = MEMORY

    def steps(self, first: int) -> Iterator[Batch]:
        """The batches of the steps from `first` on; the next one is made while one is used."""
        with ThreadPoolExecutor(READERS) as readers:
            ahead = self._ask(readers, first) if first < self.num_steps else []
            for step in range(first, self.num_steps):
                now, ahead = ahead, self._ask(readers, step + 1) if step + 1 < self.num_steps else []
                yield self._batch(step, now)

    def ids_of(self, step: int) -> list[str]:
        """The images of a step."""
        rows = rows_of_step(step, images=len(self.dataset.ids), batch=self.config.batch, seed=self.config.seed)
        return [self.dataset.ids[row] for row in rows]

    def _ask(self, readers: ThreadPoolExecutor, step: int) -> list[Future]:
        ids = self.ids_of(step)
        maps = [None if self.saliency is None else self.saliency.of(sample_id) for sample_id in ids]
        return [
            readers.submit(self._view, sample_id, salient, step, place)
            for place, (sample_id, salient) in enumerate(zip(ids, maps, strict=True))
        ]

    def _view(self, sample_id: str, saliency: np.ndarray | None, step: int, place: int) -> View:
        rng = np.random.default_rng([self.config.seed, VIEW, step, place])
        return training_view(
            self._image(sample_id), saliency, self.config, rng, mean=self.reading.mean, std=self.reading.std
        )

    def _image(self, sample_id: str) -> UInt8[np.ndarray, "H W 3"]:
        known = self._known.get(sample_id)
        if known is not None:
            return known
        image = self.dataset.image(sample_id)
        if image.nbytes <= self._room:
            self._known[sample_id] = image
            self._room -= image.nbytes
        return image

    def _batch(self, step: int, loading: Sequence[Future]) -> Batch:
        images, maps = zip(*(part.result() for part in loading), strict=True)
        targets = np.stack([self.targets.rows[sample_id] for sample_id in self.ids_of(step)])
        return Batch(
            torch.from_numpy(np.ascontiguousarray(np.stack(images).transpose(0, 3, 1, 2))),
            torch.from_numpy(targets),
            None if self.saliency is None else torch.from_numpy(np.stack(maps)),
        )


def step_seed(seed: int, step: int) -> int:
    """Seed of what a step draws inside the network, such as dropped channels."""
    word = np.random.SeedSequence([seed, DROPOUT, step]).generate_state(1, np.uint64)[0]
    return int(word >> np.uint64(1))
