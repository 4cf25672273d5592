"""The contact sheet of a run: some of its images with truth, labels and errors beside each other, in one picture."""

import io
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

from labelgen.errors import RunFolderError
from labelgen.masks import write_atomic
from labelgen.report.overlays import ERRORS, error_picture, label_picture, swatch_of
from labelgen.report.pictures import GAP, INK, font, paper, text_that_fits
from labelgen.report.run_section import percent
from labelgen.report.views import Shown, View, colours_over
from labelgen.vocab import Colour, Vocabulary

__all__ = ["SHEET_IMAGES", "run_sheet", "spread", "write_run_sheet"]

SHEET_IMAGES = 24
SIDE = 160  # pixels of the long side of a panel
QUALITY = 88  # of the JPEG
TEXT = 12
NAMES = 10  # pixels of the names of classes on a panel
LINE = 20  # pixels of a line of the legend
GROUPS = 2  # images beside each other where each has four panels, twice as many where it has two
INSET = 4  # pixels between the panels of one image

Panel = tuple[str, np.ndarray]


def spread(ids: Sequence[str], most: int) -> list[str]:
    """At most so many ids, evenly over all of them.

    Examples
    --------
    >>> spread("abcdefgh", 3), spread("ab", 3)
    (['a', 'c', 'f'], ['a', 'b'])
    """
    count = min(most, len(ids))
    return [ids[number * len(ids) // count] for number in range(count)]


def run_sheet(shown: Shown, *, title: str) -> Image.Image:
    """Draw the sheet: image, truth where there is any, labels, errors; a legend with the classes above.

    Parameters
    ----------
    title
        What stands above; nothing that depends on where the run lies.
    """
    views = [shown.view(sample_id, side=SIDE) for sample_id in spread(shown.source.ids, SHEET_IMAGES)]
    vocabulary = shown.vocabulary
    colours = colours_over(views, vocabulary)
    rows = [(view, panels_of(view, vocabulary, colours)) for view in views]
    most = max((len(panels) for _, panels in rows), default=1)
    groups = GROUPS * (2 if most <= 2 else 1)
    width = groups * (most * (SIDE + INSET) + GAP) + GAP
    legend = _legend(width - 2 * GAP, vocabulary, colours, errors=shown.has_truth)
    blocks = [_block(view, panels, most) for view, panels in rows]
    lines = [blocks[start : start + groups] for start in range(0, len(blocks), groups)]
    height = 3 * GAP + 26 + legend.height + sum(max(b.height for b in line) + GAP for line in lines)
    sheet = paper((height, width))
    text = text_that_fits(title, font(18), width - 2 * GAP)
    ImageDraw.Draw(sheet).text((GAP, GAP + 12), text, fill=INK, font=font(18), anchor="lm")
    sheet.paste(legend, (GAP, GAP + 30))
    top = 2 * GAP + 30 + legend.height
    for line in lines:
        for number, block in enumerate(line):
            sheet.paste(block, (GAP + number * (most * (SIDE + INSET) + GAP), top))
        top += max(block.height for block in line) + GAP
    return sheet


def panels_of(view: View, vocabulary: Vocabulary, colours: dict[int, Colour], *, text_size: int = NAMES) -> list[Panel]:
    """Name and picture of each panel of one image."""
    panels: list[Panel] = [("image", view.image)]
    if view.truth is not None:
        panels.append(("truth", label_picture(view.image, view.truth, vocabulary, colours, text_size=text_size)))
    if view.labels is not None:
        drawn = label_picture(view.image, view.labels, vocabulary, colours, strokes=view.strokes, text_size=text_size)
        panels.append(("labels", drawn))
    if view.errors is not None:
        panels.append(("errors", error_picture(view.image, view.errors, strokes=view.strokes)))
    return panels


def write_run_sheet(path: Path, shown: Shown, *, title: str) -> None:
    """Write the sheet as JPEG; the same labels give the same bytes with the same version of Pillow.

    Raises
    ------
    RunFolderError
        When the file cannot be written.
    """
    stream = io.BytesIO()
    run_sheet(shown, title=title).save(stream, format="JPEG", quality=QUALITY, optimize=True)
    try:
        write_atomic(path, stream.getvalue(), durable=False)
    except OSError as error:
        raise RunFolderError(f"the contact sheet cannot be written to {path} ({error.strerror or error})") from error


def _block(view: View, panels: Sequence[Panel], most: int) -> Image.Image:
    """The panels of one image under its name."""
    height = max(picture.shape[0] for _, picture in panels)
    block = paper((height + LINE, most * (SIDE + INSET)))
    draw = ImageDraw.Draw(block)
    note = view.note or ("" if view.coverage == 1 else f"{percent(view.coverage)} labelled")
    text = f"{view.id}   {note}".rstrip()
    shown = text_that_fits(text, font(TEXT), block.width)
    draw.text((0, LINE // 2 - 1), shown, fill=INK, font=font(TEXT), anchor="lm")
    for number, (_, picture) in enumerate(panels):
        block.paste(Image.fromarray(picture), (number * (SIDE + INSET), LINE))
    return block


def _legend(width: int, vocabulary: Vocabulary, colours: dict[int, Colour], *, errors: bool) -> Image.Image:
    """Classes with their colours, then the kinds of pixels of the last panel, in lines as they fit."""
    order = "image, truth, labels, errors" if errors else "image, labels"
    entries: list[tuple[Image.Image | None, str]] = [(None, f"{order}.")]
    entries += [(Image.new("RGB", (18, 14), colour), vocabulary.classes[i]) for i, colour in colours.items()]
    if vocabulary.background is not None:
        entries.append((Image.new("RGB", (18, 14), (255, 255, 255)), f"{vocabulary.classes[vocabulary.background]} "))
    shown = ERRORS if errors else {255: ERRORS[255]}
    entries += [(None, "Errors:")] if errors else []
    entries += [(Image.fromarray(swatch_of(kind, (14, 18))), meaning) for kind, (_, meaning) in shown.items()]
    places, left, line = [], 0, 0
    for swatch, text in entries:
        wide = int(font(TEXT).getlength(text)) + (24 if swatch else 0) + 14
        if left and (left + wide > width or text == "Errors:"):
            left, line = 0, line + 1
        places.append((left, line))
        left += wide
    sheet = paper(((line + 1) * LINE, width))
    draw = ImageDraw.Draw(sheet)
    for (swatch, text), (x, row) in zip(entries, places, strict=True):
        middle = row * LINE + LINE // 2
        if swatch:
            sheet.paste(swatch, (x, middle - 7))
            draw.rectangle((x, middle - 7, x + 17, middle + 6), outline=(118, 118, 118))
        draw.text((x + (24 if swatch else 0), middle), text, fill=INK, font=font(TEXT), anchor="lm")
    return sheet
