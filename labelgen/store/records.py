"""Lines of manifest.jsonl, failures.jsonl and the journals."""

import errno
import hashlib
import re
from collections import Counter
from collections.abc import Container, Iterable, Iterator, Mapping, MutableMapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

from labelgen.errors import RunFolderError
from labelgen.store.layout import (
    FAILURES,
    HASHES,
    JOURNAL,
    LABELS,
    LAYER_NAME,
    LAYERS,
    MANIFEST,
    files_of,
    is_safe_id,
    path_of,
)
from labelgen.store.lines import Lines, Record, encode_line
from labelgen.untrusted import parse_json
from labelgen.untrusted.limits import LARGEST_DOCUMENT
from labelgen.writing import new_stream

DONE_FIELDS: dict[str, type | tuple[type, ...]] = {
    "id": str,
    "size": list,
    "sha256": str,
    "coverage": (int, float),
    "classes": dict,
    "warnings": list,
    "details": dict,
}
FAILED_FIELDS: dict[str, type | tuple[type, ...]] = {"id": str, "error": str, "hint": str}


@dataclass
class Records:
    """What is known about the images of a run: a line for each that is done, a line for each that failed."""

    done: MutableMapping[str, Record] = field(default_factory=Lines)
    failed: MutableMapping[str, Record] = field(default_factory=Lines)

    def add(self, records: Iterable[Record]) -> None:
        """Sort lines into done and failed; a later line of an id replaces an earlier one of the same kind."""
        for record in records:
            (self.failed if "error" in record else self.done)[record["id"]] = record

    def every(self) -> Iterator[Record]:
        """All records, those that are done first."""
        yield from self.done.values()
        yield from self.failed.values()

    def settle(self, folder: Path, *, doubted: Container[str] = ()) -> None:
        """Keep one verdict per image: done if its label file is there, else failed if that is known, else nothing.

        Parameters
        ----------
        doubted
            Images of which all files must also have the hashes in their line: a power cut may have taken what was
            written before it.
        """
        for sample_id in [*self.done]:
            if not (
                _is_whole(folder, sample_id, self.done[sample_id])
                if sample_id in doubted
                else path_of(folder, LABELS, sample_id).is_file()
            ):
                del self.done[sample_id]
        for sample_id in [i for i in self.failed if i in self.done]:
            del self.failed[sample_id]


def load_records(folder: Path) -> Records:
    """Read manifest, failures and journals; nothing is checked against the label files."""
    records = Records()
    records.add(read_lines(folder / FAILURES, FAILED_FIELDS))
    records.add(read_lines(folder / MANIFEST, DONE_FIELDS))
    for path in journals(folder):
        records.add(read_journal(path))
    return records


def journalled_ids(folder: Path) -> set[str]:
    """Images of which a journal tells, whose files nobody has flushed to the disk yet."""
    return {record["id"] for path in journals(folder) for record in read_journal(path)}


def journals(folder: Path) -> list[Path]:
    """The journals of an unfinished run, sorted by name."""
    return sorted((folder / JOURNAL).glob("*.jsonl"))


def read_journal(path: Path) -> Iterator[Record]:
    """Read the whole lines of a journal; what a killed process left half-written is skipped, so its image is redone."""
    try:
        stream = path.open("rb")
    except FileNotFoundError:  # another process has just completed the run
        return
    with stream:
        for line in _bounded_lines(stream):
            try:
                record = parse_json(line)
            except ValueError:
                continue
            known = _is_record(record, DONE_FIELDS) or _is_record(record, FAILED_FIELDS)
            if known and line.endswith(b"\n") and _can_be_written(record):
                yield record


def read_lines(path: Path, fields: Mapping[str, type | tuple[type, ...]]) -> Iterator[Record]:
    """Read manifest.jsonl or failures.jsonl strictly; an absent file has no lines.

    Raises
    ------
    RunFolderError
        Naming the file and line that is malformed.
    """
    try:
        with path.open("rb") as stream:
            for number, line in enumerate(_bounded_lines(stream), start=1):
                yield _record_of(line.removesuffix(b"\n"), fields, f"line {number}", path)
    except FileNotFoundError:
        return
    except OSError as error:
        raise RunFolderError(f"{path.name} cannot be read: {path} ({error})") from error


