"""A data set whose images and truth are drawn or decoded once and then kept in memory."""

from collections.abc import Set

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
        self._kept: dict[tuple[str, str], np.ndarray] = {}

    def load(self, sample_id: str, fields: Set[str]) -> Sample:
        """One sample with only `fields`; what else than images and truth is asked for comes from the data set."""
        if not fields or not fields <= {"image", "truth"}:
            return self._dataset.load(sample_id, fields)
        found = {field: self._kept[sample_id, field] for field in fields if (sample_id, field) in self._kept}
        if missing := fields - found.keys():
            sample = self._dataset.load(sample_id, missing)
            found |= {field: array for field in missing if (array := getattr(sample, field)) is not None}
            self._keep(sample_id, found)
        size = next((array.shape[:2] for array in found.values()), (1, 1))
        return Sample(sample_id, size, image=found.get("image"), truth=found.get("truth"))

    def _keep(self, sample_id: str, found: dict[str, np.ndarray]) -> None:
        for field, array in found.items():
            if (sample_id, field) not in self._kept and array.nbytes <= self._free:
                self._kept[sample_id, field] = array
                self._free -= array.nbytes

    def image(self, sample_id: str) -> np.ndarray:
        """The image."""
        return self.load(sample_id, {"image"}).need_image()

    def truth(self, sample_id: str) -> LabelMap:
        """The truth."""
        return self.load(sample_id, {"truth"}).need_truth()
