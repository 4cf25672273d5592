"""The dense CRF with every pair of pixels written out: the reference, for tiny images."""

import numpy as np
from jaxtyping import Float32, Float64, UInt8

from labelgen.errors import ShapeError
from labelgen.refine.crf_settings import CrfSettings

__all__ = ["MAX_PIXELS", "exact_crf"]

MAX_PIXELS = 4096
"""Of the largest image: the kernel matrix then takes 128 MiB."""


def exact_crf(
    image: UInt8[np.ndarray, "H W 3"], log_probabilities: Float32[np.ndarray, "C H W"], settings: CrfSettings
) -> Float32[np.ndarray, "C H W"]:
    """Mean field `Q = softmax(-U + sum_m w_m Kt_m Q)` without any approximation of the kernels, in float64.

    `K_ij = exp(-|f_i - f_j|^2 / 2)`, i = j among them, and `Kt = D^-1/2 K D^-1/2` with the row sums D of K. All
    pixels change at once in a step.

    Parameters
    ----------
    log_probabilities
        -U, up to a constant for each pixel.

    Raises
    ------
    ShapeError
        When the image has more than 4096 pixels.
    """
    height, width = image.shape[:2]
    if height * width > MAX_PIXELS:
        raise ShapeError(
            f"the exact CRF takes images of at most {MAX_PIXELS} pixels, got {height} x {width}",
            hint="backend=labelgen takes any size",
        )
    place = np.indices((height, width)).reshape(2, -1).T.astype(np.float64)
    colour = image.reshape(-1, 3).astype(np.float64)
    both = np.concatenate([place / settings.bilateral_sxy, colour / settings.bilateral_srgb], axis=1)
    kernel = settings.smooth_weight * normalised_kernel(place / settings.smooth_sxy)
    kernel += settings.bilateral_weight * normalised_kernel(both)
    unary = log_probabilities.reshape(len(log_probabilities), -1).astype(np.float64)
    q = _softmax(unary)
    for _ in range(settings.steps):
        q = _softmax(unary + q @ kernel)
    return q.astype(np.float32).reshape(log_probabilities.shape)


def normalised_kernel(features: Float64[np.ndarray, "N d"]) -> Float64[np.ndarray, "N N"]:
    """The symmetric matrix Kt of all pairs of features.

    Examples
    --------
    >>> normalised_kernel(np.zeros((2, 5))).round(3).tolist()
    [[0.5, 0.5], [0.5, 0.5]]
    """
    squares = sum(np.square(feature[:, None] - feature[None, :]) for feature in features.T)
    kernel = np.exp(-0.5 * squares)
    root = np.sqrt(kernel.sum(axis=1))
    return kernel / root[:, None] / root[None, :]


def _softmax(logits: np.ndarray) -> np.ndarray:
    exponentials = np.exp(logits - logits.max(axis=0, keepdims=True))
    return exponentials / exponentials.sum(axis=0, keepdims=True)
