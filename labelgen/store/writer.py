"""Begin, fill and complete a run folder, safely from several processes at once."""

import contextlib
import hashlib
import io
import json
import os
import secrets
import shutil
import socket
import zipfile
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from labelgen.errors import DataError, RunFolderError
from labelgen.masks import SoftMask, encode_mask, harden, write_atomic
from labelgen.store.header import FORMAT, differences, encode_header, read_header, refuse_differences
from labelgen.store.layout import (
    FAILURES,
    HEADER,
    JOURNAL,
    KINDS,
    LABELS,
    MANIFEST,
    SCORES,
    STROKES,
    check_ids,
    path_of,
    stale_temporaries,
)
from labelgen.store.records import Record, Records, encode_line, encode_lines, journals, load_records, summarise
from labelgen.strokes import strokes_to_json
from labelgen.vocab import Vocabulary

FLOAT16_MAX = 65504.0
ATTEMPTS = 3  # a process that completes the run may sweep a temporary file away


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
        _create_header(folder, header)
        there = read_header(folder)
        refuse_differences(differences(there, header, versions=False), folder=folder)
        records = load_records(folder)
        records.settle(folder)
        if unfinished_ids(records, ids):
            refuse_differences(differences(there, header), folder=folder)
            if there["state"] == "complete":  # failures are retried, lost files made again
                write_atomic(folder / HEADER, encode_header(header))
    except OSError as error:
        raise _unwritable(folder, error) from error
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
        raise _unwritable(folder, error) from error
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
        raise _unwritable(folder, error) from error
    return True


def _write_summary(folder: Path, header: dict[str, Any], records: Records) -> None:
    write_atomic(folder / MANIFEST, encode_lines(records.done), durable=True)
    for sample_id in records.failed:  # an image that failed has no label, not even one from a process that was killed
        for kind in KINDS:
            path_of(folder, kind, sample_id).unlink(missing_ok=True)
    if records.failed:
        write_atomic(folder / FAILURES, encode_lines(records.failed), durable=True)
    else:
        (folder / FAILURES).unlink(missing_ok=True)
    complete = {**header, "state": "complete", "counts": summarise(records)}
    write_atomic(folder / HEADER, encode_header(complete), durable=True)


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
    for name in (MANIFEST, FAILURES):
        (folder / name).unlink(missing_ok=True)
    for name, _ in KINDS:
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
    except OSError:  # a file system without hard links
        temporary.replace(target)
    finally:
        temporary.unlink(missing_ok=True)


def _unwritable(folder: Path, error: OSError) -> RunFolderError:
    reason = error.strerror or str(error)
    return RunFolderError(
        f"cannot write the run folder {folder} ({reason})",
        hint="is the disk full or the folder read-only? What is done is kept; --out names another folder",
    )


class RunWriter:
    """Writes finished images into a run folder that `prepare_run` has made; one per process.

    Parameters
    ----------
    folder
        The run folder.
    vocabulary
        Its palette and ignore id go into the label files.
    min_score
        A pixel whose best score does not exceed it stays unlabelled.
    save_scores
        Also keep the scores.
    """

    def __init__(
        self, folder: Path, vocabulary: Vocabulary, *, min_score: float = 0.0, save_scores: bool = False
    ) -> None:
        self.folder = folder
        self.vocabulary = vocabulary
        self.min_score = min_score
        self.save_scores = save_scores
        self._palette = vocabulary.colours
        self._journal: io.FileIO | None = None

    def put(self, sample_id: str, mask: SoftMask) -> Record:
        """Write the files of one image, then its line in the journal.

        Raises
        ------
        RunFolderError
            When a file cannot be written.
        ValueError
            When the mask holds a class outside the vocabulary, which is a bug of the method.
        """
        if mask.class_ids and not 0 <= mask.class_ids[0] <= mask.class_ids[-1] < self.vocabulary.num_classes:
            raise ValueError(f"class ids must be < {self.vocabulary.num_classes}, got {mask.class_ids}")
        labels = harden(mask, min_score=self.min_score, ignore=self.vocabulary.ignore)
        counts = np.bincount(labels.reshape(-1), minlength=self.vocabulary.ignore + 1)[: self.vocabulary.num_classes]
        record: Record = {
            "id": sample_id,
            "size": [int(side) for side in labels.shape],
            "sha256": self._write(LABELS, sample_id, encode_mask(labels, palette=self._palette)),
            "coverage": round(float(counts.sum()) / max(labels.size, 1), 6),
            "classes": {str(class_id): int(counts[class_id]) for class_id in np.flatnonzero(counts)},
            "warnings": list(mask.warnings),
            "details": dict(mask.details),
        }
        if mask.strokes:
            content = encode_line(strokes_to_json(mask.strokes, size=mask.size))
            record["strokes"] = sum(not stroke.dropped for stroke in mask.strokes)
            record["strokes_sha256"] = self._write(STROKES, sample_id, content)
        if self.save_scores:
            record["scores_sha256"] = self._write(SCORES, sample_id, encode_scores(mask))
        self._append(record)
        return record

    def fail(self, sample_id: str, error: DataError) -> Record:
        """Write down that one image could not be labelled, and why."""
        record: Record = {"id": sample_id, "error": error.message, "hint": error.hint}
        self._append(record)
        return record

    def __enter__(self) -> "RunWriter":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the journal."""
        if self._journal is not None:
            self._journal.close()
            self._journal = None

    def _write(self, kind: tuple[str, str], sample_id: str, content: bytes) -> str:
        path = path_of(self.folder, kind, sample_id)
        for attempt in range(ATTEMPTS):
            try:
                write_atomic(path, content)
                break
            except FileNotFoundError as error:
                if attempt == ATTEMPTS - 1:
                    raise _unwritable(self.folder, error) from error
            except OSError as error:
                raise _unwritable(self.folder, error) from error
        return hashlib.sha256(content).hexdigest()

    def _append(self, record: Record) -> None:
        line = encode_line(record)
        try:
            if self._journal is None:
                self._journal = _new_journal(self.folder)
            self._journal.write(line)
        except OSError as error:
            raise _unwritable(self.folder, error) from error


def _new_journal(folder: Path) -> io.FileIO:
    name = f"{socket.gethostname()}-{os.getpid()}-{secrets.token_hex(4)}.jsonl"
    (folder / JOURNAL).mkdir(exist_ok=True)
    return (folder / JOURNAL / name).open("xb", buffering=0)


def encode_scores(mask: SoftMask) -> bytes:
    """The bytes of scores/<id>.npz: the same for the same scores, whenever they are written.

    Raises
    ------
    DataError
        When a score is too large for float16.
    """
    if mask.scores.size and mask.scores.max() > FLOAT16_MAX:
        raise DataError(f"scores must be <= {FLOAT16_MAX:.0f} to be saved as float16, got {mask.scores.max():.0f}")
    arrays = {"scores": mask.scores.astype(np.float16), "class_ids": np.asarray(mask.class_ids, np.int32)}
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
        for name, array in arrays.items():
            member = io.BytesIO()
            np.lib.format.write_array(member, array, allow_pickle=False)
            archive.writestr(zipfile.ZipInfo(f"{name}.npy"), member.getvalue(), zipfile.ZIP_DEFLATED, 1)
    return stream.getvalue()
