"""What a file format offers, and what passes between it and the commands."""

import functools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Protocol, runtime_checkable

from labelgen.data.dataset import Dataset
from labelgen.data.disk import DiskDataset
from labelgen.data.files import image_size
from labelgen.errors import DataError
from labelgen.formats.class_names import ClassNames
from labelgen.masks import LabelMap, SoftMask
from labelgen.store import LabelSource
from labelgen.vocab import Vocabulary

__all__ = ["ExportOptions", "Exported", "Format", "Masks", "ReadOptions", "Written"]

Progress = Callable[[int, int, str], None]


@dataclass(frozen=True)
class Exported:
    """Labels to be written in another format.

    Parameters
    ----------
    source
        Where the label maps come from.
    ids
        Sorted ids of the images to write.
    dataset
        Where their images are; None where that is not known.
    """

    source: LabelSource
    ids: tuple[str, ...]
    dataset: Dataset | None = None

    @property
    def vocabulary(self) -> Vocabulary:
        """The classes of the labels."""
        return self.source.vocabulary

    def labels(self, sample_id: str) -> LabelMap:
        """The label map of one image."""
        return self.source.labels(sample_id)

    @property
    def split(self) -> str:
        """Part of the data set that was labelled; `default` where there are no parts."""
        return (self.source.spec.split if self.source.spec else "") or "default"

    def image_file(self, sample_id: str) -> Path | None:
        """The file of an image; None where it is drawn, or not known."""
        if not isinstance(self.dataset, DiskDataset) or sample_id not in self.dataset.images:
            return None
        return self.dataset.images.path(sample_id)

    def image_name(self, sample_id: str) -> str:
        """Name of an image relative to its folder: its id and the suffix of its file, `.jpg` where that is unknown."""
        path = self.image_file(sample_id)
        if path is not None:
            return sample_id + path.suffix
        return sample_id + (".png" if self.dataset is not None and self.dataset.spec.kind == "demo" else ".jpg")

    def image(self, sample_id: str) -> tuple[bytes, str]:
        """The content of an image file and its suffix.

        Files are handed on as they are, unless their EXIF data turn them: readers that do not look at these would not
        find the pixels that were labelled. Such images, and drawn ones, become PNG.

        Raises
        ------
        DataError
            When there is no such image.
        """
        from labelgen.formats.pictures import encode_rgb

        path = self.image_file(sample_id)
        try:
            if path is not None and not _is_turned(path):
                return path.read_bytes(), path.suffix.lower()
        except (OSError, SyntaxError, ValueError) as error:
            raise DataError(f"image cannot be read: {path} ({error})", hint="is the file whole?") from error
        if self.dataset is None:
            raise DataError(f"no image {sample_id!r}: its data set is not known", hint="name it with --data")
        return encode_rgb(self.dataset.image(sample_id)), ".png"


def _is_turned(path: Path) -> bool:
    """Whether EXIF data say that the picture is to be shown in another orientation than it is stored in."""
    from PIL import Image

    with Image.open(path) as picture:
        stored = picture.size
        orientation = picture.getexif().get(0x0112, 1) if picture.format != "PNG" else 1
    return orientation != 1 or (stored[1], stored[0]) != image_size(path)


@dataclass(frozen=True)
class ExportOptions:
    """How labels are written.

    Parameters
    ----------
    instances
        One region for each connected component, instead of one for each class of an image.
    images
        Also write the images, where the format can do without.
    overwrite
        Replace what is there.
    """

    instances: bool = False
    images: bool = False
    overwrite: bool = False


@dataclass(frozen=True)
class Written:
    """What an export wrote.

    Parameters
    ----------
    files
        Number of files.
    notes
        Warnings: what the format could not say, or not in the usual way.
    recipe
        What to do with the files, line by line.
    """

    files: int
    notes: Sequence[str] = ()
    recipe: Sequence[str] = ()


@dataclass(frozen=True)
class ReadOptions:
    """How masks are read.

    Parameters
    ----------
    overlap
        Which of several masks a pixel belongs to: that with the highest score (of equal ones the smallest), the
        smallest (of equal ones that with the highest score), or none where their classes differ.
    rest
        What pixels in no mask are.
    min_score
        Masks with a lower score are left out.
    categories
        JSON of COCO that says what the ids in a list of results mean.
    """

    overlap: Literal["score", "small", "unlabelled"] = "score"
    rest: Literal["unlabelled", "background"] = "unlabelled"
    min_score: float = 0.0
    categories: str = ""


@runtime_checkable
class Masks(Protocol):
    """Masks in the files of some format, opened for reading."""

    @property
    def ids(self) -> frozenset[str]:
        """Ids of the images that have masks."""
        ...

    def mask(self, sample_id: str, size: tuple[int, int]) -> SoftMask:
        """The mask of one image.

        Parameters
        ----------
        size
            (H, W) of the image in pixels, which the mask must have.

        Raises
        ------
        DataError
            When there is none, or it is damaged.
        """
        ...


Write = Callable[[Exported, Path, ExportOptions, Progress], Written]
Open = Callable[[Path, ClassNames, ReadOptions], Masks]


@dataclass(frozen=True)
class Format:
    """One row of `labelgen.formats.table.FORMATS`.

    Parameters
    ----------
    about
        One line: what it is, and how unlabelled pixels are said.
    suffix
        Of the file that an export writes; empty where it writes a folder.
    write
        `module:function` that writes, imported when it is needed; empty for formats that are only read.
    read
        `module:function` that opens files for reading.
    scored
        Whether its masks may overlap and have scores, so that `overlap` and `min_score` of `ReadOptions` have a say.
    rest
        Whether it says nothing of pixels in no mask, so that `rest` of `ReadOptions` has a say.
    regions
        Whether an export can split classes into connected components.
    images
        Whether an export writes the images: always, never, or on request.
    finds_images
        Whether an export must find the images, be it only to name them.
    extra
        Extra of labelgen that installs what it needs beyond the core.
    """

    about: str
    suffix: str
    write: str
    read: str
    scored: bool = False
    rest: bool = False
    regions: bool = False
    images: Literal["always", "never", "optional"] = "never"
    finds_images: bool = False
    extra: str = ""

    def writer(self) -> Write:
        """The function that writes."""
        return _imported(self.write)

    def opener(self) -> Open:
        """The function that opens files for reading."""
        return _imported(self.read)


@functools.cache
def _imported(target: str) -> Callable:
    import importlib

    module, _, name = target.partition(":")
    return getattr(importlib.import_module(module), name)
