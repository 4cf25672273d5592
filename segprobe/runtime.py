"""Several processes that train one head together: who is who, and their sums, through torch.distributed."""

import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
import torch.distributed as dist
from torch import Tensor

from labelgen.errors import ConfigError

__all__ = ["ALONE", "Runtime", "runtime_from_environment"]


@dataclass(frozen=True)
class Runtime:
    """A process among those of one training.

    Parameters
    ----------
    rank
        Number of this process, from 0.
    world
        Number of processes.
    """

    rank: int = 0
    world: int = 1

    @property
    def is_main(self) -> bool:
        """Whether this process writes files and prints."""
        return self.rank == 0

    @property
    def part(self) -> tuple[int, int]:
        """Which images of a batch are this process's: rank, rank + world, ..."""
        return self.rank, self.world

    def barrier(self) -> None:
        """Wait until every process is here."""
        if self.world > 1:
            dist.barrier()

    def sum(self, *values: float) -> tuple[float, ...]:
        """Add numbers up over all processes, in float64."""
        if self.world == 1:
            return values
        total = torch.tensor(values, dtype=torch.float64, device=_device())
        dist.all_reduce(total)
        return tuple(float(value) for value in total)

    def sum_gradients(self, parameters: Iterable[Tensor]) -> None:
        """Add the gradients of all processes up, in one message; a parameter without one counts as zero."""
        if self.world == 1:
            return
        wanted = [p for p in parameters if p.requires_grad]
        flat = torch.cat([(torch.zeros_like(p) if p.grad is None else p.grad).flatten() for p in wanted])
        dist.all_reduce(flat)
        first = 0
        for parameter in wanted:
            parameter.grad = flat[first : first + parameter.numel()].view_as(parameter).clone()
            first += parameter.numel()


ALONE = Runtime()


def _device() -> str:
    return "cuda" if dist.get_backend() == "nccl" else "cpu"


@contextmanager
def runtime_from_environment(device: str = "cpu") -> Iterator[Runtime]:
    """Join the processes that `torchrun` started; alone where it started none.

    Parameters
    ----------
    device
        cuda takes nccl and the GPU of LOCAL_RANK; anything else takes gloo.

    Raises
    ------
    ConfigError
        When the variables of torchrun are there but make no sense.
    """
    try:
        world, rank = int(os.environ.get("WORLD_SIZE", "1")), int(os.environ.get("RANK", "0"))
        local = int(os.environ.get("LOCAL_RANK", "0"))
    except ValueError as error:
        raise ConfigError(
            f"RANK, WORLD_SIZE and LOCAL_RANK must be whole numbers: {error}",
            hint="start it with torchrun, or unset them",
        ) from None
    if world == 1:
        yield ALONE
        return
    on_gpu = device.startswith("cuda")
    if on_gpu:
        torch.cuda.set_device(local)
    dist.init_process_group("nccl" if on_gpu else "gloo")
    try:
        yield Runtime(rank, world)
    finally:
        dist.destroy_process_group()
