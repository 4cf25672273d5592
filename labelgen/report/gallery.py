"""Galleries of a report: which images are shown, and their pictures, kept below a number of bytes."""

import base64
import hashlib
import io
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from PIL import Image

from labelgen.errors import RunFolderError
from labelgen.masks import write_atomic
from labelgen.report.html import Card, Gallery, Picture
from labelgen.report.measured import MeasuredRun
from labelgen.report.run_section import percent
from labelgen.report.run_sheet import panels_of
from labelgen.report.views import View, colours_over
from labelgen.vocab import Colour, Vocabulary

__all__ = ["Album", "GalleryOptions", "Pick", "card_of", "gallery_of", "picks_of", "share_out", "text_size_of"]

SIDE = 320  # pixels of the long side of a picture
TEXT = 1 / 16  # height of the names on it, as a share of its long side: it is shown at about half its size
QUALITY = 80  # of the JPEG
FOLDER = "pictures"
PREFIX = "labelgen-"  # of the files in it, so that those of an earlier report can be told from others'
HASH = 16  # hex digits of the content in a file name
TITLES = ("Worst", "Around the median", "Best")
LABEL_TITLES = ("Least labelled", "In the middle", "Most labelled")
CARD = 2000  # bytes of the text of a card, about


@dataclass(frozen=True)
class GalleryOptions:
    """How many images of each kind are shown, at most."""

    worst: int = 20
    median: int = 10
    best: int = 5


@dataclass(frozen=True)
class Pick:
    """An image and what is said of it."""

    id: str
    note: str


@dataclass
class Album:
    """Pictures of a page, in files beside it or inside it.

    Parameters
    ----------
    standalone
        Put pictures into the page.
    """

    standalone: bool = False
    files: dict[str, bytes] = field(default_factory=dict)

    def add(self, array: np.ndarray, *, alt: str, caption: str) -> tuple[Picture, int]:
        """A picture, and how many bytes it takes; the same picture is kept once."""
        stream = io.BytesIO()
        Image.fromarray(array).save(stream, format="JPEG", quality=QUALITY, optimize=True)
        content = stream.getvalue()
        height, width = array.shape[:2]
        if self.standalone:
            src = f"data:image/jpeg;base64,{base64.b64encode(content).decode()}"
            cost = len(src)
        else:
            name = f"{PREFIX}{hashlib.sha256(content).hexdigest()[:HASH]}.jpg"
            src, cost = f"{FOLDER}/{name}", 0 if name in self.files else len(content)
            self.files[name] = content
        return Picture(src, alt, caption, width, height), cost

    def write(self, folder: Path, used: Sequence[Picture]) -> int:
        """Write the files of the pictures that the page uses, and remove those of an earlier page; returns their bytes.

        Raises
        ------
        RunFolderError
            When one cannot be written.
        """
        wanted = {picture.src.rpartition("/")[2] for picture in used} & set(self.files)
        try:
            for name in sorted(wanted):
                write_atomic(folder / FOLDER / name, self.files[name], durable=False)
            for path in sorted((folder / FOLDER).glob(f"{PREFIX}*.jpg")):
                if path.name not in wanted:
                    path.unlink(missing_ok=True)
        except OSError as error:
            raise RunFolderError(
                f"pictures cannot be written below {folder} ({error.strerror or error})", hint="choose another --out"
            ) from error
        return sum(len(self.files[name]) for name in wanted)


