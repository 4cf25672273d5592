"""Plots as SVG: bytes, escaping, what is drawn where."""

import itertools
import math
import re
from importlib import resources
from xml.etree import ElementTree

import pytest

from labelgen.report.figures import DARK, DARKER, Curve, Point, curves, histogram, matrix, points, ticks
from labelgen.report.placement import DOT, placed_names

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


@pytest.mark.parametrize("same", ["precision", "coverage"])
def test_names_of_points_in_a_line_cover_nothing_and_no_lines_cross(same):
    along = [54 + 412 * value for value in (0.05, 0.06, 0.08, 0.09, 0.13, 0.16, 0.16, 0.2, 0.21, 0.23)]
    places = [(value, 14) if same == "precision" else (466, 14 + value / 2) for value in along]
    frame = (54, 3, 480, 254)
    found = placed_names(
        ["background", "bus", "car", "cow", "sheep", "boat", "cat", "bird", "person", "d"], places, frame
    )
    assert len(found) >= 4
    boxes = [box for box, _ in found.values()]
    for a, b in itertools.combinations(boxes, 2):
        assert a[2] <= b[0] or b[2] <= a[0] or a[3] <= b[1] or b[3] <= a[1]
    for number, (box, leader) in found.items():
        steps = [leader[:2]] if leader else []
        if leader:
            steps = [(leader[0] + t * (leader[2] - leader[0]), leader[1] + t * (leader[3] - leader[1])) for t in EVENLY]
        for col, row in steps:  # the line reaches its name and passes no other and no other point
            assert not any(left < col < right and top < row < low for left, top, right, low in boxes)
            assert all(math.dist((col, row), place) >= DOT for place in places if place != places[number])
        if leader is None:
            near = [math.hypot(max(box[0] - x, x - box[2], 0), max(box[1] - y, y - box[3], 0)) for x, y in places]
            assert near[number] == min(near)


EVENLY = [step / 50 for step in range(51)]


def luminance(rgb):
    linear = [v / 12.92 if v <= 0.04045 else ((v + 0.055) / 1.055) ** 2.4 for v in rgb]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def contrast(a, b):
    low, high = sorted((luminance(a), luminance(b)))
    return (high + 0.05) / (low + 0.05)


@pytest.mark.parametrize("scheme", [0, 1])
def test_numbers_in_cells_and_changes_are_readable(scheme):
    """Contrast as WCAG 2.1 defines it: 4.5 is what it asks for text; 3.8 is the best there is in the middle tones."""
    style = (resources.files("labelgen.report") / "templates" / "style.css").read_text(encoding="utf-8")
    found = {}
    for name, digits in re.findall(r"--([\w-]+): #([0-9a-f]{6});", style):
        found.setdefault(name, []).append([int(digits[k : k + 2], 16) / 255 for k in (0, 2, 4)])
    colour = {name: values[scheme] for name, values in found.items()}
    for share in (0.005, *EVENLY[1:]):
        cell = [share * c + (1 - share) * p for c, p in zip(colour["c0"], colour["paper"], strict=True)]
        text = "paper" if share > DARKER else "on-mid" if share > DARK else "ink"
        assert contrast(colour[text], cell) > 3.8
    for name in ("better", "worse", "faint", "link"):
        assert contrast(colour[name], colour["paper"]) > 4.5 and contrast(colour[name], colour["raised"]) > 4.5


def test_curves_leave_gaps_and_differ_by_marker_and_dash():
    lines = [Curve(f"{n}", [0, 1, 2], [0.1, math.nan, 0.3], [0, math.nan, 0.2], [0.2, math.nan, 0.4]) for n in range(4)]
    svg = curves(lines, x_title="x", y_title="y", about="c")
    assert len(shapes(svg, "g", "dot")) == 8 and len(shapes(svg, "line", "whisker")) == 8
    drawn = shapes(svg, "polyline")
    assert len({line.get("stroke-dasharray") for line in drawn}) == 4
    assert "nan" not in str(svg)
    corners = {len((group[0].get("points") or "").split()) for group in shapes(svg, "g", "dot")}
    assert corners == {0, 3, 4}  # circle, triangle, square and diamond


def test_names_without_an_order_are_not_joined_by_a_line():
    lines = [Curve(name, [0, 1], [0.2, 0.4], [0.1, 0.3], [0.3, 0.5]) for name in "ab"]
    words = {"x_title": "x", "y_title": "y", "about": "c", "names": ["cat", "dog"]}
    apart, joined = curves(lines, **words, joined=False), curves(lines, **words)
    assert not shapes(apart, "polyline") and not shapes(apart, "polygon", "band") and "polyline" not in apart
    assert len(shapes(joined, "polyline")) == len(shapes(joined, "polygon", "band")) == 2
    assert len(shapes(apart, "line", "whisker")) == len(shapes(joined, "line", "whisker")) == 4
    assert len({line.get("x1") for line in shapes(apart, "line", "whisker")}) == 4  # side by side
    assert len({line.get("x1") for line in shapes(joined, "line", "whisker")}) == 2


def test_matrix_shades_by_share_and_marks_the_diagonal():
    svg = matrix(
        [[0.75, 0.25], [math.nan, math.nan]], [["a", "b"], ["c", "d"]], rows=["x", "y"], columns=["x", "y"], about="m"
    )
    cells = shapes(svg, "rect", "cell")
    assert [cell.get("fill-opacity") for cell in cells] == ["0.75", "0.25", None, None]
    assert len(shapes(svg, "g", "diagonal")) == 2
    assert [t.text for t in shapes(svg, "text", "mid") + shapes(svg, "text", "off")] == ["75", "25"]


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
