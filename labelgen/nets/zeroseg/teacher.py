"""The teacher: CLIP's image vectors of the tiles of an image, computed once and kept on disk in half precision."""

import hashlib
import io
import json
import logging
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import numpy as np
import torch
from jaxtyping import Float16, UInt8

from labelgen.errors import RunFolderError
from labelgen.masks import write_atomic
from labelgen.nets.zeroseg.tiles import tiles_of
from labelgen.untrusted import read_bounded, read_npy_array
from labelgen.untrusted.limits import LARGEST_ARRAYS

__all__ = ["ImageTower", "TeacherVectors", "tile_vectors"]

log = logging.getLogger(__name__)

SCHEMA = 1
"""Raised when the code changes the value of a vector."""

NAMES_ONLY = ("weights_from", "licence", "pretrained")  # what the same weights may be called; their hash stays


@runtime_checkable
class ImageTower(Protocol):
    """What is used of a CLIP model: `labelgen.nets.clip.model.ClipModel`, or a stand-in."""

    @property
    def native_size(self) -> tuple[int, int]:
        """`(height, width)` in pixels of the images it takes."""
        ...

    @property
    def embed_dim(self) -> int:
        """Length of its vectors."""
        ...

    def normalise(self, images: Any) -> torch.Tensor:
        """`(B, H, W, 3)` uint8 to what the network takes."""
        ...

    def encode_images(self, pixels: torch.Tensor) -> torch.Tensor:
        """Unit vectors `(B, D)` of normalised images of the native size."""
        ...

    def fingerprint(self) -> dict[str, Any]:
        """Everything that changes a vector, as JSON values."""
        ...


def tile_vectors(
    tower: ImageTower, image: UInt8[np.ndarray, "H W 3"], grids: tuple[int, ...]
) -> Float16[np.ndarray, "T D"]:
    """Unit vectors of the tiles of one image, the whole image first when `grids` begins with 1.

    The tiles of one image make one batch, so that a vector does not depend on which images are looked at together.
    """
    tiles = tiles_of(image, grids, size=tower.native_size)
    with torch.inference_mode():
        vectors = tower.encode_images(tower.normalise(tiles))
    return vectors.float().cpu().numpy().astype(np.float16)


class TeacherVectors:
    """Tile vectors by the content of the image, from the disk where they are and from the tower where not.

    A changed image, another model or other tiles are another key, so nothing stale is ever read; a damaged file is
    computed again.

    Parameters
    ----------
    tower
        The teacher.
    grids
        Tiles are r x r for each of these r.
    root
        Folder below which vectors are kept, those of one teacher in one folder; None keeps nothing.
    """

    def __init__(self, tower: ImageTower, grids: tuple[int, ...], root: Path | None = None) -> None:
        self.tower = tower
        self.grids = grids
        self.num_tiles = sum(r * r for r in grids)
        self.folder = None if root is None else self._folder(root)

    def fingerprint(self) -> dict[str, Any]:
        """Everything that changes a vector, but the image."""
        tower = {key: value for key, value in self.tower.fingerprint().items() if key not in NAMES_ONLY}
        return {"schema": SCHEMA, "teacher": tower, "tiles": list(self.grids)}

    def of(self, image: UInt8[np.ndarray, "H W 3"]) -> Float16[np.ndarray, "T D"]:
        """The vectors of one image."""
        if self.folder is None:
            return tile_vectors(self.tower, image, self.grids)
        key = hashlib.sha256(f"{image.shape}".encode() + np.ascontiguousarray(image).tobytes()).hexdigest()
        path = self.folder / key[:2] / f"{key}.npy"
        found = self._read(path)
        if found is not None:
            return found
        vectors = tile_vectors(self.tower, image, self.grids)
        stream = io.BytesIO()
        np.save(stream, vectors)
        write_atomic(path, stream.getvalue(), durable=False)  # damage is noticed, and mended, when it is read
        return vectors

    def _read(self, path: Path) -> np.ndarray | None:
        try:
            vectors = read_npy_array(read_bounded(path, LARGEST_ARRAYS))
        except FileNotFoundError:
            return None
        except (OSError, ValueError) as error:
            log.warning("teacher vectors cannot be read and are computed again: %s (%s)", path, error)
            return None
        wanted = (self.num_tiles, self.tower.embed_dim)
        lengths = np.linalg.norm(vectors.astype(np.float32), axis=-1) if vectors.shape == wanted else np.zeros(1)
        if vectors.dtype != np.float16 or not np.allclose(lengths, 1, atol=1e-2):
            log.warning("teacher vectors are damaged and are computed again: %s", path)
            return None
        return vectors

    def _folder(self, root: Path) -> Path:
        """Folder of this teacher and these tiles, with its fingerprint written out."""
        text = json.dumps(self.fingerprint(), indent=2, sort_keys=True) + "\n"
        folder = root / f"zeroseg-{hashlib.sha256(text.encode()).hexdigest()[:16]}"
        about = folder / "teacher.json"
        try:
            if not about.is_file():
                write_atomic(about, text.encode())
            there = about.read_text(encoding="utf-8")
        except OSError as error:
            raise RunFolderError(f"cannot write to {folder} ({error})", hint="choose another --cache") from error
        if there != text:
            raise RunFolderError(f"{folder} holds vectors of another teacher", hint="delete it, or change --cache")
        return folder
