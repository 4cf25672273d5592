"""The unary of a dense CRF: logarithms of probabilities that are kept from being 0."""

import numpy as np
from jaxtyping import Float32

__all__ = ["MIN_PROBABILITY", "log_probabilities"]

MIN_PROBABILITY = 1e-5
"""Lower ones are raised to it: the CRF scripts of PSA and of those that follow it."""


def log_probabilities(probabilities: Float32[np.ndarray, "C *pixels"]) -> Float32[np.ndarray, "C *pixels"]:
    """The logarithm of probabilities clipped to [1e-5, 1]: -U of the CRF.

    They need not sum to 1 over the classes, and are not made to.

    Examples
    --------
    >>> log_probabilities(np.array([[0.0, 1.0]], np.float32)).round(3).tolist() == [[np.float32(-11.513), 0.0]]
    True
    """
    clipped = np.clip(probabilities, np.float32(MIN_PROBABILITY), np.float32(1))
    return np.log(clipped, out=clipped)
