"""The table of losses: `loss(logits, labels, weights=..., ignore=...)` over pixels, averaged over labelled ones."""

from collections.abc import Callable

from torch import Tensor

from segprobe.losses.masked_cross_entropy import masked_cross_entropy

__all__ = ["LOSSES", "masked_cross_entropy"]

LOSSES: dict[str, Callable[..., Tensor]] = {"ce": masked_cross_entropy}
