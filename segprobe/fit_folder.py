"""The folder of a fit: begun, taken up again with the same settings, refused with others, complete."""

import contextlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from labelgen.errors import LabelgenError, RunFolderError
from labelgen.masks import write_atomic
from labelgen.nets.training import CHECKPOINT
from labelgen.store.header import differences
from labelgen.untrusted import parse_json, read_bounded
from labelgen.writing import sweep_temporaries
from segprobe.probe_file import DESCRIPTION, TENSORS, open_probe
from segprobe.rounds import remove_rounds
from segprobe.training import METRICS
from segprobe.tuning.weights_file import TUNED
from segprobe.watch import remove_watch

__all__ = ["begin_fit", "finish_fit"]

SETTINGS = "fit.json"
SCHEMA = 1


def begin_fit(out: Path, settings: Mapping[str, Any], *, overwrite: bool = False) -> bool:
    """Make the folder ready; returns True when the same fit is complete there.

    Raises
    ------
    RunFolderError
        When it holds something else, a fit of other settings, or a complete one that is damaged, or cannot be written.
    """
    path = out / SETTINGS
    if overwrite and path.is_file():
        for name in (DESCRIPTION, CHECKPOINT, METRICS, TENSORS, TUNED):  # what says that something is done goes first,
            (out / name).unlink(missing_ok=True)
        _remove_progress(out)
        path.unlink()  # and what says that this is a fit goes last: a kill in between leaves a fit to begin again
    if not path.is_file():
        if out.is_dir() and any(not entry.match(".*.tmp") for entry in out.iterdir()):
            raise RunFolderError(f"{out} is not empty and holds no fit", hint="choose another --out")
        _write_settings(out, settings, "running")
        return False
    try:
        there = parse_json(read_bounded(path))
        state, schema = dict.pop(there, "state"), dict.pop(there, "schema")
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise RunFolderError(
            f"{SETTINGS} cannot be read: {path} ({error!r})", hint="--overwrite begins again"
        ) from error
    if schema != SCHEMA:
        raise RunFolderError(f"{SETTINGS} must have schema {SCHEMA}, got {schema!r} in {out}", hint="use --overwrite")
    found = differences(there, settings)
    if found:
        raise RunFolderError(
            f"{out} holds a fit with other settings: {'; '.join(found[:6])}" + (" ..." if len(found) > 6 else ""),
            hint="--overwrite replaces it, another --out keeps both",
        )
    if state == "complete":
        _check_whole(out)
        with contextlib.suppress(OSError):  # a probe may be read-only
            _remove_progress(out)
    return state == "complete"


def _check_whole(out: Path) -> None:
    try:
        open_probe(out)
    except LabelgenError as error:
        raise RunFolderError(
            f"the fit in {out} is complete, but its probe cannot be used: {error.message}",
            hint="--overwrite fits it again",
        ) from error


def finish_fit(out: Path, settings: Mapping[str, Any]) -> None:
    """Say that the fit is complete; its checkpoint, and what its rounds kept, are no longer needed."""
    _write_settings(out, settings, "complete")
    _remove_progress(out)


def _remove_progress(out: Path) -> None:
    """Remove what only an unfinished fit needs, and what killed processes left."""
    (out / CHECKPOINT).unlink(missing_ok=True)
    remove_rounds(out)
    remove_watch(out)
    sweep_temporaries(out)


def _write_settings(out: Path, settings: Mapping[str, Any], state: str) -> None:
    content = {"schema": SCHEMA, "state": state, **settings}
    try:
        write_atomic(out / SETTINGS, (json.dumps(content, indent=2) + "\n").encode())
    except OSError as error:
        raise RunFolderError(
            f"cannot write to {out} ({error.strerror or error})",
            hint="is the disk full or the folder read-only? --out names another folder",
        ) from error
