"""Static pages: what they are made of, and how they are written. One template, one style sheet, a little script.

A page is a list of sections, and a section holds facts, figures, tables, plots and galleries. All text is escaped by
the template. The page asks nothing of any server; the script only sorts and filters what is there without it.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from markupsafe import Markup

from labelgen import __version__
from labelgen.errors import RunFolderError
from labelgen.masks import write_atomic

__all__ = [
    "Card",
    "Cell",
    "Column",
    "Fact",
    "Figure",
    "Gallery",
    "Headline",
    "Page",
    "Picture",
    "Section",
    "Table",
    "change",
    "count",
    "fraction",
    "missing",
    "refuse_foreign_page",
    "render",
    "text_cell",
    "write_page",
]

NONE = "-"
GENERATOR = '<meta name="generator" content="labelgen'
SEEN = 2000  # bytes at the beginning of a page in which its generator stands


@dataclass(frozen=True)
class Cell:
    """One cell of a table.

    Parameters
    ----------
    value
        What the column is sorted by; None comes last.
    kind
        Classes of the style sheet.
    """

    text: str
    value: float | str | None = None
    kind: str = ""


@dataclass(frozen=True)
class Column:
    """Head of a column: its title, and what it means."""

    title: str
    about: str = ""
    kind: str = "number"


@dataclass(frozen=True)
class Table:
    """A table that the script can sort."""

    title: str
    columns: Sequence[Column]
    rows: Sequence[Sequence[Cell]]
    caption: str = ""
    sortable: bool = True


@dataclass(frozen=True)
class Figure:
    """A plot with its title and what it shows."""

    title: str
    chart: Markup
    caption: str = ""
    wide: bool = False


@dataclass(frozen=True)
class Headline:
    """One of the figures that matter."""

    title: str
    value: str
    note: str = ""


@dataclass(frozen=True)
class Fact:
    """One line about where something comes from."""

    name: str
    value: str


@dataclass(frozen=True)
class Picture:
    """A picture.

    Parameters
    ----------
    src
        Where it lies beside the page, or the picture itself as a data address.
    alt
        What a person who does not see it reads.
    """

    src: str
    alt: str
    caption: str
    width: int
    height: int


@dataclass(frozen=True)
class Card:
    """One image of a gallery.

    Parameters
    ----------
    anchor
        Unique on the page; a link to it shows the card large.
    note
        Its figures.
    key
        Colour and name of each class that is coloured.
    classes
        Names of all classes in it, for the filter.
    """

    anchor: str
    title: str
    note: str
    pictures: Sequence[Picture]
    key: Sequence[tuple[str, str]]
    classes: Sequence[str]


@dataclass(frozen=True)
class Gallery:
    """Images in an order."""

    title: str
    cards: Sequence[Card]
    caption: str = ""


@dataclass(frozen=True)
class Section:
    """A part of a page; whatever it does not have is left out."""

    anchor: str
    title: str
    intro: Sequence[str] = ()
    warnings: Sequence[str] = ()
    headlines: Sequence[Headline] = ()
    facts: Sequence[Fact] = ()
    settings: Sequence[Fact] = ()
    tables: Sequence[Table] = ()
    figures: Sequence[Figure] = ()
    galleries: Sequence[Gallery] = ()
    errors_key: Sequence[tuple[str, str]] = ()


@dataclass(frozen=True)
class Page:
    """A page: title, a sentence below it, sections, and sections about how figures are counted at its end."""

    title: str
    lead: str
    sections: Sequence[Section]
    conventions: Sequence[Section] = ()


def missing() -> Cell:
    """A figure that there is none of."""
    return Cell(NONE, None, "missing")


def fraction(value: float | None, *, digits: int = 3) -> Cell:
    """A fraction with three decimals; what is not 0 is not shown as 0.

    Examples
    --------
    >>> fraction(0.51239).text, fraction(None).text, fraction(float("nan")).text
    ('0.512', '-', '-')
    >>> fraction(0.00002).text, fraction(0.0).text
    ('< 0.001', '0.000')
    """
    if value is None or math.isnan(value):
        return missing()
    if 0 < value < 0.5 * 10**-digits:
        return Cell(f"< {10**-digits:.{digits}f}", float(value))
    return Cell(f"{value:.{digits}f}", float(value))


def count(value: int | None) -> Cell:
    """A number with thin spaces between thousands.

    Examples
    --------
    >>> count(1234567).text == "1\N{NARROW NO-BREAK SPACE}234\N{NARROW NO-BREAK SPACE}567"
    True
    """
    return missing() if value is None else Cell(f"{value:,}".replace(",", "\N{NARROW NO-BREAK SPACE}"), value)


def change(value: float | None) -> Cell:
    """A difference with its sign and an arrow, so that it needs no colour.

    Examples
    --------
    >>> change(0.01).text, change(-0.0004).text
    ('▲ +0.010', '± 0.000')
    """
    if value is None or math.isnan(value):
        return missing()
    if round(value, 3) == 0:
        return Cell("± 0.000", float(value))
    arrow, kind = ("▲", "better") if value > 0 else ("▼", "worse")
    return Cell(f"{arrow} {value:+.3f}", float(value), kind)


def text_cell(text: str) -> Cell:
    """Words, sorted by their letters."""
    return Cell(text, text.lower(), "words")


def render(page: Page) -> str:
    """The page as HTML: the same for the same content, whenever it is made.

    Examples
    --------
    >>> html = render(Page("<b>", "lead", [Section("a", "First")]))
    >>> "&lt;b&gt;" in html, "<b>" in html
    (True, False)
    """
    from jinja2 import Environment, PackageLoader, StrictUndefined

    environment = Environment(
        loader=PackageLoader("labelgen.report", "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template("page.html").render(page=page, version=__version__)


def write_page(path: Path, page: Page) -> int:
    """Write a page and return its size in bytes.

    Raises
    ------
    RunFolderError
        When the file cannot be written, or is there and no page of ours.
    """
    refuse_foreign_page(path)
    content = render(page).encode()
    try:
        write_atomic(path, content)
    except OSError as error:
        raise RunFolderError(
            f"the page cannot be written to {path} ({error.strerror or error})", hint="choose another place"
        ) from error
    return len(content)


def refuse_foreign_page(path: Path) -> None:
    """Refuse to replace a file that is no page of this tool, before anything is measured.

    Raises
    ------
    RunFolderError
        Naming the file.
    """
    if path.is_dir():
        raise RunFolderError(f"the page must be a file, got the folder {path}", hint=f"{path.as_posix()}/index.html")
    try:
        head = path.read_bytes()[:SEEN].decode(errors="replace") if path.exists() else GENERATOR
    except OSError as error:
        raise RunFolderError(f"{path} cannot be read ({error.strerror or error})") from error
    if GENERATOR not in head:
        raise RunFolderError(f"{path} is there and was not made by labelgen", hint="choose another place or remove it")
