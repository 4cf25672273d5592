"""Weights that come with the package: how they are written, described and loaded."""

import hashlib
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from safetensors import SafetensorError, safe_open

from labelgen.errors import WeightsError
from labelgen.untrusted import parse_json

__all__ = ["load_shipped", "save_shipped", "shipped_metadata"]

State = Mapping[str, torch.Tensor]


def save_shipped(state: State, path: Path, *, about: dict[str, Any]) -> None:
    """Write floating tensors in float16, others as they are, with `about` as JSON in the metadata."""
    halves = {name: _half(tensor.detach()).contiguous() for name, tensor in state.items()}
    safetensors.torch.save_file(halves, path, metadata={"labelgen": json.dumps(about, sort_keys=True)})


def shipped_metadata(path: Path) -> dict[str, Any]:
    """Return recipe and figures of a weight file, and the sha256 of the file itself."""
    with safe_open(path, framework="pt") as file:
        about = parse_json((file.metadata() or {}).get("labelgen", "{}"))
    return {**about, "sha256": hashlib.sha256(path.read_bytes()).hexdigest()}


def load_shipped(
    model: torch.nn.Module, path: Path, *, name: str, unpack: Callable[[State], State] = lambda state: state
) -> None:
    """Load every tensor, in float32; nothing may be missing or left over.

    Parameters
    ----------
    name
        Of the model, for messages.
    unpack
        From what the file holds to the state of the model.

    Raises
    ------
    WeightsError
        When the file is missing or does not fit.
    """
    hint = "reinstall labelgen: the file is part of the package"
    if not path.is_file():
        raise WeightsError(f"the weights of {name} must lie at {path}, but there is no such file", hint=hint)
    try:
        state = unpack(safetensors.torch.load_file(path))
        model.load_state_dict({key: tensor.float() for key, tensor in state.items()}, strict=True)
    except (SafetensorError, RuntimeError, WeightsError) as error:
        raise WeightsError(f"the weights of {name} in {path} do not fit: {error}", hint=hint) from error


def _half(tensor: torch.Tensor) -> torch.Tensor:
    return tensor.to(torch.float16) if tensor.is_floating_point() else tensor
