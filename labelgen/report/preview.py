"""One labelled image looked at: overlay, heat maps, a contact sheet and the figures behind them."""

import io
import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float32, UInt8
from PIL import Image, ImageDraw

from labelgen.errors import RunFolderError
from labelgen.masks import LabelMap, SoftMask, encode_mask, harden, write_atomic
from labelgen.report.pictures import (
    GAP,
    INK,
    LegendEntry,
    colour_bar,
    columns_of,
    font,
    heat_map,
    label_overlay,
    labels_at,
    legend,
    paper,
    picture_at,
    round_top,
    scores_at,
    shown_size,
    text_that_fits,
)
from labelgen.vocab import Vocabulary

__all__ = ["ClassFacts", "Preview", "write_preview"]

MOST_ENTRIES = 20  # of the legend
MOST_HEAT_MAPS = 12
CLEAR = (255, 255, 255)
PANEL = 380  # pixels of the long side of a picture in the contact sheet
COLUMNS = 3
FACTS = "preview.json"


@dataclass(frozen=True)
class ClassFacts:
    """One class in one image.

    Parameters
    ----------
    id, name
        Of the vocabulary.
    share
        Of all pixels of the image, in [0, 1].
    mean_score
        Mean score of the class over the pixels that it won; 0 if none.
    best_score
        Greatest score of the class anywhere.
    """

    id: int
    name: str
    share: float
    mean_score: float
    best_score: float


@dataclass(frozen=True, eq=False)
class Preview:
    """A labelled image.

    Parameters
    ----------
    name
        Of the image, for titles.
    """

    name: str
    image: UInt8[np.ndarray, "H W 3"]
    mask: SoftMask
    vocabulary: Vocabulary

    @cached_property
    def labels(self) -> LabelMap:
        """The best class of each pixel, the ignore id where all abstain."""
        return harden(self.mask, ignore=self.vocabulary.ignore)

    @cached_property
    def coverage(self) -> float:
        """Share of pixels with a label."""
        return float((self.labels != self.vocabulary.ignore).mean())

    @cached_property
    def classes(self) -> tuple[ClassFacts, ...]:
        """Every class that has a score somewhere; the largest share first, then the best score."""
        facts = [
            self._facts(class_id, plane) for class_id, plane in zip(self.mask.class_ids, self.mask.scores, strict=True)
        ]
        return tuple(sorted((f for f in facts if f.best_score > 0), key=lambda f: (-f.share, -f.best_score, f.id)))

    def _facts(self, class_id: int, plane: np.ndarray) -> ClassFacts:
        won = self.labels == class_id
        mean = float(plane[won].mean(dtype=np.float64)) if won.any() else 0.0
        name = self.vocabulary.classes[class_id]
        return ClassFacts(class_id, name, float(won.mean()), mean, float(plane.max()))

    def scores_of(self, class_id: int) -> Float32[np.ndarray, "H W"]:
        """The plane of one class."""
        return self.mask.scores[self.mask.class_ids.index(class_id)]

    @property
    def confidence(self) -> Float32[np.ndarray, "H W"]:
        """The best score of each pixel."""
        scores = self.mask.scores
        return scores.max(axis=0) if len(scores) else np.zeros(self.mask.size, np.float32)

    @cached_property
    def top(self) -> float:
        """The score at the upper end of all colour bars of this image, so that its maps can be compared."""
        return round_top(max((facts.best_score for facts in self.classes), default=1.0))


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
            write_atomic(out / name, _png(picture))
        write_atomic(out / "labels.png", encode_mask(preview.labels, palette=preview.vocabulary.colours))
        write_atomic(out / FACTS, (json.dumps(document, indent=2, ensure_ascii=False, default=_plain) + "\n").encode())
    except OSError as error:
        raise RunFolderError(f"the preview cannot be written to {out}: {error}", hint="give another --out") from error
    return document


def overlay_page(preview: Preview) -> Image.Image:
    """The image under its labels, with a legend to the right."""
    size = shown_size(preview.mask.size)
    labels = labels_at(preview.labels, size)
    picture = label_overlay(picture_at(preview.image, size), labels, preview.vocabulary)
    return _page(preview.name, picture, legend(_entries(preview)))


def heat_page(preview: Preview, facts: ClassFacts) -> Image.Image:
    """The scores of one class over the grey image, with a colour bar."""
    size = shown_size(preview.mask.size)
    picture = heat_map(picture_at(preview.image, size), scores_at(preview.scores_of(facts.id), size), top=preview.top)
    title = f"{facts.name}   {_percent(facts.share)} of the image, best score {facts.best_score:.2f}"
    return _page(title, picture, colour_bar(size[0], top=preview.top))


