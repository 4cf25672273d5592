"""Saliency without any network: what is unexpected in the spectrum of the image."""

import math
from dataclasses import dataclass
from typing import Annotated, Any

import numpy as np
from jaxtyping import Float32, UInt8

from labelgen.data.inputs import InputFile
from labelgen.errors import ConfigError

__all__ = ["SpectralConfig", "SpectralSaliency", "spectral_residual"]

TINY = 1e-8  # added to amplitudes before the logarithm


MOST_SIDE = 4096
"""Pixels; the spectrum of a larger picture says nothing more and takes gigabytes."""


@dataclass(frozen=True)
class SpectralConfig:
    """Saliency by the spectral residual.

    Raises
    ------
    ConfigError
        When a value is out of range.
    """

    side: Annotated[int, "pixels of the short side at which the spectrum is taken; 64 in the paper"] = 64
    blur: Annotated[float, "standard deviation of the last smoothing, in pixels of that size"] = 2.5

    def __post_init__(self) -> None:
        if not 8 <= self.side <= MOST_SIDE:
            raise ConfigError(f"side must lie in [8, {MOST_SIDE}] pixels, got {self.side}", hint="64 in the paper")
        if not 0 <= self.blur < math.inf:
            raise ConfigError(f"blur must be finite and >= 0 pixels, got {self.blur}")


@dataclass(frozen=True)
class SpectralSaliency:
    """The spectral residual of each image; needs no weights and no training."""

    config: SpectralConfig = SpectralConfig()

    def map(
        self, sample_id: str, image: UInt8[np.ndarray, "H W 3"]
    ) -> tuple[Float32[np.ndarray, "H W"], InputFile | None]:
        """Saliency of an image; no file is read."""
        return spectral_residual(image, side=self.config.side, blur=self.config.blur), None

    def facts(self) -> dict[str, Any]:
        """Where the maps come from, as JSON values."""
        return {"provider": "spectral", **vars(self.config), "pixel_supervised": False}


def spectral_residual(
    image: UInt8[np.ndarray, "H W 3"], *, side: int = 64, blur: float = 2.5
) -> Float32[np.ndarray, "H W"]:
    """Saliency from the log amplitude spectrum less its local mean.

    With amplitude `A` and phase `P` of the grey image, `R = log A - mean3x3(log A)` and the saliency is
    `G * |F^-1(exp(R + iP))|^2`.

    Parameters
    ----------
    side
        Short side in pixels at which the spectrum is taken: what is salient depends on it.
    blur
        Standard deviation of the Gaussian `G`.

    Returns
    -------
    ndarray
        In [0, 1], scaled by the extremes of the image; zeros for an image of one colour.

    References
    ----------
    .. [1] Hou and Zhang, "Saliency Detection: A Spectral Residual Approach", CVPR 2007. The mean there is taken over a
       spectrum cut at its edges; here the spectrum wraps around, as it does by nature.

    Examples
    --------
    >>> noise = np.random.default_rng(0).integers(90, 120, (64, 64, 3), dtype=np.uint8)
    >>> noise[28:36, 18:26] = 240
    >>> saliency = spectral_residual(noise)
    >>> bool(saliency[28:36, 18:26].mean() > 3 * saliency.mean())
    True
    """
    import cv2
    from scipy.ndimage import gaussian_filter, uniform_filter

    height, width = image.shape[:2]
    factor = side / min(height, width)
    small = max(1, round(width * factor)), max(1, round(height * factor))
    how = cv2.INTER_AREA if factor < 1 else cv2.INTER_LINEAR
    grey = cv2.resize(np.ascontiguousarray(image), small, interpolation=how).astype(np.float64).mean(axis=2)
    if np.ptp(grey) == 0:
        return np.zeros((height, width), np.float32)
    spectrum = np.fft.fft2(grey)
    amplitude = np.log(np.abs(spectrum) + TINY)
    residual = amplitude - uniform_filter(amplitude, 3, mode="wrap")
    energy = np.abs(np.fft.ifft2(np.exp(residual + 1j * np.angle(spectrum)))) ** 2
    smooth = gaussian_filter(energy, blur) if blur else energy
    scaled = (smooth - smooth.min()) / max(np.ptp(smooth), np.finfo(np.float64).tiny)
    return np.clip(cv2.resize(scaled.astype(np.float32), (width, height), interpolation=cv2.INTER_LINEAR), 0, 1)
