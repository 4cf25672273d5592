"""Masks of which each image has one file, read as label maps."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from labelgen.data.inputs import InputFile, with_input
from labelgen.errors import DataError, ShapeError
from labelgen.masks import LabelMap, SoftMask, one_hot
from labelgen.vocab import Vocabulary

__all__ = ["MaskReader"]


@dataclass(frozen=True)
class MaskReader:
    """Masks that a function gives by id.

    Parameters
    ----------
    path
        What was opened, for messages.
    ids
        Images that have a mask.
    vocabulary
        The classes of the masks.
    read
        Gives the label map of one image, by id and size, and the file that it was in where that is one of its own.
    """

    path: Path
    ids: frozenset[str]
    vocabulary: Vocabulary
    read: Callable[[str, tuple[int, int]], tuple[LabelMap, Path | None]]

    def mask(self, sample_id: str, size: tuple[int, int]) -> SoftMask:
        """The mask of one image, as scores of 1."""
        if sample_id not in self.ids:
            raise DataError(f"no mask of image {sample_id!r} in {self.path}", hint="leave the image out with --ids")
        labels, file = self.read(sample_id, size)
        if labels.shape != size:
            raise ShapeError(
                f"a mask must have the size {size} of its image, got {labels.shape} for {sample_id!r} in {self.path}",
                hint="nothing is resized silently; make the files agree",
            )
        details = with_input({}, InputFile.read(file)) if file else {}
        warnings = () if (labels != self.vocabulary.ignore).any() else ("no label in this image",)
        return one_hot(labels, ignore=self.vocabulary.ignore, warnings=warnings, details=details)
