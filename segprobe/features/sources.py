"""The little that a cache needs of a data set and of a backbone."""

from typing import Any, Protocol, runtime_checkable

import numpy as np
import torch
from jaxtyping import Float32, UInt8

from labelgen.data.dataset import DataSpec
from labelgen.nets.backbones import BackboneSpec
from labelgen.nets.geometry import Geometry

__all__ = ["Images", "Network"]


@runtime_checkable
class Images(Protocol):
    """Images by id; every `Dataset` is one."""

    @property
    def spec(self) -> DataSpec:
        """Which data they are."""
        ...

    def image(self, sample_id: str) -> UInt8[np.ndarray, "H W 3"]:
        """Decode one image."""
        ...


@runtime_checkable
class Network(Protocol):
    """Images to tokens; `Backbone` is one."""

    spec: BackboneSpec

    @property
    def device(self) -> torch.device:
        """Where it computes."""
        ...

    def prepare(
        self, image: UInt8[np.ndarray, "H W 3"], *, scale: float = 1.0, flip: bool = False
    ) -> tuple[Float32[torch.Tensor, "channels height width"], Geometry]:
        """Make a picture of an image, and say where its pixels went."""
        ...

    def tokens(self, batch: Float32[torch.Tensor, "B channels height width"]) -> Float32[torch.Tensor, "B h w D"]:
        """Tokens of pictures of one size."""
        ...

    def fingerprint(self) -> dict[str, Any]:
        """Everything that changes the value of a token."""
        ...
