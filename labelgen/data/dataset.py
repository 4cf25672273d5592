"""What every data set offers, whatever its layout on disk."""

from collections.abc import Set
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

import numpy as np
from jaxtyping import UInt8

from labelgen.data.sample import Sample
from labelgen.masks import LabelMap
from labelgen.vocab import Vocabulary

__all__ = ["DataSpec", "Dataset"]


@dataclass(frozen=True)
class DataSpec:
    """What was asked for, enough to open the same data again; kept in run.json.

    Parameters
    ----------
    kind
        Layout: demo, voc, folder, coco, ade20k, cityscapes, camvid.
    root
        Absolute path of the data set; for demo the number of scenes, empty for the usual one.
    split
        train, val, ...; empty when the layout has none.
    vocabulary
        Name or TOML path, when given explicitly; empty for the layout's own.
    ids_file
        File with one id a line that selects a subset; empty for all.
    limit
        Only the first so many ids (sorted); 0 for all.
    tags
        File of image-level tags; empty when tags are derived from truth.
    """

    kind: str
    root: str = ""
    split: str = ""
    vocabulary: str = ""
    ids_file: str = ""
    limit: int = 0
    tags: str = ""

    def to_json(self) -> dict[str, Any]:
        """Plain JSON values."""
        return dict(vars(self))


@runtime_checkable
class Dataset(Protocol):
    """A set of images with ground truth; picklable, so that worker processes can open files themselves."""

    @property
    def spec(self) -> DataSpec:
        """What `reopen` needs to open the same data again."""
        ...

    @property
    def vocabulary(self) -> Vocabulary:
        """The classes of the truth."""
        ...

    @property
    def ids(self) -> tuple[str, ...]:
        """Sorted, unique ids."""
        ...

    @property
    def tags_source(self) -> str:
        """Where tags come from: `truth`, or the path of the file."""
        ...

    def load(self, sample_id: str, fields: Set[str]) -> Sample:
        """Load one sample with only `fields`, out of image, truth (with instances where there are) and tags.

        Raises
        ------
        DataError
            When a file is missing, damaged, or of another size than its partner.
        """
        ...

    def image(self, sample_id: str) -> UInt8[np.ndarray, "H W 3"]:
        """Decode only the image."""
        ...

    def truth(self, sample_id: str) -> LabelMap:
        """Decode only the ground truth, in vocabulary ids, 255 = void."""
        ...
