"""The folder of a trained student: zeroseg.json, weights.safetensors, losses.jsonl."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from labelgen.nets.training_folder import READ_ERRORS, TrainingFolder, load_weights, tuples
from labelgen.nets.zeroseg.config import LossConfig, StudentConfig, TrainingConfig
from labelgen.nets.zeroseg.student import Student, build_student
from labelgen.nets.zeroseg.training import METRICS

__all__ = ["FOLDER", "TrainedStudent", "read_student"]

FOLDER = TrainingFolder(
    format="labelgen-zeroseg",
    schema=2,
    description="zeroseg.json",
    metrics=METRICS,
    noun="ZeroSeg student",
    command="labelgen fit-zeroseg",
)


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


def read_student(where: Path) -> TrainedStudent:
    """Read a trained student from its folder or its weight file.

    Raises
    ------
    WeightsError
        When there is none, it is damaged, or it is not a student of this version.
    """
    path = FOLDER.weights_path(where)
    try:
        about = FOLDER.read_about(path)
        config = StudentConfig(**tuples(about["student"]))
        values = tuples(about["training"])
        training = TrainingConfig(**{**values, "losses": LossConfig(**values["losses"])})
        student = build_student(config)
        sha256 = load_weights(student, path)
    except READ_ERRORS as error:
        raise FOLDER.unreadable(path, error) from error
    student.eval().requires_grad_(False)
    return TrainedStudent(student, training, about, path, sha256)
