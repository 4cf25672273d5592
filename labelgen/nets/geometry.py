"""Where a pixel of the original image lies in the token grid: resizing, flipping, padding and patches as one map."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float, Float64, UInt8

from labelgen.errors import ConfigError

__all__ = ["POLICIES", "Geometry", "fitted_size", "geometry_for", "resize_image"]

LARGEST = 2**31  # of any size in pixels
POLICIES = ("keep", "square", "native")
"""How an image is sized before it meets the network: short side to `size`, both sides to `size`, or not at all."""


@dataclass(frozen=True)
class Geometry:
    """The way from original pixels to tokens; every step is affine, so it is all in a few numbers.

    The order of the steps: resize `size` to `resized`, mirror the columns if `flip`, pad by `pad` (and what is missing
    to whole patches below and to the right), cut into patches of `stride` pixels.

    Parameters
    ----------
    size
        `(H, W)` of the original image in pixels.
    resized
        `(H', W')` after resizing, before padding.
    pad
        `(top, left)` rows and columns of padding.
    grid
        `(h, w)` tokens.
    stride
        Side of a patch in pixels of the padded image.
    flip
        Whether the image was mirrored left to right.
    """

    size: tuple[int, int]
    resized: tuple[int, int]
    pad: tuple[int, int]
    grid: tuple[int, int]
    stride: int
    flip: bool = False

    def token_coordinates(
        self, rows: Float[np.ndarray, "N"], cols: Float[np.ndarray, "N"]
    ) -> tuple[Float64[np.ndarray, "N"], Float64[np.ndarray, "N"]]:
        """Token coordinates of original pixels; token `(i, j)` has its centre at exactly `(i, j)`.

        Parameters
        ----------
        rows, cols
            Pixel indices in the original image, 0 being the centre of the first pixel. Need not be whole.

        Returns
        -------
        tuple of arrays
            `u = ((row + 0.5) * H' / H + top) / stride - 0.5`, and `v` alike. They may lie up to half a token
            outside the grid; readers clamp them, as bilinear interpolation with `align_corners=False` does.

        Examples
        --------
        >>> geometry = Geometry(size=(4, 4), resized=(8, 8), pad=(0, 0), grid=(2, 2), stride=4)
        >>> geometry.token_coordinates(np.array([0.5, 2.5]), np.array([0.0, 3.0]))
        (array([0., 1.]), array([-0.25,  1.25]))
        """
        cols = (self.size[1] - 1 - cols) if self.flip else cols
        u = ((rows + 0.5) * (self.resized[0] / self.size[0]) + self.pad[0]) / self.stride - 0.5
        v = ((cols + 0.5) * (self.resized[1] / self.size[1]) + self.pad[1]) / self.stride - 0.5
        return np.asarray(u, np.float64), np.asarray(v, np.float64)

    @property
    def padded(self) -> tuple[int, int]:
        """`(height, width)` of the image that the network sees."""
        return self.grid[0] * self.stride, self.grid[1] * self.stride

    def to_json(self) -> dict[str, Any]:
        """Plain JSON values; `from_json` is the way back."""
        return {name: list(value) if isinstance(value, tuple) else value for name, value in vars(self).items()}

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> "Geometry":
        """The geometry that `to_json` wrote.

        Raises
        ------
        KeyError, TypeError, ValueError
            When a field is missing or malformed.

        Examples
        --------
        >>> geometry = Geometry(size=(4, 6), resized=(8, 12), pad=(0, 2), grid=(2, 4), stride=4, flip=True)
        >>> Geometry.from_json(geometry.to_json()) == geometry
        True
        """
        pairs = {name: tuple(values[name]) for name in ("size", "resized", "pad", "grid")}
        numbers = [part for pair in pairs.values() for part in pair] + [values["stride"]]
        first = [0 if name == "pad" else 1 for name, pair in pairs.items() for _ in pair] + [1]
        whole = all(type(n) is int and least <= n <= LARGEST for n, least in zip(numbers, first, strict=True))
        if not whole or any(len(pair) != 2 for pair in pairs.values()) or type(values["flip"]) is not bool:
            raise ValueError(f"a geometry must be made of pairs of whole numbers, got {str(values)[:80]}")
        return cls(**pairs, stride=values["stride"], flip=values["flip"])  # type: ignore[arg-type]


def fitted_size(size: tuple[int, int], *, policy: str, side: int, max_side: int, scale: float = 1.0) -> tuple[int, int]:
    """Size in pixels to which an image is resized before padding.

    Parameters
    ----------
    size
        `(H, W)` of the image.
    policy
        `keep`: the short side becomes `side`, the aspect ratio stays; `square`: both sides become `side`;
        `native`: nothing is resized.
    side
        Target in pixels; not used by `native`.
    max_side
        The long side is held below this under `keep` and `native`, by shrinking both sides; 0 for no limit.
    scale
        Factor on the result, for views at another scale.

    Returns
    -------
    tuple of int
        `(H', W')`, at least 1 each.

    Raises
    ------
    ConfigError
        For an unknown policy.

    Examples
    --------
    >>> fitted_size((375, 500), policy="keep", side=448, max_side=0)
    (448, 597)
    >>> fitted_size((375, 500), policy="keep", side=448, max_side=500)
    (375, 500)
    >>> fitted_size((375, 500), policy="native", side=448, max_side=0, scale=0.5)
    (188, 250)
    """
    if policy not in POLICIES:
        raise ConfigError(f"image policy must be one of {', '.join(POLICIES)}, got {policy!r}")
    if policy == "square":
        factors = side / size[0], side / size[1]
    else:
        factor = side / min(size) if policy == "keep" else 1.0
        if max_side:
            factor = min(factor, max_side / max(size))
        factors = factor, factor
    height, width = (max(1, round(length * factor * scale)) for length, factor in zip(size, factors, strict=True))
    return height, width


def geometry_for(
    size: tuple[int, int],
    resized: tuple[int, int],
    *,
    stride: int,
    multiple: int,
    flip: bool = False,
) -> Geometry:
    """Pad `resized` evenly on both sides to multiples of `multiple` and cut it into tokens of `stride`.

    Parameters
    ----------
    multiple
        A multiple of `stride`: the patch of a ViT, the coarsest stride of a CNN.

    Examples
    --------
    >>> geometry_for((375, 500), (375, 500), stride=14, multiple=14)
    Geometry(size=(375, 500), resized=(375, 500), pad=(1, 2), grid=(27, 36), stride=14, flip=False)
    """
    padded = tuple(-(-length // multiple) * multiple for length in resized)
    return Geometry(
        size=size,
        resized=resized,
        pad=((padded[0] - resized[0]) // 2, (padded[1] - resized[1]) // 2),
        grid=(padded[0] // stride, padded[1] // stride),
        stride=stride,
        flip=flip,
    )


def resize_image(image: UInt8[np.ndarray, "H W 3"], size: tuple[int, int]) -> UInt8[np.ndarray, "height width 3"]:
    """Resize by Pillow's antialiased bicubic filter, with which most frozen models were trained and evaluated.

    Examples
    --------
    >>> resize_image(np.full((4, 6, 3), 7, np.uint8), (2, 3)).tolist()[0]
    [[7, 7, 7], [7, 7, 7], [7, 7, 7]]
    """
    if image.shape[:2] == size:
        return image
    from PIL import Image

    picture = Image.fromarray(np.ascontiguousarray(image))
    return np.asarray(picture.resize((size[1], size[0]), Image.Resampling.BICUBIC))