def share_out(available: int, wanted: Sequence[int]) -> list[int]:
    """How many each gets when there are fewer than wanted: in proportion, the rest to the first that want more.

    Examples
    --------
    >>> share_out(100, (20, 10, 5)), share_out(8, (20, 10, 5)), share_out(1, (20, 10, 5)), share_out(3, (0, 0, 0))
    ([20, 10, 5], [5, 2, 1], [1, 0, 0], [0, 0, 0])
    """
    total = sum(wanted)
    if total <= available:
        return list(wanted)
    found = [available * number // total for number in wanted]
    for place, number in enumerate(wanted):
        found[place] += min(number - found[place], available - sum(found))
    return found


def picks_of(run: MeasuredRun, options: GalleryOptions) -> dict[str, list[Pick]]:
    """Title of each gallery to its images, no image twice.

    With truth images are ranked by their mIoU, without by how much of them is labelled.
    """
    if run.evaluation is None:
        ranked = sorted(run.images, key=lambda image: (image.coverage, image.id))
        notes = [Pick(image.id, f"{percent(image.coverage)} labelled") for image in ranked]
        titles = LABEL_TITLES
    else:
        rows = [row for row in run.evaluation.images if not math.isnan(row.miou)]
        rows.sort(key=lambda row: (row.miou, row.id))
        names = run.evaluation.vocabulary.classes
        notes = []
        for row in rows:
            missed = f"; no label on {', '.join(names[i] for i in row.missed)}" if row.missed else ""
            notes.append(Pick(row.id, f"mIoU {row.miou:.3f}; {percent(row.coverage)} labelled{missed}"))
        titles = TITLES
    worst, median, best = share_out(len(notes), (options.worst, options.median, options.best))
    start = min(max(worst, (len(notes) - median) // 2), len(notes) - best - median)
    parts = (notes[:worst], notes[start : start + median], notes[len(notes) - best :][::-1])
    return {title: part for title, part in zip(titles, parts, strict=True) if part}


def gallery_of(
    run: MeasuredRun, picks: Mapping[str, Sequence[Pick]], album: Album, *, anchor: str, budget: float
) -> list[Gallery]:
    """Draw the galleries of one run; when they take more bytes than the budget the last images of the longest go.

    Parameters
    ----------
    budget
        Bytes.
    """
    cards: dict[str, list[tuple[Card, int]]] = {}
    for title, chosen in picks.items():
        for pick in chosen:
            view = run.shown.view(pick.id, side=SIDE)
            place = f"{anchor}-image-{sum(map(len, cards.values())) + 1}"
            card, cost = card_of(view, run.shown.vocabulary, pick.note, album, anchor=place)
            cards.setdefault(title, []).append((card, cost))
    left_out = 0
    while sum(cost for part in cards.values() for _, cost in part) > budget and any(len(p) > 1 for p in cards.values()):
        max(cards.values(), key=len).pop()
        left_out += 1
    by = "mIoU" if run.evaluation is not None else "labelled share"
    total = (
        len(run.images) if run.evaluation is None else sum(not math.isnan(row.miou) for row in run.evaluation.images)
    )
    note = f" {left_out} more are left out to keep the page small." if left_out else ""
    orders = {title: "highest" if title in (TITLES[-1], LABEL_TITLES[-1]) else "lowest" for title in cards}
    return [
        Gallery(
            title,
            [card for card, _ in part],
            f"{len(part)} of {total} images, {orders[title]} {by} first.{note if k == 0 else ''}",
        )
        for k, (title, part) in enumerate(cards.items())
    ]


def text_size_of(view: View) -> int:
    """Pixels of the names of classes on the pictures of a view."""
    return max(9, round(TEXT * max(view.image.shape)))


Panels = Callable[[View, Vocabulary, dict[int, Colour]], list[tuple[str, np.ndarray]]]


def card_of(
    view: View,
    vocabulary: Vocabulary,
    note: str,
    album: Album,
    *,
    anchor: str,
    panels: Panels | None = None,
    others: Sequence[View] = (),
) -> tuple[Card, int]:
    """One image of a gallery, and how many bytes its pictures take.

    Parameters
    ----------
    panels
        What is drawn; image, truth, labels and errors when left out.
    others
        Further views of the image of which something is drawn.
    """
    colours = colours_over([view, *others], vocabulary)
    pictures, total = [], 0
    drawn = (
        panels(view, vocabulary, colours)
        if panels
        else panels_of(view, vocabulary, colours, text_size=text_size_of(view))
    )
    for caption, array in drawn:
        picture, cost = album.add(array, alt=f"{caption} of {view.id}", caption=caption)
        pictures.append(picture)
        total += cost
    there = dict.fromkeys(class_id for one in (view, *others) for class_id in one.classes)
    names = [vocabulary.classes[class_id] for class_id in there]
    key = [(f"#{r:02x}{g:02x}{b:02x}", vocabulary.classes[class_id]) for class_id, (r, g, b) in colours.items()]
    text = f"{note}; {view.note}" if view.note else note
    total += CARD
    return Card(anchor, view.id, text, pictures, key, names), total
