"""Read a feature cache: token matrices straight from memory-mapped files."""

import hashlib
import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Float32, UInt8

from labelgen.errors import RunFolderError
from labelgen.nets.geometry import Geometry
from segprobe.features.layout import (
    SCHEMA,
    Entry,
    ShardIndex,
    View,
    file_sha256,
    read_json,
    refuse_stale,
    shard_path,
)
from segprobe.features.sources import Images

DTYPES = ("float16", "float32")

__all__ = ["FeatureCache", "Features", "image_sha256", "is_done", "read_done_shard"]


@dataclass(frozen=True)
class Features:
    """Tokens of one view of one image, and where its pixels went."""

    tokens: Float[torch.Tensor, "h w D"]
    geometry: Geometry


class FeatureCache:
    """A complete cache, read-only. Picklable: a worker process maps the files anew.

    Parameters
    ----------
    folder
        Where it lies.
    manifest
        Content of its manifest.json.
    """

    def __init__(self, folder: Path, manifest: Mapping[str, Any]) -> None:
        self.folder = folder
        self.manifest = manifest
        self.views = tuple(View(**view) for view in manifest["fingerprint"]["views"])
        self.dim: int = manifest["dim"]
        self.dtype = np.dtype(manifest["fingerprint"]["dtype"])
        self._where: dict[tuple[str, int], tuple[int, Entry]] = {}
        for number in range(manifest["shards"]):
            for entry in read_done_shard(folder, number).entries:
                self._where[entry.id, entry.view] = number, entry
        self.ids = tuple(sorted({sample_id for sample_id, _ in self._where}))
        self._shards: dict[int, np.ndarray] = {}

    @classmethod
    def open(cls, folder: Path | str, *, expect: Mapping[str, Any] | None = None) -> "FeatureCache":
        """Open a complete cache.

        Parameters
        ----------
        expect
            Fingerprint, or part of it, that the cache must have; see `cache_fingerprint`.

        Raises
        ------
        RunFolderError
            When it is missing, incomplete, damaged, of another schema, or holds other features than expected.
        """
        folder = Path(folder)
        manifest = read_json(folder / "manifest.json")
        if manifest.get("schema") != SCHEMA:
            raise RunFolderError(
                f"manifest.json must have schema {SCHEMA}, got {manifest.get('schema')!r} in {folder}",
                hint="it was written by another version; remove the folder",
            )
        _check_manifest(folder, manifest)
        refuse_stale(folder, manifest["fingerprint"], expect or {})
        if manifest["state"] != "complete":
            raise RunFolderError(
                f"the features in {folder} are not complete", hint="start the same command again to finish them"
            )
        try:
            return cls(folder, manifest)
        except (KeyError, TypeError, ValueError, AttributeError, OverflowError) as error:
            raise _damaged(folder, f"manifest.json or an index ({error!r})") from error

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_shards": {}}

    @property
    def fingerprint(self) -> dict[str, Any]:
        """Everything that changes a value."""
        return self.manifest["fingerprint"]

    @cached_property
    def mean(self) -> Float32[np.ndarray, "D"]:
        """Mean of each channel over all tokens of the first view."""
        return np.array(self.manifest["mean"], np.float32)

    @cached_property
    def std(self) -> Float32[np.ndarray, "D"]:
        """Standard deviation of each channel over all tokens of the first view; 1 where a channel never varies."""
        return np.array(self.manifest["std"], np.float32)

    @property
    def nbytes(self) -> int:
        """Bytes of all tokens."""
        cells = sum(entry.geometry.grid[0] * entry.geometry.grid[1] for _, entry in self._where.values())
        return cells * self.dim * self.dtype.itemsize

    def features(self, sample_id: str, view_index: int = 0) -> Features:
        """Tokens of an image in one view, without copying: float16 (or float32) on the CPU. Not to be written to.

        Raises
        ------
        RunFolderError
            When the cache does not hold them.
        """
        number, entry = self._entry(sample_id, view_index)
        return Features(torch.from_numpy(self._matrix(number, entry)), entry.geometry)

    def verify(self, dataset: Images | None = None) -> None:
        """Hash every file and matrix again; with `dataset`, the images as well.

        Raises
        ------
        RunFolderError
            Naming the first damaged shard, matrix, or changed image.
        """
        for number in range(self.manifest["shards"]):
            _verify_files(self.folder, number)
        for number, entry in self._where.values():
            found = hashlib.sha256(self._matrix(number, entry).tobytes()).hexdigest()
            if found != entry.sha256:
                raise _damaged(self.folder, f"the tokens of {entry.id}, view {entry.view}")
            if dataset is not None and entry.view == 0 and image_sha256(dataset.image(entry.id)) != entry.image_sha256:
                raise RunFolderError(
                    f"the image {entry.id} is no longer the one the features in {self.folder} were computed from",
                    hint="remove the folder and make it again",
                )

    def _entry(self, sample_id: str, view_index: int) -> tuple[int, Entry]:
        try:
            return self._where[sample_id, view_index]
        except KeyError:
            raise RunFolderError(
                f"{self.folder} holds {len(self.ids)} images in {len(self.views)} views, but not {sample_id} in view "
                f"{view_index}",
                hint="make a cache of these images with segprobe cache",
            ) from None

    def _matrix(self, number: int, entry: Entry) -> np.ndarray:
        height, width = entry.geometry.grid
        nbytes = height * width * self.dim * self.dtype.itemsize
        part = self._shard(number)[entry.offset : entry.offset + nbytes]
        if part.nbytes != nbytes:
            raise _damaged(self.folder, f"the tokens of {entry.id}, view {entry.view}")
        return np.asarray(part).view(self.dtype).reshape(height, width, self.dim)

    def _shard(self, number: int) -> UInt8[np.ndarray, "bytes"]:
        if number not in self._shards:
            path = shard_path(self.folder, number, "bin")
            try:  # copy on write: torch warns about read-only arrays, and the file must stay as it is
                self._shards[number] = np.memmap(path, np.uint8, mode="c")
            except (OSError, ValueError) as error:
                raise _damaged(self.folder, path.name) from error
        return self._shards[number]


