"""Which files a data set has: one listing of its folders, no look at single files."""

import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from labelgen.errors import DataError
from labelgen.untrusted import opened_picture

__all__ = ["IMAGE_SUFFIXES", "MASK_SUFFIXES", "FileTable", "image_size", "list_files"]

IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png")
MASK_SUFFIXES = (".png",)


@dataclass(frozen=True)
class FileTable:
    """The file of each id.

    Parameters
    ----------
    root
        Folder that the names start from.
    names
        Path of each id relative to `root`, with `/`.
    what
        image, mask, ...: for messages.
    expected
        Where a missing file was looked for, with `{id}` in it: for messages.
    """

    root: Path
    names: Mapping[str, str] = field(default_factory=dict)
    what: str = "image"
    expected: str = "{id}"

    def __contains__(self, sample_id: str) -> bool:
        return sample_id in self.names

    def path(self, sample_id: str) -> Path:
        """Path of the file of one id.

        Raises
        ------
        DataError
            When there is no such file; it says where it was looked for.
        """
        name = self.names.get(sample_id)
        if name is None:
            looked = self.expected.replace("{id}", sample_id)
            raise DataError(
                f"{self.what} of {sample_id!r} not found: looked for {looked} in {self.root}",
                hint="check the data folder and --split; the file may be missing from the download",
            )
        return self.root / name


def list_files(
    folder: Path, suffixes: Sequence[str], *, root: Path | None = None, deep: bool = False
) -> dict[str, str]:
    """List the files of a folder by id, which is the name (or path under `folder`) without its suffix.

    Parameters
    ----------
    suffixes
        Endings that count, in lower case (`.jpg`, `_labelids.png`); files may have them in any case.
    root
        Folder that the values are relative to; `folder` when None.
    deep
        Also look into subfolders; their names become part of the id, with `/`.

    Returns
    -------
    dict
        Path relative to `root` of each id; empty when the folder does not exist. Hidden files are left out.

    Raises
    ------
    DataError
        When two files share an id.
    """
    if not folder.is_dir():
        return {}
    prefix = "" if root is None or root == folder else folder.relative_to(root).as_posix() + "/"
    found: dict[str, str] = {}
    for name in _walk(folder, deep=deep):
        ending = next((s for s in suffixes if name.lower().endswith(s)), None)
        if ending is None:
            continue
        sample_id = name[: -len(ending)]
        if sample_id in found:
            raise DataError(
                f"two files share the name {sample_id!r} in {folder}: {found[sample_id]} and {prefix}{name}"
            )
        found[sample_id] = prefix + name
    return found


def _walk(folder: Path, *, deep: bool, prefix: str = "") -> Iterator[str]:
    with os.scandir(folder) as entries:
        for entry in sorted(entries, key=lambda e: e.name):
            if entry.name.startswith("."):
                continue
            if entry.is_dir():
                if deep:
                    yield from _walk(Path(entry.path), deep=True, prefix=f"{prefix}{entry.name}/")
            else:
                yield prefix + entry.name


def image_size(path: Path) -> tuple[int, int]:
    """`(H, W)` in pixels from the file header, as the picture is after its EXIF orientation.

    Raises
    ------
    DataError
        When the file is missing or no image.
    """
    try:
        with opened_picture(path) as picture:
            width, height = picture.size
            # asked for its EXIF data, Pillow decodes a whole PNG that announces none
            has_exif = picture.format != "PNG" or not _PNG_EXIF.isdisjoint(picture.info)
            turned = has_exif and picture.getexif().get(_ORIENTATION, 1) in _QUARTER_TURNS
    except FileNotFoundError as error:
        raise DataError(f"file not found: {path}", hint="check the data folder and --split") from error
    except (OSError, ValueError) as error:
        raise DataError(f"image cannot be read: {path} ({error})", hint="the file is truncated or no image") from error
    return (width, height) if turned else (height, width)


_ORIENTATION = 0x0112  # EXIF tag
_PNG_EXIF = frozenset({"exif", "Raw profile type exif"})  # keys of Pillow's info
_QUARTER_TURNS = (5, 6, 7, 8)
