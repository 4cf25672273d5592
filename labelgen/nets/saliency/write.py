"""Saliency maps of a data set written as grey pictures, with a file that says where they come from."""

import hashlib
import io
import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float32, UInt8

from labelgen.data.dataset import Dataset
from labelgen.errors import ConfigError, DataError
from labelgen.masks import write_atomic
from labelgen.nets.saliency.folder import FACTS_FILE
from labelgen.nets.saliency.source import SaliencySource
from labelgen.store.layout import check_ids
from labelgen.untrusted import opened_picture

__all__ = ["WrittenSaliency", "encode_saliency", "sha256_of_image", "write_saliency"]

LEVELS = 255  # of an 8-bit picture
MADE_FROM = "image_sha256"
"""Keyword of the text in the PNG of a map that says which image it belongs to; see `sha256_of_image`."""


@dataclass(frozen=True)
class WrittenSaliency:
    """What `write_saliency` did.

    Parameters
    ----------
    out
        The folder.
    done, skipped
        Maps written by this call, and before.
    failed
        id to sentence of the images that gave no map.
    mean
        Mean saliency over the maps of this call; 0 where there are none.
    facts
        As written beside the maps.
    """

    out: Path
    done: int
    skipped: int
    failed: dict[str, str]
    mean: float
    facts: dict[str, Any]


def write_saliency(
    dataset: Dataset,
    source: SaliencySource,
    out: Path,
    *,
    overwrite: bool = False,
    progress: Callable[[int, int, str], None] | None = None,
) -> WrittenSaliency:
    """Write `ID.png` for every image of a data set, and `saliency.json`; started again, it makes what is missing.

    Each map names the pixels that it was made from, so that one of another image of the same id is never kept.

    Parameters
    ----------
    out
        Folder; made if need be.
    overwrite
        Write all maps anew, also over those of another source.
    progress
        Called with images done, images in all, and a note.

    Raises
    ------
    RunFolderError
        When an id is no safe file name.
    ConfigError
        When the folder holds maps that were made otherwise, or of other images.
    """
    check_ids(dataset.ids)
    facts = source.facts()
    _refuse_other_maps(out, facts, overwrite=overwrite)
    there = [] if overwrite else [i for i in dataset.ids if _map_file(out, i).is_file()]
    done, total, failed = 0, 0.0, {}

    def tell(number: int, sample_id: str) -> None:
        if progress is not None:
            progress(number, len(dataset.ids), sample_id if sample_id in failed else "")

    for number, sample_id in enumerate(there, start=1):  # before anything is written among them
        try:
            _refuse_other_image(_map_file(out, sample_id), dataset.image(sample_id), dataset)
        except DataError as error:
            failed[sample_id] = str(error)
        tell(number, sample_id)
    skipped = len(there) - len(failed)
    write_atomic(out / FACTS_FILE, _facts_text(facts).encode())
    for number, sample_id in enumerate(sorted(set(dataset.ids).difference(there)), start=len(there) + 1):
        try:
            image = dataset.image(sample_id)
            saliency, _ = source.map(sample_id, image)
        except DataError as error:
            failed[sample_id] = str(error)
        else:
            write_atomic(_map_file(out, sample_id), encode_saliency(saliency, made_from=sha256_of_image(image)))
            done, total = done + 1, total + float(saliency.mean())
        tell(number, sample_id)
    return WrittenSaliency(out, done, skipped, failed, total / done if done else 0.0, facts)


def sha256_of_image(image: UInt8[np.ndarray, "H W 3"]) -> str:
    """Hash of the size and the pixels of an image, whatever file held them.

    Examples
    --------
    >>> wide, high = np.zeros((1, 2, 3), np.uint8), np.zeros((2, 1, 3), np.uint8)
    >>> sha256_of_image(wide) == sha256_of_image(high)
    False
    """
    digest = hashlib.sha256(repr(image.shape).encode())
    digest.update(image.tobytes())
    return digest.hexdigest()


def encode_saliency(saliency: Float32[np.ndarray, "H W"], *, made_from: str = "") -> bytes:
    """The bytes of an 8-bit grey PNG, 255 for 1, rounded to the nearest level.

    Parameters
    ----------
    made_from
        Hash of the image, written into the PNG as text; empty for none.

    Examples
    --------
    >>> encode_saliency(np.zeros((2, 3), np.float32))[1:4]
    b'PNG'
    """
    from PIL import Image, PngImagePlugin

    text = PngImagePlugin.PngInfo()
    if made_from:
        text.add_text(MADE_FROM, made_from)
    stream = io.BytesIO()
    picture = Image.fromarray(np.rint(saliency * LEVELS).astype(np.uint8))
    picture.save(stream, format="PNG", compress_level=6, pnginfo=text)
    return stream.getvalue()


def _map_file(out: Path, sample_id: str) -> Path:
    return out / f"{sample_id}.png"


def _facts_text(facts: dict[str, Any]) -> str:
    return json.dumps(facts, indent=2, ensure_ascii=False, allow_nan=False) + "\n"


def _refuse_other_image(path: Path, image: UInt8[np.ndarray, "H W 3"], dataset: Dataset) -> None:
    """Refuse a map that was not made from this image."""
    try:
        with opened_picture(path) as picture:
            made_from = picture.info.get(MADE_FROM)
    except (OSError, ValueError):
        made_from = None
    if made_from == sha256_of_image(image):
        return
    where = " ".join(filter(None, (dataset.spec.kind, dataset.spec.root, dataset.spec.split)))
    what = f"was made from another image than the one of this name in {where}"
    if made_from is None:
        what = "does not say which image it was made from"
    raise ConfigError(f"the map {path} {what}", hint="another --out, or --overwrite to make the maps anew")


def _refuse_other_maps(out: Path, facts: dict[str, Any], *, overwrite: bool) -> None:
    """Refuse a folder that says that its maps come from elsewhere, or does not say where from."""
    if facts.get("folder") is not None and Path(facts["folder"]).resolve() == out.resolve():
        raise ConfigError(f"maps cannot be written over those they are read from, got {out} for both")
    if out.exists() and not out.is_dir():
        raise ConfigError(f"maps need a folder, got the file {out}")
    path = out / FACTS_FILE
    if not overwrite and path.is_file() and path.read_text(encoding="utf-8") != _facts_text(facts):
        raise ConfigError(
            f"{out} holds maps that were made with other settings ({path.name} says which)",
            hint="another --out, or --overwrite",
        )
    if not overwrite and not path.is_file() and out.is_dir() and any(out.rglob("*.png")):
        raise ConfigError(f"{out} holds pictures that this command did not write", hint="another --out")
