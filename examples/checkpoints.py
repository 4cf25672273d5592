"""Checkpoints of the training scripts beside this file: model, optimiser, step, and the seconds until then."""

from pathlib import Path

import torch
from torch import nn


def save_checkpoint(
    path: Path, student: nn.Module, optimiser: torch.optim.Optimizer, step: int, seconds: float
) -> None:
    """Replace the file as a whole, so that an interruption leaves the one before."""
    state = {"student": student.state_dict(), "optimiser": optimiser.state_dict(), "step": step, "seconds": seconds}
    torch.save(state, path.with_suffix(".writing"))
    path.with_suffix(".writing").replace(path)


def load_checkpoint(path: Path, student: nn.Module, optimiser: torch.optim.Optimizer) -> tuple[int, float]:
    """Take up what is there; the next step, and the seconds so far."""
    if not path.exists():
        return 0, 0.0
    state = torch.load(path, weights_only=True)
    student.load_state_dict(state["student"])
    optimiser.load_state_dict(state["optimiser"])
    return state["step"], state["seconds"]
