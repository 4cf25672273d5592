"""The training loop of a head: AdamW with a warm-up and a cosine, checkpoints, and a resume that changes no bit."""

import copy
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import torch

from labelgen.nets.training import (
    Progress,
    append_metrics,
    cut_metrics,
    learning_rate,
    load_checkpoint,
    save_checkpoint,
)
from segprobe.batches import TokenBatch
from segprobe.config import FitConfig
from segprobe.heads import Head
from segprobe.objective import Objective
from segprobe.runtime import ALONE, Runtime
from segprobe.tuning.precision import ScalerState

__all__ = ["METRICS", "BatchSource", "Watch", "follow", "head_groups", "head_threads", "train_head"]

METRICS = "metrics.jsonl"
LOG_EVERY = 10  # steps between two lines of metrics.jsonl


@runtime_checkable
class BatchSource(Protocol):
    """Where batches come from: a `BatchMaker` over cached features, or one that runs the network."""

    config: FitConfig
    steps_per_epoch: int

    @property
    def num_steps(self) -> int:
        """Updates of the whole fit."""
        ...

    def batch(self, step: int, *, part: tuple[int, int] = (0, 1)) -> TokenBatch | None:
        """One process's part of the batch of a step; None when it gets no image."""
        ...

    def dropout_mask(
        self, batch: TokenBatch, step: int, dim: int, *, part: tuple[int, int] = (0, 1)
    ) -> torch.Tensor | None:
        """Factors on the standardised features, or None."""
        ...


@runtime_checkable
class Watch(Protocol):
    """Looks at a training while it runs, and may exchange its labels."""

    def resume(self, step: int) -> None:
        """Take up what was in force after so many updates."""
        ...

    def after(self, step: int, head: Head) -> bool:
        """Look after an update; True when something was changed that a checkpoint must go with."""
        ...


def train_head(
    head: Head,
    maker: BatchSource,
    objective: Objective,
    *,
    model: torch.nn.Module | None = None,
    groups: Sequence[dict[str, Any]] | None = None,
    scaler: torch.amp.GradScaler | None = None,
    watch: Watch | None = None,
    folder: Path | None = None,
    runtime: Runtime = ALONE,
    progress: Progress | None = None,
) -> list[float]:
    """Train a head in place, going on from the checkpoint in `folder` if there is one.

    Parameters
    ----------
    model
        Module with everything that is trained, the head included, when that is more than the head.
    groups
        Parameter groups of the optimiser, each with a `factor` on the learning rate; those of the head when left out.
    scaler
        Scales the loss, for parts that compute in float16.
    watch
        Is called after each update; on frozen features it sees the averaged head where there is one.
    folder
        Where checkpoints and metrics go; None keeps nothing. The caller makes sure that it is of the same fit.
    runtime
        The processes that train together; each takes its part of every batch, and all end with the same weights.

    Returns
    -------
    list of float
        The losses of the steps of this call.
    """
    config = maker.config
    trained = head if model is None else model
    parts = list(groups) if groups is not None else head_groups(head, config)
    optimiser = torch.optim.AdamW(parts, lr=config.lr, betas=(0.9, 0.999))
    state = torch.nn.ModuleDict({"model": trained})
    if scaler is not None:
        state["scaler"] = ScalerState(scaler)
    if config.ema:
        state["average"] = copy.deepcopy(trained).requires_grad_(False)
    averaged = _averaged_head(state, trained, head) if config.ema and not config.trains_network else None
    first = 0 if folder is None else load_checkpoint(folder, state, optimiser)
    if folder is not None and runtime.is_main:
        cut_metrics(folder / METRICS, first)
    runtime.barrier()
    if watch is not None:
        watch.resume(first)
    losses: list[float] = []
    with head_threads(config.thread_count):
        for step in range(first, maker.num_steps):
            rate = learning_rate(step, maker.num_steps, peak=config.lr, warmup=config.warmup)
            for group in optimiser.param_groups:
                group["lr"] = rate * group.get("factor", 1.0)
            optimiser.zero_grad(set_to_none=True)
            values = _gradients(head, maker, objective, step, runtime, scaler)
            runtime.sum_gradients(trained.parameters())
            _update(optimiser, scaler)
            if config.ema:
                follow(state["average"], trained, decay=min(config.ema, (step + 1) / (step + 10)))
            losses.append(values["loss"])
            seen = averaged if averaged is not None else head
            due = watch is not None and watch.after(step + 1, seen)  # type: ignore[arg-type]
            if folder is not None and runtime.is_main:
                _note(folder, state, optimiser, maker, step + 1, {**values, "lr": rate}, due=due)
            if progress is not None and runtime.is_main:
                progress(step + 1, maker.num_steps, f"loss {losses[-1]:.3f}")
    if config.ema:
        trained.load_state_dict(state["average"].state_dict())
    return losses


