"""A map brought to the edges of its image by a local linear model in colour."""

import numpy as np
from jaxtyping import Float32, UInt8

__all__ = ["guided_filter"]


def guided_filter(
    image: UInt8[np.ndarray, "H W 3"], values: Float32[np.ndarray, "H W"], *, radius: int, smoothness: float = 1e-4
) -> Float32[np.ndarray, "H W"]:
    """Filter a map so that its edges lie where those of the image do.

    In each window of `2 radius + 1` pixels the map is fitted by a linear function of the colours, `a . I + b`, with a
    penalty `smoothness |a|^2`; a pixel gets the mean of the functions of all windows that it is in.

    Parameters
    ----------
    radius
        In pixels, >= 1.
    smoothness
        Variance of a colour in [0, 1] below which a window counts as flat, > 0.

    Returns
    -------
    ndarray
        May leave the range of the map a little.

    References
    ----------
    .. [1] He, Sun and Tang, "Guided Image Filtering", TPAMI 2013, equations 5 to 8 and 19 to 21. Windows at the border
       are filled by reflection here.

    Examples
    --------
    >>> image = np.zeros((8, 8, 3), np.uint8)
    >>> image[:, 4:] = 200
    >>> blurred = np.tile(np.linspace(0, 1, 8, dtype=np.float32), (8, 1))
    >>> sharp = guided_filter(image, blurred, radius=3)[4]
    >>> bool(sharp[4] - sharp[3] > 3 * (blurred[4, 4] - blurred[4, 3]))
    True
    """
    import cv2

    side = 2 * radius + 1

    def mean(array: np.ndarray) -> np.ndarray:
        return cv2.blur(array, (side, side))

    guide = image.astype(np.float64) / 255
    map_ = values.astype(np.float64)
    guide_mean, map_mean = mean(guide), mean(map_)
    covariance = mean(guide * map_[..., None]) - guide_mean * map_mean[..., None]
    spread = np.empty((*values.shape, 3, 3))
    for one in range(3):
        products = mean(guide * guide[..., one : one + 1])
        spread[..., one] = products - guide_mean * guide_mean[..., one : one + 1]
    spread += smoothness * np.eye(3)
    slope = np.linalg.solve(spread, covariance[..., None])[..., 0]
    offset = map_mean - (slope * guide_mean).sum(axis=-1)
    return ((mean(slope) * guide).sum(axis=-1) + mean(offset)).astype(np.float32)
