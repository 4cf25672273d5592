"""Write a file or a folder under a temporary name, then rename it, so that nobody sees half an export."""

import contextlib
import hashlib
import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

import labelgen
from labelgen.errors import RunFolderError
from labelgen.formats.format import Exported
from labelgen.locks import alone
from labelgen.store import RunFolder
from labelgen.store.layout import MANIFEST
from labelgen.writing import new_stream, sync_files, sync_folder, temporary_files

__all__ = ["MARKER", "new_file", "new_folder", "provenance", "refuse_existing", "write_below"]

MARKER = "labelgen-export.json"
"""Says in an exported folder what it is; only a folder that has it is ever overwritten."""


def refuse_existing(out: Path, *, folder: bool, overwrite: bool) -> None:
    """Refuse to write where something is.

    Raises
    ------
    RunFolderError
        When there is a file or folder and `overwrite` is false, or there is what must not be replaced at all: a
        folder for a file, a file for a folder, a folder that is no export.
    """
    if not out.exists():
        return
    if folder and out.is_file():
        raise RunFolderError(f"this format needs a folder, but {out} is a file", hint="choose another --out")
    if out.is_dir():
        if not folder:
            raise RunFolderError(f"this format is one file, but {out} is a folder", hint="name a file with --out")
        if not any(out.iterdir()):
            return
        if not (out / MARKER).is_file():
            raise RunFolderError(f"{out} is not empty and no export (no {MARKER})", hint="choose another --out")
    if not overwrite:
        raise RunFolderError(f"{out} exists", hint="--overwrite replaces it, another --out keeps both")


@contextlib.contextmanager
def new_file(out: Path, *, overwrite: bool = False) -> Iterator[IO[bytes]]:
    """Open a file to write that takes its name, and the place of what was there, when it is whole.

    Raises
    ------
    RunFolderError
        As `refuse_existing`, or when it cannot be written.
    """
    refuse_existing(out, folder=False, overwrite=overwrite)
    with alone(out):
        _tidy(out)
        try:
            with new_stream(out) as stream:
                yield stream
        except OSError as error:
            raise _unwritable(out, error) from error


@contextlib.contextmanager
def new_folder(out: Path, facts: dict[str, Any], *, overwrite: bool = False) -> Iterator[Path]:
    """Make a folder that takes its name, and the place of what was there, when it is whole.

    Parameters
    ----------
    facts
        What the folder holds, for its marker.

    Raises
    ------
    RunFolderError
        As `refuse_existing`, when it cannot be written, or another process is writing it.
    """
    refuse_existing(out, folder=True, overwrite=overwrite)
    target = out.resolve()
    temporary, old = target.with_name(f".{target.name}.new.tmp"), target.with_name(f".{target.name}.old.tmp")
    with alone(target):
        _tidy(target)
        refuse_existing(out, folder=True, overwrite=overwrite)
        try:
            temporary.mkdir()
            yield temporary
            write_below(temporary, MARKER, (json.dumps(facts, indent=2, ensure_ascii=False) + "\n").encode())
            sync_files((path for path in temporary.rglob("*") if path.is_file()), below=temporary)
            if target.exists():
                target.replace(old)
            temporary.replace(target)
            sync_folder(target.parent)  # whoever removes the labels after an export may rely on it
        except OSError as error:
            raise _unwritable(out, error) from error
        finally:
            _tidy(target)


def _tidy(target: Path) -> None:
    """Put back what an export that was killed between its two renames had moved away, and remove what it left."""
    temporary, old = target.with_name(f".{target.name}.new.tmp"), target.with_name(f".{target.name}.old.tmp")
    if old.is_dir() and not target.exists():
        old.replace(target)
    for folder in (temporary, old):
        shutil.rmtree(folder, ignore_errors=True)
    for path in temporary_files(target.parent, name=target.name):
        path.unlink(missing_ok=True)


def _unwritable(out: Path, error: OSError) -> RunFolderError:
    return RunFolderError(
        f"cannot write {out} ({error.strerror or error})", hint="is the disk full or the folder read-only?"
    )


def write_below(folder: Path, name: str, content: bytes) -> None:
    """Write a file of a folder that is not yet visible under its name; its parents are made."""
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)


def provenance(exported: Exported, to: str) -> dict[str, Any]:
    """Which labels an export holds, the same whenever and wherever it is written."""
    source = exported.source
    facts: dict[str, Any] = {
        "format": "labelgen-export",
        "to": to,
        "labelgen": labelgen.__version__,
        "images": len(exported.ids),
        "run": source.name,
        "vocabulary": source.vocabulary.to_json(),
    }
    if isinstance(source, RunFolder):
        manifest = (source.path / MANIFEST).read_bytes()
        facts["method"] = source.header["method"]
        facts["manifest_sha256"] = hashlib.sha256(manifest).hexdigest()
    return facts
