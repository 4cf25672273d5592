"""run.json: what was asked for, and how far it is."""

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from functools import cache
from importlib import metadata
from pathlib import Path
from typing import Any

import labelgen
from labelgen.data.dataset import Dataset
from labelgen.errors import RunFolderError
from labelgen.store.layout import HEADER
from labelgen.untrusted import parse_json, read_bounded
from labelgen.vocab import Vocabulary

FORMAT = "labelgen-run"
SCHEMA = 1
STATES = ("running", "complete")
PROGRESS_KEYS = ("state", "counts", "threads")  # the rest are settings
PACKAGES = ("numpy", "pillow", "scipy", "opencv-python", "opencv-python-headless", "numba", "scikit-image")
MODEL_PACKAGES = ("torch", "torchvision", "timm", "open_clip_torch")
FIELDS: dict[str, type | tuple[type, ...]] = {
    "format": str,
    "schema": int,
    "state": str,
    "method": str,
    "config": dict,
    "supervision": list,
    "seed": int,
    "min_score": (int, float),
    "save_scores": bool,
    "vocabulary": dict,
    "data": dict,
    "models": dict,
    "versions": dict,
}
OPTIONAL_FIELDS = ("counts", "facts", "threads")
SHOWN_DIFFERENCES = 6
SHOWN_CHARACTERS = 60


def make_header(
    dataset: Dataset,
    *,
    method: str,
    config: Mapping[str, Any],
    supervision: Sequence[str],
    vocabulary: Vocabulary,
    seed: int,
    min_score: float = 0.0,
    save_scores: bool = False,
    models: Mapping[str, Any] | None = None,
    facts: Mapping[str, Any] | None = None,
    threads: int = 0,
) -> dict[str, Any]:
    """The content of run.json for a run that has not begun; every value plain JSON.

    Parameters
    ----------
    facts
        What the method settled before the first image: prompts, thresholds found by calibration.
    threads
        Per process, where a network is run; 0 where they have no say.
    """
    data = {
        **dataset.spec.to_json(),
        "tags_source": dataset.tags_source,
        "images": len(dataset.ids),
        "ids_sha256": ids_sha256(dataset.ids),
    }
    header: dict[str, Any] = {
        "format": FORMAT,
        "schema": SCHEMA,
        "state": "running",
        "method": method,
        "config": dict(config),
        "supervision": sorted(supervision),
        "seed": seed,
        "min_score": min_score,
        "save_scores": save_scores,
        "vocabulary": vocabulary.to_json(),
        "data": data,
        "models": dict(models or {}),
        "versions": versions(PACKAGES + (MODEL_PACKAGES if models else ())),
    }
    header |= {"facts": dict(facts)} if facts else {}
    header |= {"threads": threads} if threads else {}
    return json.loads(json.dumps(header, allow_nan=False))  # tuples become lists, as they will be read back


def ids_sha256(ids: Iterable[str]) -> str:
    """What the images of a data set are known by: the sha256 of their ids, a line each, in their order."""
    return hashlib.sha256("\n".join(ids).encode()).hexdigest()


def versions(packages: Sequence[str]) -> dict[str, str]:
    """Versions of labelgen and of those packages that are installed, without importing them."""
    found = {package: _version(package) for package in packages}
    return {"labelgen": labelgen.__version__, **{name: version for name, version in found.items() if version}}


@cache
def _version(package: str) -> str | None:
    """Of an installed package; read once, because it takes milliseconds and processes do not change it."""
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def encode_header(header: Mapping[str, Any]) -> bytes:
    """The bytes of run.json."""
    return (json.dumps(header, indent=2, ensure_ascii=False, allow_nan=False) + "\n").encode()


