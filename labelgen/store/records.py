"""Lines of manifest.jsonl, failures.jsonl and the journals."""

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from labelgen.errors import RunFolderError
from labelgen.store.layout import FAILURES, JOURNAL, LABELS, MANIFEST, path_of

Record = dict[str, Any]

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

    done: dict[str, Record] = field(default_factory=dict)
    failed: dict[str, Record] = field(default_factory=dict)

    def add(self, records: Iterable[Record]) -> None:
        """Sort lines into done and failed; a later line of an id replaces an earlier one of the same kind."""
        for record in records:
            (self.failed if "error" in record else self.done)[record["id"]] = record

    def settle(self, folder: Path) -> None:
        """Keep one verdict per image: done if its label file is there, else failed if that is known, else nothing."""
        self.done = {i: record for i, record in self.done.items() if path_of(folder, LABELS, i).is_file()}
        self.failed = {i: record for i, record in self.failed.items() if i not in self.done}


def load_records(folder: Path) -> Records:
    """Read manifest, failures and journals; nothing is checked against the label files."""
    records = Records()
    records.add(read_lines(folder / FAILURES, FAILED_FIELDS))
    records.add(read_lines(folder / MANIFEST, DONE_FIELDS))
    for path in journals(folder):
        records.add(read_journal(path))
    return records


def journals(folder: Path) -> list[Path]:
    """The journals of an unfinished run, sorted by name."""
    return sorted((folder / JOURNAL).glob("*.jsonl"))


def read_journal(path: Path) -> list[Record]:
    """Read the whole lines of a journal; what a killed process left half-written is skipped, so its image is redone."""
    try:
        lines = path.read_bytes().split(b"\n")[:-1]
    except FileNotFoundError:  # another process has just completed the run
        return []
    records = []
    for line in lines:
        try:
            record = json.loads(line)
        except ValueError:
            continue
        if _is_record(record, DONE_FIELDS) or _is_record(record, FAILED_FIELDS):
            records.append(record)
    return records


def read_lines(path: Path, fields: Mapping[str, type | tuple[type, ...]]) -> list[Record]:
    """Read manifest.jsonl or failures.jsonl strictly; an absent file has no lines.

    Raises
    ------
    RunFolderError
        Naming the file and line that is malformed.
    """
    try:
        lines = path.read_text(encoding="utf-8").removesuffix("\n").split("\n")
    except FileNotFoundError:
        return []
    except (OSError, UnicodeDecodeError) as error:
        raise RunFolderError(f"{path.name} cannot be read: {path} ({error})") from error
    records = []
    for number, line in enumerate(lines if lines != [""] else [], start=1):
        try:
            record = json.loads(line)
        except ValueError as error:
            raise RunFolderError(f"line {number} is not JSON in {path} ({error})", hint="make the run again") from error
        if not _is_record(record, fields):
            raise RunFolderError(f"line {number} lacks one of {', '.join(fields)} in {path}", hint="make the run again")
        records.append(record)
    return records


def encode_line(record: Record) -> bytes:
    """One line of JSON with its newline; numbers of numpy become plain ones."""
    return (json.dumps(record, ensure_ascii=False, allow_nan=False, default=_plain) + "\n").encode()


def encode_lines(records: Mapping[str, Record]) -> bytes:
    """All lines, sorted by id."""
    return b"".join(encode_line(records[sample_id]) for sample_id in sorted(records))


def summarise(records: Records) -> dict[str, Any]:
    """Totals over the images: what run.json keeps as `counts`."""
    pixels = sum(record["size"][0] * record["size"][1] for record in records.done.values())
    classes: dict[int, int] = {}
    for record in records.done.values():
        for class_id, count in record["classes"].items():
            classes[int(class_id)] = classes.get(int(class_id), 0) + count
    labelled = sum(classes.values())
    return {
        "labelled": len(records.done),
        "failed": len(records.failed),
        "empty": sum(not record["classes"] for record in records.done.values()),
        "strokes": sum(record.get("strokes", 0) for record in records.done.values()),
        "warnings": sum(len(record["warnings"]) for record in records.done.values()),
        "pixels": pixels,
        "labelled_pixels": labelled,
        "coverage": round(labelled / pixels, 6) if pixels else 0.0,
        "classes": {str(class_id): classes[class_id] for class_id in sorted(classes)},
    }


def _is_record(record: Any, fields: Mapping[str, type | tuple[type, ...]]) -> bool:
    return isinstance(record, dict) and all(isinstance(record.get(name), kind) for name, kind in fields.items())


def _plain(value: Any) -> Any:
    if isinstance(value, np.generic):
        return value.item()
    raise TypeError(f"details must hold plain JSON values, got {type(value).__name__}")
