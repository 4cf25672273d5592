"""Batches whose tokens carry gradients: everything else in them is what the frozen probe would get."""

from collections.abc import Sequence

import numpy as np

from segprobe.batches import BatchMaker, TokenBatch
from segprobe.config import FitConfig
from segprobe.labels import LabelSet
from segprobe.tuning.features import PictureFeatures

__all__ = ["TuningBatches"]


class TuningBatches(BatchMaker):
    """A `BatchMaker` that runs the network on the images of each batch."""

    def __init__(
        self, source: PictureFeatures, labels: LabelSet, config: FitConfig, *, device: str = "cpu", whole: bool = False
    ) -> None:
        super().__init__(source, labels, config, device=device, whole=whole)
        self.pictures = source

    def assemble(
        self, chosen: Sequence[tuple[str, int]], rng: np.random.Generator | Sequence[np.random.Generator]
    ) -> TokenBatch:
        """Compute tokens and draw pixels; with one generator for each image the network draws from its offspring."""
        noise = [] if isinstance(rng, np.random.Generator) else [own.spawn(1)[0] for own in rng]
        with self.pictures.computed(chosen, noise):
            return super().assemble(chosen, rng)
