"""Compute the tokens of one shard and write it."""

import hashlib
from collections import OrderedDict
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import nullcontext
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import IO

import numpy as np
import torch

from labelgen.errors import ConfigError
from labelgen.locks import lock_when_free
from labelgen.nets.geometry import Geometry
from labelgen.writing import new_stream
from segprobe.features.cache import image_sha256, is_done
from segprobe.features.layout import ALIGNMENT, Entry, ShardIndex, View, file_sha256, shard_path, write_json
from segprobe.features.sources import Images, Network

__all__ = ["ShardJob"]

FLOAT16_LIMIT = 6e4  # the largest float16 is 65504
AHEAD = 2  # batches decoded and resized while the backbone computes


@dataclass(frozen=True)
class _Picture:
    """One prepared view, with the place its tokens will have in the file."""

    id: str
    view: int
    pixels: torch.Tensor
    geometry: Geometry
    image_sha256: str
    offset: int = 0


@dataclass(frozen=True)
class ShardJob:
    """The shards of a cache; picklable, so that other processes can write them too.

    Parameters
    ----------
    folder
        The cache.
    parts
        Ids of each shard.
    dataset
        The images.
    batch_size
        Pictures of one size that go through the backbone together.
    """

    folder: Path
    parts: Sequence[Sequence[str]]
    dataset: Images
    views: tuple[View, ...]
    dtype: str
    batch_size: int

    def write_unless_done(self, number: int, backbone: Network) -> None:
        """Write a shard unless another process has done so or does so meanwhile; errors as of `write`."""
        lock = lock_when_free(shard_path(self.folder, number, "lock"), done=partial(is_done, self.folder, number))
        with lock or nullcontext():
            if not is_done(self.folder, number):
                self.write(number, backbone, on_image=lambda: None)

    def write(self, number: int, backbone: Network, *, on_image: Callable[[], None]) -> None:
        """Write the three files of a shard, the `done` mark last; the caller holds its lock.

        Pictures of one size go through the backbone together. Which ones do depends on the order of the ids alone, so
        that the bytes of a shard do not depend on what else was computed in this process.

        Raises
        ------
        ConfigError
            When a token does not fit the type.
        DataError
            When an image cannot be read.
        """
        ids, item = self.parts[number], np.dtype(self.dtype).itemsize * backbone.spec.dim
        for suffix in ("done", "json", "bin"):
            shard_path(self.folder, number, suffix).unlink(missing_ok=True)
        written: dict[tuple[str, int], tuple[Entry, int, np.ndarray, np.ndarray]] = {}
        with new_stream(shard_path(self.folder, number, "bin")) as stream:
            pictures = _placed(
                _prefetched(self.dataset, backbone, ids, self.views, ahead=AHEAD * self.batch_size), item
            )
            for batch in _batches_of_one_size(pictures, self.batch_size):
                tokens = backbone.tokens(torch.stack([picture.pixels for picture in batch])).cpu().numpy()
                for picture, matrix in zip(batch, tokens, strict=True):
                    stored = _converted(matrix, self.dtype, picture.id)
                    written[picture.id, picture.view] = _store(stream, picture, stored)
                    if picture.view == len(self.views) - 1:
                        on_image()
            ends = [entry.offset + _room(cells * item) for entry, cells, _, _ in written.values()]
            stream.truncate(max(ends))
        _write_index(
            self.folder, number, [written[sample_id, view] for sample_id in ids for view in range(len(self.views))]
        )


def _store(stream: IO[bytes], picture: _Picture, matrix: np.ndarray) -> tuple[Entry, int, np.ndarray, np.ndarray]:
    """Write one matrix and return its entry, tokens, and sums over tokens of values and of squares."""
    stream.seek(picture.offset)
    content = matrix.tobytes()
    stream.write(content)
    digest = hashlib.sha256(content).hexdigest()
    entry = Entry(picture.id, picture.view, picture.offset, picture.geometry, digest, picture.image_sha256)
    rows = matrix.reshape(-1, matrix.shape[-1]).astype(np.float64)
    return entry, len(rows), rows.sum(axis=0), np.square(rows).sum(axis=0)


def _write_index(folder: Path, number: int, written: list[tuple[Entry, int, np.ndarray, np.ndarray]]) -> None:
    first = [(cells, sums, squares) for entry, cells, sums, squares in written if entry.view == 0]
    index = ShardIndex(
        entries=tuple(entry for entry, _, _, _ in written),
        count=sum(cells for cells, _, _ in first),
        sums=tuple(np.sum([sums for _, sums, _ in first], axis=0).tolist()),
        squares=tuple(np.sum([squares for _, _, squares in first], axis=0).tolist()),
    )
    write_json(shard_path(folder, number, "json"), index.to_json())
    sums = {suffix: file_sha256(shard_path(folder, number, suffix)) for suffix in ("bin", "json")}
    write_json(shard_path(folder, number, "done"), sums)


def _converted(matrix: np.ndarray, dtype: str, sample_id: str) -> np.ndarray:
    largest = float(np.abs(matrix).max())
    if not largest < (FLOAT16_LIMIT if dtype == "float16" else np.inf):  # NaN fails too
        raise ConfigError(
            f"tokens must be finite and below {FLOAT16_LIMIT:g} to be kept as {dtype}, got {largest:g} in {sample_id}",
            hint="use norm=True, or keep them as float32",
        )
    return np.ascontiguousarray(matrix, dtype)


def _prefetched(
    dataset: Images, backbone: Network, ids: Sequence[str], views: Sequence[View], *, ahead: int
) -> Iterator[_Picture]:
    """Decode and prepare in a thread, so far ahead and no further."""

    def prepare(sample_id: str) -> list[_Picture]:
        image = dataset.image(sample_id)
        digest = image_sha256(image)
        pictures = []
        for number, view in enumerate(views):
            pixels, geometry = backbone.prepare(image, scale=view.scale, flip=view.flip)
            pictures.append(_Picture(sample_id, number, pixels, geometry, digest))
        return pictures

    waiting: list[Future[list[_Picture]]] = []
    with ThreadPoolExecutor(max_workers=1) as pool:
        try:
            for sample_id in ids:
                waiting.append(pool.submit(prepare, sample_id))
                if len(waiting) * len(views) > ahead:
                    yield from waiting.pop(0).result()
            for future in waiting:
                yield from future.result()
        finally:
            for future in waiting:
                future.cancel()


def _placed(pictures: Iterator[_Picture], item: int) -> Iterator[_Picture]:
    """Give each picture the next free place in the file."""
    offset = 0
    for picture in pictures:
        yield _Picture(**{**vars(picture), "offset": offset})
        offset += _room(picture.geometry.grid[0] * picture.geometry.grid[1] * item)


def _room(nbytes: int) -> int:
    return -(-nbytes // ALIGNMENT) * ALIGNMENT


def _batches_of_one_size(pictures: Iterator[_Picture], batch_size: int) -> Iterator[list[_Picture]]:
    """Collect pictures of one size until a batch is full; rare sizes wait, but not more than eight batches in all."""
    waiting: OrderedDict[tuple[int, int], list[_Picture]] = OrderedDict()
    for picture in pictures:
        size = picture.geometry.padded
        waiting.setdefault(size, []).append(picture)
        if len(waiting[size]) == batch_size:
            yield waiting.pop(size)
        elif sum(map(len, waiting.values())) >= 8 * batch_size:
            yield waiting.popitem(last=False)[1]
    yield from waiting.values()
