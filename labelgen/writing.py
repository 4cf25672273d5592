"""The only code that writes files: whole or not at all, and on request so that a power cut does not undo it.

What is promised
----------------
- A file appears under its name when all of it is written. A killed process leaves the old file or none, and at most a
  hidden temporary file, which the next command on the folder removes.
- *Durable* means: the content is on the disk before the name is, and the name is before the call returns (fsync of the
  file, rename, fsync of the folder). Settings, checkpoints, manifests, probes and caches are durable.
- The files of single images are not durable one by one: waiting for the disk costs 3.7 ms a file on an ordinary SSD,
  more than drawing a scribble. They are flushed together before a run is called complete, by sixteen threads whose
  flushes the file system joins, which costs 0.1 ms a file. After a power cut within a run its files are compared
  with the hashes in the journal, and images whose files were lost are made again.
"""

import contextlib
import errno
import itertools
import os
import re
import secrets
import sys
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import IO

__all__ = [
    "append",
    "make_folder",
    "new_stream",
    "sweep_temporaries",
    "sync_files",
    "sync_folder",
    "temporary_files",
    "write_atomic",
    "write_once",
]

FLUSHES = 16  # at once: journalling file systems join them into one; see the measurement above
FLUSHES_AHEAD = 1024  # handed out at once, so that a run of millions takes no memory for them
KEPT_OF_NAME = 40  # characters, so that the longest names stay within what file systems allow
NO_FOLDER_SYNC = frozenset({errno.EINVAL, errno.EBADF, errno.ENOTSUP, errno.EACCES})  # of network and FUSE mounts


def write_atomic(path: Path, content: bytes, *, durable: bool = True) -> None:
    """Write a file under a temporary name in the same folder, then rename it, so that no reader sees half of it.

    Parameters
    ----------
    durable
        Also wait until the disk has it (survives a power cut, not only a killed process).

    Raises
    ------
    OSError
        Naming the file.
    """
    with new_stream(path, durable=durable) as stream:
        _put(stream, content)


@contextlib.contextmanager
def new_stream(path: Path, *, durable: bool = True) -> Iterator[IO[bytes]]:
    """Open a file to write that takes its name, and the place of what was there, when it is whole.

    Raises
    ------
    OSError
        Naming the file, also where the system names none; one that is a sentence without a number stays as it is.
    """
    with _temporary_of(path) as temporary:
        make_folder(path.parent, durable=durable)
        with temporary.open("xb") as stream:
            yield stream
            if durable:
                stream.flush()
                _sync(stream.fileno())
        temporary.replace(path)
        if durable:
            sync_folder(path.parent)


def append(stream: IO[bytes], line: bytes) -> None:
    """Add a line to a file that is opened unbuffered, at once: a killed process leaves all of it or its beginning.

    Raises
    ------
    OSError
        Naming the file, also when the disk took a part of the line only.
    """
    try:
        _put(stream, line)
    except OSError as error:
        if error.errno is not None:
            error.filename = error.filename or str(stream.name)
        raise


def write_once(path: Path, content: bytes) -> bool:
    """Write a file durably unless there is one; says whether it was this process that did.

    Of several processes one wins, but on file systems without hard links the last one may replace the first.
    """
    if path.exists():
        return False
    with _temporary_of(path) as temporary:
        with temporary.open("xb") as stream:
            _put(stream, content)
            stream.flush()
            _sync(stream.fileno())
        try:
            path.hardlink_to(temporary)
        except FileExistsError:
            return False
        except FileNotFoundError:
            raise
        except OSError:  # a file system without hard links
            temporary.replace(path)
        finally:
            temporary.unlink(missing_ok=True)
        sync_folder(path.parent)
    return True


def make_folder(folder: Path, *, durable: bool = True) -> None:
    """Make a folder and its parents where they are missing."""
    made = []
    for place in (folder, *folder.parents):
        if place.is_dir():
            break
        made.append(place)
    if made:
        folder.mkdir(parents=True, exist_ok=True)
    for place in made if durable else ():
        sync_folder(place.parent)


def sync_files(paths: Iterable[Path], *, below: Path) -> None:
    """Wait until the disk has files that were written without waiting, and the folders that lead to them from `below`.

    A file that is no longer there is passed over: another process may have replaced or removed it.
    """
    folders: set[Path] = set()
    mode = "r+b" if os.name == "nt" else "rb"  # Windows flushes only what was opened to write

    def sync(path: Path) -> None:
        with contextlib.suppress(FileNotFoundError), path.open(mode) as stream:
            _sync(stream.fileno())

    with ThreadPoolExecutor(FLUSHES, "flush") as pool:
        rest = iter(paths)
        while some := list(itertools.islice(rest, FLUSHES_AHEAD)):
            for path, _ in zip(some, pool.map(sync, some), strict=True):
                folders.update(place for place in path.parents if below in place.parents)
    for place in sorted(folders, reverse=True):
        with contextlib.suppress(FileNotFoundError):
            sync_folder(place)
    sync_folder(below)


def temporary_files(folder: Path, *, name: str = "") -> list[Path]:
    """Temporary files in a folder, of this file or of all, sorted; those of running processes are among them.

    Of a name that is too long to be kept in theirs none is found.
    """
    own = re.compile(re.escape(f".{name}.") + r"\d+-[0-9a-f]{8}\.tmp")
    return sorted(path for path in folder.glob(".*.tmp") if not name or own.fullmatch(path.name))


def sweep_temporaries(folder: Path) -> None:
    """Remove what killed processes left in a folder; only for a caller that knows itself alone there."""
    for path in temporary_files(folder):
        with contextlib.suppress(PermissionError):
            path.unlink(missing_ok=True)


@contextlib.contextmanager
def _temporary_of(path: Path) -> Iterator[Path]:
    """A temporary name beside a file; after an error nothing is left there, and the error names the file."""
    temporary = path.with_name(f".{path.name[:KEPT_OF_NAME]}.{os.getpid()}-{secrets.token_hex(4)}.tmp")
    try:
        yield temporary
    except BaseException as error:
        with contextlib.suppress(OSError):
            temporary.unlink()
        # one without a number is a sentence, which a file name would replace
        if isinstance(error, OSError) and error.errno is not None and error.filename in (None, str(temporary)):
            error.filename, error.filename2 = str(path), None
        raise


def _put(stream: IO[bytes], content: bytes) -> None:
    if stream.write(content) != len(content):  # an unbuffered file on a full disk takes a part and says nothing
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def _sync(descriptor: int) -> None:
    """fsync; macOS empties the cache of the drive itself only when asked in its own way."""
    if sys.platform == "darwin":
        import fcntl

        with contextlib.suppress(OSError):
            fcntl.fcntl(descriptor, fcntl.F_FULLFSYNC)
            return
    os.fsync(descriptor)


def sync_folder(folder: Path) -> None:
    """Flush the names in a folder, where the system has such a thing."""
    if os.name == "nt":
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        _sync(descriptor)
    except OSError as error:
        if error.errno not in NO_FOLDER_SYNC:
            raise
    finally:
        os.close(descriptor)
