"""What a training step sees: a pure function of the seed and the number of the step, so resuming needs no state."""

from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float32, Int64, UInt8
from torch import Tensor

from labelgen.data.dataset import Dataset
from labelgen.nets.training import rows_of_step
from labelgen.nets.zeroseg.config import StudentConfig, TrainingConfig
from labelgen.nets.zeroseg.masking import visible_patches
from labelgen.nets.zeroseg.teacher import TeacherVectors
from labelgen.nets.zeroseg.tiles import centre_crop

__all__ = ["MicroBatch", "StepBatches", "normalise_crops"]

MASK, NOISE = 1, 2  # streams of random numbers that must not meet; 0 is the order of the images
READERS = 4  # threads that decode images ahead
MEMORY = 2 * 1024**3  # bytes of crops and vectors that are kept, so that small data sets are decoded once


@dataclass(frozen=True)
class MicroBatch:
    """Images that go through the student at once.

    Parameters
    ----------
    images
        `(B, 3, S, S)`, normalised.
    teacher
        `(B, T, D)` unit vectors of the tiles.
    visible
        `(B, K)` patches that the encoder sees.
    noise
        Source of the Gumbel noise.
    share
        Of the images of the step that are in this micro-batch.
    """

    images: Float32[Tensor, "B 3 S S"]
    teacher: Float32[Tensor, "B T D"]
    visible: Int64[Tensor, "B visible"]
    noise: torch.Generator
    share: float


class StepBatches:
    """The micro-batches of every step.

    Parameters
    ----------
    dataset
        Images; nothing else of it is read.
    teacher
        Vectors of their tiles.
    student, config
        Sizes and settings.
    """

    def __init__(
        self, dataset: Dataset, teacher: TeacherVectors, student: StudentConfig, config: TrainingConfig
    ) -> None:
        self.dataset = dataset
        self.teacher = teacher
        self.student = student
        self.config = config
        self.num_steps = config.num_steps(len(dataset.ids))
        self._known: dict[str, tuple[np.ndarray, np.ndarray]] = {}
        self._room = MEMORY

    def steps(self, first: int) -> Iterator[Iterator[MicroBatch]]:
        """The micro-batches of the steps from `first` on, to be used up in turn; the next images are decoded ahead."""
        with ThreadPoolExecutor(READERS) as readers:
            ahead = self._ask(readers, first)
            for step in range(first, self.num_steps):
                now, ahead = ahead, self._ask(readers, step + 1) if step + 1 < self.num_steps else []
                yield self._micro_batches(step, now)

    def ids_of(self, step: int) -> list[str]:
        """The images of a step."""
        rows = rows_of_step(step, images=len(self.dataset.ids), batch=self.config.batch, seed=self.config.seed)
        return [self.dataset.ids[row] for row in rows]

    def _ask(self, readers: ThreadPoolExecutor, step: int) -> list[Future]:
        return [readers.submit(self._crop, sample_id) for sample_id in self.ids_of(step)]

    def _crop(self, sample_id: str) -> tuple[str, np.ndarray]:
        known = self._known.get(sample_id)
        if known is not None:
            return sample_id, known[0]
        return sample_id, centre_crop(self.dataset.image(sample_id), self.student.image_size)

    def _micro_batches(self, step: int, loading: Sequence[Future]) -> Iterator[MicroBatch]:
        size = self.config.micro_batch
        for number, first in enumerate(range(0, len(loading), size)):
            yield self._micro_batch(step, number, loading[first : first + size])

    def _micro_batch(self, step: int, number: int, loading: Sequence[Future]) -> MicroBatch:
        crops, vectors = zip(*(self._with_vectors(*part.result()) for part in loading), strict=True)
        visible = visible_patches(
            len(crops), self.student.grid**2, mask=self.config.mask, generator=self._generator(MASK, step, number)
        )
        return MicroBatch(
            images=normalise_crops(np.stack(crops), self.student),
            teacher=torch.from_numpy(np.stack(vectors).astype(np.float32)),
            visible=visible,
            noise=self._generator(NOISE, step, number),
            share=len(crops) / self.config.batch,
        )

    def _with_vectors(self, sample_id: str, crop: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        known = self._known.get(sample_id)
        if known is not None:
            return known
        pair = crop, self.teacher.of(crop)
        self._room -= sum(array.nbytes for array in pair)
        if self._room >= 0:
            self._known[sample_id] = pair
        return pair

    def _generator(self, stream: int, step: int, number: int) -> torch.Generator:
        words = np.random.SeedSequence([self.config.seed, stream, step, number]).generate_state(1, np.uint64)
        return torch.Generator().manual_seed(int(words[0] >> np.uint64(1)))


def normalise_crops(crops: UInt8[np.ndarray, "B H W 3"], config: StudentConfig) -> Float32[Tensor, "B 3 H W"]:
    """Images as the student takes them."""
    mean, std = (np.array(values, np.float32) for values in (config.mean, config.std))
    normal = (crops.astype(np.float32) / np.float32(255) - mean) / std
    return torch.from_numpy(np.ascontiguousarray(normal.transpose(0, 3, 1, 2)))
