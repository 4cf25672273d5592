"""A file by which a worker shows that it sees the folder that the rest of the run sees."""

import contextlib
import hashlib
import secrets
import time
from dataclasses import dataclass
from pathlib import Path

from labelgen.errors import RunFolderError
from labelgen.writing import write_atomic

__all__ = ["Token", "Witness", "sees"]

PATIENCE = 3.0  # seconds in which a file of another machine may still turn up on a network file system
PAUSE = 0.1


@dataclass(frozen=True)
class Witness:
    """A file that is there, and what it holds.

    Parameters
    ----------
    path
        Absolute.
    sha256
        Of its content.
    """

    path: Path
    sha256: str

    @classmethod
    def of(cls, path: Path) -> "Witness":
        """A file as it is now.

        Raises
        ------
        RunFolderError
            When it cannot be read.
        """
        path = path.resolve()
        try:
            return cls(path, hashlib.sha256(path.read_bytes()).hexdigest())
        except OSError as error:
            raise RunFolderError(f"cannot read {path} ({error.strerror})", hint="check the path") from error

    def renew(self) -> None:
        """Nothing: the file is not ours."""

    def remove(self) -> None:
        """Nothing: the file is not ours."""


@dataclass(frozen=True)
class Token(Witness):
    """A file of random content below a folder that is written to; whoever completes the run may sweep it away."""

    content: bytes = b""

    @classmethod
    def into(cls, folder: Path) -> "Token":
        """A token that `renew` will write; its name is that of a temporary file of the run."""
        content = secrets.token_hex(16).encode()
        path = folder.resolve() / f".token.{secrets.token_hex(4)}.tmp"
        return cls(path, hashlib.sha256(content).hexdigest(), content)

    def renew(self) -> None:
        """Write it, unless it is there.

        Raises
        ------
        RunFolderError
            When the folder cannot be written.
        """
        if self.path.is_file():
            return
        try:
            write_atomic(self.path, self.content, durable=False)
        except OSError as error:
            raise RunFolderError(f"cannot write {self.path.parent} ({error.strerror})") from error

    def remove(self) -> None:
        """Remove it."""
        with contextlib.suppress(OSError):
            self.path.unlink(missing_ok=True)


def sees(witness: Witness) -> bool:
    """Whether this process finds the file with the same content."""
    until = time.monotonic() + PATIENCE
    while True:
        try:
            return hashlib.sha256(witness.path.read_bytes()).hexdigest() == witness.sha256
        except OSError:
            if time.monotonic() > until:
                return False
            time.sleep(PAUSE)
