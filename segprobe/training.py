"""The training loop of a head: AdamW with a warm-up and a cosine, checkpoints, and a resume that changes no bit."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import torch

from labelgen.nets.training import (
    Progress,
    append_metrics,
    cut_metrics,
    learning_rate,
    load_checkpoint,
    save_checkpoint,
)
from segprobe.batches import UNLABELLED, BatchMaker, batch_loss, read_at_pixels
from segprobe.config import FitConfig
from segprobe.heads import Head
from segprobe.ridge import NormalEquations, calibrated_scale

__all__ = ["METRICS", "fit_ridge", "head_threads", "train_head"]

RIDGE = 9  # stream of random numbers of the closed form
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
        cut_metrics(folder / METRICS, first)
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
                    line = {"step": done, "epoch": round(done / maker.steps_per_epoch, 3)}
                    append_metrics(folder / METRICS, line | {"loss": losses[-1], "lr": rate})
                if done % config.checkpoint_every == 0 and done < maker.num_steps:
                    save_checkpoint(folder, head, optimiser, done)
            if progress is not None:
                progress(done, maker.num_steps, f"loss {losses[-1]:.3f}")
    return losses


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
