"""Image-level tags of a data set as targets of a classifier, and which classes get a channel."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float32

from labelgen.data.dataset import Dataset
from labelgen.errors import DataError

__all__ = ["Targets", "read_targets"]


@dataclass(frozen=True)
class Targets:
    """Which classes each image shows.

    Parameters
    ----------
    class_ids
        Vocabulary ids of the classes that occur, rising.
    rows
        1 for each class of an image, by id; an image without any is a negative for all.
    """

    class_ids: tuple[int, ...]
    rows: Mapping[str, Float32[np.ndarray, " C"]]

    @property
    def untagged(self) -> int:
        """Images without any class."""
        return sum(not row.any() for row in self.rows.values())

    def counts(self) -> list[int]:
        """Images of each class."""
        return [int(count) for count in sum(self.rows.values(), np.zeros(len(self.class_ids)))]

    def to_json(self, dataset: Dataset) -> dict[str, Any]:
        """The classes as a classifier keeps them."""
        vocabulary = dataset.vocabulary
        return {
            "vocabulary": vocabulary.name,
            "ids": list(self.class_ids),
            "names": [vocabulary.classes[class_id] for class_id in self.class_ids],
            "images": self.counts(),
            "untagged": self.untagged,
            "tags_source": dataset.tags_source,
        }


def read_targets(dataset: Dataset) -> Targets:
    """The tags of all images; the classes that occur in any of them get a channel.

    Raises
    ------
    DataError
        When an image has no entry, a tag is no class of the vocabulary, or no image shows any class.
    """
    tags = {sample_id: dataset.load(sample_id, {"tags"}).need_tags() for sample_id in dataset.ids}
    vocabulary = dataset.vocabulary
    for sample_id, found in tags.items():
        outside = sorted(i for i in found if not 0 <= i < vocabulary.num_classes or i == vocabulary.background)
        if outside:
            raise DataError(
                f"tags must be classes of {vocabulary.name!r} other than its background, got {outside[0]} for "
                f"{sample_id}"
            )
    class_ids = tuple(sorted(set().union(*tags.values())))
    if not class_ids:
        raise DataError(
            f"no image has a tag, in {len(tags)} images of {dataset.tags_source}",
            hint="image-level tags are what a classifier learns from; --tags names a file of them",
        )
    rows = {
        sample_id: np.array([class_id in found for class_id in class_ids], np.float32)
        for sample_id, found in tags.items()
    }
    return Targets(class_ids, rows)
