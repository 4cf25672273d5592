"""Files of a folder or of a zip archive, read by name; nothing is ever unpacked, so no name can lead anywhere."""

import stat
import zipfile
from dataclasses import dataclass, field
from pathlib import Path

from labelgen.errors import DataError
from labelgen.untrusted import is_plain_name, read_bounded
from labelgen.untrusted.arrays import BOUNDED

__all__ = ["LARGEST_MEMBER", "Archive", "open_archive", "zip_entry"]

LARGEST_MEMBER = 2**30  # bytes of one unpacked file; a mask of 100 megapixels has a tenth of it


@dataclass(frozen=True)
class Archive:
    """The files of a folder or zip archive, by name with `/`.

    Parameters
    ----------
    path
        The folder or archive.
    names
        Sorted names of the files; hidden ones are left out.
    """

    path: Path
    names: tuple[str, ...]
    zipped: zipfile.ZipFile | None = field(default=None, repr=False)

    def read(self, name: str) -> bytes:
        """The content of one file.

        Raises
        ------
        DataError
            When it is damaged or too large.
        """
        try:
            if self.zipped is None:
                return read_bounded(self.path / name, LARGEST_MEMBER)
            if self.zipped.getinfo(name).file_size > LARGEST_MEMBER:
                raise DataError(f"{name} would take more than {LARGEST_MEMBER} bytes, in {self.path}")
            return self.zipped.read(name)
        except DataError:
            raise
        except Exception as error:  # zipfile and zlib raise another type for each way to be damaged
            raise DataError(f"{name} cannot be read in {self.path} ({error})", hint="is the file whole?") from error

    def where(self, name: str) -> str:
        """A file as messages name it."""
        return f"{self.path.as_posix()}/{name}"

    def file(self, name: str) -> Path | None:
        """The path of a file; None within a zip archive."""
        return None if self.zipped else self.path / name


def open_archive(path: Path) -> Archive:
    """Open a folder or a zip archive.

    Raises
    ------
    DataError
        When it is neither, or an archive has links, names that lead out of it, or the same name twice.
    """
    if path.is_dir():
        found = (p.relative_to(path) for p in path.rglob("*") if p.is_file())
        names = (p.as_posix() for p in found if not any(part.startswith(".") for part in p.parts))
        return Archive(path, tuple(sorted(names)))
    try:
        zipped = zipfile.ZipFile(path)
    except FileNotFoundError as error:
        raise DataError(f"no such file or folder: {path}", hint="check the path") from error
    except Exception as error:  # as above
        raise DataError(f"neither a folder nor a zip archive: {path} ({error})", hint="is the file whole?") from error
    for info in zipped.infolist():
        if not is_plain_name(info.filename) or stat.S_ISLNK(info.external_attr >> 16):
            raise DataError(
                f"an archive must hold plain files, got {info.filename!r} in {path}",
                hint="links and names that lead out of the archive are refused",
            )
        if info.compress_type not in BOUNDED:
            raise DataError(
                f"an archive must be stored or deflated, {info.filename!r} is packed in another way in {path}",
                hint="pack it again with any zip program's usual settings",
            )
    names = [info.filename for info in zipped.infolist() if not info.is_dir()]
    if len(set(names)) != len(names):
        raise DataError(f"an archive must hold each name once, got some twice in {path}")
    return Archive(path, tuple(sorted(names)), zipped)


def zip_entry(name: str) -> zipfile.ZipInfo:
    """An entry of an archive without the time and the permissions of whoever writes it."""
    info = zipfile.ZipInfo(name)
    info.compress_type = zipfile.ZIP_DEFLATED
    info.external_attr = (stat.S_IFREG | 0o644) << 16
    info.create_system = 3  # the same on every system
    return info
