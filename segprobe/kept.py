"""A data set whose images and truth are drawn or decoded once and then kept in memory."""

from collections.abc import Set
from dataclasses import replace

import numpy as np

from labelgen.data import Dataset, Sample
from labelgen.data.dataset import DataSpec
from labelgen.masks import LabelMap
from labelgen.vocab import Vocabulary

__all__ = ["KeptDataset"]

LIMIT = 2**30  # bytes; images beyond are decoded whenever they are asked for


class KeptDataset:
    """A data set that decodes each image once, as long as memory for it is left.

    Parameters
    ----------
    dataset
        Where samples come from.
    limit
        Bytes to keep.
    """

    def __init__(self, dataset: Dataset, *, limit: int = LIMIT) -> None:
        self.spec: DataSpec = dataset.spec
        self.vocabulary: Vocabulary = dataset.vocabulary
        self.ids: tuple[str, ...] = dataset.ids
        self.tags_source = dataset.tags_source
        self._dataset = dataset
        self._free = limit
        self._kept: dict[tuple[str, str], Sample] = {}

    def load(self, sample_id: str, fields: Set[str]) -> Sample:
        """One sample with only `fields`; what else than images and truth is asked for comes from the data set."""
        if not fields or not fields <= {"image", "truth"}:
            return self._dataset.load(sample_id, fields)
        parts = [self._part(sample_id, field) for field in sorted(fields)]
        return parts[0] if len(parts) == 1 else replace(parts[1], image=parts[0].image)

    def _part(self, sample_id: str, field: str) -> Sample:
        if (sample_id, field) in self._kept:
            return self._kept[sample_id, field]
        sample = self._dataset.load(sample_id, {field})
        size = sum(array.nbytes for array in (sample.image, sample.truth, sample.instances) if array is not None)
        if size <= self._free:
            self._kept[sample_id, field] = sample
            self._free -= size
        return sample

    def image(self, sample_id: str) -> np.ndarray:
        """The image."""
        return self.load(sample_id, {"image"}).need_image()

    def truth(self, sample_id: str) -> LabelMap:
        """The truth."""
        return self.load(sample_id, {"truth"}).need_truth()
