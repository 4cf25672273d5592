"""Say which processes are at work in a folder, by locks that end with their process, whatever ends it.

A lock is a file that its process holds locked through the operating system, so that one which a killed process left
behind counts for nothing. File systems without locks guard nothing; labelgen and segprobe then work as if alone.
"""

import contextlib
import errno
import os
import secrets
import socket
import time
import weakref
from collections.abc import Callable, Iterator
from pathlib import Path

from labelgen.errors import RunFolderError

__all__ = ["Lock", "alone", "holders", "lock_when_free", "own_lock", "try_lock"]

HELD = frozenset({errno.EAGAIN, errno.EACCES, errno.EDEADLK})
FAR = 1 << 30  # Windows lets nobody read a locked byte, so the byte that is locked lies behind the text
PATIENCE = 0.2  # seconds between two looks at a lock of another process
SUFFIX = ".lock"
NO_LINKS = getattr(os, "O_NOFOLLOW", 0)
LONGEST_NOTE = 200  # bytes of what a holder says of itself
READ_ONLY = frozenset({errno.EROFS, errno.EACCES, errno.EPERM})


class Lock:
    """A lock that this process holds; leaving it as a context removes the file.

    So does losing it: a signal may come between the call that takes a lock and the block that holds it.

    Parameters
    ----------
    path
        The file.
    descriptor
        It, opened and locked.
    """

    def __init__(self, path: Path, descriptor: int) -> None:
        self.path = path
        self._held = path, [descriptor], os.getpid()
        self._lost = weakref.finalize(self, _release, *self._held)

    def __enter__(self) -> "Lock":
        return self

    def __exit__(self, *_: object) -> None:
        _release(*self._held)  # if a signal comes in its midst, it is done again when this object goes
        self._lost.detach()


def try_lock(path: Path) -> Lock | None:
    """Lock a file, which is made where there is none; None when another process holds it.

    Raises
    ------
    OSError
        When the file cannot be made, or is a link: what it leads to is nobody's lock.
    """
    while True:
        if not NO_LINKS and path.is_symlink():
            raise OSError(errno.ELOOP, "a lock must not be a link", str(path))
        descriptor, held = -1, False
        try:
            descriptor = os.open(path, os.O_RDWR | os.O_CREAT | NO_LINKS, 0o666)
            held = not _lock(descriptor)
            if not held and _is_at(path, descriptor):  # else its holder has just removed it
                os.ftruncate(descriptor, 0)
                os.write(descriptor, f"process {os.getpid()} on {socket.gethostname()}".encode())
                return Lock(path, descriptor)
        except Exception:
            if descriptor >= 0:
                _give_up(path, descriptor)
            raise
        except BaseException:  # a signal, perhaps after the file had been made or locked
            if descriptor < 0:
                with contextlib.suppress(OSError):
                    descriptor = os.open(path, os.O_RDWR | NO_LINKS)
            if descriptor >= 0:
                _give_up(path, descriptor)
            raise
        os.close(descriptor)
        if held:
            return None


def lock_when_free(path: Path, *, done: Callable[[], bool] = lambda: False) -> Lock | None:
    """Wait for a lock; None as soon as there is nothing left to wait for."""
    while not done():
        lock = try_lock(path)
        if lock is not None:
            return lock
        time.sleep(PATIENCE)
    return None


@contextlib.contextmanager
def alone(folder: Path) -> Iterator[None]:
    """Be the only process that writes into a folder, by a hidden lock beside it.

    Raises
    ------
    RunFolderError
        When another process is, or the lock cannot be written.
    """
    place = folder.resolve()
    path = place.with_name(f".{place.name}{SUFFIX}")
    try:
        place.parent.mkdir(parents=True, exist_ok=True)
        lock = try_lock(path)
    except OSError as error:
        if error.errno in READ_ONLY:  # nobody else can write there either; what is complete may still be read
            yield
            return
        raise RunFolderError(
            f"cannot write to {folder.parent} ({error.strerror or error})", hint="choose another --out"
        ) from error
    if lock is None:
        raise RunFolderError(
            f"another process is at work in {folder} ({_holder(path)})",
            hint="wait for it, end it, or choose another --out",
        )
    with lock:
        yield


def own_lock(folder: Path) -> Lock:
    """A lock of this process alone, among those of others in the same folder, which say who is at work."""
    name = f"{socket.gethostname()}-{os.getpid()}-{secrets.token_hex(4)}{SUFFIX}"
    folder.mkdir(exist_ok=True)
    lock = lock_when_free(folder / name)  # `holders` of another process may just be looking at it
    assert lock is not None
    return lock


def holders(folder: Path) -> list[str]:
    """Who holds the locks in a folder; those of processes that have ended are removed on the way."""
    found = []
    for path in sorted(folder.glob(f"*{SUFFIX}")):
        if path.is_symlink():
            path.unlink(missing_ok=True)
            continue
        with contextlib.suppress(FileNotFoundError):
            lock = try_lock(path)
            if lock is None:
                found.append(_holder(path))
            else:
                with lock:
                    pass
    return found


def _give_up(path: Path, descriptor: int) -> None:
    """Remove the file of a lock that was being taken, if nobody else holds it."""
    if _lock(descriptor) and _is_at(path, descriptor):
        Lock(path, descriptor).__exit__()
    else:
        os.close(descriptor)


def _release(path: Path, held: list[int], process: int) -> None:
    """End a lock, unless that was done before, or by a process that is a fork of the holder."""
    if process != os.getpid() or not held or not _is_at(path, held[0]):
        return
    if os.name != "nt":  # before it is released, or another process could lock a file that is about to go
        path.unlink(missing_ok=True)
    os.close(held.pop())
    if os.name == "nt":
        with contextlib.suppress(OSError):
            path.unlink(missing_ok=True)


def _holder(path: Path) -> str:
    try:
        with path.open("rb") as stream:
            return stream.read(LONGEST_NOTE).decode("utf-8", "replace") or "which one is not known"
    except OSError:
        return "which one is not known"


def _is_at(path: Path, descriptor: int) -> bool:
    try:
        return os.path.samestat(os.stat(path), os.fstat(descriptor))  # noqa: PTH116
    except OSError:  # there is no such file, or the descriptor is closed
        return False


if os.name == "nt":
    import msvcrt

    def _lock(descriptor: int) -> bool:
        os.lseek(descriptor, FAR, os.SEEK_SET)
        try:
            msvcrt.locking(descriptor, msvcrt.LK_NBLCK, 1)  # type: ignore[attr-defined]
        except OSError as error:
            if error.errno in HELD:
                return False
            raise
        os.lseek(descriptor, 0, os.SEEK_SET)
        return True

else:
    import fcntl

    def _lock(descriptor: int) -> bool:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            return error.errno not in HELD  # a file system without locks
        return True
