"""The whole way from pixels to classes as one network for images of one size, as a graph can hold it.

Positions of a ViT are computed for this size beforehand: their bicubic resampling has no counterpart in ONNX. What
interpolates logits are two constant matrices.
"""

import copy
from types import MethodType
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Shaped
from torch import Tensor, nn

from labelgen.errors import ConfigError
from labelgen.nets.architectures import is_vit
from labelgen.nets.backbones import Backbone
from labelgen.nets.geometry import Geometry, fitted_size, geometry_for
from segprobe.probe_file import Probe
from segprobe.sampling import bilinear_matrix

__all__ = ["INPUTS", "OUTPUTS", "StaticNetwork", "default_size", "fix_positions"]

INPUTS = ("uint8", "unit")
"""uint8: `(B, H, W, 3)` RGB as decoded; unit: `(B, 3, H, W)` float32 RGB in [0, 1]."""

OUTPUTS = ("logits", "probabilities", "argmax")
"""argmax gives `labels` with the ids of the vocabulary beside the logits."""


class StaticNetwork(nn.Module):
    """Normalise, pad, backbone, head, up-sample: logits `(B, C, H, W)` of images of one size.

    Parameters
    ----------
    backbone
        In float32 on the CPU; it is copied.
    size
        `(H, W)` in pixels at which the backbone takes images as they are; see `default_size`.
    kind
        Out of `INPUTS`.
    outputs
        Out of `OUTPUTS`.

    Raises
    ------
    ConfigError
        When the policy of the backbone would resize images of this size.
    """

    mean: Tensor
    std: Tensor
    class_ids: Tensor
    down: Tensor
    across: Tensor

    def __init__(self, probe: Probe, backbone: Backbone, size: tuple[int, int], *, kind: str, outputs: str) -> None:
        super().__init__()
        check_size(backbone, size)
        self.kind, self.outputs = kind, outputs
        self.geometry = geometry_for(size, size, stride=backbone.spec.stride, multiple=backbone.spec.multiple)
        self.backbone = copy.deepcopy(backbone)
        self.model = self.backbone.model.eval()  # a module of its own, so that its parameters are found
        fix_positions_inside(self.model, self.geometry.padded)
        self.head = copy.deepcopy(probe.head).cpu().eval()
        down, across = interpolation(self.geometry)
        self.register_buffer("mean", torch.tensor(backbone.spec.mean)[:, None, None])
        self.register_buffer("std", torch.tensor(backbone.spec.std)[:, None, None])
        self.register_buffer("down", down)
        self.register_buffer("across", across)
        self.register_buffer("class_ids", torch.tensor(probe.class_ids))
        self.label_type = torch.uint8 if probe.vocabulary.ignore <= 255 else torch.int32
        self.requires_grad_(False)

    @property
    def names(self) -> tuple[str, ...]:
        """What comes out, in order."""
        return ("logits", "labels") if self.outputs == "argmax" else (self.outputs,)

    def example(self, batch: int = 2) -> Tensor:
        """A blank input."""
        height, width = self.geometry.size
        if self.kind == "uint8":
            return torch.zeros(batch, height, width, 3, dtype=torch.uint8)
        return torch.zeros(batch, 3, height, width)

    def forward(self, image: Shaped[Tensor, "B _ _ _"]) -> tuple[Tensor, ...]:
        """What `names` says of the images of a batch."""
        logits = self.logits(image)
        if self.outputs == "probabilities":
            return (logits.softmax(1),)
        if self.outputs == "argmax":
            return logits, self.class_ids[logits.argmax(1)].to(self.label_type)
        return (logits,)

    def logits(self, image: Shaped[Tensor, "B _ _ _"]) -> Float[Tensor, "B C H W"]:
        """Logits at every pixel."""
        pixels = image.permute(0, 3, 1, 2).float() / 255 if self.kind == "uint8" else image
        normal = (pixels - self.mean) / self.std
        (top, left), (height, width) = self.geometry.pad, self.geometry.padded
        below, right = height - top - self.geometry.size[0], width - left - self.geometry.size[1]
        padded = nn.functional.pad(normal, (left, right, top, below)) if top + left + below + right else normal
        tokens = self.backbone.trainable_tokens(padded)
        planes = self.head(tokens).permute(0, 3, 1, 2)  # (B, C, h, w)
        return self.down @ planes @ self.across.T


