"""Begin and complete a run folder, safely from several processes at once."""

import contextlib
import json
import os
import secrets
import shutil
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from labelgen.errors import RunFolderError
from labelgen.masks import write_atomic
from labelgen.store.header import FORMAT, differences, encode_header, read_header, refuse_differences
from labelgen.store.inputs import refuse_changed_inputs
from labelgen.store.layout import (
    FAILURES,
    HEADER,
    JOURNAL,
    KINDS,
    LAYERS,
    MANIFEST,
    SHEET,
    check_ids,
    kinds_in,
    path_of,
    stale_temporaries,
)
from labelgen.store.records import Record, Records, encode_lines, journals, load_records, summarise
from labelgen.store.writer import insist, unwritable


def prepare_run(folder: Path, header: dict[str, Any], ids: Sequence[str], *, overwrite: bool = False) -> Records:
    """Create a run folder, or open an unfinished one with the same settings; return what is already there.

    Parameters
    ----------
    header
        What `make_header` gave.
    ids
        All ids of the data set, not only those of one shard.
    overwrite
        Remove the run that is there first. Only a run is ever removed.

    Raises
    ------
    RunFolderError
        When an id is no safe file name, the folder is foreign, cannot be written, or holds other settings.
    """
    check_ids(ids)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        _refuse_foreign(folder)
        if overwrite:
            _remove_run(folder)
        insist(lambda: _create_header(folder, header))
        there = read_header(folder)
        refuse_differences(differences(there, header, versions=False), folder=folder)
        records = load_records(folder)
        records.settle(folder)
        if unfinished_ids(records, ids):
            refuse_differences(differences(there, header), folder=folder)
            if there["state"] == "complete":  # failures are retried, lost files made again
                _write_durably(folder / HEADER, encode_header(header))
    except OSError as error:
        raise unwritable(folder, error) from error
    return records


def look_into(folder: Path, header: dict[str, Any], ids: Sequence[str], *, overwrite: bool = False) -> Records:
    """What `prepare_run` would find or refuse, without writing anything."""
    check_ids(ids)
    try:
        if folder.exists():
            _refuse_foreign(folder)
        if overwrite or not (folder / HEADER).exists():
            return Records()
        records = load_records(folder)
        records.settle(folder)
        unfinished = bool(unfinished_ids(records, ids))
        refuse_differences(differences(read_header(folder), header, versions=unfinished), folder=folder)
    except OSError as error:
        raise unwritable(folder, error) from error
    refuse_changed_inputs(folder, records.done)
    return records


def unfinished_ids(records: Records, ids: Iterable[str]) -> list[str]:
    """Ids still to be labelled, in order; images that failed are tried again."""
    return [sample_id for sample_id in ids if sample_id not in records.done]


def complete_run(folder: Path, header: dict[str, Any], ids: Sequence[str], own: Iterable[Record] = ()) -> bool:
    """Write manifest, failures and a complete run.json if all ids are done or failed; say whether the run is complete.

    Two processes may do this at once. `own` are the records of this process, which another one that completed the run
    meanwhile may have removed from disk.
    """
    own = list(own)
    try:
        if not own and read_header(folder)["state"] == "complete":
            _sweep(folder)
            return True
        records = load_records(folder)
        records.add(own)
        records.settle(folder)
        if any(sample_id not in records.done and sample_id not in records.failed for sample_id in ids):
            return read_header(folder)["state"] == "complete"
        _write_summary(folder, header, records)
        _sweep(folder)
    except OSError as error:
        raise unwritable(folder, error) from error
    return True


def _write_durably(path: Path, content: bytes) -> None:
    insist(lambda: write_atomic(path, content, durable=True))


def _write_summary(folder: Path, header: dict[str, Any], records: Records) -> None:
    _write_durably(folder / MANIFEST, encode_lines(records.done))
    for sample_id in records.failed:  # an image that failed has no label, not even one from a process that was killed
        for kind in kinds_in(folder):
            path_of(folder, kind, sample_id).unlink(missing_ok=True)
    if records.failed:
        _write_durably(folder / FAILURES, encode_lines(records.failed))
    else:
        (folder / FAILURES).unlink(missing_ok=True)
    complete = {**header, "state": "complete", "counts": summarise(records)}
    _write_durably(folder / HEADER, encode_header(complete))


def _sweep(folder: Path) -> None:
    """Remove journals and what killed processes left; on Windows a file that is still open stays for its owner."""
    for path in [*journals(folder), *stale_temporaries(folder)]:
        with contextlib.suppress(PermissionError):
            path.unlink(missing_ok=True)
    with contextlib.suppress(OSError):
        (folder / JOURNAL).rmdir()


def _refuse_foreign(folder: Path) -> None:
    if (folder / HEADER).exists():
        return
    foreign = sorted(p.name for p in folder.iterdir() if not p.match(f".{HEADER}.*.tmp"))
    if foreign and not (folder / HEADER).exists():  # another process may have begun the run meanwhile
        raise RunFolderError(
            f"{folder} is not empty and not a run (it holds {foreign[0]})", hint="choose another --out or empty it"
        )


def _remove_run(folder: Path) -> None:
    """Remove a run. What says that images are done goes first, so that a kill leaves a run that has to begin again."""
    path = folder / HEADER
    if not path.exists():
        return
    try:
        header = json.loads(path.read_bytes())
    except ValueError:
        header = None
    if not isinstance(header, dict) or header.get("format") != FORMAT:
        raise RunFolderError(f"only a run is overwritten, but {path} is no {FORMAT}", hint="remove it yourself")
    shutil.rmtree(folder / JOURNAL, ignore_errors=True)
    for name in (MANIFEST, FAILURES, SHEET):
        (folder / name).unlink(missing_ok=True)
    for name in (*(name for name, _ in KINDS), LAYERS):
        if (folder / name).is_dir():
            shutil.rmtree(folder / name)
    path.unlink()


def _create_header(folder: Path, header: dict[str, Any]) -> None:
    """Create run.json unless it exists; of several processes one wins, and all read what it wrote."""
    target = folder / HEADER
    if target.exists():
        return
    temporary = folder / f".{HEADER}.{os.getpid()}-{secrets.token_hex(4)}.tmp"
    temporary.write_bytes(encode_header(header))
    try:
        target.hardlink_to(temporary)
    except FileExistsError:
        return
    except FileNotFoundError:
        raise
    except OSError:  # a file system without hard links
        temporary.replace(target)
    finally:
        temporary.unlink(missing_ok=True)
