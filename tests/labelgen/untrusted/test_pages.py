"""Pages with hostile names have the same tags and attributes as pages with plain ones: text stays text everywhere."""

import json
import os
from html.parser import HTMLParser

import pytest

from labelgen.cli import main
from labelgen.report.figures import Curve, Point, curves, histogram, matrix, points
from labelgen.report.html import render
from labelgen.report.sweep_page import sweep_page
from labelgen.sweep.table import means_of
from tests.labelgen.report.small_data import write_data, write_labels
from tests.labelgen.report.test_other_pages import row_of_sweep

HOSTILE = (
    "<script>alert(1)</script>",
    '" onmouseover="alert(2)',
    "' autofocus onfocus='alert(3)",
    "</svg><img src=x onerror=alert(4)>",
    "</title></style></script><svg onload=alert(5)>",
    "--><script>alert(6)</script><!--",
    "{{ 7 * 7 }}{% raw %}",
    "&lt;b&gt;&#60;b&#62;",
    "javascript:alert(7)",
    "]]><x>\u2028\u202e",
)


class Shape(HTMLParser):
    """Tags with the names of their attributes, and where links lead."""

    def __init__(self, text):
        super().__init__()
        self.tags, self.values = [], []
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        self.tags.append((tag, tuple(name for name, _ in attributes)))
        self.values += [(name, value or "") for name, value in attributes]
        for name, value in attributes:
            assert not name.startswith("on")
            assert name not in ("href", "src") or not (value or "").startswith("javascript")

    handle_startendtag = handle_starttag


def same_shape(page):
    """The page of plain names and the pages of hostile ones, each name in each place."""
    plain = Shape(page("plain")).tags
    for name in HOSTILE:
        assert Shape(page(name)).tags == plain, name


@pytest.mark.parametrize(
    "chart",
    [
        lambda t: histogram([1, 2], [0.0, 0.5, 1.0], x_title=t, y_title=t, about=t),
        lambda t: points([Point(0.1, 0.2, t), Point(0.5, 0.6, t)], x_title=t, y_title=t, about=t),
        lambda t: curves([Curve(t, [0, 1], [0.1, 0.2])], x_title=t, y_title=t, about=t, names=[t, t]),
        lambda t: matrix([[1.0, 0.0], [0.5, 0.5]], [[t, t], [t, t]], rows=[t, t], columns=[t, t], about=t),
    ],
    ids=["histogram", "points", "curves", "matrix"],
)
def test_texts_in_drawings(chart):
    same_shape(chart)


def test_pages_of_sweeps():
    def page(name):
        rows = [row_of_sweep(value, seed, 0.5) for value in (name, "other") for seed in (0, 1)]
        return render(sweep_page(name, name, rows, means_of(rows)))

    same_shape(page)


def test_pages_of_comparisons():
    from segprobe.compare.page import compare_page
    from segprobe.compare.table import Crossing, Difference, Row

    def page(name):
        numbers = {"miou": 0.5, "interval": (0.4, 0.6), "label_miou": 0.6, "coverage": 1.0, "train_miou": 0.5}
        numbers |= {"gain": -0.1, "gain_interval": (-0.2, 0.0), "retention": 0.9, "seconds": 3.0}
        rows = [Row(name, name, name, name, name, seed, **numbers, published_network=name) for seed in (0, 1, None)]
        apart = [Difference(name, name, name, name, 0.6, 1.0, 0.5, 0.4, 0.1, (0.0, 0.2))]
        crossed = [Crossing(name, name, name, (0.5,), 0.1, -0.1)]
        return render(compare_page(rows, apart, crossed, unfilled=1, resamples=10))

    same_shape(page)


def pages_of_labels(folder, name, ids):
    """The pages of report and quality for labels with this class name, these ids, and this name of a folder."""
    folder.mkdir()
    truth = write_data(folder, ids, ["ground", name, "other"])
    words = folder / "words.toml"
    words.write_text(
        f"classes = {json.dumps(['ground', name, 'other'], ensure_ascii=False)}\nbackground = 0\n", "utf-8"
    )
    labels = write_labels(folder, ids)
    named = labels.rename(labels.with_name(name.replace("/", "_")[:60]))
    target = folder / "quality.html"
    assert main(["quality", str(named), "--truth", *truth, "--html", str(target)]) == 0
    assert main(["report", str(named), "--truth", *truth, "--out", str(folder / "report")]) == 0
    return [path.read_text(encoding="utf-8") for path in (target, folder / "report" / "index.html")]


@pytest.mark.slow
@pytest.mark.skipif(os.name == "nt", reason="such names are not allowed there")
@pytest.mark.parametrize("hostile", HOSTILE[:6:5] + HOSTILE[1:4:2])
def test_pages_of_labels(tmp_path, hostile, capsys):
    plain = pages_of_labels(tmp_path / "plain", "plain", ["a", "b", "c"])
    found = pages_of_labels(tmp_path / "hostile", hostile, [hostile.replace("/", "_") + i for i in "abc"])
    for before, after in zip(plain, found, strict=True):
        assert Shape(after).tags == Shape(before).tags
    assert hostile not in "".join(found) or "<" not in hostile
