"""Write finished images into a run folder, and a line about each into a journal."""

import contextlib
import hashlib
import io
import os
import secrets
import socket
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TypeVar

import numpy as np

from labelgen.errors import DataError, RunFolderError
from labelgen.masks import SoftMask, encode_mask, harden, label_counts, write_atomic
from labelgen.store.layout import DISTANCES, HASHES, JOURNAL, LABELS, LAYERS, SCORES, STROKES, Kind, layer_kind, path_of
from labelgen.store.lines import Record, encode_line
from labelgen.store.links import LinkGuard, refuse_link
from labelgen.strokes import strokes_to_json
from labelgen.vocab import Vocabulary
from labelgen.writing import append

T = TypeVar("T")

FLOAT16_MAX = 65504.0
ATTEMPTS = 5  # a process that completes the run may sweep a temporary file of ours away, but not for ever


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
        self._links = LinkGuard(folder)

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
        counts = label_counts(labels, ignore=self.vocabulary.ignore)[: self.vocabulary.num_classes]
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
        if mask.layers:
            record[LAYERS] = {
                name: self._write(layer_kind(name), sample_id, encode_mask(layer, palette=self._palette))
                for name, layer in sorted(mask.layers.items())
            }
        if mask.distances:
            content = _encode_arrays({name: plane.astype(np.float16) for name, plane in sorted(mask.distances.items())})
            record[HASHES["distances"]] = self._write(DISTANCES, sample_id, content)
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

    def _write(self, kind: Kind, sample_id: str, content: bytes) -> str:
        path = path_of(self.folder, kind, sample_id)
        self._links.check(path)
        try:
            insist(lambda: write_atomic(path, content, durable=False))
        except OSError as error:
            raise unwritable(self.folder, error) from error
        return hashlib.sha256(content).hexdigest()

    def _append(self, record: Record) -> None:
        line = encode_line(record)
        try:
            if self._journal is None:
                self._journal = insist(lambda: _new_journal(self.folder))
            append(self._journal, line)
        except OSError as error:
            raise unwritable(self.folder, error) from error


def _new_journal(folder: Path) -> io.FileIO:
    name = f"{socket.gethostname()}-{os.getpid()}-{secrets.token_hex(4)}.jsonl"
    refuse_link(folder / JOURNAL)
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
    return _encode_arrays({"scores": mask.scores.astype(np.float16), "class_ids": np.asarray(mask.class_ids, np.int32)})


def _encode_arrays(arrays: Mapping[str, np.ndarray]) -> bytes:
    """An npz file without the time of its writing."""
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
        for name, array in arrays.items():
            member = io.BytesIO()
            np.lib.format.write_array(member, array, allow_pickle=False)
            archive.writestr(zipfile.ZipInfo(f"{name}.npy"), member.getvalue(), zipfile.ZIP_DEFLATED, 1)
    return stream.getvalue()


def insist(write: Callable[[], T]) -> T:
    """Write again when another process, which completes the run, has swept our temporary file away."""
    for _ in range(ATTEMPTS - 1):
        with contextlib.suppress(FileNotFoundError):
            return write()
    return write()


def unwritable(folder: Path, error: OSError) -> RunFolderError:
    """The error to raise when a file of a run cannot be written."""
    reason = error.strerror or str(error)
    return RunFolderError(
        f"cannot write the run folder {folder} ({reason})",
        hint="is the disk full or the folder read-only? What is done is kept; --out names another folder",
    )
