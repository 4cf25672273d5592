"""The plots of one run: confusion matrix, coverage against precision, errors by distance, image IoU, coverage."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from jaxtyping import Int64

from labelgen.quality.confusion import scores_from_confusion
from labelgen.quality.evaluate import Evaluation
from labelgen.report.figures import Curve, Point, curves, histogram, matrix, points
from labelgen.report.html import Figure
from labelgen.report.measured import MeasuredRun, rings

__all__ = ["coverage_figure", "quality_figures"]

BINS = 20
MOST_CLASSES = 24  # rows of a confusion matrix; the rest is one row
CURVE_POINTS = 50  # of a threshold curve
OTHERS = "(others)"


def quality_figures(run: MeasuredRun) -> list[Figure]:
    """All plots that need truth."""
    evaluation = run.evaluation
    if evaluation is None:
        return []
    return [
        _confusion(evaluation),
        _coverage_precision(evaluation),
        *([_distances(evaluation)] if evaluation.bands is not None else []),
        _image_histogram(
            [row.miou for row in evaluation.images],
            "Image mIoU (no pixel is unlabelled)"
            if _is_dense(evaluation)
            else "Image mIoU, unlabelled pixels as misses"
            if evaluation.options.unlabelled == "miss"
            else f"Image mIoU, unlabelled pixels: {evaluation.options.unlabelled}",
        ),
        *([] if _is_dense(evaluation) else [_labelled_histogram(evaluation)]),
        *([_thresholds(run.document)] if run.document and "curve" in run.document else []),
    ]


def _is_dense(evaluation: Evaluation) -> bool:
    """Whether no pixel is unlabelled, so that the mIoU of labelled pixels is the same."""
    return not evaluation.matrix[:, -1].any()


def _labelled_histogram(evaluation: Evaluation) -> Figure:
    return _image_histogram([row.miou_labelled for row in evaluation.images], "Image mIoU, labelled pixels only")


def _thresholds(document: Mapping[str, Any]) -> Figure:
    """The threshold curve of `labelgen quality --curve`."""
    found = document["curve"][:: max(1, len(document["curve"]) // CURVE_POINTS)]
    places = [point["threshold"] for point in found]
    chart = curves(
        [
            Curve("mIoU", places, [math.nan if p["miou"] is None else p["miou"] for p in found]),
            Curve("share of foreground", places, [p["foreground"] for p in found]),
        ],
        x_title="threshold of background",
        y_title="fraction",
        about="mIoU over the threshold of background",
    )
    best, own = document["oracle"], document["fixed"]
    mious = " and ".join(
        f"{name} {point['miou']:.3f}" for name, point in (("the run itself", own), ("the best", best)) if point["miou"]
    )
    return Figure("Threshold of background", chart, f"mIoU: {mious}, at {best['threshold']:g}. {best['sentence']}")


def _image_histogram(values: Sequence[float], title: str, *, x_title: str = "image mIoU") -> Figure:
    known = [value for value in values if not math.isnan(value)]
    counts, edges = np.histogram(known, bins=BINS, range=(0, 1))
    middle = float(np.median(known)) if known else float("nan")
    without = f" {len(values) - len(known)} images without a value are left out." if len(known) < len(values) else ""
    chart = histogram(
        counts.tolist(),
        [round(float(edge), 4) for edge in edges],
        x_title=x_title,
        y_title="images",
        about=f"{title}: histogram of {len(known)} images, median {middle:.3f}",
        mark=middle,
    )
    return Figure(title, chart, f"{len(known)} images; the dashed line is their median, {middle:.3f}.{without}")


def coverage_figure(run: MeasuredRun) -> Figure:
    """How much of each image is labelled."""
    return _image_histogram(
        [image.coverage for image in run.images], "Labelled share of each image", x_title="coverage"
    )


def _coverage_precision(evaluation: Evaluation) -> Figure:
    scores, names = scores_from_confusion(evaluation.matrix), evaluation.vocabulary.classes
    shown = [
        Point(float(c), float(p), name)
        for c, p, name in zip(scores.coverage, scores.precision, names, strict=True)
        if not (math.isnan(c) or math.isnan(p))
    ]
    chart = points(
        shown,
        x_title="coverage: labelled share of the class",
        y_title="precision of its label",
        about=f"coverage against precision of {len(shown)} classes",
    )
    return Figure(
        "Coverage against precision, by class",
        chart,
        "Upper right is good. Low and right: labelled everywhere, often wrongly. High and left: right, but little. "
        "Where names would cover each other some are left out; the table has them all.",
    )


def _distances(evaluation: Evaluation) -> Figure:
    found = [ring for ring in rings(evaluation) if ring.pixels]
    places = list(range(len(found)))
    lines = [Curve("wrong or unlabelled", places, [ring.wrong for ring in found])]
    if any(ring.wrong != ring.wrong_labelled for ring in found):
        lines.append(Curve("wrong, of labelled pixels", places, [ring.wrong_labelled for ring in found]))
    top = max((value for line in lines for value in line.y if not math.isnan(value)), default=1.0)
    chart = curves(
        lines,
        x_title="pixels from a contour of the truth",
        y_title="share of pixels",
        names=[ring.name for ring in found],
        about="share of wrong pixels by distance from the contours of the truth",
        y_range=(0.0, _round_top(top)),
    )
    return Figure(
        "Errors by distance from the boundary",
        chart,
        "Distance to the nearest change of class in the truth; a ring of void counts as a class, so that distance is "
        "measured from either rim of it.",
    )


def _round_top(value: float) -> float:
    """The end of an axis above a share: a tick of it.

    Examples
    --------
    >>> _round_top(0.48), _round_top(0.012), _round_top(0.97), _round_top(0)
    (0.6, 0.02, 1.0, 1.0)
    """
    return next((end for end in (0.02, 0.05, 0.1, 0.2, 0.4, 0.6, 0.8) if 0 < value <= end / 1.05), 1.0)


def _confusion(evaluation: Evaluation) -> Figure:
    names, table = _largest(evaluation.matrix, evaluation.vocabulary.classes)
    totals = table.sum(axis=1, keepdims=True)
    with np.errstate(invalid="ignore"):
        shares = np.where(totals > 0, table / np.maximum(totals, 1), np.nan)
    columns = [*names, "unlabelled"]
    titles = [
        [f"{row} labelled {column}: {table[r, c]:,} pixels" for c, column in enumerate(columns)]
        for r, row in enumerate(names)
    ]
    chart = matrix(
        shares.tolist(),
        titles,
        rows=names,
        columns=columns,
        about=f"confusion matrix of {len(names)} classes",
    )
    rest = "" if OTHERS not in names else f" The {MOST_CLASSES} largest classes; the rest is {OTHERS}."
    return Figure(
        "Confusion matrix",
        chart,
        f"Rows are the truth, columns the labels; per cent of the pixels of the row.{rest}",
        wide=True,
    )


def _largest(
    counts: Int64[np.ndarray, "C C+1"], classes: Sequence[str]
) -> tuple[list[str], Int64[np.ndarray, "c c+1"]]:
    """The matrix of the classes that are there, the smallest of too many summed up."""
    sizes = counts.sum(axis=1) + counts[:, :-1].sum(axis=0)
    order = [int(i) for i in np.argsort(-sizes, kind="stable") if sizes[i] > 0]
    kept = sorted(order[:MOST_CLASSES])
    rest = sorted(order[MOST_CLASSES:])
    groups = [[i] for i in kept] + ([rest] if rest else [])
    rows = np.stack([counts[group].sum(axis=0) for group in groups])
    table = np.stack([*(rows[:, group].sum(axis=1) for group in groups), rows[:, -1]], axis=1)
    return [*(classes[i] for i in kept), *([OTHERS] if rest else [])], table
