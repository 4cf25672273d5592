"""Class activation maps scaled to [0, 1], each class on its own, in the ways that the papers use."""

from typing import Literal

import numpy as np
from jaxtyping import Float32

from labelgen.errors import ConfigError, DataError

__all__ = ["NORMALISATIONS", "Normalisation", "check_finite", "normalise"]

Normalisation = Literal["max", "minmax", "minmax0"]
NORMALISATIONS: tuple[Normalisation, ...] = ("max", "minmax", "minmax0")

MAX_EPSILON = 1e-5  # PSA, IRN, EPS
MINMAX_EPSILON = 1e-5  # SEAM
MINMAX0_EPSILON = 1e-7  # CLIP-ES and pytorch-grad-cam


def normalise(
    maps: Float32[np.ndarray, "C H W"], *, how: str = "max", where: str = "the maps"
) -> Float32[np.ndarray, "C H W"]:
    """Scale each plane to [0, 1].

    - `max`: `ReLU(M) / (max M + 1e-5)`. PSA, IRN and EPS leave negative values; they never win against a background,
      so they are 0 here.
    - `minmax`: of `M = ReLU(M)`, `ReLU(M - min - 1e-5) / (max - min + 1e-5)`. SEAM.
    - `minmax0`: `(M - min) / (max - min + 1e-7)`, of the signed map. CLIP-ES and the CAM libraries.

    A plane that is zero or negative everywhere becomes all zeros with `max` and `minmax`; a constant plane becomes all
    zeros with `minmax` and `minmax0`, while `max` says that a positive constant is everywhere (1 up to the epsilon).
    Every plane that is not flat comes close to 1 somewhere, so maps of classes that an image does not show must be
    left out beforehand.

    Parameters
    ----------
    maps
        Raw, signed maps; float32.
    how
        One of `NORMALISATIONS`.
    where
        Name of the image, for messages.

    Raises
    ------
    ConfigError
        When there is no such way.
    DataError
        When a value is NaN or infinite.

    References
    ----------
    .. [1] Ahn and Kwak, "Learning Pixel-level Semantic Affinity with Image-level Supervision for Weakly Supervised
       Semantic Segmentation", CVPR 2018, arXiv 1803.10464 (`max`).
    .. [2] Wang et al., "Self-supervised Equivariant Attention Mechanism for Weakly Supervised Semantic Segmentation",
       CVPR 2020, arXiv 2004.04581 (`minmax`).
    .. [3] Lin et al., "CLIP is Also an Efficient Segmenter", CVPR 2023, arXiv 2212.09506 (`minmax0`).

    Examples
    --------
    >>> normalise(np.array([[[0.5, -1.0], [2.0, 1.0]]], np.float32), how="max").round(3).tolist()
    [[[0.25, 0.0], [1.0, 0.5]]]
    >>> normalise(np.array([[[-1.0, 0.0], [3.0, 1.0]]], np.float32), how="minmax0").round(3).tolist()
    [[[0.0, 0.25], [1.0, 0.5]]]
    """
    if how not in NORMALISATIONS:
        raise ConfigError(f"unknown normalisation {how!r}", hint=f"there are {', '.join(NORMALISATIONS)}")
    check_finite(maps, where=where)
    if not maps.size:
        return maps.copy()
    if how != "minmax0":
        maps = np.maximum(maps, 0)
    high = maps.max(axis=(1, 2), keepdims=True)
    if how == "max":
        return maps / (high + np.float32(MAX_EPSILON))
    low = maps.min(axis=(1, 2), keepdims=True)
    if how == "minmax":
        epsilon = np.float32(MINMAX_EPSILON)
        return np.maximum(maps - low - epsilon, 0) / (high - low + epsilon)
    return (maps - low) / (high - low + np.float32(MINMAX0_EPSILON))


def check_finite(maps: np.ndarray, *, where: str) -> None:
    """Refuse maps that hold NaN or infinite values.

    Raises
    ------
    DataError
        Naming the image and how many values there are.
    """
    bad = int(maps.size - np.count_nonzero(np.isfinite(maps)))
    if bad:
        raise DataError(
            f"class activation maps must be finite, got {bad} of {maps.size} values NaN or infinite in {where}",
            hint="the network has diverged, or half precision overflows; train it again or compute in float32",
        )
