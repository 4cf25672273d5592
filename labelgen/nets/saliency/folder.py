"""Saliency maps from a folder: 8-bit grey pictures, or arrays of numpy."""

import io
import json
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float32, UInt8

from labelgen.data.inputs import InputFile
from labelgen.errors import DataError, ShapeError

__all__ = ["FACTS_FILE", "FolderSaliency", "read_saliency"]

ENDINGS = (".png", ".npy", ".npz")

FACTS_FILE = "saliency.json"
"""Beside maps that `labelgen saliency` wrote: where they come from."""


@dataclass(frozen=True)
class FolderSaliency:
    """Maps that were made before, by whatever means.

    Parameters
    ----------
    folder
        Holds `ID.png`, `ID.npy` or `ID.npz` for each image.
    pixel_supervised
        Whether the maps come from a network that was trained with the outlines of objects. None where nobody said and
        no `saliency.json` beside the maps says it.
    """

    folder: Path
    pixel_supervised: bool | None = None

    def map(
        self, sample_id: str, image: UInt8[np.ndarray, "H W 3"]
    ) -> tuple[Float32[np.ndarray, "H W"], InputFile | None]:
        """Saliency of an image and the file that held it; see `read_saliency`."""
        return read_saliency(self.folder, sample_id, (image.shape[0], image.shape[1]))

    def facts(self) -> dict[str, Any]:
        """Where the maps come from, as JSON values.

        Raises
        ------
        DataError
            When a `saliency.json` beside the maps cannot be read, or contradicts what the user says.
        """
        facts: dict[str, Any] = {"provider": "folder", "folder": self.folder.as_posix()}
        made_by = self._made_by()
        if made_by is not None:
            facts["made_by"] = made_by
        written = None if made_by is None else made_by.get("pixel_supervised")
        if self.pixel_supervised is not None and written is not None and written != self.pixel_supervised:
            raise DataError(
                f"{self.folder / FACTS_FILE} says pixel_supervised is {written}, but {self.pixel_supervised} was given",
                hint="leave the flag out; the file was written with the maps",
            )
        facts["pixel_supervised"] = self.pixel_supervised if written is None else written
        return facts

    def _made_by(self) -> dict[str, Any] | None:
        path = self.folder / FACTS_FILE
        if not path.is_file():
            return None
        try:
            found = json.loads(path.read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise DataError(f"{path} cannot be read ({error})", hint="remove it, or write the maps anew") from error
        if not isinstance(found, dict):
            raise DataError(f"{path} must hold one JSON object, got {type(found).__name__}", hint="remove it")
        return found


def read_saliency(folder: Path, sample_id: str, size: tuple[int, int]) -> tuple[Float32[np.ndarray, "H W"], InputFile]:
    """Read the map of one image as saliency in [0, 1].

    `ID.png` is an 8-bit grey picture, 255 for 1; `ID.npy`, or the only array of `ID.npz`, holds floats in [0, 1].

    Returns
    -------
    tuple
        The saliency and the file that held it.

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
            f"no saliency map for {sample_id!r}: {folder / sample_id}.png not found (nor .npy, .npz)",
            hint="--saliency FOLDER with ID.png",
        )
    if len(found) > 1:
        raise DataError(
            f"there must be one saliency map for {sample_id!r}, got {' and '.join(map(str, found))}",
            hint="remove those that are not meant",
        )
    path = found[0]
    try:
        file = InputFile.read(path)
    except OSError as error:
        raise DataError(f"saliency map cannot be read: {path} ({error.strerror})", hint="make it anew") from error
    saliency = _from_picture(file) if path.suffix == ".png" else _from_array(file)
    if saliency.shape != size:
        raise ShapeError(
            f"a saliency map must have the size {size} of its image, got {saliency.shape} in {path}",
            hint="nothing is resized silently; make the files agree",
        )
    return saliency, file


def _from_picture(file: InputFile) -> np.ndarray:
    from PIL import Image, UnidentifiedImageError

    try:
        with Image.open(io.BytesIO(file.content)) as picture:
            if picture.mode not in ("L", "1"):
                raise DataError(
                    f"a saliency map must be an 8-bit grey PNG, got mode {picture.mode} in {file.path}",
                    hint="convert it, for instance with Pillow: Image.open(PATH).convert('L')",
                )
            return np.array(picture.convert("L"), np.float32) / 255
    except (UnidentifiedImageError, OSError, SyntaxError) as error:
        why = "no kind of picture" if isinstance(error, UnidentifiedImageError) else error
        raise DataError(f"saliency map cannot be read: {file.path} ({why})", hint="make it anew") from error


def _from_array(file: InputFile) -> np.ndarray:
    array = _array_in(file)
    if array.ndim != 2 or array.dtype.kind != "f":
        raise DataError(
            f"a saliency map must be a float array (H, W), got {array.dtype} {array.shape} in {file.path}",
            hint="whole numbers are for PNG files, where 255 stands for 1",
        )
    # a NaN makes the comparison false, and so is refused as well
    if array.size and not (array.min() >= 0 and array.max() <= 1):
        raise DataError(
            f"a saliency map must be finite and lie in [0, 1], got {array.min()} to {array.max()} in {file.path}",
            hint="clip or divide it first; what counts as 1 is not for the reader to guess",
        )
    return array.astype(np.float32)


def _array_in(file: InputFile) -> np.ndarray:
    try:
        loaded = np.load(io.BytesIO(file.content), allow_pickle=False)
        if isinstance(loaded, np.ndarray):
            return loaded
        with loaded:
            if len(loaded.files) != 1:
                raise DataError(f"{file.path} must hold one array, got {', '.join(loaded.files) or 'none'}")
            return loaded[loaded.files[0]]
    except (ValueError, OSError, EOFError, zipfile.BadZipFile) as error:
        if isinstance(error, DataError):
            raise
        raise DataError(f"saliency map cannot be read: {file.path} ({error})", hint="make it anew") from error
