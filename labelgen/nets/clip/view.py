"""A whole picture at the size that a model was trained on, resized as its publisher does."""

import numpy as np
from jaxtyping import UInt8

from labelgen.nets.clip.names import Preprocess

__all__ = ["native_view"]


def native_view(
    image: UInt8[np.ndarray, "H W 3"], size: tuple[int, int], preprocess: Preprocess
) -> UInt8[np.ndarray, "h w 3"]:
    """Resize one picture: the short side fitted and the centre cut out, or both sides squashed.

    Parameters
    ----------
    size
        `(height, width)` in pixels.

    Examples
    --------
    >>> stripes = np.zeros((4, 8, 3), np.uint8)
    >>> stripes[:, 2:6] = 200
    >>> native_view(stripes, (4, 4), Preprocess())[0, :, 0].tolist()
    [200, 200, 200, 200]
    >>> native_view(stripes, (4, 4), Preprocess(resize_mode="squash")).shape
    (4, 4, 3)
    """
    from PIL import Image

    height, width = size
    fitted = size
    if preprocess.resize_mode == "shortest":
        scale = max(height / image.shape[0], width / image.shape[1])
        fitted = max(height, int(image.shape[0] * scale)), max(width, int(image.shape[1] * scale))
    filters = {"bicubic": Image.Resampling.BICUBIC, "bilinear": Image.Resampling.BILINEAR}
    picture = Image.fromarray(np.ascontiguousarray(image))
    if fitted != image.shape[:2]:
        picture = picture.resize((fitted[1], fitted[0]), filters[preprocess.interpolation])
    top, left = round((fitted[0] - height) / 2), round((fitted[1] - width) / 2)
    return np.array(picture)[top : top + height, left : left + width]
