"""The training loop of the student: AdamW, a warm-up and a cosine, checkpoints, and a resume that changes no bit."""

import io
import json
import logging
import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch

from labelgen.errors import RunFolderError
from labelgen.masks import write_atomic
from labelgen.nets.zeroseg.batches import MicroBatch, StepBatches
from labelgen.nets.zeroseg.config import TrainingConfig
from labelgen.nets.zeroseg.losses import Losses, reconstruction_loss, total_loss
from labelgen.nets.zeroseg.masking import hidden_patches
from labelgen.nets.zeroseg.student import Student
from labelgen.nets.zeroseg.tiles import tile_members

__all__ = ["CHECKPOINT", "METRICS", "Progress", "StepRecord", "learning_rate", "student_losses", "train_student"]

log = logging.getLogger(__name__)

Progress = Callable[[int, int, str], None]
"""Called with steps done, steps in all, and a word on the state."""

CHECKPOINT = "last.pt"
METRICS = "losses.jsonl"
FROM_NOTHING = ("decoder.", "head.to_joint.", "head.summary.", "head.image_to_joint.")
LOG_EVERY = 10  # steps between two lines of losses.jsonl


@dataclass(frozen=True)
class StepRecord:
    """Losses of one step, unweighted but for the total, and its learning rate."""

    step: int
    lr: float
    total: float
    reconstruct: float
    distill: float
    match: float
    locate: float


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
    optimiser = torch.optim.AdamW(_groups(student, config), lr=config.peak_rate, betas=config.betas)
    first = 0 if folder is None else _load_checkpoint(folder, student, optimiser)
    if folder is not None:
        _cut_metrics(folder, first)
    student.train()
    if device.type == "cpu":
        _unfuse_attention(student)
    records: list[StepRecord] = []
    for step, parts in enumerate(batches.steps(first), start=first):
        rate = learning_rate(step, steps, peak=config.peak_rate, warmup=config.warmup)
        for group in optimiser.param_groups:
            group["lr"] = rate * group["factor"]
        optimiser.zero_grad(set_to_none=True)
        sums = torch.zeros(5)
        for part in parts:
            with torch.autocast(device.type, torch.bfloat16, enabled=bfloat16):
                losses = student_losses(student, part, config)
            (losses.total * part.share).backward()
            terms = losses.total, losses.reconstruct, losses.distill, losses.match, losses.locate
            sums += part.share * torch.stack([term.detach() for term in terms]).float().cpu()
        optimiser.step()
        records.append(StepRecord(step + 1, rate, *sums.tolist()))
        _note(folder, records[-1], student, optimiser, steps=steps, checkpoint_every=checkpoint_every)
        if progress is not None:
            progress(step + 1, steps, f"loss {records[-1].total:.3f}")
    return records


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


def learning_rate(step: int, steps: int, *, peak: float, warmup: float) -> float:
    """Rise linearly over the first `warmup` share of the steps, then fall to 0 as a half cosine.

    Examples
    --------
    >>> [round(learning_rate(s, 10, peak=1.0, warmup=0.2), 3) for s in (0, 1, 2, 6, 9)]
    [0.5, 1.0, 1.0, 0.5, 0.038]
    """
    rising = math.ceil(warmup * steps)
    if step < rising:
        return peak * (step + 1) / rising
    return peak * 0.5 * (1 + math.cos(math.pi * (step - rising) / max(steps - rising, 1)))


def _groups(student: Student, config: TrainingConfig) -> list[dict]:
    """Decay matrices only: neither biases, norms and scales nor learnable tokens and positions."""
    groups: dict[tuple[bool, bool], list] = {}
    for name, parameter in student.named_parameters():
        decays = parameter.ndim >= 2 and not any(word in name for word in ("token", "pos_embed"))
        groups.setdefault((not name.startswith(FROM_NOTHING), decays), []).append(parameter)
    return [
        {
            "params": parameters,
            "weight_decay": config.weight_decay if decays else 0.0,
            "factor": config.body_rate if is_body else 1.0,
        }
        for (is_body, decays), parameters in groups.items()
    ]


def _unfuse_attention(student: Student) -> None:
    """Compute attention in plain steps: on CPUs torch's fused kernel is slower backward for so few tokens."""
    for module in student.modules():
        if hasattr(module, "fused_attn"):
            module.fused_attn = False  # pyright: ignore[reportArgumentType]


def _note(
    folder: Path | None,
    record: StepRecord,
    student: Student,
    optimiser: torch.optim.Optimizer,
    *,
    steps: int,
    checkpoint_every: int,
) -> None:
    if folder is None:
        return
    last = record.step == steps
    if record.step % LOG_EVERY == 0 or last:
        with (folder / METRICS).open("a", encoding="utf-8", newline="\n") as stream:
            stream.write(json.dumps(vars(record)) + "\n")
    if record.step % checkpoint_every == 0 or last:
        _save_checkpoint(folder, student, optimiser, record.step)


def _save_checkpoint(folder: Path, student: Student, optimiser: torch.optim.Optimizer, step: int) -> None:
    """Keep all that the next step depends on; the batches need nothing but its number."""
    stream = io.BytesIO()
    torch.save({"step": step, "student": student.state_dict(), "optimiser": optimiser.state_dict()}, stream)
    write_atomic(folder / CHECKPOINT, stream.getvalue())


def _load_checkpoint(folder: Path, student: Student, optimiser: torch.optim.Optimizer) -> int:
    """Restore student and optimiser; returns the number of steps done, 0 when there is no checkpoint."""
    path = folder / CHECKPOINT
    if not path.is_file():
        return 0
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
        student.load_state_dict(state["student"])
        optimiser.load_state_dict(state["optimiser"])
        step = int(state["step"])
    except Exception as error:
        raise RunFolderError(
            f"checkpoint cannot be read: {path} ({error})", hint="delete it to begin this training again"
        ) from error
    log.info("going on after step %d of %s", step, folder)
    return step


def _cut_metrics(folder: Path, step: int) -> None:
    """Drop the lines after the checkpoint, which will be written again."""
    path = folder / METRICS
    if not path.is_file():
        return
    kept = []
    for line in path.read_text(encoding="utf-8").splitlines():
        try:
            if json.loads(line)["step"] <= step:
                kept.append(line + "\n")
        except (ValueError, KeyError):  # the line that was being written when the training was killed
            break
    write_atomic(path, "".join(kept).encode())
