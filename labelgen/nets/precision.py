"""Which arithmetic a frozen backbone uses, and a check that cheap arithmetic does not spoil it."""

import copy
import logging

import torch

from labelgen.errors import ConfigError
from labelgen.nets.architectures import Architecture

__all__ = ["BIG", "ENOUGH", "choose_dtype", "computes_bfloat16", "mean_cosine"]

LOG = logging.getLogger(__name__)

BIG = 15_000_000
"""Parameters from which `auto` looks for cheaper arithmetic: a ViT-S has 22 million; below, nothing is gained."""

ENOUGH = 0.995
"""Cosine between the tokens in bfloat16 and in float32 that `auto` asks for."""


def choose_dtype(name: str, architecture: Architecture, device: torch.device) -> torch.dtype:
    """Resolve `auto`: bfloat16 for big models on hardware that computes in it and where tokens stay the same.

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
    big = sum(parameter.numel() for parameter in architecture.model.parameters()) >= BIG
    if not big or not computes_bfloat16(device):
        return torch.float32
    cosine = mean_cosine(architecture, torch.bfloat16)
    if cosine <= ENOUGH:
        LOG.info("bfloat16 tokens have cosine %.4f to float32 ones: computing in float32", cosine)
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


def mean_cosine(architecture: Architecture, dtype: torch.dtype) -> float:
    """Mean cosine between tokens in `dtype` and in float32 on a fixed batch of smooth noise, on the CPU."""
    side = architecture.multiple * max(2, 112 // architecture.multiple)
    coarse = torch.randn(2, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    batch = torch.nn.functional.interpolate(coarse, size=(side, side), mode="bicubic")
    cheap = architecture.with_model(copy.deepcopy(architecture.model).to(dtype))
    with torch.inference_mode():
        exact, rough = architecture.read(batch), cheap.read(batch.to(dtype)).float()
    return float(torch.nn.functional.cosine_similarity(exact, rough, dim=-1).mean())
