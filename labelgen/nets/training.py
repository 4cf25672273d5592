"""What the trainings share: the loop, schedules of the rate, checkpoints, and a file of figures, a line a step.

A training here draws its batches from the seed and the number of the step, so model, optimiser and step are all that
the next step depends on.
"""

import io
import json
import logging
import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import torch
from jaxtyping import Int64

from labelgen.errors import RunFolderError
from labelgen.writing import append, write_atomic

__all__ = [
    "CHECKPOINT",
    "Progress",
    "StepRecord",
    "append_metrics",
    "cut_metrics",
    "decays",
    "learning_rate",
    "load_checkpoint",
    "note_step",
    "poly_rate",
    "rows_of_step",
    "save_checkpoint",
    "train_steps",
    "unfuse_attention",
]

log = logging.getLogger(__name__)

CHECKPOINT = "last.pt"
LOG_EVERY = 10  # steps between two lines of figures
ORDER = 0  # stream of random numbers for the order of the images

Progress = Callable[[int, int, str], None]
"""Called with steps done, steps in all, and a word on the state."""

Batch = TypeVar("Batch")


@dataclass(frozen=True)
class StepRecord:
    """Losses of one step and its learning rate, before the factors of the groups.

    Parameters
    ----------
    total
        The loss that the step went down.
    terms
        Parts of the total by name, before their weights.
    """

    step: int
    lr: float
    total: float
    terms: dict[str, float]

    def to_json(self) -> dict[str, Any]:
        """One line of the file of figures."""
        return {"step": self.step, "lr": self.lr, "total": self.total, **self.terms}


def train_steps(
    model: torch.nn.Module,
    optimiser: torch.optim.Optimizer,
    batches: Callable[[int], Iterable[Batch]],
    backward: Callable[[int, Batch], tuple[float, dict[str, float]]],
    *,
    steps: int,
    rate: Callable[[int], float],
    folder: Path | None,
    metrics: str,
    checkpoint_every: int,
    progress: Progress | None,
) -> list[StepRecord]:
    """Train a model in place, going on from the checkpoint in `folder` if there is one.

    Parameters
    ----------
    optimiser
        Its groups say by `factor` how their learning rate differs from that of the step.
    batches
        The batches from a step on.
    backward
        Adds the gradients of a step's batch; returns the loss and its parts by name.
    rate
        Learning rate of a step.
    folder
        Where checkpoints and losses go; None keeps nothing.
    metrics
        Name of the file of losses.

    Returns
    -------
    list of StepRecord
        Of the steps of this call.
    """
    first = 0 if folder is None else load_checkpoint(folder, model, optimiser)
    if folder is not None:
        cut_metrics(folder / metrics, first)
    model.train()
    if next(model.parameters()).device.type == "cpu":
        unfuse_attention(model)
    records: list[StepRecord] = []
    for step, batch in enumerate(batches(first), start=first):
        lr = rate(step)
        for group in optimiser.param_groups:
            group["lr"] = lr * group["factor"]
        optimiser.zero_grad(set_to_none=True)
        total, terms = backward(step, batch)
        optimiser.step()
        records.append(StepRecord(step + 1, lr, total, terms))
        line = records[-1].to_json()
        note_step(folder, metrics, line, model, optimiser, steps=steps, checkpoint_every=checkpoint_every)
        if progress is not None:
            progress(step + 1, steps, f"loss {total:.3f}")
    return records


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


def poly_rate(step: int, steps: int, *, peak: float, power: float = 0.9) -> float:
    """Fall as `(1 - step / steps) ** power`.

    Examples
    --------
    >>> [round(poly_rate(s, 10, peak=1.0), 3) for s in (0, 5, 9)]
    [1.0, 0.536, 0.126]
    """
    return peak * (1 - step / steps) ** power


def rows_of_step(step: int, *, images: int, batch: int, seed: int) -> Int64[np.ndarray, "batch"]:
    """Row numbers of the images of a step: one permutation of all images after another, cut into batches.

    Examples
    --------
    >>> rows = [rows_of_step(step, images=4, batch=2, seed=0).tolist() for step in (0, 1)]
    >>> sorted(rows[0] + rows[1])
    [0, 1, 2, 3]
    """
    places = np.arange(step * batch, (step + 1) * batch)
    epochs = places // images
    orders = {epoch: np.random.default_rng([seed, ORDER, int(epoch)]).permutation(images) for epoch in set(epochs)}
    return np.array([orders[epoch][place % images] for epoch, place in zip(epochs, places, strict=True)], np.int64)


def save_checkpoint(folder: Path, model: torch.nn.Module, optimiser: torch.optim.Optimizer, step: int) -> None:
    """Write all that the next step depends on; whole or not at all."""
    stream = io.BytesIO()
    torch.save({"step": step, "model": model.state_dict(), "optimiser": optimiser.state_dict()}, stream)
    write_atomic(folder / CHECKPOINT, stream.getvalue())


def load_checkpoint(folder: Path, model: torch.nn.Module, optimiser: torch.optim.Optimizer) -> int:
    """Restore model and optimiser; returns the number of steps done, 0 when there is no checkpoint.

    Raises
    ------
    RunFolderError
        When the checkpoint is damaged or of another model.
    """
    path = folder / CHECKPOINT
    if not path.is_file():
        return 0
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
        model.load_state_dict(state["model"])
        optimiser.load_state_dict(state["optimiser"])
        step = int(state["step"])
    except Exception as error:
        raise RunFolderError(
            f"checkpoint cannot be read: {path} ({error})", hint="delete it to begin this training again"
        ) from error
    log.info("going on after step %d of %s", step, folder)
    return step


def append_metrics(path: Path, line: dict[str, Any]) -> None:
    """Add one line of JSON; it holds its `step`."""
    with path.open("ab", buffering=0) as stream:
        append(stream, (json.dumps(line) + "\n").encode())


def cut_metrics(path: Path, step: int) -> None:
    """Drop the lines after `step`, which will be written again, and one that a kill left unfinished."""
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


def note_step(
    folder: Path | None,
    name: str,
    line: dict[str, Any],
    model: torch.nn.Module,
    optimiser: torch.optim.Optimizer,
    *,
    steps: int,
    checkpoint_every: int,
) -> None:
    """Write what is due after a step: every tenth and the last its line in the file `name`, and checkpoints.

    Parameters
    ----------
    folder
        None keeps nothing.
    line
        Figures of the step, with its number counted from one as `step`.
    """
    if folder is None:
        return
    step = line["step"]
    if step % LOG_EVERY == 0 or step == steps:
        append_metrics(folder / name, line)
    if step % checkpoint_every == 0 and step < steps:  # after the last step the result follows, or that step again
        save_checkpoint(folder, model, optimiser, step)


def unfuse_attention(model: torch.nn.Module) -> None:
    """Compute attention in plain steps: on CPUs torch's fused kernel is slower backward for so few tokens."""
    for module in model.modules():
        if hasattr(module, "fused_attn"):
            module.fused_attn = False  # pyright: ignore[reportArgumentType]


def decays(name: str, parameter: torch.nn.Parameter) -> bool:
    """Whether AdamW decays it: matrices only, neither biases, norms and scales nor learnable tokens and positions."""
    return parameter.ndim >= 2 and not any(word in name for word in ("token", "pos_embed"))
