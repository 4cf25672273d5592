"""How certain a mean IoU is: images, and seeds with them, drawn anew with replacement."""

import numpy as np
from jaxtyping import Float64, Int64

from labelgen.errors import ConfigError

__all__ = ["Counts", "difference_interval", "miou_of", "seed_miou_interval"]

Counts = Int64[np.ndarray, "_ _ counts C"]
"""Seeds, images, (correct, true, predicted) pixels, classes."""


def miou_of(counts: Int64[np.ndarray, "*R counts C"]) -> Float64[np.ndarray, "*R"]:
    """Mean IoU over the classes with a non-empty union, of sums of pixels.

    Examples
    --------
    >>> float(miou_of(np.array([[1, 0], [1, 1], [2, 0]])))
    0.25
    """
    correct, union = counts[..., 0, :], counts[..., 1, :] + counts[..., 2, :] - counts[..., 0, :]
    ious = np.divide(correct, union, out=np.full(correct.shape, np.nan), where=union > 0)
    empty = np.isnan(ious).all(-1)
    return np.where(empty, np.nan, np.nansum(ious, -1) / np.maximum((~np.isnan(ious)).sum(-1), 1))


def seed_miou_interval(
    counts: Counts, *, resamples: int = 1000, level: float = 0.95, seed: int = 0
) -> tuple[float, float]:
    """Interval of the mIoU averaged over seeds.

    Each resample draws images anew, the same ones for all seeds, since seeds share the images, and draws seeds anew.
    With one seed only the images vary.

    Raises
    ------
    ConfigError
        When there is no image or no seed.

    Examples
    --------
    >>> counts = np.ones((2, 5, 3, 2), int)
    >>> seed_miou_interval(counts)
    (1.0, 1.0)
    """
    means = _resampled(counts, resamples=resamples, seed=seed)
    return _quantiles(means, level)


def difference_interval(
    first: Counts, second: Counts, *, resamples: int = 1000, level: float = 0.95, seed: int = 0
) -> tuple[float, float]:
    """Interval of the difference of two mean mIoUs on the same images: paired in images and, where possible, in seeds.

    Raises
    ------
    ConfigError
        When the two do not have the same images.

    Examples
    --------
    >>> counts = np.ones((2, 5, 3, 2), int)
    >>> difference_interval(counts, counts)
    (0.0, 0.0)
    """
    if first.shape[1] != second.shape[1]:
        raise ConfigError(f"a difference needs the same images, got {first.shape[1]} and {second.shape[1]}")
    one, other = (_resampled(counts, resamples=resamples, seed=seed) for counts in (first, second))
    return _quantiles(one - other, level)


def _resampled(counts: Counts, *, resamples: int, seed: int) -> Float64[np.ndarray, "R"]:
    seeds, images = counts.shape[:2]
    if not seeds or not images:
        raise ConfigError(f"an interval needs images and seeds, got {images} and {seeds}")
    over_images, over_seeds = (np.random.default_rng([seed, stream]) for stream in (0, 1))
    drawn = over_images.multinomial(images, np.full(images, 1 / images), size=resamples)
    sums = np.stack([np.tensordot(drawn, one, axes=(1, 0)) for one in counts])  # (S, R, 3, C)
    mious = miou_of(sums)
    chosen = over_seeds.integers(seeds, size=(resamples, seeds))
    return mious[chosen, np.arange(resamples)[:, None]].mean(1)


def _quantiles(values: Float64[np.ndarray, "R"], level: float) -> tuple[float, float]:
    low, high = np.nanquantile(values, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)
