"""The pages of a preview: labels over the image, the scores of a class, and all of it on one sheet."""

import numpy as np
from PIL import Image, ImageDraw

from labelgen.masks import LabelMap
from labelgen.report.labelled import ClassFacts, Preview
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
    scores_at,
    shown_size,
    text_that_fits,
    with_names,
)

__all__ = ["contact_sheet", "heat_page", "overlay_page"]

MOST_ENTRIES = 20  # of the legend
CLEAR = (255, 255, 255)
PANEL = 380  # pixels of the long side of a picture in the contact sheet
COLUMNS = 3


def overlay_page(preview: Preview) -> Image.Image:
    """The image under its labels, with a legend to the right."""
    size = shown_size(preview.mask.size)
    labels = labels_at(preview.labels, size)
    picture = _named_overlay(preview, picture_at(preview.image, size), labels, text_size=17)
    return _page(preview.name, picture, legend(_entries(preview)))


def _named_overlay(preview: Preview, image: np.ndarray, labels: LabelMap, *, text_size: int) -> np.ndarray:
    """Labels over the image, each class with its name where it has room, so that no colour needs to be told apart."""
    picture = label_overlay(image, labels, preview.vocabulary, preview.colours)
    names = {f.id: f.name for f in preview.classes if f.id in preview.colours}
    return with_names(picture, labels, names, text_size=text_size)


def heat_page(preview: Preview, facts: ClassFacts) -> Image.Image:
    """The scores of one class over the grey image, with a colour bar."""
    size = shown_size(preview.mask.size)
    top = preview.top_of(facts)
    picture = heat_map(picture_at(preview.image, size), scores_at(preview.scores_of(facts), size), top=top)
    how = "wins no pixel; before any rule" if facts.runner_up else f"{_percent(facts.share)} of the image"
    title = f"{facts.name}   {how}, best score {_score(facts.best_score)}"
    return _page(title, picture, colour_bar(size[0], top=top))


def contact_sheet(preview: Preview) -> Image.Image:
    """Image, labels, confidence and the heat maps of the largest classes beside each other, and the legend."""
    size = shown_size(preview.mask.size, smallest=PANEL, largest=PANEL)
    image = picture_at(preview.image, size)
    overlay = _named_overlay(preview, image, labels_at(preview.labels, size), text_size=13)
    panels = [("image", image), (f"labels, {_percent(preview.coverage)} of the pixels", overlay)]
    panels += [("confidence: best score", heat_map(image, scores_at(preview.confidence, size), top=preview.top))]
    panels += [
        (_panel_title(preview, f), heat_map(image, scores_at(preview.scores_of(f), size), top=preview.top_of(f)))
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


def _panel_title(preview: Preview, facts: ClassFacts) -> str:
    if facts.share:
        return f"{facts.name}   {_percent(facts.share)}"
    return f"{facts.name}   no pixel; colours 0 to {preview.top_of(facts):.3g}"


def _score(score: float) -> str:
    """A score with the digits that say something.

    Examples
    --------
    >>> _score(0.361), _score(0.0004), _score(0.00000004)
    ('0.36', '0.0004', '< 0.0001')
    """
    return f"{score:.2f}" if score >= 0.01 else f"{score:.4f}" if score >= 0.0001 else "< 0.0001"


def _entries(preview: Preview) -> list[LegendEntry]:
    colours, background = preview.colours, preview.vocabulary.background
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
