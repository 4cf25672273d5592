"""Files beside a data set that a method reads for one image, and the hashes by which a run remembers them."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from labelgen.untrusted import read_bounded
from labelgen.untrusted.limits import LARGEST_ARRAYS

__all__ = ["INPUTS", "InputFile", "inputs_of", "with_input"]

INPUTS = "inputs"
"""Key among the details of a mask: path as typed to the sha256 of the bytes that were read."""


@dataclass(frozen=True)
class InputFile:
    """A file as it was read.

    Each file is hashed when it is read for its image, so none is read twice however many there are, and a run of part
    of the data says nothing about the files of the rest.
    """

    path: Path
    content: bytes = field(repr=False)

    @staticmethod
    def read(path: Path) -> "InputFile":
        """Read a file whole.

        Raises
        ------
        OSError
            As the system says; the caller knows what the file was for.
        """
        return InputFile(path, read_bounded(path, LARGEST_ARRAYS))

    @cached_property
    def sha256(self) -> str:
        """Of the content."""
        return hashlib.sha256(self.content).hexdigest()


def with_input(details: Mapping[str, Any], file: InputFile) -> dict[str, Any]:
    """Details of a mask that also say which file was read.

    Examples
    --------
    >>> details = with_input({"kept": 1}, InputFile(Path("maps/a.png"), b"abc"))
    >>> details["kept"], details["inputs"]["maps/a.png"][:8]
    (1, 'ba7816bf')
    """
    return {**details, INPUTS: {**inputs_of(details), file.path.as_posix(): file.sha256}}


def inputs_of(details: Mapping[str, Any]) -> dict[str, str]:
    """Path to sha256 of the files that these details name; details come from disk and may be anything."""
    found = details.get(INPUTS)
    if not isinstance(found, Mapping):
        return {}
    return {path: sha256 for path, sha256 in found.items() if isinstance(path, str) and isinstance(sha256, str)}
