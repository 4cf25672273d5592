"""Plots as inline SVG: histograms, points with names, curves with bands, matrices. The style sheet of the page colours.

Text comes from data and is escaped. Nothing depends on time, chance or the fonts of a machine, so that the same figures
give the same bytes. Series differ by marker and dash as well as by colour.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from markupsafe import Markup, escape

from labelgen.report.placement import LETTER, placed_names

__all__ = ["Curve", "Point", "curves", "histogram", "matrix", "points", "ticks"]

WIDTH, HEIGHT = 480, 300
LEFT, RIGHT, TOP, BOTTOM = 54, 14, 14, 46
FRAME = (LEFT, 3, WIDTH, HEIGHT - BOTTOM)  # in which names of points stand
SERIES = 6  # colours of the style sheet; the next series begin anew with other markers
APART, ASIDE = 0.09, 0.36  # between markers side by side at one name, and at most from its middle
DASHES = ("", "7 3", "2 3", "9 3 2 3")
TICKS = 6  # numbers of an axis
CELL = 27  # pixels of a cell of a matrix
NAMED = 110  # pixels for the names of its rows
LONGEST = 24  # letters of the names of its columns
DARK, DARKER = 0.65, 0.88  # shares from which ink on a cell is hard to read, on a dark and on a light page


@dataclass(frozen=True)
class Point:
    """One point with a name."""

    x: float
    y: float
    name: str


@dataclass(frozen=True)
class Curve:
    """A line with a band; `low` and `high` may be empty. Values that are no numbers leave a gap."""

    name: str
    x: Sequence[float]
    y: Sequence[float]
    low: Sequence[float] = ()
    high: Sequence[float] = ()


@dataclass(frozen=True)
class _Axis:
    """From values to pixels."""

    low: float
    high: float
    first: float
    last: float

    def at(self, value: float) -> float:
        share = (value - self.low) / ((self.high - self.low) or 1.0)
        return self.first + share * (self.last - self.first)


def ticks(low: float, high: float) -> list[float]:
    """Round numbers from `low` to `high`, at most `TICKS`.

    Examples
    --------
    >>> ticks(0, 1), ticks(0, 37), ticks(3, 3)
    ([0.0, 0.2, 0.4, 0.6, 0.8, 1.0], [0.0, 10.0, 20.0, 30.0], [3.0])
    """
    if not high > low:
        return [float(low)]
    size = 10.0 ** math.floor(math.log10((high - low) / (TICKS - 1)))
    step = next(size * n for n in (1, 2, 2.5, 5, 10, 20) if (high - low) / (size * n) <= TICKS - 1 + 1e-9)
    first = math.ceil(low / step - 1e-9)
    last = math.floor(high / step + 1e-9)
    return [round(number * step, 10) for number in range(first, last + 1)]


def histogram(
    counts: Sequence[int], edges: Sequence[float], *, x_title: str, y_title: str, about: str, mark: float | None = None
) -> Markup:
    """Bars between edges.

    Parameters
    ----------
    about
        What a person who does not see the plot is told.
    mark
        Where to draw a dashed line, such as the median; None for nowhere.

    Examples
    --------
    >>> "<title>0 to 0.5: 2</title>" in histogram([2, 1], [0, 0.5, 1], x_title="x", y_title="y", about="two bars")
    True
    """
    x = _Axis(edges[0], edges[-1], LEFT, WIDTH - RIGHT)
    y = _Axis(0, max(*counts, 1) * 1.05, HEIGHT - BOTTOM, TOP)
    parts = _axes(x, y, x_title, y_title, whole=True)
    for count, low, high in zip(counts, edges, edges[1:]):
        left, top = x.at(low) + 1, y.at(count)
        size = f'width="{_n(x.at(high) - left - 1)}" height="{_n(y.first - top)}"'
        title = f"<title>{low:g} to {high:g}: {count}</title>"
        parts.append(f'<rect class="bar" x="{_n(left)}" y="{_n(top)}" {size}>{title}</rect>')
    if mark is not None and math.isfinite(mark):
        parts += [_line(x.at(mark), TOP, x.at(mark), HEIGHT - BOTTOM, kind) for kind in ("halo", "mark")]
    return _svg(parts, about)


def points(shown: Sequence[Point], *, x_title: str, y_title: str, about: str) -> Markup:
    """Named points over [0, 1] x [0, 1]; a name stands where it has room, all are tooltips."""
    x, y = _Axis(0, 1, LEFT, WIDTH - RIGHT), _Axis(0, 1, HEIGHT - BOTTOM, TOP)
    parts = _axes(x, y, x_title, y_title)
    places = [(x.at(p.x), y.at(p.y)) for p in shown]
    for point, (col, row) in zip(shown, places, strict=True):
        title = f"<title>{escape(point.name)}: {point.x:.3f}, {point.y:.3f}</title>"
        parts.append(f'<circle class="dot" cx="{_n(col)}" cy="{_n(row)}" r="4">{title}</circle>')
    for number, (box, leader) in placed_names([point.name for point in shown], places, FRAME).items():
        parts += [_line(*leader, "leader")] if leader else []
        parts.append(_text(box[0], box[3] - 3, shown[number].name, anchor="start"))
    return _svg(parts, about)


def curves(
    lines: Sequence[Curve],
    *,
    x_title: str,
    y_title: str,
    about: str,
    names: Sequence[str] = (),
    y_range: tuple[float, float] = (0.0, 1.0),
    joined: bool = True,
) -> Markup:
    """Lines with markers and bands, and their key below the plot.

    Parameters
    ----------
    names
        What stands at x = 0, 1, 2, ... where the axis has names and no numbers.
    joined
        False where the names have no order: then there are markers and whiskers side by side, and no line.

    Examples
    --------
    >>> svg = curves([Curve("a <b>", [0, 1], [0.5, 0.7])], x_title="x", y_title="y", about="a curve")
    >>> "a &lt;b&gt;" in svg and "<b>" not in svg
    True
    """
    spots = [value for line in lines for value in line.x if math.isfinite(value)] or [0.0]
    low, high = (-0.3, len(names) - 0.7) if names else (min(spots), max(spots))
    pad = 0.0 if names else 0.03 * ((high - low) or 1.0)
    x = _Axis(low - pad, high + pad, LEFT, WIDTH - RIGHT)
    y = _Axis(*y_range, HEIGHT - BOTTOM, TOP)
    parts = _axes(x, y, x_title, y_title, names=names)
    for number, line in enumerate(lines):
        aside = 0.0 if joined else APART * (number - (len(lines) - 1) / 2)
        parts += _curve(line, number, x, y, joined=joined, aside=max(-ASIDE, min(ASIDE, aside)))
    key = Markup("").join(_key(line.name, number, joined=joined) for number, line in enumerate(lines))
    return _svg(parts, about) + Markup('<ul class="key">{}</ul>').format(key)


def _curve(line: Curve, number: int, x: _Axis, y: _Axis, *, joined: bool, aside: float) -> list[str]:
    line = Curve(line.name, [a + aside for a in line.x], line.y, line.low, line.high)
    colour, dash = f"s{number % SERIES}", DASHES[number % len(DASHES)]
    parts = []
    if len(line.low) == len(line.x) == len(line.high) and len(line.x):
        rows = [(a, b, c) for a, b, c in zip(line.x, line.low, line.high) if math.isfinite(b) and math.isfinite(c)]
        around = [(x.at(a), y.at(c)) for a, _, c in rows] + [(x.at(a), y.at(b)) for a, b, _ in reversed(rows)]
        if joined and len(rows) > 1:
            parts.append(f'<polygon class="band {colour}" points="{_path(around)}"/>')
        for a, b, c in rows:
            parts.append(_line(x.at(a), y.at(b), x.at(a), y.at(c), f"whisker {colour}"))
    places = [(a, b) for a, b in zip(line.x, line.y, strict=True) if math.isfinite(b)]
    path = _path([(x.at(a), y.at(b)) for a, b in places])
    dashes = f' stroke-dasharray="{dash}"' if dash else ""
    if joined:
        parts.append(f'<polyline class="line {colour}" points="{path}"{dashes}/>')
    for a, b in places:
        title = f"<title>{escape(line.name)} at {a - aside:g}: {b:.4f}</title>"
        parts.append(f'<g class="dot {colour}">{_marker(number, x.at(a), y.at(b))}{title}</g>')
    return parts


def _key(name: str, number: int, *, joined: bool) -> Markup:
    """One entry of the key of a plot: line where there is one, marker, name."""
    dash = DASHES[number % len(DASHES)]
    dashes = f' stroke-dasharray="{dash}"' if dash else ""
    colour = f"s{number % SERIES}"
    stroke = f'<polyline class="line {colour}"{dashes} points="1,7 33,7"/>' if joined else ""
    marker = f'<g class="dot {colour}">{_marker(number, 17, 7)}</g>'
    drawn = f'<svg class="swatch" viewBox="0 0 34 14" aria-hidden="true">{stroke}{marker}</svg>'
    return Markup("<li>{}{}</li>").format(Markup(drawn), name)


def _marker(number: int, col: float, row: float) -> str:
    """Circle, square, triangle, diamond in turn."""
    shapes = {
        1: [(-4, -4), (4, -4), (4, 4), (-4, 4)],
        2: [(0, -5), (5, 4), (-5, 4)],
        3: [(0, -5.5), (5.5, 0), (0, 5.5), (-5.5, 0)],
    }
    shape = shapes.get(number % 4)
    if shape is None:
        return f'<circle cx="{_n(col)}" cy="{_n(row)}" r="4.2"/>'
    return f'<polygon points="{_path([(col + dx, row + dy) for dx, dy in shape])}"/>'


def matrix(
    shares: Sequence[Sequence[float]],
    titles: Sequence[Sequence[str]],
    *,
    rows: Sequence[str],
    columns: Sequence[str],
    about: str,
) -> Markup:
    """Cells in shades of one colour with their per cent; rows are truth, columns labels.

    Parameters
    ----------
    shares
        In [0, 1]; not a number for rows without any pixel.
    titles
        Tooltip of each cell.
    """
    columns = [_shortened(name, most=LONGEST) for name in columns]
    head = round(12 + LETTER * max(map(len, columns)) * 0.75)
    lean = round(LETTER * max(map(len, columns[-3:])) * 0.67)  # how far the last names reach to the right
    width, height = NAMED + CELL * len(columns) + lean, head + CELL * len(rows) + 4
    parts = []
    for number, name in enumerate(columns):
        at = NAMED + CELL * (number + 0.5)
        parts.append(
            f'<text class="name" x="{_n(at)}" y="{head - 6}" transform="rotate(-48 {_n(at)} {head - 6})">'
            f"{escape(name)}</text>"
        )
    for row, name in enumerate(rows):
        middle = head + CELL * (row + 0.5)
        parts.append(_text(NAMED - 6, middle + 4, _shortened(name), anchor="end"))
        for column, (share, title) in enumerate(zip(shares[row], titles[row], strict=True)):
            if share != 0 or row == column:  # an empty cell is not drawn, for a small page
                parts.append(_cell(NAMED + CELL * column, head + CELL * row, share, title, on=row == column))
    return _svg(parts, about, size=(width, height), kind="matrix")


def _cell(left: float, top: float, share: float, title: str, *, on: bool) -> str:
    known = math.isfinite(share)
    kind = "cell" if known else "cell none"
    shade = f' fill-opacity="{min(max(share, 0), 1):.2g}"' if known else ""
    text = ""
    if known and share >= 0.005:
        inside = "on" if share > DARKER else "mid" if share > DARK else "off"
        text = f'<text class="{inside}" x="{_n(left + CELL / 2)}" y="{_n(top + CELL / 2 + 4)}">{100 * share:.0f}</text>'
    frame = ' class="diagonal"' if on else ""
    rect = f'<rect class="{kind}" x="{_n(left)}" y="{_n(top)}" width="{CELL - 1}" height="{CELL - 1}"{shade}/>'
    return f"<g{frame}><title>{escape(title)}</title>{rect}{text}</g>"


def _axes(
    x: _Axis, y: _Axis, x_title: str, y_title: str, *, whole: bool = False, names: Sequence[str] = ()
) -> list[str]:
    """Grid lines, numbers and titles."""
    parts = []
    for value in ticks(y.low, y.high):
        if whole and value != int(value):
            continue
        parts.append(_line(x.first, y.at(value), x.last, y.at(value), "grid"))
        parts.append(_text(x.first - 6, y.at(value) + 4, f"{value:g}", anchor="end"))
    labels = list(enumerate(names)) if names else [(value, f"{value:g}") for value in ticks(x.low, x.high)]
    room = (x.last - x.first) / max(len(labels), 1) / LETTER
    for value, text in labels:
        parts.append(_line(x.at(value), y.first, x.at(value), y.first + 4, "axis"))
        shown = _shortened(text, most=max(3, int(room) + 1))
        parts.append(_text(x.at(value), y.first + 17, shown, anchor="middle", kind="tight" if len(labels) > 7 else ""))
    parts.append(_line(x.first, y.first, x.last, y.first, "axis"))
    parts.append(_text((x.first + x.last) / 2, HEIGHT - 8, x_title, anchor="middle"))
    middle = (y.first + y.last) / 2
    turned = f'transform="rotate(-90 14 {_n(middle)})"'
    parts.append(f'<text x="14" y="{_n(middle)}" text-anchor="middle" {turned}>{escape(y_title)}</text>')
    return parts


def _svg(parts: Sequence[str], about: str, *, size: tuple[int, int] = (WIDTH, HEIGHT), kind: str = "plot") -> Markup:
    head = f'<svg class="{kind}" viewBox="0 0 {size[0]} {size[1]}" role="img" aria-label="{escape(about)}"'
    wide = f' style="min-width:{round(0.85 * size[0])}px;max-width:{round(1.3 * size[0])}px"'
    return Markup(f"{head}{wide if kind == 'matrix' else ''}>{''.join(parts)}</svg>")  # all texts are escaped above


def _text(x: float, y: float, text: str, *, anchor: str, kind: str = "") -> str:
    kind = f' class="{kind}"' if kind else ""
    return f'<text{kind} x="{_n(x)}" y="{_n(y)}" text-anchor="{anchor}">{escape(text)}</text>'


def _line(x1: float, y1: float, x2: float, y2: float, kind: str) -> str:
    return f'<line class="{kind}" x1="{_n(x1)}" y1="{_n(y1)}" x2="{_n(x2)}" y2="{_n(y2)}"/>'


def _path(places: Sequence[tuple[float, float]]) -> str:
    return " ".join(f"{_n(col)},{_n(row)}" for col, row in places)


def _shortened(name: str, *, most: int = 16) -> str:
    return name if len(name) <= most else name[: most - 1] + "…"


def _n(value: float) -> str:
    """A coordinate in as few digits as are seen."""
    return f"{value:.1f}".removesuffix(".0")
