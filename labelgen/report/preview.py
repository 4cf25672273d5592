"""The files of a preview: overlay, heat maps, contact sheet, labels, and the figures behind them."""

import io
import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from labelgen.errors import RunFolderError
from labelgen.masks import encode_mask, write_atomic
from labelgen.report.labelled import ClassFacts, Preview
from labelgen.report.pages import contact_sheet, heat_page, overlay_page
from labelgen.untrusted import parse_json, read_bounded

__all__ = ["write_preview"]

MOST_HEAT_MAPS = 12
FACTS = "preview.json"


def write_preview(preview: Preview, out: Path, *, facts: dict[str, Any]) -> dict[str, Any]:
    """Write the pictures and `preview.json` into a folder, in place of those of an earlier preview.

    Parameters
    ----------
    facts
        What else `preview.json` says: method, settings, models.

    Returns
    -------
    dict
        The content of `preview.json`.

    Raises
    ------
    RunFolderError
        When the folder cannot be written.
    """
    shown = preview.classes[:MOST_HEAT_MAPS]
    pictures = {"overlay.png": overlay_page(preview), "sheet.png": contact_sheet(preview)}
    pictures |= dict(zip(heat_names(shown), (heat_page(preview, one) for one in shown), strict=True))
    document = {
        **facts,
        "coverage": preview.coverage,
        "classes": [vars(one) for one in preview.classes],
        "warnings": list(preview.mask.warnings),
        "details": dict(preview.mask.details),
        "files": [*pictures, "labels.png", FACTS],
    }
    try:
        for name in _files_of(out / FACTS):
            (out / name).unlink(missing_ok=True)
        for name, picture in pictures.items():
            write_atomic(out / name, _png(picture), durable=False)
        write_atomic(out / "labels.png", encode_mask(preview.labels, palette=preview.vocabulary.colours))
        write_atomic(out / FACTS, (json.dumps(document, indent=2, ensure_ascii=False, default=_plain) + "\n").encode())
    except OSError as error:
        raise RunFolderError(f"the preview cannot be written to {out}: {error}", hint="give another --out") from error
    return document


def heat_names(classes: Sequence[ClassFacts]) -> list[str]:
    """File names of heat maps: the class in plain letters, with its id where two would be alike.

    Examples
    --------
    >>> heat_names([ClassFacts(3, "a dog", 0, 0, 1), ClassFacts(4, "a/b", 0, 0, 1), ClassFacts(5, "a b", 0, 0, 1)])
    ['heat_a_dog.png', 'heat_4_a_b.png', 'heat_5_a_b.png']
    """
    plain = [re.sub(r"[^\w-]+", "_", facts.name).strip("_").lower()[:60] for facts in classes]
    return [
        f"heat_{name}.png" if name and plain.count(name) == 1 else f"heat_{facts.id}_{name}.png".replace("_.", ".")
        for name, facts in zip(plain, classes, strict=True)
    ]


def _png(picture: Image.Image) -> bytes:
    stream = io.BytesIO()
    picture.save(stream, format="PNG")
    return stream.getvalue()


def _files_of(path: Path) -> list[str]:
    """Files in this folder that an earlier preview wrote, by its own account."""
    try:
        names = list(parse_json(read_bounded(path))["files"])
    except (OSError, ValueError, KeyError, TypeError):
        return []
    return [name for name in names if isinstance(name, str) and Path(name).name == name and name.endswith(".png")]


def _plain(value: Any) -> Any:
    if isinstance(value, np.generic | np.ndarray):
        return value.tolist()
    raise TypeError(f"facts must be JSON values, got {type(value).__name__}")