def interpolation(geometry: Geometry) -> tuple[Float[Tensor, "H h"], Float[Tensor, "W w"]]:
    """Matrices that read a grid bilinearly at every row and every column of pixels."""
    height, width = geometry.size
    rows, _ = geometry.token_coordinates(np.arange(float(height)), np.zeros(height))
    _, cols = geometry.token_coordinates(np.zeros(width), np.arange(float(width)))
    down, across = bilinear_matrix(rows, geometry.grid[0]), bilinear_matrix(cols, geometry.grid[1])
    return torch.from_numpy(down), torch.from_numpy(across)


def default_size(backbone: Backbone) -> tuple[int, int]:
    """The square that the backbone takes as it is.

    Raises
    ------
    ConfigError
        When it takes images of any size.
    """
    if backbone.config.policy == "native":
        raise ConfigError("the backbone takes images of any size, but a graph has one", hint="--size H,W")
    return backbone.config.size, backbone.config.size


def check_size(backbone: Backbone, size: tuple[int, int]) -> None:
    """Refuse sizes that the policy of the backbone would change.

    Raises
    ------
    ConfigError
        Naming the size that such images would be resized to.
    """
    if min(size) < 1:
        raise ConfigError(f"size must be two sides >= 1 in pixels, got {size}")
    config = backbone.config
    fitted = fitted_size(size, policy=config.policy, side=config.size, max_side=config.max_size)
    if fitted != size:
        raise ConfigError(
            f"the probe sees images of {size[0]}x{size[1]} at {fitted[0]}x{fitted[1]}, and a graph resizes nothing",
            hint=f"--size {fitted[0]},{fitted[1]}, and resize images to it before, and labels back after",
        )


def fix_positions_inside(model: nn.Module, size: tuple[int, int]) -> None:
    """Fix the positions of every ViT in a model, itself or the encoder of a baseline, for images of one size."""
    for module in model.modules():
        if is_vit(module):
            patch: Any = module.patch_embed
            fix_positions(module, (size[0] // patch.patch_size[0], size[1] // patch.patch_size[1]))


def fix_positions(model: Any, grid: tuple[int, int]) -> None:
    """Replace the position embedding of a timm ViT by its values for one grid.

    Embedding adds to each patch and puts class and register tokens in front, so what it makes of blank patches is all
    that it adds. Rotary tables that come with it are kept likewise.
    """
    with torch.no_grad():
        blank = torch.zeros(1, *grid, model.embed_dim)
        found = model._pos_embed(blank)
    added, rotary = (found[0], found[1:]) if isinstance(found, tuple) else (found, ())
    prefix = added.shape[1] - grid[0] * grid[1]
    model.register_buffer("fixed_prefix", added[:, :prefix].clone(), persistent=False)
    model.register_buffer("fixed_positions", added[:, prefix:].clone(), persistent=False)
    tables = []
    for number, table in enumerate(rotary):
        name = f"fixed_rotary_{number}"
        model.register_buffer(name, table, persistent=False)
        tables.append(name)

    def embed(model: Any, patches: Tensor) -> Any:
        tokens = patches.reshape(patches.shape[0], -1, patches.shape[-1]) + model.fixed_positions
        if prefix:
            tokens = torch.cat([model.fixed_prefix.expand(patches.shape[0], -1, -1), tokens], dim=1)
        return (tokens, *(getattr(model, name) for name in tables)) if isinstance(found, tuple) else tokens

    model._pos_embed = MethodType(embed, model)