def _averaged_head(state: torch.nn.ModuleDict, trained: torch.nn.Module, head: Head) -> torch.nn.Module:
    """The head in the running average of all that is trained, wherever it stands there."""
    place = next(name for name, module in trained.named_modules() if module is head)
    return state["average"].get_submodule(place)


def _update(optimiser: torch.optim.Optimizer, scaler: torch.amp.GradScaler | None) -> None:
    """One step of the optimiser; a scaler leaves it out when a gradient is not finite."""
    if scaler is None:
        optimiser.step()
        return
    scaler.step(optimiser)
    scaler.update()


def _gradients(
    head: Head,
    maker: BatchSource,
    objective: Objective,
    step: int,
    runtime: Runtime,
    scaler: torch.amp.GradScaler | None = None,
) -> dict[str, float]:
    """Backward of this process's part of a batch; the loss of the whole batch and what it is made of."""
    batch = maker.batch(step, part=runtime.part)
    names = ["loss", "pixels", *(name for name, _, _ in objective.terms)]
    if batch is None:  # fewer images than processes: the others need this one only for the sums
        runtime.sum(0.0, 0.0)
        return dict(zip(names, runtime.sum(*(0.0 for _ in names))))
    mask = maker.dropout_mask(batch, step, head.dim, part=runtime.part)
    found = objective(head, batch, mask=mask, runtime=runtime, progress=step / maker.num_steps)
    (found.loss if scaler is None else scaler.scale(found.loss)).backward()
    here = {"loss": float(found.loss.detach()), **{name: float(value) for name, value in found.values.items()}}
    return dict(zip(names, runtime.sum(*(here[name] for name in names))))


def _note(
    folder: Path,
    state: torch.nn.Module,
    optimiser: torch.optim.Optimizer,
    maker: BatchSource,
    done: int,
    values: dict[str, float],
    *,
    due: bool = False,
) -> None:
    if done % LOG_EVERY == 0 or done == maker.num_steps:
        append_metrics(folder / METRICS, {"step": done, "epoch": round(done / maker.steps_per_epoch, 3), **values})
    if (due or done % maker.config.checkpoint_every == 0) and done < maker.num_steps:
        save_checkpoint(folder, state, optimiser, done)


def follow(average: torch.nn.Module, model: torch.nn.Module, *, decay: float) -> None:
    """Move an average of weights towards a model: `average = decay * average + (1 - decay) * model`.

    Examples
    --------
    >>> old, new = torch.nn.Linear(1, 1, bias=False), torch.nn.Linear(1, 1, bias=False)
    >>> _ = old.weight.data.fill_(0.0), new.weight.data.fill_(1.0)
    >>> follow(old, new, decay=0.75)
    >>> old.weight.item()
    0.25
    """
    with torch.no_grad():
        for mine, other in zip(average.parameters(), model.parameters(), strict=True):
            mine.lerp_(other.to(mine), 1 - decay)
        for mine, other in zip(average.buffers(), model.buffers(), strict=True):
            mine.copy_(other)


@contextmanager
def head_threads(count: int) -> Iterator[None]:
    """Let torch use `count` threads inside, 0 for its own choice."""
    before = torch.get_num_threads()
    torch.set_num_threads(count or before)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def head_groups(head: Head, config: FitConfig) -> list[dict[str, Any]]:
    """Parameter groups of a head: matrices are decayed, biases are not."""
    matrices = [p for p in head.parameters() if p.ndim > 1]
    biases = [p for p in head.parameters() if p.ndim <= 1]
    return [{"params": matrices, "weight_decay": config.weight_decay}, {"params": biases, "weight_decay": 0.0}]
