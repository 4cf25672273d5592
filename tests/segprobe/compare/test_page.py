"""The page of `segprobe compare`: every row, its intervals, what differs, and nothing that runs."""

import re

from labelgen.report.html import render
from segprobe.compare.page import compare_page
from segprobe.compare.table import Crossing, Difference, Row


def row(run, strategy, seed, miou, *, retention=None, variant="", published=None):
    return Row(
        run=run,
        backbone="demo-ssvt",
        head="linear",
        strategy=strategy,
        variant=variant,
        seed=seed,
        miou=miou,
        interval=(miou - 0.05, miou + 0.05),
        label_miou=0.6 if run != "truth" else 1.0,
        coverage=0.9,
        train_miou=miou,
        gain=-0.1,
        gain_interval=(-0.2, 0.01),
        retention=retention,
        seconds=3.0,
        published=published,
        published_network="dinov2" if published else "",
    )


ROWS = [
    row(run, strategy, seed, 0.4 + 0.1 * (run == "truth"), retention=0.8)
    for run in ("truth", "<i>cam</i>")
    for strategy in ("frozen", "tuned")
    for seed in (0, 1, None)
]
APART = [Difference("<i>cam</i>", "demo-ssvt", "linear", "", 0.6, 0.9, 0.5, 0.45, 0.05, (0.01, 0.09))]


def titles(html, title):
    part = html.split(f"<h3>{title}</h3>")[1].split("</thead>")[0]
    return re.findall(r"<th[^>]*>([^<]*)</th>", part)


def test_means_seeds_and_differences_are_there():
    crossed = [Crossing("demo-ssvt", "linear", "", (0.7,), 0.1, -0.1), Crossing("other", "linear", "", (), 0.1, 0.2)]
    html = render(compare_page(ROWS, APART, crossed, unfilled=3, resamples=100))
    assert html.count("&lt;i&gt;cam&lt;/i&gt;") >= 6 and "<i>" not in html
    assert "3 cells are not filled yet" in html and "0.350 to 0.450" in html
    assert "cross at a label mIoU of 0.700" in html and "do not cross" in html
    assert "▲ +0.050" in html and "0.010 to 0.090" in html
    assert html.count('class="band') == 2 and "as good as the labels" in html  # sets of labels have no order
    by_labels = html.split("<h3>mIoU by labels</h3>")[1].split("</figure>")[0]
    assert 'class="whisker' in by_labels and "<polyline" not in by_labels
    for rule in ("retention", "gain", "mIoU of a probe", "What other tools do"):
        assert rule in html


def test_columns_without_content_are_left_out():
    html = render(compare_page(ROWS, [], [], unfilled=0, resamples=100))
    assert "variant" not in titles(html, "Means over seeds") and "seed" not in titles(html, "Means over seeds")
    assert "seed" in titles(html, "One row a fit") and "Frozen minus tuned" not in html
    rows = [*ROWS, row("point", "frozen", None, 0.3, variant="gce", published=0.31)]
    html = render(compare_page(rows, [], [], unfilled=0, resamples=100))
    assert {"variant", "published"} <= set(titles(html, "Means over seeds")) and "0.310 dinov2" in html


def test_one_row_alone_has_a_page():
    html = render(compare_page([row("cam", "frozen", None, 0.4)], [], [], unfilled=0, resamples=10))
    assert '"nan' not in html and ">nan" not in html and "as good as the labels" not in html
