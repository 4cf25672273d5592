"""Saliency maps from a folder: 8-bit grey pictures, or arrays of numpy."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float32, UInt8

from labelgen.data.inputs import InputFile
from labelgen.data.unit_maps import read_unit_map
from labelgen.errors import DataError
from labelgen.untrusted import parse_json, read_bounded

__all__ = ["FACTS_FILE", "FolderSaliency", "read_saliency"]

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
                hint="leave ,pixel_supervised=... out behind the folder; the file was written with the maps",
            )
        facts["pixel_supervised"] = self.pixel_supervised if written is None else written
        return facts

    def _made_by(self) -> dict[str, Any] | None:
        path = self.folder / FACTS_FILE
        if not path.is_file():
            return None
        try:
            found = parse_json(read_bounded(path))
        except (OSError, ValueError) as error:
            raise DataError(f"{path} cannot be read ({error})", hint="remove it, or write the maps anew") from error
        if not isinstance(found, dict):
            raise DataError(f"{path} must hold one JSON object, got {type(found).__name__}", hint="remove it")
        return found


def read_saliency(folder: Path, sample_id: str, size: tuple[int, int]) -> tuple[Float32[np.ndarray, "H W"], InputFile]:
    """Read the map of one image as saliency in [0, 1], and the file that held it; see `read_unit_map`."""
    return read_unit_map(folder, sample_id, size, what="saliency map")
