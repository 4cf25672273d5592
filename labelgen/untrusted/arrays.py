"""Arrays of strangers, .npy and .npz: headers are held against the bytes that follow before anything is reserved."""

import io
import math
import zipfile
from collections.abc import Collection
from pathlib import Path

import numpy as np

from labelgen.untrusted.limits import LARGEST_ARRAYS

__all__ = ["check_zip", "is_zip", "read_npy_array", "read_npz_arrays"]

SUFFIX = ".npy"
ZIP = b"PK"


def read_npy_array(content: bytes) -> np.ndarray:
    """The array of a .npy file.

    Raises
    ------
    ValueError
        When it is no such file, holds Python objects, or another number of bytes than its header announces.

    Examples
    --------
    >>> stream = io.BytesIO()
    >>> np.save(stream, np.arange(3))
    >>> read_npy_array(stream.getvalue())
    array([0, 1, 2])
    >>> read_npy_array(stream.getvalue()[:-1])
    Traceback (most recent call last):
    ...
    ValueError: the header announces 24 bytes, but 23 follow
    """
    return _plainly(lambda: _array(io.BytesIO(content), len(content)))


BOUNDED = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)


def read_npz_arrays(content: bytes, names: Collection[str] = ()) -> dict[str, np.ndarray]:
    """The arrays of a .npz file.

    Parameters
    ----------
    names
        Read those of these that are there; all of them when empty.

    Raises
    ------
    ValueError
        When it is no such file, an array holds Python objects or is damaged, or all together take more than
        `LARGEST_ARRAYS`.
    """
    return _plainly(lambda: _arrays(content, names))


def is_zip(path: Path) -> bool:
    """Whether a file ends as a zip archive does; False for one that `zipfile` stumbles over."""
    try:
        return zipfile.is_zipfile(path)
    except (OSError, ValueError, zipfile.BadZipFile):
        return False


def check_zip(archive: zipfile.ZipFile, *, largest: int) -> None:
    """Refuse an archive whose files take more than so many bytes when they are unpacked.

    Python keeps to the size that an entry claims for stored and deflated ones alone: of bzip2 and LZMA it unpacks all
    that comes of a block, thousands of times its bytes, before it cuts it off. Nobody writes labels so.

    Raises
    ------
    ValueError
        When they do, or one is packed in another way.
    """
    if odd := [info.filename for info in archive.infolist() if info.compress_type not in BOUNDED]:
        raise ValueError(f"an archive must be stored or deflated, {odd[0]!r} is packed in another way")
    total = sum(info.file_size for info in archive.infolist())
    if total > largest:
        raise ValueError(f"it unpacks to {total:,} bytes, more than {largest:,}")


def _arrays(content: bytes, names: Collection[str]) -> dict[str, np.ndarray]:
    if not content.startswith(ZIP):
        raise ValueError("it is no .npz archive")
    found = {}
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        check_zip(archive, largest=LARGEST_ARRAYS)
        for info in archive.infolist():
            name = info.filename.removesuffix(SUFFIX)
            if info.filename.endswith(SUFFIX) and (not names or name in names):
                with archive.open(info) as member:
                    found[name] = _array(member, info.file_size)  # type: ignore[arg-type]
    return found


def _array(stream: io.BufferedIOBase, size: int) -> np.ndarray:
    """Read a header, then as many bytes as it announces, if they are there."""
    version = np.lib.format.read_magic(stream)
    if version not in _HEADERS:
        raise ValueError(f"version {version} of .npy is unknown")
    shape, fortran, dtype = _HEADERS[version](stream)
    if dtype.hasobject:
        raise ValueError("it holds Python objects, which are never read")
    announced, following = math.prod(shape) * dtype.itemsize, size - stream.tell()
    if announced != following or announced > LARGEST_ARRAYS or any(side < 0 for side in shape):
        raise ValueError(f"the header announces {announced:,} bytes, but {following:,} follow")
    raw = bytearray(stream.read(announced))
    if len(raw) != announced:
        raise ValueError("it is cut off")
    flat = np.frombuffer(raw, dtype) if announced else np.empty(math.prod(shape), dtype)
    return flat.reshape(shape[::-1]).T if fortran else flat.reshape(shape)


_HEADERS = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}


def _plainly(read):
    try:
        return read()
    except MemoryError:
        raise ValueError("it needs more memory than there is") from None
    except Exception as error:  # zipfile, zlib and numpy raise another type for each way to be damaged
        raise ValueError(str(error) or type(error).__name__) from error
