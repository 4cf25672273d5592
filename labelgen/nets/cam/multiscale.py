"""Class maps of one image seen at several scales and mirrored, summed at its own size."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from jaxtyping import Float, Float32, UInt8
from torch import Tensor

from labelgen.errors import ConfigError, ShapeError
from labelgen.nets.cam.classifier import ClassMaps
from labelgen.nets.geometry import fitted_size, resize_image

__all__ = ["MAX_SCALE", "ImageMaps", "Look", "Views", "interpolation_matrix", "look_at_views", "seen_pixels"]

Look = Callable[[Tensor], ClassMaps]
"""Normalised images `(B, 3, h, w)`, sides multiples of what the network needs, to raw class maps on its grid."""

MAX_SCALE = 8.0

LARGE = 200 * 200
"""Pixels of an image from which a CPU looks at it and its mirror image one after the other."""


@dataclass(frozen=True)
class Views:
    """How an image is shown to a classifier.

    Parameters
    ----------
    scales
        Factors on the size of the image.
    flip
        Also mirrored left to right, in the same forward pass.
    combine
        What becomes of the maps of an image and its mirror image: their sum, as in PSA, SEAM, IRN and EPS, or the
        larger value at each pixel, as in ToCo. Scales are always summed.
    relu
        Cut off negative values view by view, as IRN does, instead of after the sum.

    Raises
    ------
    ConfigError
        When there is no scale, one is out of range or named twice, or `combine` is unknown.
    """

    scales: tuple[float, ...] = (0.5, 1.0, 1.5, 2.0)
    flip: bool = True
    combine: Literal["sum", "max"] = "sum"
    relu: bool = False

    def __post_init__(self) -> None:
        if not self.scales or not all(0 < scale <= MAX_SCALE for scale in self.scales):
            raise ConfigError(
                f"scales must be one or more factors in (0, {MAX_SCALE:g}], got {self.scales}", hint="0.5 1 1.5 2"
            )
        if len(set(self.scales)) < len(self.scales):
            raise ConfigError(f"each scale is looked at once, got {self.scales}")
        if self.combine not in ("sum", "max"):
            raise ConfigError(f"combine must be sum or max, got {self.combine!r}")
        if self.combine == "max" and not self.flip:
            raise ConfigError("combine=max is about an image and its mirror image, but flip is off")


@dataclass(frozen=True)
class ImageMaps:
    """Class maps of one image at its own size.

    Parameters
    ----------
    foreground
        The sum over views; raw, not normalised.
    background
        The mean over views of the network's background, where it has one.
    """

    foreground: Float32[Tensor, "C H W"]
    background: Float32[Tensor, "H W"] | None


def look_at_views(
    look: Look,
    image: UInt8[np.ndarray, "H W 3"],
    views: Views,
    *,
    multiple: int,
    mean: tuple[float, ...],
    std: tuple[float, ...],
    device: torch.device | str = "cpu",
) -> ImageMaps:
    """Sum the maps of all views of an image.

    The image is resized to `round(scale * size)` by Pillow's bicubic filter, and what is missing to whole multiples
    repeats the last row and column. Maps are interpolated bilinearly (`align_corners=False`) from the grid of the
    network to the pixels of the image in one step that leaves the padding out; mirrored maps are mirrored back first.
    All classes share one forward pass, and on a GPU an image and its mirror image do, too.

    Parameters
    ----------
    look
        Raw maps of the wanted classes.
    multiple
        Of which the sides of what `look` gets must be multiples, in pixels.
    mean, std
        Of RGB in [0, 1], by which images are normalised.

    References
    ----------
    .. [1] Ahn and Kwak, CVPR 2018, arXiv 1803.10464; Wang et al., CVPR 2020, arXiv 2004.04581: sums over scales and
       mirror images, normalised once.

    Examples
    --------
    >>> def brightness(images):
    ...     return ClassMaps(images.mean(dim=1, keepdim=True))
    >>> image = np.full((4, 6, 3), 255, np.uint8)
    >>> views = Views(scales=(0.5, 1.0))
    >>> maps = look_at_views(brightness, image, views, multiple=4, mean=(0, 0, 0), std=(1, 1, 1)).foreground
    >>> maps.shape, float(maps[0, 0, 0])
    (torch.Size([1, 4, 6]), 4.0)
    """
    size = (image.shape[0], image.shape[1])
    foreground, background = None, None
    for scale in views.scales:
        resized = fitted_size(size, policy="native", side=0, max_side=0, scale=scale)
        batch = seen_pixels(image, resized, flip=views.flip, multiple=multiple, mean=mean, std=std).to(device)
        maps = _look_at_all(look, batch)
        raw = maps.foreground.relu() if views.relu else maps.foreground
        seen = _at_image_size(raw, size, resized, batch.shape[2:], combine=views.combine)
        foreground = seen if foreground is None else foreground.add_(seen)
        if maps.background is not None:
            seen = _at_image_size(maps.background, size, resized, batch.shape[2:], combine="sum")[0]
            background = seen if background is None else background.add_(seen)
    assert foreground is not None, "Views has at least one scale"
    if background is not None:
        background = background / (len(views.scales) * (1 + views.flip))
    return ImageMaps(foreground, background)


def seen_pixels(
    image: UInt8[np.ndarray, "H W 3"],
    resized: tuple[int, int],
    *,
    flip: bool,
    multiple: int,
    mean: tuple[float, ...],
    std: tuple[float, ...],
) -> Float32[Tensor, "B 3 h w"]:
    """An image as the network sees it: resized, with its mirror image behind it, padded to multiples, normalised."""
    pixels = resize_image(image, resized)
    both = np.stack([pixels, pixels[:, ::-1]]) if flip else pixels[None]
    missing = [(0, -length % multiple) for length in resized]
    padded = np.pad(both, ((0, 0), *missing, (0, 0)), mode="edge")
    images = torch.from_numpy(padded).permute(0, 3, 1, 2).float() / 255
    return (images - torch.tensor(mean).view(3, 1, 1)) / torch.tensor(std).view(3, 1, 1)


def interpolation_matrix(
    length: int, cells: int, *, step: float, device: torch.device | str = "cpu"
) -> Float32[Tensor, "length cells"]:
    """Weights that interpolate a row of cells linearly at the centres of pixels.

    Parameters
    ----------
    length
        Number of pixels.
    cells
        Number of cells; beyond the centres of the first and last the values stay.
    step
        Cells per pixel; the first pixel and the first cell begin at the same place.

    Examples
    --------
    >>> interpolation_matrix(4, 2, step=0.5)
    tensor([[1.0000, 0.0000],
            [0.7500, 0.2500],
            [0.2500, 0.7500],
            [0.0000, 1.0000]])
    """
    place = ((torch.arange(length, device=device, dtype=torch.float64) + 0.5) * step - 0.5).clamp(0, cells - 1)
    distance = (place[:, None] - torch.arange(cells, device=device)).abs()
    return (1 - distance).clamp_min(0).float()


def _look_at_all(look: Look, batch: Float32[Tensor, "B 3 h w"]) -> ClassMaps:
    """One image after the other on a CPU, where a batch of large ones costs a fifth more."""
    if batch.device.type != "cpu" or batch.shape[2] * batch.shape[3] < LARGE:
        return look(batch)
    each = [look(image) for image in batch.split(1)]
    backgrounds = [maps.background for maps in each if maps.background is not None]
    return ClassMaps(torch.cat([maps.foreground for maps in each]), torch.cat(backgrounds) if backgrounds else None)


def _at_image_size(
    maps: Float[Tensor, "B C h w"],
    size: tuple[int, int],
    resized: tuple[int, int],
    padded: tuple[int, ...],
    *,
    combine: str,
) -> Float32[Tensor, "C H W"]:
    """Maps of an image, and of its mirror image if there are two, as one."""
    if maps.shape[2] > padded[0] or maps.shape[3] > padded[1]:
        raise ShapeError(f"maps must not be larger than the image of {tuple(padded)} pixels, got {tuple(maps.shape)}")
    steps = [
        maps.shape[2 + axis] / padded[axis] * (resized[axis] / size[axis])  # cells per seen pixel, those per pixel
        for axis in (0, 1)
    ]
    rows = interpolation_matrix(size[0], maps.shape[2], step=steps[0], device=maps.device)
    cols = interpolation_matrix(size[1], maps.shape[3], step=steps[1], device=maps.device)
    maps = maps.float()
    straight = maps[0] @ cols.T
    if len(maps) == 1:
        return rows @ straight
    mirrored = maps[1] @ cols.flip(0).T
    return torch.maximum(rows @ straight, rows @ mirrored) if combine == "max" else rows @ (straight + mirrored)
