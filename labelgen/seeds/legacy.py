"""Seed files of published code, in one table: dictionaries of maps in .npy files, with classes numbered from 0.

================  ===========================================================================================
psa (SEAM, EPS)   `{c: (H, W) float32}`, c from 0 without background
psa-crf           `{0: background, c + 1: (H, W) float32}`: probabilities of a CRF, numbered with background
irn (AdvCAM, ...) `keys` (c from 0), `high_res` (K, H, W), and `cam`, a tensor at a quarter of the size
irn-cam           the same files, `cam` in place of `high_res`
clipes            `keys` (c from 0), `attn_highres` (K, H, W) float16
================  ===========================================================================================

Here the classes of a map are vocabulary ids, the numbers with and without background are translated once, in this
file, and background is a plane of its own.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float32

from labelgen.data.pickled import read_npy
from labelgen.data.tags import foreground_ids
from labelgen.errors import ConfigError, DataError
from labelgen.vocab import Vocabulary

__all__ = ["SEED_FORMATS", "SeedFormat", "Seeds", "format_named", "read_seeds", "write_seeds"]

IRN_STRIDE = 4  # of `cam`: IRN's make_cam step


@dataclass(frozen=True)
class Seeds:
    """What a seed file says about one image.

    Parameters
    ----------
    class_ids
        Vocabulary ids of the classes that have a map, strictly increasing, without background.
    maps
        Their maps, as the file has them.
    background
        The plane of background, where the file has one.
    """

    class_ids: tuple[int, ...]
    maps: Float32[np.ndarray, "C H W"]
    background: Float32[np.ndarray, "H W"] | None = None


@dataclass(frozen=True)
class SeedFormat:
    """One row of `SEED_FORMATS`.

    Parameters
    ----------
    decode
        `decode(content, size)` gives numbers of classes, their maps, and what is numbered: `background` first or not.
    encode
        `encode(numbers, maps)` gives the dictionary to save.
    background_first
        Whether class 0 is background.
    rule
        Background rule of the code that writes such files; empty where they hold a background.
    about
        For the help.
    """

    decode: Callable[[Mapping[Any, Any], tuple[int, int]], "dict[int, np.ndarray]"]
    encode: Callable[["dict[int, np.ndarray]"], dict[Any, Any]]
    background_first: bool
    rule: str
    about: str


def read_seeds(path: Path, seed_format: str, vocabulary: Vocabulary, *, size: tuple[int, int]) -> Seeds:
    """Read the seed file of one image, without executing anything that it names.

    Parameters
    ----------
    size
        `(H, W)` of the image, which every map must have.

    Raises
    ------
    ConfigError
        When the format is unknown, or has a background and the vocabulary none.
    DataError
        When the file is none of this format, names a class that the vocabulary lacks, holds a value that is not
        finite, or maps of another size.
    """
    row, content = format_named(seed_format), read_npy(path)
    if not isinstance(content, dict):
        raise DataError(
            f"a seed file must hold a dictionary, got {type(content).__name__} in {path}", hint=f"{row.about}"
        )
    try:
        planes = row.decode(content, size)
    except (KeyError, TypeError, ValueError, IndexError) as error:
        keys = ", ".join(map(repr, list(content)[:5]))
        raise DataError(
            f"not a seed file of the format {seed_format}: {path} holds {keys or 'nothing'} "
            f"({type(error).__name__}: {error})",
            hint=f"{seed_format}: {row.about}; others: {', '.join(SEED_FORMATS)}",
        ) from error
    ids = _ids_of_numbers(row, vocabulary)
    for number, plane in planes.items():
        if not 0 <= number < len(ids):
            raise DataError(
                f"class numbers must lie in [0, {len(ids)}) for {vocabulary.name!r}, got {number} in {path}",
                hint="is it the right --vocab, and the right format? psa numbers without background, psa-crf with it",
            )
        if plane.shape != size:
            raise DataError(
                f"maps must have the size {size} of the image, got {plane.shape} for class {number} in {path}",
                hint="nothing is resized silently: are these seeds of these images, at their full size? irn-cam reads "
                "`cam`, maps at a quarter of it",
            )
        if not np.isfinite(plane).all():
            raise DataError(
                f"maps must be finite, got NaN or infinity for class {number} in {path}",
                hint="a map of zeros divided by its largest value gives NaN; write this file anew",
            )
    by_id = {ids[number]: plane.astype(np.float32) for number, plane in planes.items()}
    background = by_id.pop(ids[0], None) if row.background_first else None
    if row.background_first and background is None:
        raise DataError(f"no background, number 0, in {path}", hint=f"{seed_format}: {row.about}")
    class_ids = tuple(sorted(by_id))
    maps = np.stack([by_id[i] for i in class_ids]) if class_ids else np.zeros((0, *size), np.float32)
    return Seeds(class_ids, maps, background)


def write_seeds(seeds: Seeds, seed_format: str, vocabulary: Vocabulary) -> bytes:
    """The bytes of a seed file that published code reads; it unpickles them, as it does its own.

    Raises
    ------
    ConfigError
        As `read_seeds`.
    DataError
        When the format needs a background and the seeds have none.
    """
    import io

    row = format_named(seed_format)
    number_of = {class_id: number for number, class_id in enumerate(_ids_of_numbers(row, vocabulary))}
    planes = {number_of[i]: plane for i, plane in zip(seeds.class_ids, seeds.maps, strict=True)}
    if row.background_first:
        if seeds.background is None:
            raise DataError(
                f"the format {seed_format} needs a plane of background, but the seeds have none",
                hint="psa and the others do without",
            )
        planes[0] = seeds.background
    stream = io.BytesIO()
    np.save(stream, row.encode(dict(sorted(planes.items()))), allow_pickle=True)  # type: ignore[arg-type]
    return stream.getvalue()


def format_named(name: str) -> SeedFormat:
    """The row of a format.

    Raises
    ------
    ConfigError
        When there is none of this name.
    """
    if name not in SEED_FORMATS:
        known = "; ".join(f"{key}: {row.about}" for key, row in SEED_FORMATS.items())
        raise ConfigError(f"unknown format of seeds {name!r}", hint=known)
    return SEED_FORMATS[name]


def _ids_of_numbers(row: SeedFormat, vocabulary: Vocabulary) -> tuple[int, ...]:
    """Vocabulary id of each number in a file."""
    if vocabulary.background is None and row.background_first:
        raise ConfigError(
            f"the format has a background, but vocabulary {vocabulary.name!r} has no such class",
            hint="use a vocabulary with background, such as voc",
        )
    foreground = foreground_ids(vocabulary)
    return (vocabulary.background, *foreground) if row.background_first else foreground  # type: ignore[return-value]


def _plain_decode(content: Mapping[Any, Any], size: tuple[int, int]) -> dict[int, np.ndarray]:
    return {_number(key): _plane(value) for key, value in content.items()}


def _plain_encode(planes: dict[int, np.ndarray]) -> dict[Any, Any]:
    return {number: plane.astype(np.float32) for number, plane in planes.items()}


def _keyed_decode(name: str) -> Callable[[Mapping[Any, Any], tuple[int, int]], dict[int, np.ndarray]]:
    def decode(content: Mapping[Any, Any], size: tuple[int, int]) -> dict[int, np.ndarray]:
        numbers = [_number(key) for key in np.asarray(content["keys"]).reshape(-1)]
        maps = np.asarray(content[name])
        if len(maps) != len(numbers) or len(set(numbers)) != len(numbers):
            raise ValueError(f"{len(numbers)} keys, some of them twice or without one of the {len(maps)} maps")
        planes = {number: _plane(plane) for number, plane in zip(numbers, maps, strict=True)}
        return {n: _enlarged(plane, size) for n, plane in planes.items()} if name == "cam" else planes

    return decode


def _irn_encode(planes: dict[int, np.ndarray]) -> dict[Any, Any]:
    """IRN moves `keys` and `cam` to its device, so they have to be tensors."""
    import torch

    maps = np.stack(list(planes.values())) if planes else np.zeros((0, 1, 1), np.float32)
    side = [-(-length // IRN_STRIDE) for length in maps.shape[1:]]
    reduced = [_resized(plane, (side[0], side[1])) for plane in maps]
    small = np.stack(reduced) if reduced else np.zeros((0, *side), np.float32)
    return {
        "keys": torch.tensor(list(planes), dtype=torch.int64),
        "cam": torch.from_numpy(small),
        "high_res": maps.astype(np.float32),
    }


def _clipes_encode(planes: dict[int, np.ndarray]) -> dict[Any, Any]:
    maps = np.stack(list(planes.values())) if planes else np.zeros((0, 1, 1))
    return {"keys": np.array(list(planes), np.int64), "attn_highres": maps.astype(np.float16)}


def _enlarged(plane: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Four times as large and cropped, as IRN does before it makes labels of `cam`."""
    if plane.shape != tuple(-(-length // IRN_STRIDE) for length in size):
        raise ValueError(f"`cam` must have a quarter of the size {size}, got {plane.shape}")
    whole = _resized(plane, (plane.shape[0] * IRN_STRIDE, plane.shape[1] * IRN_STRIDE))
    return whole[: size[0], : size[1]]


def _resized(plane: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Bilinear, pixels as areas (`align_corners=False`)."""
    import cv2

    return cv2.resize(plane.astype(np.float32), (size[1], size[0]), interpolation=cv2.INTER_LINEAR)


def _number(key: Any) -> int:
    if isinstance(key, bool) or not isinstance(key, int | np.integer):
        raise TypeError(f"classes must be whole numbers, got {key!r}")
    return int(key)


def _plane(value: Any) -> np.ndarray:
    if not isinstance(value, np.ndarray) or value.ndim != 2 or value.dtype.kind != "f":
        raise TypeError("a map must be an array of rows and columns of decimal numbers")
    return value


SEED_FORMATS: dict[str, SeedFormat] = {
    "psa": SeedFormat(_plain_decode, _plain_encode, False, "fixed:psa", "{class from 0: map}; also SEAM and EPS"),
    "psa-crf": SeedFormat(_plain_decode, _plain_encode, True, "", "{0: background, class from 1: map} after a CRF"),
    "irn": SeedFormat(
        _keyed_decode("high_res"), _irn_encode, False, "fixed:irn", "keys and high_res; also AdvCAM and ReCAM"
    ),
    "irn-cam": SeedFormat(
        _keyed_decode("cam"), _irn_encode, False, "fixed:irn", "keys and cam, at a quarter of the size"
    ),
    "clipes": SeedFormat(_keyed_decode("attn_highres"), _clipes_encode, False, "power:1", "keys and attn_highres"),
}
