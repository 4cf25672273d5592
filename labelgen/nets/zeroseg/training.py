"""The training of the student: AdamW, a warm-up and a cosine, checkpoints, and a resume that changes no bit."""

from collections.abc import Iterable
from pathlib import Path

import torch

from labelgen.nets.training import Progress, StepRecord, decays, learning_rate, train_steps
from labelgen.nets.zeroseg.batches import MicroBatch, StepBatches
from labelgen.nets.zeroseg.config import TrainingConfig
from labelgen.nets.zeroseg.losses import Losses, reconstruction_loss, total_loss
from labelgen.nets.zeroseg.masking import hidden_patches
from labelgen.nets.zeroseg.student import Student
from labelgen.nets.zeroseg.tiles import tile_members

__all__ = ["METRICS", "student_losses", "train_student"]

METRICS = "losses.jsonl"
TERMS = ("reconstruct", "distill", "match", "locate")  # of `Losses`, in the order of the file
FROM_NOTHING = ("decoder.", "head.to_joint.", "head.summary.", "head.image_to_joint.")


def train_student(
    student: Student,
    batches: StepBatches,
    *,
    folder: Path | None = None,
    bfloat16: bool = False,
    checkpoint_every: int = 500,
    progress: Progress | None = None,
) -> list[StepRecord]:
    """Train a student in place on its device, going on from the checkpoint in `folder` if there is one.

    Parameters
    ----------
    folder
        Where checkpoints and losses go; None keeps nothing. The caller makes sure that it is of the same training.
    bfloat16
        Let matrix products compute in bfloat16 (autocast); weights and losses stay in float32.
    checkpoint_every
        Steps between two checkpoints. One is written after the last step, too.

    Returns
    -------
    list of StepRecord
        Of the steps of this call.
    """
    config, steps = batches.config, batches.num_steps
    device = next(student.parameters()).device

    def backward(step: int, parts: Iterable[MicroBatch]) -> tuple[float, dict[str, float]]:
        sums = torch.zeros(1 + len(TERMS))
        for part in parts:
            with torch.autocast(device.type, torch.bfloat16, enabled=bfloat16):
                losses = student_losses(student, part, config)
            (losses.total * part.share).backward()
            values = losses.total, *(getattr(losses, term) for term in TERMS)
            sums += part.share * torch.stack([value.detach() for value in values]).float().cpu()
        total, *terms = sums.tolist()
        return total, dict(zip(TERMS, terms, strict=True))

    return train_steps(
        student,
        torch.optim.AdamW(_groups(student, config), lr=config.peak_rate, betas=config.betas),
        batches.steps,
        backward,
        steps=steps,
        rate=lambda step: learning_rate(step, steps, peak=config.peak_rate, warmup=config.warmup),
        folder=folder,
        metrics=METRICS,
        checkpoint_every=checkpoint_every,
        progress=progress,
    )


def student_losses(student: Student, part: MicroBatch, config: TrainingConfig) -> Losses:
    """The losses of the student on some images."""
    device = next(student.parameters()).device
    images, visible = part.images.to(device), part.visible.to(device)
    output = student(images, visible, generator=part.noise, noise=config.noise)
    reconstruct = reconstruction_loss(
        output.pixels,
        images,
        hidden_patches(visible, student.config.grid**2),
        patch=student.config.patch,
        norm_pixels=config.losses.norm_pixels,
    )
    segments = output.segments
    members = torch.from_numpy(tile_members(student.config.grid, student.config.patch, config.tiles)).to(device)
    inside = members[:, visible].transpose(0, 1)
    teacher, taken = part.teacher.to(device), segments.hard_of_patches()
    return total_loss(reconstruct, segments.image, segments.vectors, taken, inside, teacher, config.losses)


def _groups(student: Student, config: TrainingConfig) -> list[dict]:
    """Parameters by the factor on their rate and whether they are decayed."""
    groups: dict[tuple[bool, bool], list] = {}
    for name, parameter in student.named_parameters():
        kind = not name.startswith(FROM_NOTHING), decays(name, parameter)
        groups.setdefault(kind, []).append(parameter)
    return [
        {
            "params": parameters,
            "weight_decay": config.weight_decay if decayed else 0.0,
            "factor": config.body_rate if is_body else 1.0,
        }
        for (is_body, decayed), parameters in groups.items()
    ]
