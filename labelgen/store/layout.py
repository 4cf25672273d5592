"""Names of the files in a run folder, and which image ids may become file names."""

import re
import unicodedata
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from labelgen.errors import RunFolderError

HEADER = "run.json"
MANIFEST = "manifest.jsonl"
FAILURES = "failures.jsonl"
JOURNAL = ".journal"
TURN = ".turn.lock"  # held by a process that begins to work in a run, or overwrites it
SHEET = "contact_sheet.jpg"  # pictures for people, drawn when a run is complete; no part of the labels
LABELS = ("labels", ".png")
SCORES = ("scores", ".npz")
STROKES = ("strokes", ".json")
DISTANCES = ("distances", ".npz")
KINDS = (LABELS, SCORES, STROKES, DISTANCES)
HASHES = {"labels": "sha256", "scores": "scores_sha256", "strokes": "strokes_sha256", "distances": "distances_sha256"}
LAYERS = "layers"  # a folder below it for each layer; their hashes are under the same key of a manifest line
LAYER_NAME = re.compile("[a-z][a-z0-9-]*")

Kind = tuple[str, str]
"""Folder and suffix of the files of one kind."""

RESERVED_STEMS = frozenset(  # names that Windows gives to devices, with any suffix
    ["CON", "PRN", "AUX", "NUL", *(f"{port}{digit}" for port in ("COM", "LPT") for digit in range(1, 10))]
)
FORBIDDEN_CHARACTERS = frozenset('<>:"\\|?*')
LONGEST_PART = 200  # bytes; file systems take 255, and a temporary file has a suffix, a process id and dots as well
LONGEST_ID = 1000  # bytes; a path may have 4096, 1024 on macOS


def check_id(sample_id: str) -> None:
    r"""Refuse an id that would leave the run folder or that some operating system cannot store.

    Raises
    ------
    RunFolderError
        For an empty or absolute id, a part that is empty, begins with a dot, or ends with a dot or blank, a control
        character, one of `< > : " \\ | ? *`, a device name of Windows, or what is too long for a file name.

    Examples
    --------
    >>> check_id("train/2007_000032")
    >>> check_id("../secret")
    Traceback (most recent call last):
    ...
    labelgen.errors.RunFolderError: an image id must be usable as a file name below the run folder, got '../secret'
    """
    if not is_safe_id(sample_id):
        raise RunFolderError(
            f"an image id must be usable as a file name below the run folder, got {sample_id[:LONGEST_PART]!r}",
            hint='rename it: no empty part, no leading dot, no trailing dot or blank, none of < > : " \\ | ? *, no '
            f"device name of Windows, at most {LONGEST_PART} bytes between slashes",
        )


def is_safe_id(sample_id: str) -> bool:
    r"""Whether an id is one that `check_id` takes.

    Examples
    --------
    >>> [is_safe_id(i) for i in ("a/b", "../b", "/b", "a\\b", "a\0", "aux.1", "b.", "x" * 300)]
    [True, False, False, False, False, False, False, False]
    """
    try:
        length = len(sample_id.encode())
    except UnicodeEncodeError:  # half of a character, as broken JSON may have it
        return False
    return length <= LONGEST_ID and all(_is_safe(part) for part in sample_id.split("/"))


def _is_safe(part: str) -> bool:
    if not part or part.startswith(".") or part[-1] in ". " or len(part.encode()) > LONGEST_PART:
        return False
    if any(ord(character) < 32 or ord(character) == 127 or character in FORBIDDEN_CHARACTERS for character in part):
        return False
    return part.split(".")[0].rstrip(" ").upper() not in RESERVED_STEMS


def check_ids(ids: Iterable[str]) -> None:
    """Apply `check_id` to all ids, and refuse two that would be one file on Windows and macOS.

    Raises
    ------
    RunFolderError
        As `check_id`; or when two ids differ in case or in the form of their accents alone.

    Examples
    --------
    >>> check_ids(["a/1", "A/1"])
    Traceback (most recent call last):
    ...
    labelgen.errors.RunFolderError: image ids must differ in more than case, got 'a/1' and 'A/1'
    """
    seen: dict[str, str] = {}
    for sample_id in ids:
        check_id(sample_id)
        folded = sample_id.lower() if sample_id.isascii() else unicodedata.normalize("NFC", sample_id).casefold()
        other = seen.setdefault(folded, sample_id)
        if other != sample_id:
            raise RunFolderError(
                f"image ids must differ in more than case, got {other!r} and {sample_id!r}",
                hint="they would be one file on Windows and macOS: rename one, or leave it out with --ids",
            )


def path_of(folder: Path, kind: Kind, sample_id: str) -> Path:
    """Where the file of one kind (LABELS, SCORES, STROKES, DISTANCES, or a layer) of one image lies."""
    name, suffix = kind
    return folder / name / f"{sample_id}{suffix}"


def layer_kind(name: str) -> Kind:
    """The kind of file of one layer.

    Raises
    ------
    ValueError
        When the name is not made of small letters, digits and dashes, which is a bug of the method.

    Examples
    --------
    >>> path_of(Path("runs/a"), layer_kind("pseudo"), "train/7").as_posix()
    'runs/a/layers/pseudo/train/7.png'
    """
    if not LAYER_NAME.fullmatch(name):
        raise ValueError(f"the name of a layer must be small letters, digits and dashes, got {name!r}")
    return f"{LAYERS}/{name}", ".png"


def kinds_in(folder: Path) -> list[Kind]:
    """All kinds of files that a run folder may hold, with the layers that it does hold."""
    root = folder / LAYERS
    names = sorted(p.name for p in root.iterdir() if p.is_dir()) if root.is_dir() else []
    return [*KINDS, *((f"{LAYERS}/{name}", ".png") for name in names)]


def files_of(record: Mapping[str, Any]) -> Iterator[tuple[Kind, str]]:
    """The kinds of files that a line of the manifest tells of, with their sha256."""
    for kind in KINDS:
        if HASHES[kind[0]] in record:
            yield kind, record[HASHES[kind[0]]]
    for name, sha256 in record.get(LAYERS, {}).items():
        yield layer_kind(name), sha256


def stale_temporaries(folder: Path) -> list[Path]:
    """Temporary files that killed processes left behind, sorted."""
    found = list(folder.glob(".*.tmp"))
    for name, _ in kinds_in(folder):
        found += (folder / name).rglob(".*.tmp")
    return sorted(found)
