"""Begin and complete a run folder, safely from several processes at once."""

import contextlib
import shutil
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from labelgen.errors import RunFolderError
from labelgen.locks import holders, lock_when_free, own_lock
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
    TURN,
    check_ids,
    files_of,
    kinds_in,
    path_of,
    stale_temporaries,
)
from labelgen.store.lines import Record
from labelgen.store.links import LinkGuard, refuse_link
from labelgen.store.records import Records, journalled_ids, journals, load_records, summarise, write_lines
from labelgen.store.writer import insist, unwritable
from labelgen.untrusted import parse_json, read_bounded
from labelgen.writing import make_folder, sync_files, write_atomic, write_once


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
        When an id is no safe file name, the folder is foreign, cannot be written, or holds other settings, or when it
        shall be overwritten and another process is at work in it.
    """
    check_ids(ids)
    try:
        make_folder(folder)
        _refuse_foreign(folder)
        for name in (JOURNAL, LAYERS, *(name for name, _ in kinds_in(folder))):
            refuse_link(folder / name)
        with _turn(folder) if overwrite else contextlib.nullcontext():
            if overwrite:
                _remove_run(folder)
            insist(lambda: write_once(folder / HEADER, encode_header(header)))
        there = read_header(folder)
        refuse_differences(differences(there, header, versions=False), folder=folder)
        records = load_records(folder)
        records.settle(folder, doubted=journalled_ids(folder))
        if unfinished_ids(records, ids):
            refuse_differences(differences(there, header), folder=folder)
            if there["state"] == "complete":  # failures are retried, lost files made again
                _write_durably(folder / HEADER, encode_header(header))
    except OSError as error:
        raise unwritable(folder, error) from error
    return records


@contextlib.contextmanager
def at_work(folder: Path, header: dict[str, Any]) -> Iterator[None]:
    """Say that this process writes into a run, so that nobody overwrites it meanwhile.

    Raises
    ------
    RunFolderError
        When the folder cannot be written, or has been overwritten with other settings.
    """
    try:
        with _turn(folder):
            refuse_differences(differences(read_header(folder), header, versions=False), folder=folder)
            lock = insist(lambda: own_lock(folder / JOURNAL))
    except OSError as error:
        raise unwritable(folder, error) from error
    try:
        with lock:
            yield
    finally:
        with contextlib.suppress(OSError):  # it is empty when the run is complete
            (folder / JOURNAL).rmdir()


@contextlib.contextmanager
def _turn(folder: Path) -> Iterator[None]:
    """Begin to work in a run, or overwrite it, one process after the other."""
    lock = lock_when_free(folder / TURN)
    assert lock is not None
    with lock:
        yield


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


def complete_run(
    folder: Path, header: dict[str, Any], ids: Sequence[str], own: Records | Iterable[Record] = ()
) -> bool:
    """Write manifest, failures and a complete run.json if all ids are done or failed; say whether the run is complete.

    Two processes may do this at once. `own` are the records of this process, which another one that completed the run
    meanwhile may have removed from disk. Before the run is called complete, the disk has all its files, and those that
    other processes made have the hashes in their lines.

    Raises
    ------
    RunFolderError
        When the folder cannot be written, or holds other settings by now.
    """
    if isinstance(own, Records):
        mine = own
    else:
        mine = Records()
        mine.add(own)
    try:
        there = read_header(folder)
        refuse_differences(differences(there, header, versions=False), folder=folder)
        if not (mine.done or mine.failed) and there["state"] == "complete":
            _sweep(folder)
            return True
        records, here = load_records(folder), {*mine.done, *mine.failed}
        fresh = journalled_ids(folder) | here
        records.add(mine.every())
        records.settle(folder, doubted=fresh - here)
        if any(sample_id not in records.done and sample_id not in records.failed for sample_id in ids):
            return read_header(folder)["state"] == "complete"
        kept = (i for i in sorted(fresh) if i in records.done)
        sync_files((path_of(folder, kind, i) for i in kept for kind, _ in files_of(records.done[i])), below=folder)
        _write_summary(folder, header, records)
        _sweep(folder)
    except OSError as error:
        raise unwritable(folder, error) from error
    return True


def _write_durably(path: Path, content: bytes) -> None:
    insist(lambda: write_atomic(path, content))


def _write_summary(folder: Path, header: dict[str, Any], records: Records) -> None:
    insist(lambda: write_lines(folder / MANIFEST, records.done))
    links = LinkGuard(folder)
    for sample_id in records.failed:  # an image that failed has no label, not even one from a process that was killed
        for kind in kinds_in(folder):
            links.check(path_of(folder, kind, sample_id))
            path_of(folder, kind, sample_id).unlink(missing_ok=True)
    if records.failed:
        insist(lambda: write_lines(folder / FAILURES, records.failed))
    else:
        (folder / FAILURES).unlink(missing_ok=True)
    complete = {**header, "state": "complete", "counts": summarise(records)}
    _write_durably(folder / HEADER, encode_header(complete))


def _sweep(folder: Path) -> None:
    """Remove journals and what killed processes left; on Windows a file that is still open stays for its owner."""
    holders(folder / JOURNAL)
    for path in [folder / TURN, *journals(folder), *stale_temporaries(folder)]:
        with contextlib.suppress(PermissionError):
            path.unlink(missing_ok=True)
    with contextlib.suppress(OSError):
        (folder / JOURNAL).rmdir()


def _refuse_foreign(folder: Path) -> None:
    if (folder / HEADER).exists():
        return
    foreign = sorted(p.name for p in folder.iterdir() if not (p.match(".*.tmp") or p.name == TURN))
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
        header = parse_json(read_bounded(path))
    except ValueError:
        header = None
    if not isinstance(header, dict) or header.get("format") != FORMAT:
        raise RunFolderError(f"only a run is overwritten, but {path} is no {FORMAT}", hint="remove it yourself")
    if others := holders(folder / JOURNAL):
        raise RunFolderError(
            f"another process is at work in {folder} ({others[0]})",
            hint="it is not overwritten under its hands: wait for it, end it, or choose another --out",
        )
    shutil.rmtree(folder / JOURNAL, ignore_errors=True)
    for name in (MANIFEST, FAILURES, SHEET):
        (folder / name).unlink(missing_ok=True)
    for name in (*(name for name, _ in KINDS), LAYERS):
        if (folder / name).is_dir():
            shutil.rmtree(folder / name)
    path.unlink()
