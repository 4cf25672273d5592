"""Drawing: labels and scores over an image, colour bars, legends, text that fits."""

from collections.abc import Mapping, Sequence
from functools import lru_cache
from pathlib import Path

import numpy as np
from jaxtyping import Bool, Float, Float32, Integer, UInt8
from PIL import Image, ImageDraw, ImageFont

from labelgen.masks import LabelMap
from labelgen.vocab import Colour, Vocabulary

__all__ = [
    "CLEAR_COLOURS",
    "GAP",
    "INK",
    "LegendEntry",
    "colour_bar",
    "columns_of",
    "font",
    "hatched",
    "heat_map",
    "label_overlay",
    "labels_at",
    "legend",
    "outlines",
    "paper",
    "picture_at",
    "round_top",
    "scores_at",
    "shown_size",
    "text_that_fits",
    "with_names",
]

PAPER, INK, FAINT = (255, 255, 255), (32, 32, 32), (118, 118, 118)
CLEAR_COLOURS: tuple[Colour, ...] = (
    (213, 94, 0), (86, 180, 233), (0, 158, 115), (240, 228, 66), (204, 121, 167), (0, 114, 178), (230, 159, 0),
    (107, 47, 0), (196, 225, 246), (0, 79, 57), (250, 245, 190), (102, 60, 83), (0, 57, 89), (247, 217, 153),
)  # fmt: skip
"""Told apart with every kind of colour vision: the seven of Okabe & Ito, "Color Universal Design" (2008), then the same
darker and lighter in turn."""
GAP = 12  # pixels between things
SMALLEST, LARGEST = 720, 1280  # pixels of the long side of a picture of its own
TINT = 0.55  # of the class colour over the image
HEAT = 0.72  # of the colour map over the grey image
COLOURS = "magma"  # dark to light evenly, for the colour-blind too
NARROWEST, WIDEST = 220, 480  # pixels of a legend
SLIMMEST = 180  # pixels of a cell of the contact sheet, so that there is room for its title
NAMED = 0.01  # share of the picture from which on a class gets its name written on it
TEXT, BAR_TEXT = 16, 14  # pixels of text in legends and titles, and beside a colour bar
HATCH = 10  # pixels from stripe to stripe over what has no label
LegendEntry = tuple[Colour | None, str, str]
"""Colour (None: hatched, without a label), name, and what stands to its right."""


def shown_size(size: tuple[int, int], *, smallest: int = SMALLEST, largest: int = LARGEST) -> tuple[int, int]:
    """`(H, W)` at which an image is drawn: its own, unless its long side is out of bounds.

    Examples
    --------
    >>> shown_size((128, 160)), shown_size((3000, 4000)), shown_size((600, 800))
    ((576, 720), (960, 1280), (600, 800))
    """
    factor = min(max(*size, smallest), largest) / max(size)
    return max(1, round(size[0] * factor)), max(1, round(size[1] * factor))


def picture_at(image: UInt8[np.ndarray, "H W 3"], size: tuple[int, int]) -> UInt8[np.ndarray, "h w 3"]:
    """The image at another size, smooth."""
    if image.shape[:2] == size:
        return image
    return np.asarray(Image.fromarray(image).resize((size[1], size[0]), Image.Resampling.LANCZOS))


