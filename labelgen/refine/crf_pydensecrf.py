"""The dense CRF of the pydensecrf package, where that is installed."""

import importlib.util

import numpy as np
from jaxtyping import Float32, UInt8

from labelgen.errors import ConfigError
from labelgen.refine.crf_settings import CrfSettings

__all__ = ["need_pydensecrf", "pydensecrf_crf"]


def need_pydensecrf() -> None:
    """Make sure that the package is there.

    Raises
    ------
    ConfigError
        When it is not.
    """
    if importlib.util.find_spec("pydensecrf") is None:
        raise ConfigError(
            "backend pydensecrf needs the package pydensecrf2, which is not installed",
            hint="pip install 'labelgen[crf]' (it needs a C++ compiler), or backend=labelgen, which gives the same",
        )


def pydensecrf_crf(
    image: UInt8[np.ndarray, "H W 3"], log_probabilities: Float32[np.ndarray, "C H W"], settings: CrfSettings
) -> Float32[np.ndarray, "C H W"]:
    """Mean field as `labelgen.refine.crf_exact.exact_crf`, with kernels by Krähenbühl's permutohedral lattice.

    Raises
    ------
    ConfigError
        When pydensecrf is not installed.

    References
    ----------
    .. [1] https://github.com/lucasb-eyer/pydensecrf
    """
    need_pydensecrf()
    from pydensecrf.densecrf import DenseCRF2D  # pyright: ignore[reportMissingImports]

    count, height, width = log_probabilities.shape
    crf = DenseCRF2D(width, height, count)
    crf.setUnaryEnergy(np.ascontiguousarray(-log_probabilities.reshape(count, -1)))
    crf.addPairwiseGaussian(sxy=settings.smooth_sxy, compat=settings.smooth_weight)
    crf.addPairwiseBilateral(
        sxy=settings.bilateral_sxy,
        srgb=settings.bilateral_srgb,
        rgbim=np.ascontiguousarray(image),
        compat=settings.bilateral_weight,
    )
    return np.array(crf.inference(settings.steps), np.float32).reshape(log_probabilities.shape)
