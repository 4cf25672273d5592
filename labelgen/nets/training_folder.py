"""The folder of a training: begun, taken up again with the same settings, refused with others, finished, read."""

import contextlib
import dataclasses
import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from safetensors import SafetensorError, safe_open

from labelgen.errors import RunFolderError, WeightsError
from labelgen.nets.training import CHECKPOINT
from labelgen.store.header import differences
from labelgen.untrusted import parse_json, read_bounded
from labelgen.writing import sweep_temporaries, write_atomic

__all__ = ["READ_ERRORS", "TENSORS", "TrainingFolder", "config_json", "load_weights", "tuples"]

TENSORS = "weights.safetensors"
RESULT_KEYS = ("state", "figures", "versions")  # the rest are settings
SHOWN_DIFFERENCES = 6


@dataclass(frozen=True)
class TrainingFolder:
    """What the folders of one kind of network have in common.

    Parameters
    ----------
    format, schema
        What their description says of itself.
    description
        Name of the file of settings and results.
    metrics
        Name of the file of losses.
    noun
        What is in the folder, with its article left out: for messages.
    command
        The command that trains one.
    """

    format: str
    schema: int
    description: str
    metrics: str
    noun: str
    command: str

    def begin(self, out: Path, settings: Mapping[str, Any], *, overwrite: bool = False) -> bool:
        """Make the folder ready; returns True when the same training is complete there.

        Raises
        ------
        RunFolderError
            When it holds something else, or a training of other settings, or cannot be written.
        """
        path = out / self.description
        if overwrite and path.is_file():
            for name in (CHECKPOINT, TENSORS, self.metrics, self.description):  # last, what says whose folder it is
                (out / name).unlink(missing_ok=True)
            sweep_temporaries(out)
        if not path.is_file():
            if out.is_dir() and any(not entry.match(".*.tmp") for entry in out.iterdir()):
                raise RunFolderError(f"{out} is not empty and holds no {self.noun}", hint="choose another --out")
            self._write(out, settings, state="running")
            return False
        there = self.read_description(path)
        kept = {key: value for key, value in there.items() if key not in RESULT_KEYS}
        found = differences(kept, {"format": self.format, "schema": self.schema, **settings})
        if found:
            shown = "; ".join(found[:SHOWN_DIFFERENCES]) + (" ..." if len(found) > SHOWN_DIFFERENCES else "")
            raise RunFolderError(
                f"{out} holds a {self.noun.split()[-1]} with other settings: {shown}",
                hint="--overwrite replaces it, another --out keeps both",
            )
        if there["state"] == "complete":
            with contextlib.suppress(OSError):  # it may be read-only
                self._remove_progress(out)
        return there["state"] == "complete"

    def finish(
        self,
        out: Path,
        model: torch.nn.Module,
        settings: Mapping[str, Any],
        *,
        figures: Mapping[str, Any],
        versions: Mapping[str, str],
    ) -> None:
        """Write the weights, then say that the training is complete; its checkpoint is no longer needed."""
        state = {name: tensor.detach().cpu().contiguous() for name, tensor in model.state_dict().items()}
        results = {"figures": dict(figures), "versions": dict(versions)}
        about = {"format": self.format, "schema": self.schema, **settings, **results}
        metadata = {"labelgen": json.dumps(about, sort_keys=True)}
        write_atomic(out / TENSORS, safetensors.torch.save(state, metadata=metadata))
        self._write(out, settings, state="complete", **results)
        self._remove_progress(out)

    def _remove_progress(self, out: Path) -> None:
        """Remove what only an unfinished training needs, and what killed processes left."""
        (out / CHECKPOINT).unlink(missing_ok=True)
        sweep_temporaries(out)

    def _write(self, out: Path, settings: Mapping[str, Any], *, state: str, **results: Any) -> None:
        content = {"format": self.format, "schema": self.schema, "state": state, **settings, **results}
        try:
            write_atomic(out / self.description, (json.dumps(content, indent=2) + "\n").encode())
        except OSError as error:
            raise RunFolderError(
                f"cannot write to {out} ({error.strerror or error})",
                hint="is the disk full or the folder read-only? --out names another folder",
            ) from error

    def read_description(self, path: Path) -> dict[str, Any]:
        """Read the description.

        Raises
        ------
        RunFolderError
            When it is damaged or of another format.
        """
        try:
            there = parse_json(read_bounded(path))
            known = there["format"], there["schema"], there["state"] in ("running", "complete")
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise RunFolderError(
                f"{self.description} cannot be read: {path} ({error!r})", hint="use --overwrite"
            ) from error
        if known != (self.format, self.schema, True):
            raise RunFolderError(
                f"{self.description} must be of format {self.format} and schema {self.schema}, got {known[0]} and "
                f"{known[1]} in {path}",
                hint="it was written by another version; use --overwrite",
            )
        return there

    def weights_path(self, where: Path) -> Path:
        """The weight file in a folder, or the file itself.

        Raises
        ------
        WeightsError
            When there is none, or its training was interrupted.
        """
        if where.is_file():
            return where
        path = where / TENSORS
        if path.is_file():
            return path
        if (where / self.description).is_file():
            raise WeightsError(
                f"the training of the {self.noun.split()[-1]} in {where} is not complete",
                hint=f"{self.command} with the same settings and --out {where.as_posix()} goes on with it",
            )
        beside = sorted(path.parent.as_posix() for path in where.parent.glob(f"*/{TENSORS}") if self._is_mine(path))
        there = f"; --weights takes one of these: {', '.join(beside)}" if beside else ""
        raise WeightsError(f"no {self.noun} at {where}", hint=f"{self.command} trains one{there}")

    def _is_mine(self, path: Path) -> bool:
        return (path.parent / self.description).is_file()

    def read_about(self, path: Path) -> dict[str, Any]:
        """What a weight file says of itself.

        Raises
        ------
        SafetensorError, OSError, KeyError, ValueError
            When it is damaged, or of another format; `unreadable` makes one sentence of them.
        """
        with safe_open(str(path), framework="pt") as file:
            about = parse_json((file.metadata() or {})["labelgen"])
        if (about["format"], about["schema"]) != (self.format, self.schema):
            raise ValueError(f"format {about['format']}, schema {about['schema']}")
        return about

    def unreadable(self, path: Path, error: Exception) -> WeightsError:
        """The error for a weight file that cannot be read."""
        article = "an" if self.noun[0] in "aeiou" else "a"
        return WeightsError(
            f"{path} does not hold {article} {self.noun} of this version ({error})", hint=f"{self.command} makes one"
        )


READ_ERRORS = (SafetensorError, OSError, KeyError, TypeError, ValueError, RuntimeError)
"""What reading a damaged or foreign weight file may raise."""


def load_weights(model: torch.nn.Module, path: Path) -> str:
    """Load a weight file into a network, strictly; returns the sha256 of the file."""
    model.load_state_dict(safetensors.torch.load_file(path), strict=True)
    return hashlib.sha256(path.read_bytes()).hexdigest()


def config_json(config: Any) -> dict[str, Any]:
    """A dataclass of settings as plain JSON values."""
    return json.loads(json.dumps(dataclasses.asdict(config)))


def tuples(values: Mapping[str, Any]) -> dict[str, Any]:
    """JSON values as dataclasses of settings take them: lists are tuples."""
    return {key: tuple(value) if isinstance(value, list) else value for key, value in values.items()}
