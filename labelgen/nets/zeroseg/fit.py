"""Train a ZeroSeg student: load the teacher, start the encoder, train, write the folder."""

import json
import logging
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from labelgen.data.dataset import Dataset
from labelgen.errors import DataError
from labelgen.locks import alone
from labelgen.nets.clip.config import ClipModelConfig
from labelgen.nets.device import resolve_device
from labelgen.nets.training import Progress, StepRecord
from labelgen.nets.training_folder import config_json
from labelgen.nets.zeroseg.batches import StepBatches
from labelgen.nets.zeroseg.presets import Preset
from labelgen.nets.zeroseg.start import fit_to_teacher, start_encoder
from labelgen.nets.zeroseg.student import build_student
from labelgen.nets.zeroseg.student_file import FOLDER
from labelgen.nets.zeroseg.teacher import ImageTower, TeacherVectors
from labelgen.nets.zeroseg.training import student_losses, train_student
from labelgen.store.header import MODEL_PACKAGES, ids_sha256, versions

__all__ = ["Cost", "StudentReport", "estimate_cost", "fit_student"]

log = logging.getLogger(__name__)

TIMED_IMAGES = 2  # that stand for all when the cost is estimated


@dataclass(frozen=True)
class StudentReport:
    """What a training did.

    Parameters
    ----------
    out
        Folder of the student.
    images
        In the data set.
    steps, first_step
        Updates of the whole training, and those that an earlier, interrupted call had made.
    first, last
        Losses of the first and the last step of this call; None when nothing was left to do.
    seconds
        Of this call.
    already
        The training was complete before.
    """

    out: Path
    images: int
    steps: int
    first_step: int
    first: StepRecord | None
    last: StepRecord | None
    seconds: float
    already: bool = False


@dataclass(frozen=True)
class Cost:
    """What a training would take.

    Parameters
    ----------
    images, steps
        In the data set, and updates.
    parameters
        Of the student.
    tile_vectors
        Vectors that the teacher computes once.
    cache_bytes
        What they take on disk.
    teacher_seconds, student_seconds
        On this machine: one image timed with the teacher and two with the student, times their number.
    """

    images: int
    steps: int
    parameters: int
    tile_vectors: int
    cache_bytes: int
    teacher_seconds: float
    student_seconds: float


def fit_student(
    dataset: Dataset,
    tower: ImageTower,
    *,
    preset: Preset,
    out: Path,
    teacher: ClipModelConfig,
    init_weights: str = "",
    cache: Path | None = Path("cache"),
    device: str = "auto",
    bfloat16: bool = False,
    checkpoint_every: int = 500,
    overwrite: bool = False,
    progress: Progress | None = None,
) -> StudentReport:
    """Train a student into a folder; the same call again goes on where an earlier one stopped.

    Parameters
    ----------
    dataset
        Images; no label is read.
    tower
        The teacher's image tower, loaded.
    preset
        All settings.
    teacher
        How the teacher was loaded, for the command that will need its text tower.
    init_weights
        Checkpoint of the backbone `preset.init`; empty for its published or shipped weights.
    cache
        Folder below which the teacher's vectors are kept; None for none.
    bfloat16
        Matrix products in bfloat16.
    overwrite
        Replace what is in `out`.

    Raises
    ------
    RunFolderError
        When `out` holds a student of other settings, or something else.
    DataError
        When an image cannot be read.
    WeightsError
        When the weights of the encoder do not fit.
    """
    start = time.perf_counter()
    where = resolve_device(device)
    preset = fit_to_teacher(preset, tower)
    student = build_student(preset.student, seed=preset.training.seed)
    init = start_encoder(student, preset.init, weights=init_weights, tower=tower)
    vectors = TeacherVectors(tower, preset.training.tiles, cache)
    batches = StepBatches(dataset, vectors, preset.student, preset.training)
    settings = _settings(dataset, preset, init, vectors, teacher, bfloat16=bfloat16)
    if not dataset.ids:
        raise DataError(f"the data set has no images: {dataset.spec}", hint="check --split, --ids and the path")
    with alone(out):
        if FOLDER.begin(out, settings, overwrite=overwrite):
            return StudentReport(out, len(dataset.ids), batches.num_steps, batches.num_steps, None, None, 0.0, True)
        records = train_student(
            student.to(where),
            batches,
            folder=out,
            bfloat16=bfloat16,
            checkpoint_every=checkpoint_every,
            progress=progress,
        )
        seconds = time.perf_counter() - start
        figures = {"steps": batches.num_steps, "losses": records[-1].to_json() if records else None}
        FOLDER.finish(out, student, settings, figures=figures, versions=versions(MODEL_PACKAGES))
    first, last = (records[0], records[-1]) if records else (None, None)
    return StudentReport(
        out, len(dataset.ids), batches.num_steps, batches.num_steps - len(records), first, last, seconds
    )


def estimate_cost(dataset: Dataset, tower: ImageTower, *, preset: Preset, device: str = "auto") -> Cost:
    """Time a little of the work and multiply; nothing is written."""
    where = resolve_device(device)
    config = fit_to_teacher(preset, tower).student
    training = replace(preset.training, batch=TIMED_IMAGES, micro_batch=TIMED_IMAGES)
    student = build_student(config).to(where)
    batches = StepBatches(dataset, TeacherVectors(tower, training.tiles), config, training)
    images, steps = len(dataset.ids), preset.training.num_steps(len(dataset.ids))
    begin = time.perf_counter()
    part = next(next(batches.steps(0)))
    middle = time.perf_counter()
    student_losses(student, part, training).total.backward()
    end = time.perf_counter()
    tiles = sum(r * r for r in training.tiles)
    return Cost(
        images=images,
        steps=steps,
        parameters=sum(parameter.numel() for parameter in student.parameters()),
        tile_vectors=images * tiles,
        cache_bytes=images * tiles * tower.embed_dim * 2,
        teacher_seconds=(middle - begin) / TIMED_IMAGES * images,
        student_seconds=(end - middle) / TIMED_IMAGES * steps * preset.training.batch,
    )


def _settings(
    dataset: Dataset,
    preset: Preset,
    init: dict[str, Any],
    vectors: TeacherVectors,
    teacher: ClipModelConfig,
    *,
    bfloat16: bool,
) -> dict[str, Any]:
    """What must be the same for a training to be taken up again."""
    load = {key: value for key, value in teacher.to_json().items() if key not in ("device", "cache_dir")}
    settings = {
        "student": config_json(preset.student),
        "training": config_json(preset.training),
        "labelling": config_json(preset.labelling),
        "precision": "bfloat16" if bfloat16 else "float32",
        "init": init,
        "teacher": {"load": load, **vectors.fingerprint()},
        "data": {
            **dataset.spec.to_json(),
            "images": len(dataset.ids),
            "ids_sha256": ids_sha256(dataset.ids),
        },
    }
    return json.loads(json.dumps(settings))
