"""Build a head by name, and fill it with saved tensors."""

from collections.abc import Callable, Mapping
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from labelgen.errors import ConfigError, RunFolderError
from segprobe.head_settings import HeadChoice, parse_head
from segprobe.heads.conv import ConvHead
from segprobe.heads.head import Head
from segprobe.heads.knn import KnnHead
from segprobe.heads.linear import LinearHead, MlpHead
from segprobe.heads.projection import ProjectionHead
from segprobe.heads.prototype import PrototypeHead

__all__ = ["HEADS", "load_head_state", "make_head"]

HEADS: dict[str, Callable[..., Head]] = {
    "linear": LinearHead,
    "multi": LinearHead,
    "mlp": MlpHead,
    "conv": ConvHead,
    "projection": ProjectionHead,
    "ridge": LinearHead,
    "prototype": PrototypeHead,
    "knn": KnnHead,
}
"""Multi is the linear head on several layers, ridge the one whose matrix is solved for; see `closed_form.py`."""


def make_head(
    kind: str | HeadChoice,
    mean: Float[Tensor, "D"],
    std: Float[Tensor, "D"],
    *,
    num_classes: int,
    seed: int = 0,
) -> Head:
    """Build a head; its random weights depend on the seed alone.

    Parameters
    ----------
    kind
        As it is typed, `conv,width=64`, or as that was read.

    Raises
    ------
    ConfigError
        For an unknown head or setting.
    """
    choice = parse_head(kind) if isinstance(kind, str) else kind
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return HEADS[choice.name](mean.cpu(), std.cpu(), num_classes=num_classes, settings=choice.settings)


def load_head_state(head: Head, state: Mapping[str, Any], *, where: str) -> Head:
    """Fill a head with saved tensors.

    Raises
    ------
    RunFolderError
        When a tensor is missing, unknown or of another shape; each is named.
    """
    hint = "probe.safetensors and probe.json belong together; was one of them replaced?"
    try:
        head.make_room(state)
    except ConfigError as error:
        raise RunFolderError(f"{error.message} in {where}", hint=hint) from error
    expected = head.state_dict()
    wrong = [f"{name} is missing" for name in expected if name not in state]
    wrong += [f"{name} is unknown" for name in state if name not in expected]
    wrong += [
        f"{name} must have shape {tuple(expected[name].shape)}, got {tuple(state[name].shape)}"
        for name in expected
        if name in state and state[name].shape != expected[name].shape
    ]
    if wrong:
        raise RunFolderError(f"the head does not fit its description in {where}: {'; '.join(wrong[:4])}", hint=hint)
    head.load_state_dict(dict(state))
    return head