def labels_at(labels: LabelMap, size: tuple[int, int]) -> Integer[np.ndarray, "h w"]:
    """The labels at another size: of the nearest pixel, never mixed."""
    rows = (np.arange(size[0]) * labels.shape[0] + labels.shape[0] // 2) // size[0]
    cols = (np.arange(size[1]) * labels.shape[1] + labels.shape[1] // 2) // size[1]
    return labels[rows[:, None], cols]


def scores_at(scores: Float32[np.ndarray, "H W"], size: tuple[int, int]) -> Float32[np.ndarray, "h w"]:
    """One plane of scores at another size, bilinear."""
    if scores.shape == size:
        return scores
    return np.asarray(Image.fromarray(scores).resize((size[1], size[0]), Image.Resampling.BILINEAR))


def round_top(best: float) -> float:
    """The upper end of a colour bar for scores up to `best`, so that its quarters are short numbers.

    Examples
    --------
    >>> round_top(0.85), round_top(0.31), round_top(0.04), round_top(1.0), round_top(0.0)
    (1.0, 0.4, 0.04, 1.0, 1.0)
    """
    if best <= 0:
        return 1.0
    magnitude = 10.0 ** np.floor(np.log10(best))
    return round(float(magnitude * next(n for n in (1, 2, 4, 6, 8, 10) if n * magnitude >= best * (1 - 1e-6))), 12)


def outlines(labels: LabelMap) -> Bool[np.ndarray, "H W"]:
    """Pixels on either side of a change of label.

    Examples
    --------
    >>> outlines(np.array([[1, 1, 2, 2]], np.uint8)).tolist()
    [[False, True, True, False]]
    """
    edge = np.zeros(labels.shape, bool)
    for axis in (0, 1):
        before = tuple(slice(None, -1) if a == axis else slice(None) for a in (0, 1))
        after = tuple(slice(1, None) if a == axis else slice(None) for a in (0, 1))
        changed = labels[before] != labels[after]
        edge[before] |= changed
        edge[after] |= changed
    return edge


def label_overlay(
    image: UInt8[np.ndarray, "H W 3"], labels: LabelMap, vocabulary: Vocabulary, colours: Mapping[int, Colour]
) -> UInt8[np.ndarray, "H W 3"]:
    """Labels in these colours over the image: background clear, unlabelled hatched, outlines white."""
    table = np.zeros((max(int(labels.max()), vocabulary.num_classes) + 1, 3), np.float32)
    for class_id, colour in colours.items():
        table[class_id] = colour
    canvas = image.astype(np.float32)
    tinted = labels != vocabulary.ignore
    if vocabulary.background is not None:
        tinted &= labels != vocabulary.background
    canvas[tinted] += TINT * (table[labels[tinted]] - canvas[tinted])
    empty = labels == vocabulary.ignore
    canvas[empty] = hatched(image)[empty]
    canvas[outlines(labels)] = 255
    return np.rint(canvas).astype(np.uint8)


def with_names(
    picture: UInt8[np.ndarray, "H W 3"],
    labels: LabelMap,
    names: Mapping[int, str],
    *,
    text_size: int,
    dots: bool = False,
) -> UInt8[np.ndarray, "H W 3"]:
    """The name of each class where it is farthest from its edges; none for classes too small for it.

    A name never covers another: it moves by a line within its class, or is left out.

    Parameters
    ----------
    dots
        Whether the labels are dots: names then stand beside them, however small they are.
    """
    import cv2

    sheet, face = Image.fromarray(picture), font(text_size)
    draw = ImageDraw.Draw(sheet)
    taken: list[tuple[float, float, float, float]] = []
    for class_id, name in names.items():
        region = np.pad(labels == class_id, 1)
        if region.mean() < (0 if dots else NAMED) or not region.any():
            continue
        depth = cv2.distanceTransform(region.view(np.uint8), cv2.DIST_L2, cv2.DIST_MASK_PRECISE)
        row, col = (int(place) - 1 for place in np.unravel_index(depth.argmax(), depth.shape))
        text = text_that_fits(name, face, sheet.width - 8)
        half = face.getlength(text) / 2 + 4
        col = min(max(col, half), max(sheet.width - half, half))
        column = min(int(col), sheet.width - 1)  # a picture may be narrower than any name
        rows = _rows_of_name(labels == class_id, row, column, depth=float(depth.max()), text_size=text_size, dots=dots)
        for wanted in rows:
            middle = min(max(wanted, 0.7 * text_size), sheet.height - 0.7 * text_size)
            box = (col - half, middle - 0.6 * text_size, col + half, middle + 0.6 * text_size)
            if not any(box[0] < b[2] and b[0] < box[2] and box[1] < b[3] and b[1] < box[3] for b in taken):
                taken.append(box)
                draw.text((col, middle), text, fill=PAPER, font=face, anchor="mm", stroke_width=2, stroke_fill=INK)
                break
    return np.asarray(sheet)


def _rows_of_name(region: np.ndarray, row: int, col: int, *, depth: float, text_size: int, dots: bool) -> list[float]:
    """Where the name of a region may stand, the best first: on it, or above and below a dot."""
    if dots:
        away = depth + 0.8 * text_size
        return [row + away, row - away] if row < 2 * away else [row - away, row + away]
    lines = [round(row + step * text_size) for step in (0, 1.3, -1.3, 2.6, -2.6)]
    return [line for line in lines if 0 <= line < region.shape[0] and region[line, col]] or [row]


def hatched(image: UInt8[np.ndarray, "H W 3"]) -> UInt8[np.ndarray, "H W 3"]:
    """The image in pale grey under stripes: here is no label."""
    rows, cols = np.ogrid[: image.shape[0], : image.shape[1]]
    grey = 0.35 * _grey(image) + 0.65 * 255 * 0.85
    grey[(rows + cols) % HATCH < 2] *= 0.6
    return np.rint(np.repeat(grey[..., None], 3, axis=2)).astype(np.uint8)


def heat_map(
    image: UInt8[np.ndarray, "H W 3"], scores: Float32[np.ndarray, "H W"], *, top: float
) -> UInt8[np.ndarray, "H W 3"]:
    """Scores from 0 to `top` in colour over the grey image."""
    colour = colours_of(np.clip(scores / top, 0, 1))
    return np.rint(HEAT * colour + (1 - HEAT) * _grey(image)[..., None]).astype(np.uint8)


def colours_of(values: Float[np.ndarray, "*shape"]) -> Float32[np.ndarray, "*shape 3"]:
    """Colours of values in [0, 1], as numbers in [0, 255]."""
    from matplotlib import colormaps

    return (255 * colormaps[COLOURS](values)[..., :3]).astype(np.float32)


def _grey(image: np.ndarray) -> np.ndarray:
    return np.asarray(Image.fromarray(image).convert("L"), np.float32)


def colour_bar(height: int, *, top: float) -> Image.Image:
    """A bar from 0 to `top` with its numbers and what they are, `height` pixels high or a little more."""
    head = round(1.8 * BAR_TEXT)
    length = max(height - head, 2 * BAR_TEXT)
    bar = colours_of(np.linspace(1, 0, length)[:, None].repeat(18, axis=1))
    marks = [top * share for share in (0, 0.25, 0.5, 0.75, 1)] if length >= 6 * BAR_TEXT else [0.0, top]
    texts = [f"{mark:.3g}" for mark in marks]
    wide = max(int(font(BAR_TEXT).getlength(text)) for text in [*texts, "score"])
    sheet = paper((head + length, 18 + 8 + wide + 4))
    sheet.paste(Image.fromarray(np.rint(bar).astype(np.uint8)), (0, head))
    draw = ImageDraw.Draw(sheet)
    draw.text((0, head / 2), "score", fill=INK, font=font(BAR_TEXT), anchor="lm")
    for mark, text in zip(marks, texts, strict=True):
        row = (1 - mark / top) * (length - 1)
        row = head + min(max(row, BAR_TEXT * 0.55), length - BAR_TEXT * 0.6)
        draw.text((26, row), text, fill=INK, font=font(BAR_TEXT), anchor="lm")
    return sheet


def legend(entries: Sequence[LegendEntry]) -> Image.Image:
    """Swatch, name and a note to the right for each entry, one under the other; as wide as its names, within bounds."""
    line, face = round(1.7 * TEXT), font(TEXT)
    needed = max((face.getlength(name) + face.getlength(note) for _, name, note in entries), default=0)
    width = int(min(max(needed + 3 * TEXT + GAP, NARROWEST), WIDEST))
    sheet = paper((max(1, line * len(entries)), width))
    draw = ImageDraw.Draw(sheet)
    for number, (colour, name, note) in enumerate(entries):
        middle = number * line + line // 2
        box = (0, middle - TEXT // 2 - 1, TEXT + 2, middle + TEXT // 2 + 1)
        _swatch(sheet, box, colour)
        right = width - int(face.getlength(note))
        draw.text((width, middle), note, fill=FAINT, font=face, anchor="rm")
        left = TEXT + 12
        draw.text((left, middle), text_that_fits(name, face, right - left - 12), fill=INK, font=face, anchor="lm")
    return sheet


def _swatch(sheet: Image.Image, box: tuple[int, int, int, int], colour: Colour | None) -> None:
    if colour is None:
        size = box[3] - box[1], box[2] - box[0]
        sheet.paste(Image.fromarray(hatched(np.full((*size, 3), 150, np.uint8))), box[:2])
    ImageDraw.Draw(sheet).rectangle(box, fill=colour, outline=FAINT)


def text_that_fits(text: str, face: ImageFont.FreeTypeFont, width: float) -> str:
    """The text, or as much of it as fits into `width` pixels with an ellipsis.

    Examples
    --------
    >>> text_that_fits("potted plant", font(16), 1000)
    'potted plant'
    >>> text_that_fits("potted plant", font(16), 60).endswith("…")
    True
    """
    if face.getlength(text) <= width:
        return text
    while text and face.getlength(text + "…") > width:
        text = text[:-1]
    return text.rstrip() + "…"


@lru_cache(maxsize=16)
def font(size: int) -> ImageFont.FreeTypeFont:
    """DejaVu Sans, which knows the accents of most languages; matplotlib brings it along."""
    import matplotlib

    return ImageFont.truetype(str(Path(matplotlib.get_data_path()) / "fonts" / "ttf" / "DejaVuSans.ttf"), size)


def paper(size: tuple[int, int]) -> Image.Image:
    """An empty sheet of `(H, W)` pixels."""
    return Image.new("RGB", (size[1], size[0]), PAPER)


def columns_of(pictures: Sequence[tuple[str, Image.Image]], *, columns: int) -> Image.Image:
    """Titled pictures in rows of `columns`, each cell as large as the largest picture."""
    width = max(SLIMMEST, *(picture.width for _, picture in pictures))
    height = max(picture.height for _, picture in pictures)
    title = round(1.8 * TEXT)
    rows = -(-len(pictures) // columns)
    columns = min(columns, len(pictures))
    sheet = paper((rows * (height + title + GAP) - GAP, columns * (width + GAP) - GAP))
    draw = ImageDraw.Draw(sheet)
    for number, (text, picture) in enumerate(pictures):
        left = (number % columns) * (width + GAP)
        above = (number // columns) * (height + title + GAP)
        shown = text_that_fits(text, font(TEXT), width)
        draw.text((left, above + title // 2), shown, fill=INK, font=font(TEXT), anchor="lm")
        sheet.paste(picture, (left, above + title))
    return sheet