def read_header(folder: Path) -> dict[str, Any]:
    """Read and check run.json.

    Raises
    ------
    RunFolderError
        When the folder is no run, or run.json is damaged or of a schema that this version does not know.
    """
    path = folder / HEADER
    try:
        header = parse_json(read_bounded(path))
    except (FileNotFoundError, NotADirectoryError) as error:
        raise RunFolderError(f"no run folder (no {HEADER}) at {folder}", hint="check the path") from error
    except (OSError, ValueError) as error:
        raise RunFolderError(f"{HEADER} cannot be read: {path} ({error})", hint="make the run again") from error
    check_header(header, where=str(path))
    return header


def check_header(header: Any, *, where: str) -> None:
    """Refuse what is not a header of this schema.

    Raises
    ------
    RunFolderError
        Naming the field that is missing, unknown or of the wrong type.
    """
    if not isinstance(header, dict) or header.get("format") != FORMAT:
        raise RunFolderError(f"run.json must have the format {FORMAT!r}, got another in {where}")
    if header.get("schema") != SCHEMA:
        raise RunFolderError(
            f"run.json must have schema {SCHEMA}, got {header.get('schema')!r} in {where}",
            hint="it was written by another version of labelgen",
        )
    for name, kind in FIELDS.items():
        value = header.get(name)
        if not isinstance(value, kind) or (isinstance(value, bool) and kind is not bool):
            raise RunFolderError(f"run.json is malformed: {name} is {value!r} in {where}")
    foreign = sorted(set(header) - set(FIELDS) - set(OPTIONAL_FIELDS))
    if foreign or header["state"] not in STATES or (header["state"] == "complete") != ("counts" in header):
        what = f"unknown field {foreign[0]!r}" if foreign else f"state is {header['state']!r}"
        raise RunFolderError(f"run.json is malformed: {what} in {where}")


def differences(there: Mapping[str, Any], now: Mapping[str, Any], *, versions: bool = True) -> list[str]:
    """Name every setting that differs between two headers, with both values.

    Parameters
    ----------
    versions
        False ignores versions of other packages, for runs to which nothing will be added.

    Examples
    --------
    >>> differences({"seed": 0, "config": {"shrink": 0.5}}, {"seed": 1, "config": {"shrink": 0.5}})
    ['seed is 0 there, 1 now']
    >>> differences({"facts": {"refine": [{"steps": 1}]}}, {"facts": {"refine": [{"steps": 2}]}})
    ['facts.refine.0.steps is 1 there, 2 now']
    """
    old, new = _flatten(there), _flatten(now)
    keys = [key for key in {**old, **new} if key.split(".")[0] not in PROGRESS_KEYS]
    if not versions:
        keys = [key for key in keys if not key.startswith("versions.") or key == "versions.labelgen"]
    return [
        f"{key} is {_shown(old, key)} there, {_shown(new, key)} now" for key in keys if old.get(key) != new.get(key)
    ]


def refuse_differences(found: Sequence[str], *, folder: Path) -> None:
    """Raise when there are differences.

    Raises
    ------
    RunFolderError
        Naming the first few differing settings.
    """
    if found:
        more = f" (and {len(found) - SHOWN_DIFFERENCES} more)" if len(found) > SHOWN_DIFFERENCES else ""
        raise RunFolderError(
            f"{folder} holds a run with other settings: {'; '.join(found[:SHOWN_DIFFERENCES])}{more}",
            hint="--overwrite replaces it, another --out keeps both",
        )


def _flatten(value: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    flat = {}
    for key, entry in value.items():
        if isinstance(entry, list) and any(isinstance(item, dict) for item in entry):
            entry = {str(number): item for number, item in enumerate(entry)}  # noqa: PLW2901
        if isinstance(entry, dict) and entry:
            flat.update(_flatten(entry, f"{prefix}{key}."))
        else:
            flat[prefix + key] = entry
    return flat


def _shown(flat: Mapping[str, Any], key: str) -> str:
    if key not in flat:
        return "absent"
    text = json.dumps(flat[key], ensure_ascii=False)
    closing = '"' if text.startswith('"') else ""
    return text if len(text) <= SHOWN_CHARACTERS else f"{text[:SHOWN_CHARACTERS]}...{closing}"
