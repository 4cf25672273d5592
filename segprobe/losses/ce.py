"""`ce`: cross-entropy, the loss of the papers' linear probes."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from segprobe.losses.loss import Loss

__all__ = ["CE", "CeConfig", "make_ce"]


@dataclass(frozen=True)
class CeConfig:
    """`-log p_y`, averaged over labelled pixels; there is nothing to set."""


def make_ce(config: CeConfig) -> Callable[..., Any]:
    """The loss of a batch."""
    from segprobe.losses.masked_cross_entropy import masked_cross_entropy

    return masked_cross_entropy


CE = Loss(CeConfig, make_ce)
