"""Names, records and files of a feature cache, without torch."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from labelgen.errors import ConfigError, RunFolderError
from labelgen.masks import write_atomic
from labelgen.nets.geometry import Geometry
from labelgen.store.header import differences
from labelgen.untrusted import parse_json, read_bounded

__all__ = [
    "ALIGNMENT",
    "SCHEMA",
    "SHARD_IMAGES",
    "Entry",
    "ShardIndex",
    "View",
    "file_sha256",
    "read_json",
    "refuse_stale",
    "shard_ids",
    "shard_path",
    "write_json",
]

SCHEMA = 1
SHARD_IMAGES = 256  # 0.3 to 1 GB with the usual backbones: little is lost when a shard is interrupted
ALIGNMENT = 4096  # bytes of a memory page
SHOWN_CHARACTERS = 80
SHOWN = 4  # differences that an error lists


@dataclass(frozen=True)
class View:
    """One way to show an image to the backbone.

    Parameters
    ----------
    scale
        Factor on the size that the backbone's image policy gives.
    flip
        Mirrored left to right.
    """

    scale: float = 1.0
    flip: bool = False

    def __post_init__(self) -> None:
        if not 0 < self.scale < float("inf"):
            raise ConfigError(f"the scale of a view must be > 0, got {self.scale}")

    def to_json(self) -> dict[str, Any]:
        """Plain JSON values."""
        return {"scale": float(self.scale), "flip": self.flip}


@dataclass(frozen=True)
class Entry:
    """Where one token matrix lies in its shard, and what it is of.

    Parameters
    ----------
    id
        Of the image.
    view
        Index into the views of the cache.
    offset
        First byte, a multiple of `ALIGNMENT`.
    geometry
        Where pixels went; its grid is the shape of the matrix.
    sha256
        Of the bytes of the matrix.
    image_sha256
        Of the decoded pixels it was computed from.
    """

    id: str
    view: int
    offset: int
    geometry: Geometry
    sha256: str
    image_sha256: str


@dataclass(frozen=True)
class ShardIndex:
    """Entries of one shard, and sums over the tokens of its first views, from which mean and std are made."""

    entries: tuple[Entry, ...]
    count: int
    sums: tuple[float, ...]
    squares: tuple[float, ...]

    def to_json(self) -> dict[str, Any]:
        """Plain JSON values; floats survive exactly."""
        entries = [{**vars(entry), "geometry": entry.geometry.to_json()} for entry in self.entries]
        return {"entries": entries, "count": self.count, "sums": list(self.sums), "squares": list(self.squares)}

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> "ShardIndex":
        """The index that `to_json` wrote."""
        entries = [_entry(entry) for entry in values["entries"]]
        return cls(tuple(entries), values["count"], tuple(values["sums"]), tuple(values["squares"]))


def _entry(values: Mapping[str, Any]) -> Entry:
    """One entry as `ShardIndex.to_json` wrote it; ValueError where a field is of another type."""
    entry = Entry(**{**values, "geometry": Geometry.from_json(values["geometry"])})
    texts, numbers = (entry.id, entry.sha256, entry.image_sha256), (entry.view, entry.offset)
    if not all(isinstance(text, str) for text in texts) or not all(type(n) is int and n >= 0 for n in numbers):
        raise ValueError(f"an entry is malformed: {str(values)[:SHOWN_CHARACTERS]}")
    return entry


def shard_ids(ids: Sequence[str]) -> list[tuple[str, ...]]:
    """Cut the sorted ids into shards.

    Examples
    --------
    >>> [len(shard) for shard in shard_ids([f"{n:04}" for n in range(600)])]
    [256, 256, 88]
    """
    ordered = sorted(ids)
    return [tuple(ordered[start : start + SHARD_IMAGES]) for start in range(0, len(ordered), SHARD_IMAGES)]


def shard_path(folder: Path, number: int, suffix: str) -> Path:
    """File of a shard.

    Examples
    --------
    >>> shard_path(Path("cache"), 7, "bin").name
    'shard-00007.bin'
    """
    return folder / f"shard-{number:05}.{suffix}"


def write_json(path: Path, value: Any) -> None:
    """Write JSON so that a reader sees the whole file or none."""
    write_atomic(path, (json.dumps(value, indent=1, allow_nan=False) + "\n").encode())


def read_json(path: Path) -> dict[str, Any]:
    """Read a JSON object of the cache.

    Raises
    ------
    RunFolderError
        When it is missing or not a JSON object.
    """
    try:
        value = parse_json(read_bounded(path))
    except FileNotFoundError as error:
        raise RunFolderError(f"{path} is missing", hint="make the features with segprobe cache") from error
    except (OSError, ValueError) as error:
        raise RunFolderError(f"{path} cannot be read: {error}", hint="remove the folder and make it again") from error
    if not isinstance(value, dict):
        raise RunFolderError(f"{path} must hold a JSON object", hint="remove the folder and make it again")
    return value


def file_sha256(path: Path) -> str:
    """SHA-256 of a file."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def refuse_stale(folder: Path, there: Mapping[str, Any], wanted: Mapping[str, Any]) -> None:
    """Refuse a cache whose fingerprint is not the wanted one; what is not in `wanted` is not compared.

    Raises
    ------
    RunFolderError
        Naming the first keys that differ, with both values.
    """
    found = differences({key: there.get(key) for key in wanted}, wanted)
    if found:
        more = f" (and {len(found) - SHOWN} more)" if len(found) > SHOWN else ""
        raise RunFolderError(
            f"{folder} holds other features: {'; '.join(found[:SHOWN])}{more}",
            hint="give another folder, or remove this one",
        )
