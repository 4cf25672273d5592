"""Saliency maps from a folder of grey pictures."""

import io
from pathlib import Path

import numpy as np
from jaxtyping import Float32

from labelgen.data.inputs import InputFile
from labelgen.errors import DataError, ShapeError

__all__ = ["read_saliency"]


def read_saliency(folder: Path, sample_id: str, size: tuple[int, int]) -> tuple[Float32[np.ndarray, "H W"], InputFile]:
    """Read the grey PNG of one image as saliency in [0, 1].

    Returns
    -------
    tuple
        The saliency and the file that held it.

    Raises
    ------
    DataError
        When the file is missing, not an 8-bit grey image, or of another size than its image.
    """
    from PIL import Image, UnidentifiedImageError

    path = folder / f"{sample_id}.png"
    try:
        file = InputFile.read(path)
        with Image.open(io.BytesIO(file.content)) as picture:
            if picture.mode not in ("L", "1"):
                raise DataError(
                    f"a saliency map must be an 8-bit grey PNG, got mode {picture.mode} in {path}",
                    hint="convert it, for instance with Pillow: Image.open(PATH).convert('L')",
                )
            saliency = np.array(picture.convert("L"), np.float32) / 255
    except FileNotFoundError as error:
        raise DataError(
            f"no saliency map for {sample_id!r}: {path} not found", hint="--saliency FOLDER with ID.png"
        ) from error
    except (UnidentifiedImageError, OSError, SyntaxError) as error:
        why = "no kind of picture" if isinstance(error, UnidentifiedImageError) else error
        raise DataError(f"saliency map cannot be read: {path} ({why})", hint="make it anew") from error
    if saliency.shape != size:
        raise ShapeError(
            f"a saliency map must have the size {size} of its image, got {saliency.shape} in {path}",
            hint="nothing is resized silently; make the files agree",
        )
    return saliency, file
