"""The numbers of a dense CRF and the sets of them that papers use."""

import dataclasses
import math
from dataclasses import dataclass
from typing import Literal

from labelgen.errors import ConfigError

__all__ = ["CRF_PRESETS", "CrfPreset", "CrfSettings", "crf_settings"]

CrfPreset = Literal["psa", "irn", "deeplab", "adele"]


@dataclass(frozen=True)
class CrfSettings:
    """Two Gaussian kernels over pairs of pixels, and how many mean-field steps are made with them.

    Parameters
    ----------
    steps
        Mean-field steps, >= 0; 0 gives the softmax of the unary.
    smooth_sxy, smooth_weight
        Kernel over places: standard deviation in pixels > 0, and weight >= 0.
    bilateral_sxy, bilateral_srgb, bilateral_weight
        Kernel over places and colours: standard deviations in pixels and in levels of [0, 255], > 0, and weight >= 0.

    Raises
    ------
    ConfigError
        When a value is out of range.

    References
    ----------
    .. [1] Krähenbühl & Koltun, "Efficient Inference in Fully Connected CRFs with Gaussian Edge Potentials", NeurIPS
       2011, arXiv 1210.5644, eq. 3: appearance (here: bilateral) and smoothness kernel.
    """

    steps: int
    smooth_sxy: float
    smooth_weight: float
    bilateral_sxy: float
    bilateral_srgb: float
    bilateral_weight: float

    def __post_init__(self) -> None:
        if self.steps < 0:
            raise ConfigError(f"steps must be >= 0, got {self.steps}")
        for name in ("smooth_sxy", "bilateral_sxy", "bilateral_srgb"):
            if not (math.isfinite(getattr(self, name)) and getattr(self, name) > 0):
                raise ConfigError(f"{name} is a standard deviation and must be > 0, got {getattr(self, name)}")
        for name in ("smooth_weight", "bilateral_weight"):
            if not (math.isfinite(getattr(self, name)) and getattr(self, name) >= 0):
                raise ConfigError(f"{name} must be >= 0, got {getattr(self, name)}")


CRF_PRESETS: dict[str, CrfSettings] = {
    # Ahn & Kwak, "Learning Pixel-level Semantic Affinity with Image-level Supervision", CVPR 2018; seeds of SEAM too
    "psa": CrfSettings(10, 3.0, 3.0, 80.0, 13.0, 10.0),
    # Ahn et al., "Weakly Supervised Learning of Instance Segmentation with Inter-pixel Relations", CVPR 2019
    "irn": CrfSettings(10, 3.0, 3.0, 50.0, 5.0, 10.0),
    # Chen et al., "DeepLab", TPAMI 2018, as the deeplab-pytorch scripts have it; final masks of EPS and CLIP-ES
    "deeplab": CrfSettings(10, 1.0, 3.0, 67.0, 3.0, 4.0),
    # Liu et al., "Adaptive Early-Learning Correction for Segmentation from Noisy Annotations", CVPR 2022
    "adele": CrfSettings(1, 3.0, 3.0, 32.0, 13.0, 10.0),
}


def crf_settings(preset: str, **changes: float | None) -> CrfSettings:
    """A preset with some of its numbers changed; None leaves the number as it is.

    Raises
    ------
    ConfigError
        When there is no such preset, or a value is out of range.

    Examples
    --------
    >>> settings = crf_settings("deeplab", steps=5, smooth_sxy=None)
    >>> settings.steps, settings.smooth_sxy, settings.bilateral_srgb
    (5, 1.0, 3.0)
    """
    if preset not in CRF_PRESETS:
        raise ConfigError(f"unknown preset of the CRF {preset!r}", hint=f"presets: {', '.join(CRF_PRESETS)}")
    given = {name: value for name, value in changes.items() if value is not None}
    return dataclasses.replace(CRF_PRESETS[preset], **given)
