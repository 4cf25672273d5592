"""Put the pages together: a report on runs with pictures, and the page of `labelgen quality` without."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from labelgen.report.comparison import comparison_section
from labelgen.report.conventions import quality_conventions
from labelgen.report.gallery import Album, GalleryOptions, gallery_of, picks_of, share_out
from labelgen.report.html import Card, Page, Section, refuse_foreign_page, render, write_page
from labelgen.report.measured import MeasuredRun
from labelgen.report.run_section import run_section

__all__ = ["INDEX", "MOST_BYTES", "ReportOptions", "Written", "quality_page", "write_report"]

INDEX = "index.html"
MOST_BYTES = 5_000_000
"""Size of a report with its pictures that is not exceeded by default."""
DIFFERING = 12  # images on which several runs differ most
FEWEST = (3, 1, 1)  # images of a run in its galleries however many runs there are


@dataclass(frozen=True)
class ReportOptions:
    """What a report shows.

    Parameters
    ----------
    galleries
        Images of a report on one run; several runs share them.
    standalone
        Put pictures into the page.
    most_bytes
        Of page and pictures together; images are left out beyond.
    """

    galleries: GalleryOptions = field(default_factory=GalleryOptions)
    standalone: bool = False
    most_bytes: int = MOST_BYTES


@dataclass(frozen=True)
class Written:
    """What was written: the page, and bytes and number of its pictures."""

    page: Path
    page_bytes: int
    picture_bytes: int
    pictures: int


def write_report(folder: Path, runs: Sequence[MeasuredRun], options: ReportOptions) -> Written:
    """Write `index.html` and, unless they are inside it, `pictures/` beside it.

    Raises
    ------
    RunFolderError
        When they cannot be written, or an index.html of somebody else is there.
    """
    refuse_foreign_page(folder / INDEX)
    album = Album(options.standalone)
    bare = quality_page(runs)
    room = max(0, options.most_bytes - len(render(bare).encode()))
    budget = room / (len(runs) + (1 if len(runs) > 1 else 0))
    wanted = _wanted(options.galleries, len(runs))
    sections: list[Section] = []
    if len(runs) > 1:
        sections.append(comparison_section(runs, album, images=DIFFERING, budget=budget))
    for number, run in enumerate(runs, start=1):
        anchor = f"run-{number}"
        galleries = gallery_of(run, picks_of(run, wanted), album, anchor=anchor, budget=budget)
        sections.append(run_section(run, anchor=anchor, galleries=galleries))
    page = Page(bare.title, bare.lead, sections, bare.conventions)
    used = [picture for card in _cards(sections) for picture in card.pictures]
    picture_bytes = 0 if options.standalone else album.write(folder, used)
    size = write_page(folder / INDEX, page)
    return Written(folder / INDEX, size, picture_bytes, len(used))


def quality_page(runs: Sequence[MeasuredRun]) -> Page:
    """The page of `labelgen quality`: tables and plots, no pictures."""
    sections: list[Section] = []
    if len(runs) > 1:
        sections.append(comparison_section(runs, Album(), images=0, budget=0))
    sections += [run_section(run, anchor=f"run-{number}") for number, run in enumerate(runs, start=1)]
    return Page(_title(runs), _lead(runs), sections, (quality_conventions(),))


def _wanted(galleries: GalleryOptions, runs: int) -> GalleryOptions:
    """Galleries of each of several runs: the images of one run shared out, a few for each at least."""
    full = (galleries.worst, galleries.median, galleries.best)
    if runs == 1:
        return galleries
    each = share_out(sum(full) // runs, full)
    return GalleryOptions(*(min(all_, max(some, few)) for all_, some, few in zip(full, each, FEWEST, strict=True)))


def _cards(sections: Sequence[Section]) -> list[Card]:
    return [card for section in sections for gallery in section.galleries for card in gallery.cards]


def _title(runs: Sequence[MeasuredRun]) -> str:
    return f"Label quality: {runs[0].name}" if len(runs) == 1 else f"Label quality of {len(runs)} runs"


def _lead(runs: Sequence[MeasuredRun]) -> str:
    if len(runs) == 1 and (document := runs[0].document) is not None:
        method = runs[0].header.get("method")
        made = f"by {method}" if method else "from a plain folder of masks"
        return f"Labels of {document['num_images']} images, {made}, against their truth; and what they look like."
    names = ", ".join(run.name for run in runs)
    if all(run.document is None for run in runs):
        return f"{names}: labels without truth, so how much is labelled and not how well."
    return f"{names}: labels against the truth, and what they look like."