def _bounded_lines(stream: IO[bytes]) -> Iterator[bytes]:
    """Lines of a file; one that is longer than a reader of JSON takes comes in pieces, which are no JSON."""
    return iter(lambda: stream.readline(LARGEST_DOCUMENT + 1), b"")


def _record_of(line: bytes, fields: Mapping[str, type | tuple[type, ...]], where: str, path: Path) -> Record:
    try:
        record = parse_json(line.decode("utf-8"))
    except UnicodeDecodeError as error:
        raise RunFolderError(f"{path.name} cannot be read: {path} ({error})") from error
    except ValueError as error:
        raise RunFolderError(f"{where} is not JSON in {path} ({error})", hint="make the run again") from error
    if not (_is_record(record, fields) and _can_be_written(record)):
        raise RunFolderError(
            f"{where} lacks one of {', '.join(fields)}, or has a malformed one, in {path}",
            hint="make the run again",
        )
    return record


def write_lines(path: Path, records: Mapping[str, Record]) -> None:
    """Write all lines, sorted by id, durably and without holding them all in memory."""
    with new_stream(path) as stream:
        for sample_id in sorted(records):
            stream.write(encode_line(records[sample_id]))


def summarise(records: Records) -> dict[str, Any]:
    """Totals over the images: what run.json keeps as `counts`."""
    classes: Counter[int] = Counter()
    totals: Counter[str] = Counter()
    for record in records.done.values():
        classes.update({int(class_id): count for class_id, count in record["classes"].items()})
        totals["empty"] += not record["classes"]
        totals["strokes"] += record.get("strokes", 0)
        totals["warnings"] += len(record["warnings"])
        totals["pixels"] += record["size"][0] * record["size"][1]
    labelled = sum(classes.values())
    return {
        "labelled": len(records.done),
        "failed": len(records.failed),
        **{name: totals[name] for name in ("empty", "strokes", "warnings", "pixels")},
        "labelled_pixels": labelled,
        "coverage": round(labelled / totals["pixels"], 6) if totals["pixels"] else 0.0,
        "classes": {str(class_id): classes[class_id] for class_id in sorted(classes)},
    }


def _is_whole(folder: Path, sample_id: str, record: Record) -> bool:
    try:
        return all(sha256_of_file(path_of(folder, kind, sample_id)) == expected for kind, expected in files_of(record))
    except OSError:
        return False


def sha256_of_file(path: Path) -> str:
    """Of a plain file, in pieces: a device or a pipe in its place would never end.

    Raises
    ------
    OSError
        When it is no plain file or cannot be read.
    """
    if path.exists() and not path.is_file():
        raise OSError(errno.EINVAL, "it is no plain file", str(path))
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def _is_record(record: Any, fields: Mapping[str, type | tuple[type, ...]]) -> bool:
    """Whether a line has its fields, and what becomes a path or a sum is what it should be."""
    if not (isinstance(record, dict) and all(isinstance(record.get(n), kind) for n, kind in fields.items())):
        return False
    layers, size, classes = record.get(LAYERS, {}), record.get("size", [0, 0]), record.get("classes", {})
    return (
        is_safe_id(record["id"])
        and isinstance(layers, dict)
        and all(LAYER_NAME.fullmatch(name) and isinstance(sha256, str) for name, sha256 in layers.items())
        and all(isinstance(record.get(key, ""), str) for key in HASHES.values())
        and isinstance(size, list)
        and len(size) == 2
        and all(_is_count(side) for side in size)
        and isinstance(classes, dict)
        and all(_CLASS_ID.fullmatch(key) and _is_count(count) for key, count in classes.items())
        and _is_count(record.get("strokes", 0))
        and all(isinstance(warning, str) for warning in record.get("warnings", ()))
    )


def _can_be_written(record: Record) -> bool:
    """Whether it could stand in a file again: Python reads NaN and half of a character, neither of which is JSON."""
    try:
        encode_line(record)
    except (ValueError, RecursionError):
        return False
    return True


_CLASS_ID = re.compile("[0-9]{1,9}")


def _is_count(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 2**53
