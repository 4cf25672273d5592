"""JSON read with its errors in words, and lists of JSON written piece by piece."""

import json
from collections.abc import Iterable
from pathlib import Path
from typing import IO, Any

from labelgen.errors import DataError
from labelgen.untrusted import LARGEST_INDEX, parse_json, read_bounded

__all__ = ["field_of", "image_id_of", "read_json", "score_of", "write_list"]

LARGEST_SCORE = 1e30  # what float32 holds with room to spare; NaN and infinity are not below it


def read_json(path: Path) -> Any:
    """The content of a JSON file.

    Raises
    ------
    DataError
        When it cannot be read or is no JSON.
    """
    try:
        return parse_json(read_bounded(path, LARGEST_INDEX), largest=LARGEST_INDEX)
    except FileNotFoundError as error:
        raise DataError(f"no such file: {path}", hint="check the path") from error
    except (OSError, ValueError) as error:
        raise DataError(f"JSON cannot be read: {path} ({error})", hint="is the file whole?") from error


def field_of(record: Any, name: str, kind: type | tuple[type, ...], *, where: str) -> Any:
    """A field of a JSON object that must be there and of its type.

    Raises
    ------
    DataError
        When it is not.
    """
    value = record.get(name) if isinstance(record, dict) else None
    if not isinstance(value, kind) or (isinstance(value, bool) and kind is not bool):
        raise DataError(f"{name} must be there and of its type, got {str(value)[:60]} in {where}")
    return value


def score_of(value: Any, *, where: str) -> float:
    """A score: a number >= 0, or a list of one, as Grounded-SAM writes them; 1 where there is none.

    Raises
    ------
    DataError
        When it is anything else.
    """
    if isinstance(value, list) and len(value) == 1:
        (value,) = value
    if value is None:
        return 1.0
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= LARGEST_SCORE:
        raise DataError(f"a score must be a number >= 0, got {str(value)[:60]} in {where}")
    return float(value)


def image_id_of(file_name: str) -> str:
    r"""The id of an image by the name of its file: without suffix, with `/`.

    Examples
    --------
    >>> image_id_of("train\\a.0.jpg")
    'train/a.0'
    """
    name = file_name.replace("\\", "/")
    head, _, tail = name.rpartition("/")
    stem = tail.rpartition(".")[0] or tail
    return f"{head}/{stem}" if head else stem


def write_list(stream: IO[bytes], items: Iterable[Any]) -> int:
    """Write a JSON list, one item a line, and say how many; nothing is kept in memory."""
    count = 0
    stream.write(b"[")
    for count, item in enumerate(items, start=1):
        text = json.dumps(item, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
        stream.write((",\n" if count > 1 else "\n").encode() + text.encode())
    stream.write(b"\n]")
    return count
