"""Plots as SVG: bytes, escaping, what is drawn where."""

import math
from xml.etree import ElementTree

import pytest

from labelgen.report.figures import Curve, Point, curves, histogram, matrix, points, ticks

HOSTILE = '<script>alert("x")</script>'


def parsed(markup):
    """The SVG as a tree, which fails on what is not well-formed."""
    return ElementTree.fromstring(str(markup).partition("<ul")[0])


def shapes(markup, tag, kind=None):
    return [e for e in parsed(markup).iter(tag) if kind is None or kind in e.get("class", "").split()]


@pytest.mark.parametrize(
    ("low", "high", "expected"),
    [
        (0, 1, [0, 0.2, 0.4, 0.6, 0.8, 1.0]),
        (0, 0.07, [0.0, 0.02, 0.04, 0.06]),
        (-3, 12, [0.0, 5.0, 10.0]),
        (5, 5, [5]),
    ],
)
def test_ticks_are_round_and_within(low, high, expected):
    assert ticks(low, high) == expected


def test_ticks_are_never_too_many():
    for high in (0.001, 0.3, 1.7, 9, 42, 999, 12345):
        found = ticks(0, high)
        assert 2 <= len(found) <= 6 and all(0 <= tick <= high for tick in found)


def test_histogram_bars_are_as_high_as_their_counts():
    svg = histogram([0, 3, 6], [0, 1, 2, 3], x_title="x", y_title="n", about="h", mark=1.5)
    heights = [float(bar.get("height")) for bar in shapes(svg, "rect", "bar")]
    assert heights[0] == 0 and heights[2] == pytest.approx(2 * heights[1], abs=0.2)
    assert len(shapes(svg, "line", "mark")) == 1


def test_names_that_have_no_room_are_left_out_but_stay_tooltips():
    crowd = [Point(0.5, 0.5, f"a class with a very long name {n}") for n in range(40)]
    svg = points(crowd, x_title="x", y_title="y", about="p")
    written = [text.text for text in shapes(svg, "text") if (text.text or "").startswith("a class")]
    assert 1 <= len(written) < 40
    assert len(shapes(svg, "title")) == len(shapes(svg, "circle")) == 40


def test_curves_leave_gaps_and_differ_by_marker_and_dash():
    lines = [Curve(f"{n}", [0, 1, 2], [0.1, math.nan, 0.3], [0, math.nan, 0.2], [0.2, math.nan, 0.4]) for n in range(4)]
    svg = curves(lines, x_title="x", y_title="y", about="c")
    assert len(shapes(svg, "g", "dot")) == 8 and len(shapes(svg, "line", "whisker")) == 8
    drawn = shapes(svg, "polyline")
    assert len({line.get("stroke-dasharray") for line in drawn}) == 4
    assert "nan" not in str(svg)
    corners = {len((group[0].get("points") or "").split()) for group in shapes(svg, "g", "dot")}
    assert corners == {0, 3, 4}  # circle, triangle, square and diamond


def test_matrix_shades_by_share_and_marks_the_diagonal():
    svg = matrix(
        [[0.75, 0.25], [math.nan, math.nan]], [["a", "b"], ["c", "d"]], rows=["x", "y"], columns=["x", "y"], about="m"
    )
    cells = shapes(svg, "rect", "cell")
    assert [cell.get("fill-opacity") for cell in cells] == ["0.8", "0.2", None, None]
    assert len(shapes(svg, "g", "diagonal")) == 2
    assert [t.text for t in shapes(svg, "text", "on") + shapes(svg, "text", "off")] == ["75", "25"]


@pytest.mark.parametrize(
    "draw",
    [
        lambda: histogram([1], [0, 1], x_title=HOSTILE, y_title=HOSTILE, about=HOSTILE),
        lambda: points([Point(0.1, 0.2, HOSTILE)], x_title=HOSTILE, y_title="y", about=HOSTILE),
        lambda: curves([Curve(HOSTILE, [0], [1])], x_title="x", y_title=HOSTILE, about=HOSTILE, names=[HOSTILE]),
        lambda: matrix([[1.0]], [[HOSTILE]], rows=[HOSTILE], columns=[HOSTILE], about=HOSTILE),
    ],
)
def test_text_is_escaped_and_bytes_are_the_same_each_time(draw):
    svg = draw()
    assert "<script" not in svg and "alert" in svg
    assert draw() == svg
    parsed(svg)
