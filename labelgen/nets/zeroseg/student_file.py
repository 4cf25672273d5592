"""The folder of a trained student: begun, taken up again with the same settings, refused with others, read."""

import dataclasses
import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import safetensors.torch
from safetensors import SafetensorError, safe_open

from labelgen.errors import RunFolderError, WeightsError
from labelgen.masks import write_atomic
from labelgen.nets.training import CHECKPOINT
from labelgen.nets.zeroseg.config import LossConfig, StudentConfig, TrainingConfig
from labelgen.nets.zeroseg.student import Student, build_student
from labelgen.nets.zeroseg.training import METRICS
from labelgen.store.header import differences

__all__ = [
    "DESCRIPTION",
    "TENSORS",
    "TrainedStudent",
    "begin_training",
    "finish_training",
    "read_student",
    "student_path",
]

DESCRIPTION = "zeroseg.json"
TENSORS = "weights.safetensors"
FORMAT = "labelgen-zeroseg"
SCHEMA = 2
RESULT_KEYS = ("state", "figures", "versions")  # the rest are settings


@dataclass(frozen=True)
class TrainedStudent:
    """A student as read from its file.

    Parameters
    ----------
    student
        In eval mode, on the CPU, frozen.
    training
        How it was trained.
    about
        All that its file says: teacher, data, start of the encoder, versions, figures.
    path, sha256
        The weight file and its hash.
    """

    student: Student
    training: TrainingConfig
    about: Mapping[str, Any]
    path: Path
    sha256: str


def begin_training(out: Path, settings: Mapping[str, Any], *, overwrite: bool = False) -> bool:
    """Make the folder ready; returns True when the same training is complete there.

    Raises
    ------
    RunFolderError
        When it holds something else, or a training of other settings, or cannot be written.
    """
    path = out / DESCRIPTION
    if overwrite and path.is_file():
        for name in (DESCRIPTION, TENSORS, CHECKPOINT, METRICS):
            (out / name).unlink(missing_ok=True)
    if not path.is_file():
        if out.is_dir() and any(out.iterdir()):
            raise RunFolderError(f"{out} is not empty and holds no ZeroSeg student", hint="choose another --out")
        write_description(out, settings, state="running")
        return False
    there = read_description(path)
    kept = {key: value for key, value in there.items() if key not in RESULT_KEYS}
    found = differences(kept, {"format": FORMAT, "schema": SCHEMA, **settings})
    if found:
        raise RunFolderError(
            f"{out} holds a student with other settings: {'; '.join(found[:6])}" + (" ..." if len(found) > 6 else ""),
            hint="--overwrite replaces it, another --out keeps both",
        )
    return there["state"] == "complete"


def finish_training(
    out: Path,
    student: Student,
    settings: Mapping[str, Any],
    *,
    figures: Mapping[str, Any],
    versions: Mapping[str, str],
) -> None:
    """Write the weights, then say that the training is complete; its checkpoint is no longer needed."""
    state = {name: tensor.detach().cpu().contiguous() for name, tensor in student.state_dict().items()}
    results = {"figures": dict(figures), "versions": dict(versions)}
    about = {"format": FORMAT, "schema": SCHEMA, **settings, **results}
    metadata = {"labelgen": json.dumps(about, sort_keys=True)}
    write_atomic(out / TENSORS, safetensors.torch.save(state, metadata=metadata))
    write_description(out, settings, state="complete", **results)
    (out / CHECKPOINT).unlink(missing_ok=True)


def write_description(out: Path, settings: Mapping[str, Any], *, state: str, **results: Any) -> None:
    """Write zeroseg.json.

    Raises
    ------
    RunFolderError
        When the folder cannot be written.
    """
    content = {"format": FORMAT, "schema": SCHEMA, "state": state, **settings, **results}
    try:
        write_atomic(out / DESCRIPTION, (json.dumps(content, indent=2) + "\n").encode())
    except OSError as error:
        raise RunFolderError(f"cannot write to {out} ({error})", hint="choose another --out") from error


def read_description(path: Path) -> dict[str, Any]:
    """Read zeroseg.json.

    Raises
    ------
    RunFolderError
        When it is damaged or of another format.
    """
    try:
        there = json.loads(path.read_bytes())
        known = there["format"], there["schema"], there["state"] in ("running", "complete")
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise RunFolderError(f"{DESCRIPTION} cannot be read: {path} ({error!r})", hint="use --overwrite") from error
    if known != (FORMAT, SCHEMA, True):
        raise RunFolderError(
            f"{DESCRIPTION} must be of format {FORMAT} and schema {SCHEMA}, got {known[0]} and {known[1]} in {path}",
            hint="it was written by another version; use --overwrite",
        )
    return there


def student_path(where: Path) -> Path:
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
    if (where / DESCRIPTION).is_file():
        raise WeightsError(
            f"the training of the student in {where} is not complete",
            hint=f"labelgen fit-zeroseg with the same settings and --out {where.as_posix()} goes on with it",
        )
    raise WeightsError(f"no ZeroSeg student at {where}", hint="labelgen fit-zeroseg trains one")


def read_student(where: Path) -> TrainedStudent:
    """Read a trained student from its folder or its weight file.

    Raises
    ------
    WeightsError
        When there is none, it is damaged, or it is not a student of this version.
    """
    path = student_path(where)
    try:
        with safe_open(str(path), framework="pt") as file:
            about = json.loads((file.metadata() or {})["labelgen"])
        if (about["format"], about["schema"]) != (FORMAT, SCHEMA):
            raise ValueError(f"format {about['format']}, schema {about['schema']}")
        config = StudentConfig(**_tuples(about["student"]))
        values = _tuples(about["training"])
        training = TrainingConfig(**{**values, "losses": LossConfig(**values["losses"])})
        student = build_student(config)
        student.load_state_dict(safetensors.torch.load_file(path), strict=True)
    except (SafetensorError, OSError, KeyError, TypeError, ValueError, RuntimeError) as error:
        raise WeightsError(
            f"{path} does not hold a ZeroSeg student of this version ({error})",
            hint="labelgen fit-zeroseg makes one",
        ) from error
    student.eval().requires_grad_(False)
    return TrainedStudent(student, training, about, path, hashlib.sha256(path.read_bytes()).hexdigest())


def config_json(config: Any) -> dict[str, Any]:
    """A dataclass of settings as plain JSON values."""
    return json.loads(json.dumps(dataclasses.asdict(config)))


def _tuples(values: Mapping[str, Any]) -> dict[str, Any]:
    return {key: tuple(value) if isinstance(value, list) else value for key, value in values.items()}
