"""The actor: says who it is, builds what it works with once, and works through chunks."""

import hashlib
import importlib.util
import os
import pickle
import platform
import socket
import traceback
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

from labelgen.cluster.witness import Witness, sees
from labelgen.errors import LabelgenError
from labelgen.threads import limit_threads

__all__ = ["Facts", "Worker", "facts_here"]

Do = Callable[[Any], Iterable[Any]]
"""What a worker does with a chunk."""

Outcome = tuple[list[Any], Exception | None]
"""Results of a chunk in order, and the error that ended it, if one did."""

SHOWN = 12  # characters of a hash


@dataclass(frozen=True)
class Facts:
    """Who a process is.

    Parameters
    ----------
    host
        Name of its machine.
    versions
        What must be the same on all machines: Python, distributions, and a hash of the code of our packages.
    folder
        Whether it stands in the working folder of the process that asks.
    witness
        Whether it sees the file that shows that folders are shared.
    """

    host: str
    versions: dict[str, str]
    folder: bool = True
    witness: bool = True


class Worker:
    """One actor. Errors are results, so that Ray neither wraps them nor takes them for its own."""

    def __init__(self) -> None:
        self._do: Do | None = None

    def hello(self, folder: str, witness: Witness, distributions: Sequence[str], packages: Sequence[str]) -> Facts:
        """Go to the working folder, so that relative paths mean the same, and say who this is."""
        try:
            os.chdir(folder)
        except OSError:
            return facts_here(distributions, packages, folder=False, witness=False)
        return facts_here(distributions, packages, witness=sees(witness))

    def prepare(self, build: Callable[[], Do]) -> Outcome:
        """Load weights and whatever else takes time, once."""
        try:
            self._do = build()
        except Exception as error:
            return [], portable(error)
        limit_threads()
        return [], None

    def work(self, chunk: Any) -> Outcome:
        """Do one chunk; what was done before an error is kept."""
        assert self._do is not None
        results: list[Any] = []
        try:
            for result in self._do(chunk):
                results.append(result)
        except Exception as error:
            return results, portable(error)
        return results, None


def facts_here(
    distributions: Sequence[str], packages: Sequence[str], *, folder: bool = True, witness: bool = True
) -> Facts:
    """Who this process is.

    Parameters
    ----------
    distributions
        Names of installed distributions.
    packages
        Import names of packages of ours, whose code is hashed: a version says little while code is being written.
    """
    import labelgen

    versions = {"python": ".".join(platform.python_version_tuple()[:2]), "labelgen": labelgen.__version__}
    for name in distributions:
        try:
            versions[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            versions[name] = "absent"
    versions |= {f"code of {name}": code_sha256(name) for name in packages}
    return Facts(socket.gethostname(), versions, folder, witness)


def code_sha256(package: str) -> str:
    """Hash of all Python files of a package, shortened; `absent` when it is not installed."""
    spec = importlib.util.find_spec(package)
    if spec is None or spec.origin is None:
        return "absent"
    root = Path(spec.origin).parent
    digest = hashlib.sha256()
    for path in sorted(root.rglob("*.py")):
        digest.update(path.relative_to(root).as_posix().encode() + b"\0" + path.read_bytes() + b"\0")
    return digest.hexdigest()[:SHOWN]


def portable(error: Exception) -> Exception:
    """The error as it can be sent: our own as it is, any other with where it happened."""
    if not isinstance(error, LabelgenError):
        told = error if isinstance(error, RuntimeError) else RuntimeError(f"{type(error).__name__}: {error}")
        told.add_note(f"on {socket.gethostname()}:\n{traceback.format_exc()}")
        error = told.with_traceback(None)
    try:
        pickle.dumps(error)
    except Exception:
        return RuntimeError(f"{type(error).__name__}: {error}")
    return error