def contact_sheet(preview: Preview) -> Image.Image:
    """Image, labels, confidence and the heat maps of the largest classes beside each other, and the legend."""
    size = shown_size(preview.mask.size, smallest=PANEL, largest=PANEL)
    image = picture_at(preview.image, size)
    overlay = label_overlay(image, labels_at(preview.labels, size), preview.vocabulary)
    panels = [("image", image), (f"labels, {_percent(preview.coverage)} of the pixels", overlay)]
    panels += [("confidence: best score", heat_map(image, scores_at(preview.confidence, size), top=preview.top))]
    panels += [
        (f"{f.name}   {_percent(f.share)}", heat_map(image, scores_at(preview.scores_of(f.id), size), top=preview.top))
        for f in preview.classes[: 3 * COLUMNS]
    ]
    grid = columns_of([(title, Image.fromarray(picture)) for title, picture in panels], columns=COLUMNS)
    keys = legend(_entries(preview))
    bar = colour_bar(size[0], top=preview.top)
    title_height = 40
    height = max(grid.height, keys.height + bar.height + 4 * GAP)
    sheet = paper((height + title_height + GAP, grid.width + max(keys.width, bar.width) + 4 * GAP))
    _title(sheet, preview.name, size=20)
    sheet.paste(grid, (GAP, title_height))
    left = grid.width + 3 * GAP
    sheet.paste(keys, (left, title_height + 28))
    sheet.paste(bar, (left, title_height + 28 + keys.height + 2 * GAP))
    return sheet


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


def _entries(preview: Preview) -> list[LegendEntry]:
    colours, background = preview.vocabulary.colours, preview.vocabulary.background
    present = [facts for facts in preview.classes if facts.share > 0]
    entries: list[LegendEntry] = [
        (CLEAR, f"{f.name} (not coloured)", _percent(f.share))
        if f.id == background
        else (colours[f.id], f.name, _percent(f.share))
        for f in present[:MOST_ENTRIES]
    ]
    if len(present) > MOST_ENTRIES:
        rest = present[MOST_ENTRIES:]
        entries.append((CLEAR, f"{len(rest)} more classes", _percent(sum(f.share for f in rest))))
    if preview.coverage < 1:
        entries.append((None, "unlabelled", _percent(1 - preview.coverage)))
    return entries


def _page(title: str, picture: np.ndarray, beside: Image.Image) -> Image.Image:
    """A picture with a title above and something to its right."""
    head = 44
    height = max(picture.shape[0], beside.height)
    sheet = paper((head + height + GAP, picture.shape[1] + beside.width + 4 * GAP))
    _title(sheet, title, size=20)
    sheet.paste(Image.fromarray(picture), (GAP, head))
    sheet.paste(beside, (picture.shape[1] + 3 * GAP, head))
    return sheet


def _title(sheet: Image.Image, text: str, *, size: int) -> None:
    shown = text_that_fits(text, font(size), sheet.width - 2 * GAP)
    ImageDraw.Draw(sheet).text((GAP, 22), shown, fill=INK, font=font(size), anchor="lm")


def _percent(share: float) -> str:
    """A share as people read it: no digits that say nothing.

    Examples
    --------
    >>> _percent(0.5), _percent(0.034), _percent(0.0001), _percent(0)
    ('50 %', '3.4 %', '< 0.1 %', '0 %')
    """
    if 0 < share < 0.001:
        return "< 0.1 %"
    return f"{100 * share:.0f} %" if share >= 0.1 or share == 0 else f"{100 * share:.1f} %"


def _png(picture: Image.Image) -> bytes:
    stream = io.BytesIO()
    picture.save(stream, format="PNG")
    return stream.getvalue()


def _files_of(path: Path) -> list[str]:
    """Files in this folder that an earlier preview wrote, by its own account."""
    try:
        names = json.loads(path.read_text(encoding="utf-8"))["files"]
    except (OSError, ValueError, KeyError, TypeError):
        return []
    return [name for name in names if isinstance(name, str) and Path(name).name == name and name.endswith(".png")]


def _plain(value: Any) -> Any:
    if isinstance(value, np.generic | np.ndarray):
        return value.tolist()
    raise TypeError(f"facts must be JSON values, got {type(value).__name__}")
