"""A data set of files: images, truth and tags put together, with sizes checked."""

from collections.abc import Set
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import numpy as np
from jaxtyping import Int32, UInt8

from labelgen.data.dataset import DataSpec
from labelgen.data.files import FileTable, image_size
from labelgen.data.raw_ids import RawIds
from labelgen.data.sample import SUPERVISION, Sample
from labelgen.data.tags import TagSource, tags_of_truth
from labelgen.errors import DataError, ShapeError
from labelgen.masks import LabelMap, read_image, read_mask
from labelgen.vocab import Vocabulary

__all__ = ["DiskDataset", "InstanceReader", "MaskFiles", "TruthReader", "check_fields"]

FIELDS = SUPERVISION | {"image"}


def check_fields(fields: Set[str]) -> None:
    """Refuse a field that no sample has; that is a bug of the caller."""
    unknown = set(fields) - FIELDS
    if unknown:
        raise ValueError(f"fields must be out of {sorted(FIELDS)}, got {sorted(unknown)}")


@runtime_checkable
class TruthReader(Protocol):
    """Where the ground truth of a layout comes from."""

    def where(self, sample_id: str) -> str:
        """The file, for messages."""
        ...

    def size(self, sample_id: str) -> tuple[int, int]:
        """`(H, W)` without decoding."""
        ...

    def labels(self, sample_id: str) -> LabelMap:
        """Vocabulary ids, 255 = void."""
        ...

    def instances(self, sample_id: str) -> Int32[np.ndarray, "H W"] | None:
        """Instance numbers, 0 = none; None where the layout has no instances."""
        ...


@runtime_checkable
class InstanceReader(Protocol):
    """Where the instances of a layout of mask files come from."""

    def instances(self, sample_id: str) -> Int32[np.ndarray, "H W"] | None:
        """Instance numbers, 0 = none; None when this image has no such file."""
        ...


@dataclass(frozen=True)
class MaskFiles:
    """Truth as one PNG of raw ids an image."""

    files: FileTable
    raw_ids: RawIds
    instance_reader: InstanceReader | None = None

    def where(self, sample_id: str) -> str:
        """The mask file."""
        return str(self.files.path(sample_id))

    def size(self, sample_id: str) -> tuple[int, int]:
        """`(H, W)` from the header of the mask."""
        return image_size(self.files.path(sample_id))

    def labels(self, sample_id: str) -> LabelMap:
        """Decode the mask and map its ids."""
        path = self.files.path(sample_id)
        return self.raw_ids.apply(read_mask(path), where=str(path))

    def instances(self, sample_id: str) -> Int32[np.ndarray, "H W"] | None:
        """Instances from files of their own, where the layout has them."""
        return None if self.instance_reader is None else self.instance_reader.instances(sample_id)


@dataclass(frozen=True)
class DiskDataset:
    """A `Dataset` whose images are files.

    Parameters
    ----------
    images
        May be empty: truth is enough for methods that look at nothing else.
    masks
        None when the data set has no truth at all.
    tag_source
        None to derive tags from truth.
    """

    spec: DataSpec
    vocabulary: Vocabulary
    ids: tuple[str, ...]
    images: FileTable
    masks: TruthReader | None
    tag_source: TagSource | None = None

    @property
    def tags_source(self) -> str:
        """`truth`, or the path of the file of tags."""
        return self.spec.tags or "truth"

    def image(self, sample_id: str) -> UInt8[np.ndarray, "H W 3"]:
        """Decode only the image."""
        return read_image(self.images.path(sample_id))

    def truth(self, sample_id: str) -> LabelMap:
        """Decode only the ground truth."""
        return self._masks(sample_id).labels(sample_id)

    def load(self, sample_id: str, fields: Set[str]) -> Sample:
        """Load one sample with only `fields`; strokes and saliency are not part of any layout and stay None."""
        check_fields(fields)
        image = self.image(sample_id) if "image" in fields else None
        from_truth = "tags" in fields and self.tag_source is None
        truth = self.truth(sample_id) if "truth" in fields or from_truth else None
        size = self._size(sample_id, image, truth)
        tags = None
        if "tags" in fields:
            tags = self._tags(sample_id, truth)
        if "truth" not in fields:
            return Sample(sample_id, size, image=image, tags=tags)
        instances = self._masks(sample_id).instances(sample_id)
        if instances is not None and instances.shape != size:
            raise ShapeError(
                f"instances must have the size of their image, {_text(size)}, got {_text(instances.shape)} "
                f"for {self._masks(sample_id).where(sample_id)}",
                hint="nothing is resized silently; make the files agree",
            )
        return Sample(sample_id, size, image=image, truth=truth, instances=instances, tags=tags)

    def _masks(self, sample_id: str) -> TruthReader:
        if self.masks is None:
            raise DataError(
                f"there is no ground truth for {sample_id!r} in {self.spec.root}",
                hint="this needs masks beside the images, as PNG, or for tags a file given with --tags",
            )
        return self.masks

    def _tags(self, sample_id: str, truth: LabelMap | None) -> frozenset[int]:
        if self.tag_source is not None:
            return self.tag_source.tags(sample_id)
        assert truth is not None  # loaded for this purpose
        return tags_of_truth(truth, self.vocabulary)

    def _size(self, sample_id: str, image: np.ndarray | None, truth: np.ndarray | None) -> tuple[int, int]:
        """The common size; the image header is looked at even when only truth was asked for."""
        if image is not None:
            size = image.shape[0], image.shape[1]
        elif sample_id in self.images:
            size = image_size(self.images.path(sample_id))
        elif truth is not None:
            return truth.shape[0], truth.shape[1]
        else:
            return self._masks(sample_id).size(sample_id)
        if truth is not None and truth.shape != size:
            raise ShapeError(
                f"a mask must have the size of its image, {_text(size)}, got {_text(truth.shape)} "
                f"in {self._masks(sample_id).where(sample_id)}",
                hint=f"nothing is resized silently; make it agree with {self.images.path(sample_id)}",
            )
        return size


def _text(size: tuple[int, ...]) -> str:
    return " x ".join(map(str, size)) + " pixels (rows x columns)"
