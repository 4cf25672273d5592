"""Maps of one number in [0, 1] for each pixel, a file an image: 8-bit grey pictures, or arrays of numpy."""

from pathlib import Path

import numpy as np
from jaxtyping import Float32

from labelgen.data.inputs import InputFile
from labelgen.errors import DataError, ShapeError
from labelgen.untrusted import opened_picture, read_npy_array, read_npz_arrays

__all__ = ["read_unit_map"]

ENDINGS = (".png", ".npy", ".npz")


def read_unit_map(
    folder: Path, sample_id: str, size: tuple[int, int], *, what: str
) -> tuple[Float32[np.ndarray, "H W"], InputFile]:
    """Read the map of one image.

    `ID.png` is an 8-bit grey picture, 255 for 1; `ID.npy`, or the only array of `ID.npz`, holds floats in [0, 1].

    Parameters
    ----------
    what
        What the map is called in errors, such as "saliency map".

    Returns
    -------
    tuple
        The map and the file that held it.

    Raises
    ------
    DataError
        When no file or more than one is there, it cannot be read, is of another kind, or holds other values.
    ShapeError
        When it has another size than its image.
    """
    found = [path for ending in ENDINGS if (path := folder / f"{sample_id}{ending}").is_file()]
    if not found:
        raise DataError(
            f"no {what} for {sample_id!r}: {folder / sample_id}.png not found (nor .npy, .npz)",
            hint="name each file after its image: ID.png",
        )
    if len(found) > 1:
        raise DataError(
            f"there must be one {what} for {sample_id!r}, got {' and '.join(map(str, found))}",
            hint="remove those that are not meant",
        )
    path = found[0]
    try:
        file = InputFile.read(path)
    except OSError as error:
        raise DataError(f"{what} cannot be read: {path} ({error.strerror})", hint="make it anew") from error
    values = _from_picture(file, what) if path.suffix == ".png" else _from_array(file, what)
    if values.shape != size:
        raise ShapeError(
            f"a {what} must have the size {size} of its image, got {values.shape} in {path}",
            hint="nothing is resized silently; make the files agree",
        )
    return values, file


def _from_picture(file: InputFile, what: str) -> np.ndarray:
    try:
        with opened_picture(file.content) as picture:
            if picture.mode not in ("L", "1"):
                raise DataError(
                    f"a {what} must be an 8-bit grey PNG, got mode {picture.mode} in {file.path}",
                    hint="convert it, for instance with Pillow: Image.open(PATH).convert('L')",
                )
            return np.array(picture.convert("L"), np.float32) / 255
    except ValueError as error:
        if isinstance(error, DataError):
            raise
        raise DataError(f"{what} cannot be read: {file.path} ({error})", hint="make it anew") from error


def _from_array(file: InputFile, what: str) -> np.ndarray:
    array = _array_in(file, what)
    if array.ndim != 2 or array.dtype.kind != "f":
        raise DataError(
            f"a {what} must be a float array (H, W), got {array.dtype} {array.shape} in {file.path}",
            hint="whole numbers are for PNG files, where 255 stands for 1",
        )
    # a NaN makes the comparison false, and so is refused as well
    if array.size and not (array.min() >= 0 and array.max() <= 1):
        raise DataError(
            f"a {what} must be finite and lie in [0, 1], got {array.min()} to {array.max()} in {file.path}",
            hint="clip or divide it first; what counts as 1 is not for the reader to guess",
        )
    return array.astype(np.float32)


def _array_in(file: InputFile, what: str) -> np.ndarray:
    try:
        if file.path.suffix == ".npy":
            return read_npy_array(file.content)
        arrays = read_npz_arrays(file.content)
    except ValueError as error:
        raise DataError(f"{what} cannot be read: {file.path} ({error})", hint="make it anew") from error
    if len(arrays) != 1:
        raise DataError(f"{file.path} must hold one array, got {', '.join(arrays) or 'none'}")
    return next(iter(arrays.values()))
