"""The training loop of a head: AdamW with a warm-up and a cosine, checkpoints, and a resume that changes no bit."""

import io
import json
import logging
import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import torch

from labelgen.errors import RunFolderError
from labelgen.masks import write_atomic
from segprobe.batches import UNLABELLED, BatchMaker, batch_loss, read_at_pixels
from segprobe.config import FitConfig
from segprobe.heads import Head
from segprobe.ridge import NormalEquations, calibrated_scale

__all__ = ["Progress", "fit_ridge", "head_threads", "learning_rate", "train_head"]

log = logging.getLogger(__name__)

Progress = Callable[[int, int, str], None]
"""Called with steps done, steps in all, and a word on the state."""

RIDGE = 9  # stream of random numbers of the closed form
CHECKPOINT = "last.pt"
METRICS = "metrics.jsonl"
LOG_EVERY = 10  # steps between two lines of metrics.jsonl
CALIBRATION_PIXELS = 65536  # enough to choose one gain


def train_head(
    head: Head, maker: BatchMaker, *, folder: Path | None = None, progress: Progress | None = None
) -> list[float]:
    """Train a head in place, going on from the checkpoint in `folder` if there is one.

    Parameters
    ----------
    folder
        Where checkpoints and metrics go; None keeps nothing. The caller makes sure that it is of the same fit.

    Returns
    -------
    list of float
        The losses of the steps of this call.
    """
    config = maker.config
    optimiser = torch.optim.AdamW(_groups(head, config), lr=config.lr, betas=(0.9, 0.999))
    first = 0 if folder is None else load_checkpoint(folder, head, optimiser)
    if folder is not None:
        _cut_metrics(folder, first)
    losses: list[float] = []
    with head_threads(config.threads):
        for step in range(first, maker.num_steps):
            rate = learning_rate(step, maker.num_steps, peak=config.lr, warmup=config.warmup)
            for group in optimiser.param_groups:
                group["lr"] = rate
            batch = maker.batch(step)
            loss = batch_loss(head, batch, loss=config.loss, mask=maker.dropout_mask(batch, step, head.dim))
            optimiser.zero_grad(set_to_none=True)
            loss.backward()
            optimiser.step()
            losses.append(float(loss.detach()))
            done = step + 1
            if folder is not None:
                if done % LOG_EVERY == 0 or done == maker.num_steps:
                    _append_metrics(folder, done, maker, losses[-1], rate)
                if done % config.checkpoint_every == 0 and done < maker.num_steps:
                    save_checkpoint(folder, head, optimiser, done)
            if progress is not None:
                progress(done, maker.num_steps, f"loss {losses[-1]:.3f}")
    return losses


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


@contextmanager
def head_threads(count: int) -> Iterator[None]:
    """Let torch use `count` threads inside, 0 for its own choice."""
    before = torch.get_num_threads()
    torch.set_num_threads(count or before)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def fit_ridge(head: Head, maker: BatchMaker, *, scale: bool = True, progress: Progress | None = None) -> None:
    """Solve a linear head in closed form on every image and view, reading the pixels that training would read.

    Parameters
    ----------
    scale
        Multiply the solution by the gain of least cross-entropy, so that its softmax means something and training can
        start from it. The argmax is the same without.
    """
    config = maker.config
    views = range(len(maker.source.views))
    equations = NormalEquations.empty(head.dim, head.classify.out_features)
    kept: list[tuple[torch.Tensor, torch.Tensor, torch.Tensor]] = []
    per_image = max(1, CALIBRATION_PIXELS // (len(maker.ids) * len(views)))
    with head_threads(config.threads), torch.no_grad():
        for number, sample_id in enumerate(maker.ids):
            for view in views:
                rng = np.random.default_rng([config.seed, RIDGE, number, view])
                batch = maker.assemble([(sample_id, view)], rng)
                rows = read_at_pixels(head.standardised(batch.tokens), batch)
                used = batch.columns != UNLABELLED
                part = rows[used].cpu(), batch.columns[used].cpu(), batch.pixel_weights[used].cpu()
                equations.add_rows(*part)
                kept.append((part[0][:per_image], part[1][:per_image], part[2][:per_image]))
            if progress is not None:
                progress(number + 1, len(maker.ids), "ridge")
        matrix, bias = equations.solve(penalty=config.ridge_penalty)
        gain = 1.0
        if scale:
            rows, columns, weights = (torch.cat(part) for part in zip(*kept))
            gain = calibrated_scale(rows @ matrix.T.float() + bias.float(), columns, weights)
        head.classify.weight.copy_(gain * matrix)
        head.classify.bias.copy_(gain * bias)


def _groups(head: Head, config: FitConfig) -> list[dict]:
    matrices = [p for p in head.parameters() if p.ndim > 1]
    biases = [p for p in head.parameters() if p.ndim <= 1]
    return [{"params": matrices, "weight_decay": config.weight_decay}, {"params": biases, "weight_decay": 0.0}]


def save_checkpoint(folder: Path, head: Head, optimiser: torch.optim.Optimizer, step: int) -> None:
    """Keep all that the next step depends on; the batches need nothing but its number."""
    stream = io.BytesIO()
    torch.save({"step": step, "head": head.state_dict(), "optimiser": optimiser.state_dict()}, stream)
    write_atomic(folder / CHECKPOINT, stream.getvalue())


def load_checkpoint(folder: Path, head: Head, optimiser: torch.optim.Optimizer) -> int:
    """Restore head and optimiser; returns the number of steps done, 0 when there is no checkpoint.

    Raises
    ------
    RunFolderError
        When the checkpoint is damaged.
    """
    path = folder / CHECKPOINT
    if not path.is_file():
        return 0
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
        head.load_state_dict(state["head"])
        optimiser.load_state_dict(state["optimiser"])
        step = int(state["step"])
    except Exception as error:
        raise RunFolderError(
            f"checkpoint cannot be read: {path} ({error})", hint="delete it to begin this fit again"
        ) from error
    log.info("going on after step %d of %s", step, folder)
    return step


def _append_metrics(folder: Path, step: int, maker: BatchMaker, loss: float, rate: float) -> None:
    line = {"step": step, "epoch": round(step / maker.steps_per_epoch, 3), "loss": loss, "lr": rate}
    with (folder / METRICS).open("a", encoding="utf-8", newline="\n") as stream:
        stream.write(json.dumps(line) + "\n")


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
        except (ValueError, KeyError):  # the line that was being written when the fit was killed
            break
    write_atomic(path, "".join(kept).encode())
