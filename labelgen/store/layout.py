"""Names of the files in a run folder, and which image ids may become file names."""

from collections.abc import Iterable
from pathlib import Path

from labelgen.errors import RunFolderError

HEADER = "run.json"
MANIFEST = "manifest.jsonl"
FAILURES = "failures.jsonl"
JOURNAL = ".journal"
LABELS = ("labels", ".png")
SCORES = ("scores", ".npz")
STROKES = ("strokes", ".json")
KINDS = (LABELS, SCORES, STROKES)

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


def path_of(folder: Path, kind: tuple[str, str], sample_id: str) -> Path:
    """Where the file of one kind (LABELS, SCORES, STROKES) of one image lies."""
    name, suffix = kind
    return folder / name / f"{sample_id}{suffix}"


def stale_temporaries(folder: Path) -> list[Path]:
    """Temporary files that killed processes left behind, sorted."""
    found = list(folder.glob(".*.tmp"))
    for name, _ in KINDS:
        found += (folder / name).rglob(".*.tmp")
    return sorted(found)
