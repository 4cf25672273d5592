"""What terms bring to the training: weights of their own, and means that checkpoints keep."""

from collections.abc import Mapping, Sequence
from typing import Any

from torch import nn

from segprobe.config import FitConfig
from segprobe.heads import Head
from segprobe.objective import Term
from segprobe.training import head_groups

__all__ = ["with_modules"]


def with_modules(
    parts: Mapping[str, Any], head: Head, terms: Sequence[tuple[str, float, Term]], config: FitConfig
) -> dict[str, Any]:
    """Add the modules of terms to what `train_head` trains besides the head; they learn at the rate of the head.

    Parameters
    ----------
    parts
        `model` and `groups` of `train_head`, where more than the head is trained already.
    """
    modules = nn.ModuleDict(
        {name: term.module for name, _, term in terms if hasattr(term, "module")}  # type: ignore[attr-defined]
    )
    if not modules:
        return dict(parts)
    matrices = [p for p in modules.parameters() if p.ndim > 1]
    others = [p for p in modules.parameters() if p.ndim <= 1]
    groups = [*parts.get("groups", head_groups(head, config))]
    if matrices:
        groups.append({"params": matrices, "weight_decay": config.weight_decay})
    if others:
        groups.append({"params": others, "weight_decay": 0.0})
    model = nn.ModuleDict({"trained": parts.get("model", head), "terms": modules})
    return {**parts, "model": model, "groups": groups}