def is_done(folder: Path, number: int) -> bool:
    """Whether a shard is finished and its files are there in full; their content is left to `verify`."""
    try:
        read_done_shard(folder, number)
    except RunFolderError:
        return False
    return shard_path(folder, number, "bin").is_file()


def read_done_shard(folder: Path, number: int) -> ShardIndex:
    """Index of a finished shard.

    Raises
    ------
    RunFolderError
        When the shard is missing or its index is not the one that was written.
    """
    done, index = shard_path(folder, number, "done"), shard_path(folder, number, "json")
    wanted = read_json(done)
    if not index.is_file() or file_sha256(index) != wanted.get("json"):
        raise _damaged(folder, index.name)
    return ShardIndex.from_json(read_json(index))


def _check_manifest(folder: Path, manifest: Mapping[str, Any]) -> None:
    """Refuse a manifest.json whose fields are not what is read of them later."""
    fingerprint, dim, shards = (manifest.get(name) for name in ("fingerprint", "dim", "shards"))
    sound = isinstance(fingerprint, dict) and isinstance(manifest.get("state"), str)
    if sound and manifest["state"] == "complete":
        sound = type(dim) is int and dim > 0 and type(shards) is int and shards >= 0
        sound = sound and fingerprint.get("dtype") in DTYPES  # type: ignore[union-attr]
        sound = sound and all(_are_numbers(manifest.get(name), dim) for name in ("mean", "std"))
    if not sound:
        raise _damaged(folder, "manifest.json")


def _are_numbers(values: Any, count: Any) -> bool:
    return (
        isinstance(values, list)
        and len(values) == count
        and all(isinstance(value, int | float) and abs(value) < math.inf for value in values)
    )


def image_sha256(image: UInt8[np.ndarray, "H W 3"]) -> str:
    """SHA-256 of decoded pixels and their size."""
    return hashlib.sha256(f"{image.shape}".encode() + np.ascontiguousarray(image).tobytes()).hexdigest()


def _verify_files(folder: Path, number: int) -> None:
    wanted = read_json(shard_path(folder, number, "done"))
    for suffix in ("bin", "json"):
        path = shard_path(folder, number, suffix)
        if not path.is_file() or file_sha256(path) != wanted.get(suffix):
            raise _damaged(folder, path.name)


def _damaged(folder: Path, what: str) -> RunFolderError:
    return RunFolderError(f"{what} in {folder} is damaged or incomplete", hint="remove the folder and make it again")
