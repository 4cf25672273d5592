"""Names of the files in a run folder, and which image ids may become file names."""

import re
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from labelgen.errors import RunFolderError

HEADER = "run.json"
MANIFEST = "manifest.jsonl"
FAILURES = "failures.jsonl"
JOURNAL = ".journal"
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


def check_id(sample_id: str) -> None:
    r"""Refuse an id that would leave the run folder or that some operating system cannot store.

    Raises
    ------
    RunFolderError
        For an empty or absolute id, a part that is empty, begins with a dot, or ends with a dot or blank, a control
        character, one of `< > : " \\ | ? *`, or a device name of Windows.

    Examples
    --------
    >>> check_id("train/2007_000032")
    >>> check_id("../secret")
    Traceback (most recent call last):
    ...
    labelgen.errors.RunFolderError: an image id must be usable as a file name below the run folder, got '../secret'
    """
    if not all(_is_safe(part) for part in sample_id.split("/")):
        raise RunFolderError(
            f"an image id must be usable as a file name below the run folder, got {sample_id!r}",
            hint='rename it: no empty part, no leading dot, no trailing dot or blank, none of < > : " \\ | ? *',
        )


def _is_safe(part: str) -> bool:
    if not part or part.startswith(".") or part[-1] in ". ":
        return False
    if any(ord(character) < 32 or character in FORBIDDEN_CHARACTERS for character in part):
        return False
    return part.split(".")[0].upper() not in RESERVED_STEMS


def check_ids(ids: Iterable[str]) -> None:
    """Apply `check_id` to all ids."""
    for sample_id in ids:
        check_id(sample_id)


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
