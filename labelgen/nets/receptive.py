"""Where the tokens of a convolutional network look: the centre of each receptive field.

A strided convolution with the usual padding centres its first output on the first pixel, not on the middle of the
first block of pixels. Over five such layers the tokens sit 15.5 pixels above and left of the middle of their 32-pixel
cells (and as far below and right with TensorFlow's "same" padding): half a token, which a label map would feel.
"""

from collections.abc import Callable
from typing import Any

import torch
from torch import nn

__all__ = ["token_offsets"]

Step = tuple[int, int, float]
"""Kernel, stride, and how far the first output's centre lies inside, in pixels of the layer's input."""


def token_offsets(model: nn.Module, forward: Callable[[], list[torch.Tensor]], *, side: int) -> list[float]:
    """Offset of the tokens of each map that `forward` returns from the middles of their cells, in pixels.

    Both axes are alike. With outputs of kernel `k`, stride `s` and left padding `p`, the first centre moves in by
    `(k - 1) / 2 - p` input pixels; layers add up. Of parallel branches (shortcuts) the one with the largest kernel
    counts. Where a resolution falls without a strided layer, patches are taken to be merged, which moves nothing.

    Parameters
    ----------
    forward
        Runs the network on a square image of `side` pixels and returns maps `(1, C, h, w)`.

    Examples
    --------
    >>> net = nn.Sequential(nn.Conv2d(3, 4, 3, stride=2, padding=1), nn.Conv2d(4, 4, 3, stride=2, padding=1))
    >>> token_offsets(net, lambda: [net(torch.zeros(1, 3, 16, 16))], side=16)
    [-1.5]
    >>> patches = nn.Conv2d(3, 4, 4, stride=4)
    >>> token_offsets(patches, lambda: [patches(torch.zeros(1, 3, 16, 16))], side=16)
    [0.0]
    """
    steps: dict[int, Step] = {}

    def record(module: Any, inputs: tuple[torch.Tensor, ...], output: torch.Tensor) -> None:
        size = inputs[0].shape[2]
        step = _step(module, size)
        if output.shape[2] < size and step[0] > steps.get(size, (0,))[0]:
            steps[size] = step

    strided = [module for module in model.modules() if isinstance(module, nn.Conv2d | nn.MaxPool2d | nn.AvgPool2d)]
    handles = [module.register_forward_hook(record) for module in strided if _first(module.stride) > 1]
    try:
        maps = forward()
    finally:
        for handle in handles:
            handle.remove()
    return [_offset(steps, side, stage.shape[2]) for stage in maps]


def _offset(steps: dict[int, Step], side: int, size: int) -> float:
    """Follow the resolution from the image down to `size` and add up."""
    centre, jump, now = 0.5, 1, side
    while now > size:
        _, stride, inside = steps.get(now, (2, 2, 0.5))
        centre += jump * inside
        jump *= stride
        now = -(-now // stride)
    return centre - jump / 2


def _step(module: Any, size: int) -> Step:
    kernel, stride, dilation = (_first(getattr(module, name, 1)) for name in ("kernel_size", "stride", "dilation"))
    reach = (kernel - 1) * dilation
    if type(module).__name__.endswith("Same"):  # timm's layers with TensorFlow's padding: little or none on the left
        padding = max((-(-size // stride) - 1) * stride + reach + 1 - size, 0) // 2
    else:
        padding = _first(module.padding)
    return kernel, stride, reach / 2 - padding


def _first(value: Any) -> int:
    return value[0] if isinstance(value, tuple) else value
