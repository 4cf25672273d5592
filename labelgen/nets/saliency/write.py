"""Saliency maps of a data set written as grey pictures, with a file that says where they come from."""

import io
import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float32

from labelgen.data.dataset import Dataset
from labelgen.errors import ConfigError, DataError, ShapeError
from labelgen.masks import write_atomic
from labelgen.nets.saliency.folder import FACTS_FILE
from labelgen.nets.saliency.source import SaliencySource

__all__ = ["WrittenSaliency", "encode_saliency", "write_saliency"]

LEVELS = 255  # of an 8-bit picture


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
    ConfigError
        When the folder holds maps that were made otherwise.
    """
    facts = source.facts()
    _claim(out, facts, overwrite=overwrite)
    done, skipped, total, failed = 0, 0, 0.0, {}
    for number, sample_id in enumerate(dataset.ids, start=1):
        path = out / f"{sample_id}.png"
        if path.is_file() and not overwrite:
            skipped += 1
        else:
            try:
                saliency, _ = source.map(sample_id, dataset.image(sample_id))
            except (DataError, ShapeError) as error:
                failed[sample_id] = str(error)
            else:
                write_atomic(path, encode_saliency(saliency))
                done, total = done + 1, total + float(saliency.mean())
        if progress is not None:
            progress(number, len(dataset.ids), sample_id if sample_id in failed else "")
    return WrittenSaliency(out, done, skipped, failed, total / done if done else 0.0, facts)


def encode_saliency(saliency: Float32[np.ndarray, "H W"]) -> bytes:
    """The bytes of an 8-bit grey PNG, 255 for 1, rounded to the nearest level.

    Examples
    --------
    >>> encode_saliency(np.zeros((2, 3), np.float32))[1:4]
    b'PNG'
    """
    from PIL import Image

    stream = io.BytesIO()
    Image.fromarray(np.rint(saliency * LEVELS).astype(np.uint8)).save(stream, format="PNG", compress_level=6)
    return stream.getvalue()


def _claim(out: Path, facts: dict[str, Any], *, overwrite: bool) -> None:
    """Note in the folder where its maps come from, unless it says otherwise."""
    if facts.get("folder") is not None and Path(facts["folder"]).resolve() == out.resolve():
        raise ConfigError(f"maps cannot be written over those they are read from, got {out} for both")
    if out.exists() and not out.is_dir():
        raise ConfigError(f"maps need a folder, got the file {out}")
    path = out / FACTS_FILE
    text = json.dumps(facts, indent=2, ensure_ascii=False, allow_nan=False) + "\n"
    if not overwrite and path.is_file() and path.read_text(encoding="utf-8") != text:
        raise ConfigError(
            f"{out} holds maps that were made with other settings ({path.name} says which)",
            hint="another --out, or --overwrite",
        )
    if not overwrite and not path.is_file() and out.is_dir() and any(out.rglob("*.png")):
        raise ConfigError(f"{out} holds pictures that this command did not write", hint="another --out")
    write_atomic(path, text.encode())
