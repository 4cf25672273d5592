"""Make a feature cache, resuming what is there."""

import contextlib
import functools
import hashlib
import json
import platform
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from labelgen.errors import ConfigError, DataError, RunFolderError
from labelgen.locks import holders, lock_when_free, try_lock
from labelgen.writing import make_folder, sweep_temporaries
from segprobe.features.cache import DTYPES, FeatureCache, is_done, read_done_shard
from segprobe.features.layout import (
    SCHEMA,
    SHARD_IMAGES,
    View,
    read_json,
    refuse_stale,
    shard_ids,
    shard_path,
    write_json,
)
from segprobe.features.on_ray import Crew
from segprobe.features.shard import ShardJob
from segprobe.features.sources import Images, Network

__all__ = ["Progress", "build_cache", "build_shards", "cache_fingerprint", "cache_name", "missing_images"]

Progress = Callable[[int, int, str], None]


def cache_fingerprint(
    dataset: Images,
    ids: Sequence[str],
    backbone: Network,
    *,
    views: Sequence[View] = (View(),),
    dtype: str = "float16",
) -> dict[str, Any]:
    """Everything that changes a value in the cache, as plain JSON values.

    Of the data it holds layout, root and split, not vocabulary and tags, which do not touch images; the pixels
    themselves are hashed while the cache is made, and compared by `FeatureCache.verify`.
    """
    spec = dataset.spec.to_json()
    digest = hashlib.sha256("\n".join(sorted(ids)).encode()).hexdigest()
    return {
        "backbone": backbone.fingerprint(),
        "data": {key: spec[key] for key in ("kind", "root", "split")},
        "ids": {"count": len(ids), "sha256": digest},
        "views": [view.to_json() for view in views],
        "dtype": dtype,
    }


def cache_name(fingerprint: Mapping[str, Any]) -> str:
    """Folder name that differs whenever the fingerprint does.

    Examples
    --------
    >>> cache_name({"backbone": {"name": "vit_tiny.dino"}, "data": {"kind": "voc", "split": "train"}})
    'vit_tiny.dino-voc-train-7e806d0849f8'
    """
    digest = hashlib.sha256(json.dumps(fingerprint, sort_keys=True).encode()).hexdigest()[:12]
    data = fingerprint["data"]
    words = (fingerprint["backbone"]["name"], data["kind"], data["split"], digest)
    return "-".join(re.sub(r"[^\w.]+", "_", word) for word in words if word)


def build_cache(
    dataset: Images,
    ids: Sequence[str],
    backbone: Network,
    folder: Path | str,
    *,
    views: Sequence[View] = (View(),),
    dtype: str = "float16",
    batch_size: int = 8,
    crew: Crew | None = None,
    progress: Progress | None = None,
) -> FeatureCache:
    """Compute the tokens of all `ids` in all `views`, or finish a cache that was begun, and open it.

    Parameters
    ----------
    batch_size
        Pictures of one size that go through the backbone together. A cache that was begun keeps its own.
    crew
        Actors of a Ray cluster that compute them; None computes in this process.
    progress
        Called as `progress(images done, images in all, "")`.

    Raises
    ------
    RunFolderError
        When the folder holds other features, or cannot be written.
    DataError
        When there are no ids, or an image cannot be read; finished shards stay.
    ConfigError
        When a token does not fit `dtype`.
    """
    complete = build_shards(
        dataset, ids, backbone, folder, views=views, dtype=dtype, batch_size=batch_size, crew=crew, progress=progress
    )
    if not complete:
        raise AssertionError("one process makes all shards")
    return FeatureCache.open(folder)


def build_shards(
    dataset: Images,
    ids: Sequence[str],
    backbone: Network,
    folder: Path | str,
    *,
    shard: tuple[int, int] = (1, 1),
    views: Sequence[View] = (View(),),
    dtype: str = "float16",
    batch_size: int = 8,
    crew: Crew | None = None,
    progress: Progress | None = None,
) -> bool:
    """Compute part `i` of `n` of a cache: shards `i`, `i + n`, ...; whoever finishes the last one completes it.

    Returns
    -------
    bool
        Whether the whole cache is complete now.
    """
    folder = Path(folder)
    _check(ids, views, dtype, batch_size, shard)
    fingerprint = cache_fingerprint(dataset, ids, backbone, views=views, dtype=dtype)
    parts = shard_ids(ids)
    made_with = {"batch_size": batch_size, **(crew.arithmetic(backbone) if crew else _arithmetic(backbone))}
    manifest = _begin(folder, fingerprint, backbone, shards=len(parts), made_with=made_with)
    own = range(shard[0] - 1, len(parts), shard[1])
    total, done = sum(len(parts[number]) for number in own), 0

    def count(images: int = 1) -> None:
        nonlocal done
        done += images
        if progress:
            progress(done, total, "")

    job = ShardJob(
        folder, parts, dataset, views=tuple(views), dtype=dtype, batch_size=manifest["made_with"]["batch_size"]
    )
    try:
        if crew:
            left = [number for number in own if not is_done(folder, number)]
            count(total - sum(len(parts[number]) for number in left))
            crew.write(job, left, backbone, on_images=count)
        else:
            for number in _shared_out(folder, own):
                if is_done(folder, number):
                    count(len(parts[number]))
                else:
                    job.write(number, backbone, on_image=count)
        return _complete_if_done(folder, manifest)
    except OSError as error:
        raise _unwritable(folder, error) from error


