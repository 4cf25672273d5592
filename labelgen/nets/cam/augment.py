"""Training views of one image: resized, mirrored, recoloured, cut out, and what is missing padded with zeros."""

from collections.abc import Callable

import numpy as np
from jaxtyping import Float32, UInt8
from PIL import Image, ImageEnhance

from labelgen.nets.cam.config import TrainingConfig
from labelgen.nets.geometry import resize_image

__all__ = ["crop_places", "jitter_colours", "long_side_size", "training_view"]

JITTER = 0.3  # of brightness, contrast and saturation, as PSA, SEAM and EPS
HUE_JITTER = 0.1  # of the whole circle

View = tuple[Float32[np.ndarray, "S S 3"], Float32[np.ndarray, "S S"] | None]


def training_view(
    image: UInt8[np.ndarray, "H W 3"],
    saliency: Float32[np.ndarray, "H W"] | None,
    config: TrainingConfig,
    rng: np.random.Generator,
    *,
    mean: tuple[float, ...],
    std: tuple[float, ...],
) -> View:
    """A square of `config.crop` pixels out of an image, normalised, and the saliency of the same pixels.

    The saliency is resized bilinearly, which keeps it in [0, 1]; padding is 0 in both.
    """
    size = long_side_size(image.shape[:2], int(rng.integers(config.long_side[0], config.long_side[1] + 1)))
    flip = config.flip and rng.random() < 0.5
    picture = resize_image(image, size)
    rows, cols, target = crop_places(size, config.crop, rng)
    picture = picture[rows, cols]
    if config.jitter:
        picture = jitter_colours(picture, rng, strength=config.jitter)
    normal = (picture.astype(np.float32) / np.float32(255) - np.array(mean, np.float32)) / np.array(std, np.float32)
    canvas = np.zeros((config.crop, config.crop, 3), np.float32)
    canvas[target] = normal
    salient = None
    if saliency is not None:
        salient = np.zeros((config.crop, config.crop), np.float32)
        salient[target] = _resize_map(saliency, size)[rows, cols]
        salient = salient[:, ::-1] if flip else salient
    return canvas[:, ::-1] if flip else canvas, salient


def long_side_size(size: tuple[int, ...], side: int) -> tuple[int, int]:
    """Size of an image whose long side becomes `side` pixels.

    Examples
    --------
    >>> long_side_size((375, 500), 448)
    (336, 448)
    """
    factor = side / max(size)
    return max(1, round(size[0] * factor)), max(1, round(size[1] * factor))


def crop_places(size: tuple[int, int], crop: int, rng: np.random.Generator) -> tuple[slice, slice, tuple[slice, slice]]:
    """Rows and columns to take from an image, and where they go in a square of side `crop`.

    Along a side that is larger than the square a random part is taken; one that is smaller goes to a random place.

    Examples
    --------
    >>> crop_places((3, 4), 4, np.random.default_rng(0))[:2]
    (slice(0, 3, None), slice(0, 4, None))
    """
    takes, goes = [], []
    for length in size:
        taken = min(length, crop)
        from_, to = int(rng.integers(length - taken + 1)), int(rng.integers(crop - taken + 1))
        takes.append(slice(from_, from_ + taken))
        goes.append(slice(to, to + taken))
    return takes[0], takes[1], (goes[0], goes[1])


def jitter_colours(
    image: UInt8[np.ndarray, "H W 3"], rng: np.random.Generator, *, strength: float = 1.0
) -> UInt8[np.ndarray, "H W 3"]:
    """Change brightness, contrast, saturation and hue, in a random order.

    Parameters
    ----------
    strength
        1 changes the first three by a factor in [0.7, 1.3] and the hue by up to a tenth of the circle; 0 nothing.
    """
    picture = Image.fromarray(np.ascontiguousarray(image))
    changes: list[Callable[[Image.Image], Image.Image]] = [
        _enhance(kind, 1 + strength * JITTER * float(rng.uniform(-1, 1)))
        for kind in (ImageEnhance.Brightness, ImageEnhance.Contrast, ImageEnhance.Color)
    ]
    changes.append(_turn_hue(round(255 * strength * HUE_JITTER * float(rng.uniform(-1, 1)))))
    for number in rng.permutation(len(changes)):
        picture = changes[number](picture)
    return np.asarray(picture)


def _enhance(kind: type, factor: float) -> Callable[[Image.Image], Image.Image]:
    return lambda picture: kind(picture).enhance(factor)


def _turn_hue(steps: int) -> Callable[[Image.Image], Image.Image]:
    def turn(picture: Image.Image) -> Image.Image:
        if not steps:
            return picture
        hue, *others = picture.convert("HSV").split()
        turned = Image.fromarray(np.asarray(hue) + np.uint8(steps % 256))
        return Image.merge("HSV", (turned, *others)).convert("RGB")

    return turn


def _resize_map(values: Float32[np.ndarray, "H W"], size: tuple[int, int]) -> Float32[np.ndarray, "height width"]:
    if values.shape == size:
        return values
    resized = Image.fromarray(values).resize((size[1], size[0]), Image.Resampling.BILINEAR)
    return np.clip(np.asarray(resized), 0, 1)
