"""Which arithmetic a frozen network uses, and a check that cheap arithmetic does not spoil it."""

import copy
import logging
from collections.abc import Callable

import torch
from jaxtyping import Float32
from torch import nn

from labelgen.errors import ConfigError
from labelgen.nets.architectures import Architecture

__all__ = ["BIG", "ENOUGH", "choose_dtype", "computes_bfloat16", "mean_cosine", "smooth_noise"]

LOG = logging.getLogger(__name__)

BIG = 15_000_000
"""Parameters from which `auto` looks for cheaper arithmetic: a ViT-S has 22 million; below, nothing is gained."""

ENOUGH = 0.995
"""Cosine between the features in bfloat16 and in float32 that `auto` asks for."""


def choose_dtype(
    name: str, model: nn.Module, device: torch.device, *, cosine: Callable[[torch.dtype], float]
) -> torch.dtype:
    """Resolve `auto`: bfloat16 for big models on hardware that computes in it and where features stay the same.

    Parameters
    ----------
    model
        In float32, on the CPU.
    cosine
        Mean cosine of the model's features in a type to those in float32; asked only where it decides.

    Returns
    -------
    torch.dtype
        float32 unless asked otherwise, or unless `auto` found bfloat16 fast and true.

    Raises
    ------
    ConfigError
        For float16 on a CPU, where it is slower than float32 and overflows.
    """
    if name == "float16" and device.type == "cpu":
        raise ConfigError("dtype float16 needs a GPU", hint="use bfloat16 or float32 on a CPU")
    if name != "auto":
        return getattr(torch, name)
    big = sum(parameter.numel() for parameter in model.parameters()) >= BIG
    if not big or not computes_bfloat16(device):
        return torch.float32
    likeness = cosine(torch.bfloat16)
    if likeness <= ENOUGH:
        LOG.info("features in bfloat16 have cosine %.4f to float32 ones: computing in float32", likeness)
        return torch.float32
    return torch.bfloat16


def computes_bfloat16(device: torch.device) -> bool:
    """Whether the hardware multiplies bfloat16 itself instead of by way of float32."""
    if device.type == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    if device.type != "cpu":
        return False
    found = (getattr(torch.cpu, name, None) for name in ("_is_avx512_bf16_supported", "_is_amx_tile_supported"))
    return any(check() for check in found if check is not None)


def smooth_noise(size: tuple[int, int]) -> Float32[torch.Tensor, "2 3 H W"]:
    """Two fixed pictures of smooth noise of `(height, width)` pixels, on which types are compared."""
    coarse = torch.randn(2, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    return nn.functional.interpolate(coarse, size=size, mode="bicubic")


def mean_cosine(architecture: Architecture, dtype: torch.dtype) -> float:
    """Mean cosine between tokens in `dtype` and in float32 on smooth noise, on the CPU."""
    side = architecture.multiple * max(2, 112 // architecture.multiple)
    batch = smooth_noise((side, side))
    cheap = architecture.with_model(copy.deepcopy(architecture.model).to(dtype))
    with torch.inference_mode():
        exact, rough = architecture.read(batch), cheap.read(batch.to(dtype)).float()
    return float(nn.functional.cosine_similarity(exact, rough, dim=-1).mean())