def _shared_out(folder: Path, own: Iterable[int]) -> Iterator[int]:
    """Shards to look at, each under its lock; those that other processes are making come last, when they let go."""
    taken = []
    for number in own:
        if is_done(folder, number):  # nothing is written, so that a complete cache may be read-only
            yield number
            continue
        lock = try_lock(shard_path(folder, number, "lock"))
        if lock is None:
            taken.append(number)
            continue
        with lock:
            yield number
    for number in taken:
        lock = lock_when_free(shard_path(folder, number, "lock"), done=functools.partial(is_done, folder, number))
        with lock or contextlib.nullcontext():
            yield number


def _complete_if_done(folder: Path, manifest: dict[str, Any]) -> bool:
    """Write the final manifest when all shards are done, one process after the other; say whether it is written."""
    if not all(is_done(folder, number) for number in range(manifest["shards"])):
        return False
    path = folder / "manifest.json"
    if read_json(path)["state"] != "complete":
        with lock_when_free(folder / "manifest.lock") or contextlib.nullcontext():
            if read_json(path)["state"] != "complete":
                _complete(folder, manifest)
    with contextlib.suppress(OSError):  # what killed processes left harms nobody where it cannot be removed
        sweep_temporaries(folder)
        holders(folder)
    return True


def missing_images(folder: Path, ids: Sequence[str]) -> list[str]:
    """Images whose features are not in a cache yet, which need not exist."""
    parts = enumerate(shard_ids(ids))
    return [sample_id for number, part in parts if not is_done(folder, number) for sample_id in part]


def _check(ids: Sequence[str], views: Sequence[View], dtype: str, batch_size: int, shard: tuple[int, int]) -> None:
    if not ids:
        raise DataError("features need at least one image, got an empty list of ids")
    if len(set(ids)) != len(ids):
        raise DataError(f"the ids of a cache must be unique, got {len(ids)} ids of which {len(set(ids))} differ")
    if dtype not in DTYPES:
        raise ConfigError(f"features are kept as {' or '.join(DTYPES)}, got {dtype!r}")
    if not views or len(set(views)) != len(views):
        raise ConfigError(f"a cache needs one or more different views, got {list(views)}")
    if batch_size < 1:
        raise ConfigError(f"batch_size must be >= 1, got {batch_size}")
    if not 1 <= shard[0] <= shard[1]:
        raise ConfigError(f"shard i/n must have 1 <= i <= n, got {shard[0]}/{shard[1]}")


def _begin(
    folder: Path, fingerprint: dict[str, Any], backbone: Network, *, shards: int, made_with: dict[str, Any]
) -> dict[str, Any]:
    """Manifest of the cache, made now or found and compared."""
    path = folder / "manifest.json"
    if path.is_file():
        manifest = read_json(path)
        refuse_stale(folder, {"schema": manifest.get("schema")}, {"schema": SCHEMA})
        refuse_stale(folder, manifest["fingerprint"], fingerprint)
        return manifest
    manifest = {
        "schema": SCHEMA,
        "state": "running",
        "fingerprint": fingerprint,
        "shards": shards,
        "shard_images": SHARD_IMAGES,
        "dim": backbone.spec.dim,
        "made_with": {
            "machine": platform.machine(),
            "torch": torch.__version__,
            "weights_from": backbone.spec.weights_from,
            **made_with,
        },
    }
    try:
        make_folder(folder)
        if any(not entry.match(".*.tmp") for entry in folder.iterdir()):
            if path.is_file():  # another process began it just now
                return _begin(folder, fingerprint, backbone, shards=shards, made_with=made_with)
            raise RunFolderError(f"{folder} is not empty and not a feature cache", hint="give another folder")
        write_json(path, manifest)
    except OSError as error:
        raise _unwritable(folder, error) from error
    return manifest


def _arithmetic(backbone: Network) -> dict[str, Any]:
    return {"device": str(backbone.device), "threads": torch.get_num_threads()}


def _unwritable(folder: Path, error: OSError) -> RunFolderError:
    return RunFolderError(
        f"features cannot be written to {folder} ({error.strerror or error})",
        hint="is the disk full or the folder read-only? What is done is kept; the same command goes on",
    )


def _complete(folder: Path, manifest: dict[str, Any]) -> None:
    """Add up the sums of all shards in their order and write the final manifest."""
    indices = [read_done_shard(folder, number) for number in range(manifest["shards"])]
    count = sum(index.count for index in indices)
    mean = np.sum([index.sums for index in indices], axis=0) / count
    variance = np.sum([index.squares for index in indices], axis=0) / count - np.square(mean)
    # float64 sums of float16 values: below this share of the mean square, variance is rounding
    constant = variance <= 1e-12 * (np.square(mean) + 1e-12)
    std = np.where(constant, 1.0, np.sqrt(np.maximum(variance, 0.0)))
    done = {**manifest, "state": "complete", "tokens": count, "mean": mean.tolist(), "std": std.tolist()}
    write_json(folder / "manifest.json", done)
