"""The training of a classifier: groups of rates, a schedule, checkpoints, and a resume that changes no bit."""

import math
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch

from labelgen.errors import LabelgenError
from labelgen.nets.cam.batches import Batch, StepBatches, step_seed
from labelgen.nets.cam.classifier_file import METRICS
from labelgen.nets.cam.config import TrainingConfig
from labelgen.nets.cam.network import CamNetwork
from labelgen.nets.cam.objectives import OBJECTIVES, Objective
from labelgen.nets.training import Progress, StepRecord, decays, learning_rate, poly_rate, train_steps

__all__ = ["DivergedError", "make_optimiser", "parameter_groups", "train_classifier", "training_losses"]


class DivergedError(LabelgenError):
    """The loss is no number any more."""


def train_classifier(
    network: CamNetwork,
    batches: StepBatches,
    *,
    folder: Path | None = None,
    bfloat16: bool = False,
    checkpoint_every: int = 500,
    progress: Progress | None = None,
) -> list[StepRecord]:
    """Train a network in place on its device, going on from the checkpoint in `folder` if there is one.

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

    Raises
    ------
    DivergedError
        When a loss is not finite.
    """
    config, steps = batches.config, batches.num_steps
    device = network.head.weight.device

    def backward(step: int, batch: Batch) -> tuple[float, dict[str, float]]:
        objective = training_losses(network, batch.to(device), config, step=step, bfloat16=bfloat16)
        total = float(objective.total.detach())
        if not math.isfinite(total):
            raise DivergedError(f"the loss is {total} at step {step + 1} of {steps}", hint="a lower --lr, or --warmup")
        objective.total.backward()
        return total, {name: float(value) for name, value in objective.terms.items()}

    return train_steps(
        network,
        make_optimiser(network, config),
        batches.steps,
        backward,
        steps=steps,
        rate=lambda step: rate_of_step(step, steps, config),
        folder=folder,
        metrics=METRICS,
        checkpoint_every=checkpoint_every,
        progress=progress,
    )


def training_losses(
    network: CamNetwork, batch: Batch, config: TrainingConfig, *, step: int, bfloat16: bool = False
) -> Objective:
    """The losses of a step; what is drawn inside the network depends on the seed and the step alone."""
    device = batch.images.device
    with _seeded(step_seed(config.seed, step), device), torch.autocast(device.type, torch.bfloat16, enabled=bfloat16):
        return OBJECTIVES[network.method](network, batch, config)


def rate_of_step(step: int, steps: int, config: TrainingConfig) -> float:
    """Learning rate of the pretrained weights."""
    if config.schedule == "poly":
        return poly_rate(step, steps, peak=config.lr, power=config.power)
    return learning_rate(step, steps, peak=config.lr, warmup=config.warmup)


def make_optimiser(network: CamNetwork, config: TrainingConfig) -> torch.optim.Optimizer:
    """The optimiser over `parameter_groups`."""
    groups = parameter_groups(network, config)
    if config.optimiser == "adamw":
        return torch.optim.AdamW(groups, lr=config.lr)
    return torch.optim.SGD(groups, lr=config.lr, momentum=config.sgd_momentum)


def parameter_groups(network: CamNetwork, config: TrainingConfig) -> list[dict[str, Any]]:
    """Trained parameters by the factor on their learning rate: pretrained or new, weight or bias.

    SGD decays all of them, as the published programs; AdamW matrices only, neither biases, norms nor positions.
    """
    new = {id(parameter) for parameter in network.new_parameters()}
    groups: dict[tuple[float, float], list[torch.nn.Parameter]] = {}
    for name, parameter in network.named_parameters():
        if not parameter.requires_grad:
            continue
        factor = config.new_rate if id(parameter) in new else 1.0
        factor *= config.bias_rate if name.endswith("bias") else 1.0
        decay = config.weight_decay if config.optimiser == "sgd" or decays(name, parameter) else 0.0
        groups.setdefault((factor, decay), []).append(parameter)
    return [
        {"params": parameters, "weight_decay": decay, "factor": factor}
        for (factor, decay), parameters in groups.items()
    ]


@contextmanager
def _seeded(seed: int, device: torch.device) -> Iterator[None]:
    """Torch's generators begin with `seed` inside and are as before outside."""
    devices = [device.index or 0] if device.type == "cuda" else []
    with torch.random.fork_rng(devices=devices):
        torch.manual_seed(seed)
        yield
