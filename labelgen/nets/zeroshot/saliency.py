"""Saliency maps from a folder of grey pictures."""

from pathlib import Path

import numpy as np
from jaxtyping import Float32

from labelgen.errors import DataError, ShapeError

__all__ = ["read_saliency"]


def read_saliency(folder: Path, sample_id: str, size: tuple[int, int]) -> Float32[np.ndarray, "H W"]:
    """Read the grey PNG of one image as saliency in [0, 1].

    Raises
    ------
    DataError
        When the file is missing, not an 8-bit grey image, or of another size than its image.
    """
    from PIL import Image, UnidentifiedImageError

    path = folder / f"{sample_id}.png"
    try:
        with Image.open(path) as picture:
            if picture.mode not in ("L", "1"):
                raise DataError(f"a saliency map must be an 8-bit grey PNG, got mode {picture.mode} in {path}")
            saliency = np.array(picture.convert("L"), np.float32) / 255
    except FileNotFoundError as error:
        raise DataError(
            f"no saliency map for {sample_id!r}: {path} not found", hint="--saliency FOLDER with ID.png"
        ) from error
    except (UnidentifiedImageError, OSError, SyntaxError) as error:
        raise DataError(f"saliency map cannot be read: {path} ({error})") from error
    if saliency.shape != size:
        raise ShapeError(
            f"a saliency map must have the size {size} of its image, got {saliency.shape} in {path}",
            hint="nothing is resized silently; make the files agree",
        )
    return saliency
