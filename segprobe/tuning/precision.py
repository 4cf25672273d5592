"""Mixed precision while a backbone is tuned: parameters in float32, arithmetic in 16 bits where that is faster."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import nn

from labelgen.errors import ConfigError
from labelgen.nets.precision import computes_bfloat16

__all__ = ["ScalerState", "choose_amp"]


def choose_amp(name: str, device: torch.device) -> torch.dtype:
    """Type of the arithmetic inside autocast; float32 means no autocast.

    `auto` takes bfloat16 on hardware that computes in it (on a CPU with AVX512-BF16 a step of demo-ssvt takes two
    thirds of the time, one of MobileNetV2 four fifths); on an older GPU float16, with its loss scaled; else float32.

    Raises
    ------
    ConfigError
        For float16 on a CPU.
    """
    if name == "float16" and device.type == "cpu":
        raise ConfigError("amp float16 needs a GPU", hint="use bfloat16 or float32 on a CPU")
    if name != "auto":
        return getattr(torch, name)
    if computes_bfloat16(device):
        return torch.bfloat16
    return torch.float16 if device.type == "cuda" else torch.float32


class ScalerState(nn.Module):
    """A `GradScaler` as a module, so that a checkpoint keeps its scale with everything else.

    Parameters
    ----------
    scaler
        None does nothing.
    """

    def __init__(self, scaler: torch.amp.GradScaler | None) -> None:
        super().__init__()
        self.scaler = scaler

    def get_extra_state(self) -> dict[str, Any]:
        """State of the scaler."""
        return self.scaler.state_dict() if self.scaler else {}

    def set_extra_state(self, state: Mapping[str, Any]) -> None:
        """Restore the scaler."""
        if self.scaler:
            self.scaler.load_state_dict(dict(state))
