"""What can be chosen about a frozen backbone; light, so that the command line can read it without torch."""

from dataclasses import dataclass
from typing import Annotated, Any, Literal

from labelgen.errors import ConfigError

__all__ = ["DEMO_BACKBONE", "REAL_BACKBONE", "BackboneConfig"]

DEMO_BACKBONE = "demo-ssvt"
"""The small self-supervised ViT whose weights are part of the package."""

REAL_BACKBONE = "vit_small_patch14_reg4_dinov2.lvd142m"
"""Default on real images: small, Apache-2.0, and its tokens are clean of high-norm outliers thanks to registers."""


@dataclass(frozen=True)
class BackboneConfig:
    """A frozen backbone and how images are shown to it.

    Raises
    ------
    ConfigError
        When a value is out of range.

    Examples
    --------
    >>> BackboneConfig("vit_small_patch16_224.dino", layers=(-4, -1)).norm
    True
    """

    name: Annotated[str, "demo-ssvt or a timm model name; empty for the one a checkpoint names itself"] = DEMO_BACKBONE
    weights: Annotated[str, "checkpoint file (.safetensors, .pth); empty for the published weights"] = ""
    layers: Annotated[tuple[int, ...], "blocks (ViT) or stages (CNN) to concatenate; negative from the end"] = (-1,)
    norm: Annotated[bool, "apply the model's final norm; for a CNN the last layer is what its classifier pools"] = True
    policy: Annotated[Literal["keep", "square", "native"], "how images are sized"] = "keep"
    size: Annotated[int, "short side in pixels; 0 for the model's own"] = 0
    max_size: Annotated[int, "limit of the long side; 0 for twice the size (keep) or none (native)"] = 0
    pos_interp: Annotated[Literal["timm", "official"], "how positions are resampled to other grids"] = "timm"
    dtype: Annotated[Literal["auto", "float32", "bfloat16", "float16"], "arithmetic of the backbone"] = "auto"
    output_stride: Annotated[int, "CNNs: replace stride by dilation down to this output stride; 0 leaves it"] = 0

    def __post_init__(self) -> None:
        if not self.layers or len(set(self.layers)) != len(self.layers):
            raise ConfigError(f"layers must be one or more different indices, got {self.layers}")
        if self.size < 0 or self.max_size < 0:
            raise ConfigError(f"size and max_size must be >= 0 pixels, got {self.size} and {self.max_size}")
        if self.max_size and self.policy == "keep" and self.max_size < self.size:
            raise ConfigError(f"max_size must not be below size, got {self.max_size} and {self.size}")
        if self.output_stride not in (0, 8, 16, 32):
            raise ConfigError(f"output_stride must be 0, 8, 16 or 32, got {self.output_stride}")

    def to_json(self) -> dict[str, Any]:
        """Plain JSON values."""
        return {key: list(value) if isinstance(value, tuple) else value for key, value in vars(self).items()}
