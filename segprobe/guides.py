"""Colours at the token grid: what terms that follow the edges of the image look at."""

from typing import Protocol, runtime_checkable

import numpy as np
import torch
from jaxtyping import Float32, UInt8
from torch import Tensor

from labelgen.errors import ShapeError
from labelgen.nets.geometry import Geometry
from segprobe.cells import cell_means
from segprobe.memory import Memory

__all__ = ["Guides", "ImageSource"]

LIMIT = 2**29  # bytes: 6 a token, so 60,000 grids of 37 x 37


@runtime_checkable
class ImageSource(Protocol):
    """Where images come from, such as a data set."""

    def image(self, sample_id: str) -> UInt8[np.ndarray, "H W 3"]:
        """Decode one image."""
        ...


class Guides:
    """The colours of images by token, made at first sight and kept as float16.

    Parameters
    ----------
    images
        Where images come from.
    limit
        Bytes to keep; what is beyond is decoded anew.
    """

    def __init__(self, images: ImageSource, *, limit: int = LIMIT) -> None:
        self.images = images
        self._memory = Memory(limit=limit)

    def rgb(self, sample_id: str, geometry: Geometry) -> Float32[Tensor, "h w 3"]:
        """Mean colour of each token's cell, in [0, 1] up to the rounding of float16; 0 on padding.

        Raises
        ------
        ShapeError
            When the image has another size than its features say.
        """
        found = self._memory.get((sample_id, geometry), lambda: self._make(sample_id, geometry), size=_bytes)
        return torch.from_numpy(found.astype(np.float32))

    def _make(self, sample_id: str, geometry: Geometry) -> np.ndarray:
        image = self.images.image(sample_id)
        if image.shape[:2] != geometry.size:
            raise ShapeError(
                f"the image must have the size {geometry.size} of its features, got {image.shape[:2]} for {sample_id}",
                hint="were the features made from these images?",
            )
        return (cell_means(image.astype(np.float64), geometry) / 255).astype(np.float16)


def _bytes(array: np.ndarray) -> int:
    return array.nbytes
