"""The tables of `labelgen quality`: figures with a column a run, classes, worst images."""

import math
import sys
from collections.abc import Callable, Sequence
from typing import Any

from rich import box
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from labelgen.commands.common import TABLE_WIDTH
from labelgen.quality.evaluate import Evaluation

__all__ = ["print_report"]

WIDE = 100  # columns from which headers take one line
NAME_WIDTH, RUN_WIDTH = 34, 15  # columns for names of figures, and for a run beside others
SMALL = 5e-4  # a fraction below has less than two digits in four decimals

Document = dict[str, Any]

RULES = {
    "miss": "unlabelled pixels are misses",
    "exclude": "unlabelled pixels are left out",
    "background": "unlabelled pixels are background",
    "error": "no pixel is unlabelled",
}
FIGURES: dict[str, Callable[[Document], Any]] = {
    "mIoU, unlabelled = miss": lambda d: d["miou"],
    "mIoU, labelled pixels only": lambda d: d["miou_labelled"],
    "mIoU, unlabelled = background": lambda d: d["miou_background"],
    "coverage": lambda d: d["coverage"],
    "classes averaged": lambda d: f"{d['headline']['num_classes']} of {len(d['per_class'])}",
    "images": lambda d: d["num_images"],
    "images without a label file": lambda d: d["sparse"]["missing_images"],
    "pixel accuracy": lambda d: d["pixel_accuracy"],
    "accuracy on labelled pixels": lambda d: d["accuracy_labelled"],
    "mean class accuracy": lambda d: d["mean_accuracy"],
    "frequency-weighted IoU": lambda d: d["frequency_weighted_iou"],
    "mean false-positive rate": lambda d: d["mean_fp_rate"],
    "mean false-negative rate": lambda d: d["mean_fn_rate"],
    "foreground IoU": lambda d: (d["foreground"] or {}).get("foreground_iou"),
    "mIoU by image, mean": lambda d: d["sparse"]["mean_image_miou"],
    "share of classes missed": lambda d: d["sparse"]["missed_class_rate"],
    "labelled share of void": lambda d: d["sparse"]["labelled_share_of_void"],
}
"""Rows of the first table."""

HEADLINE_ROWS = {
    "miou": "mIoU, unlabelled = miss",
    "miou_labelled": "mIoU, labelled pixels only",
    "miou_background": "mIoU, unlabelled = background",
}
CLASS_FIGURES = {  # key of the document: header where there is room, header of two lines
    "iou": ("IoU", "IoU"),
    "precision": ("precision", "preci-\nsion"),
    "recall": ("recall", "recall"),
    "fp_rate": ("FP rate", "FP\nrate"),
    "fn_rate": ("FN rate", "FN\nrate"),
    "coverage": ("coverage", "cover-\nage"),
    "boundary_iou": ("boundary IoU", "edge\nIoU"),
    "boundary_f1": ("boundary F1", "edge\nF1"),
    "pq": ("PQ", "PQ"),
    "ece": ("ECE", "ECE"),
    "truth_share": ("of truth", "of\ntruth"),
}


def print_report(evaluations: Sequence[Evaluation], documents: Sequence[Document], *, worst: int) -> None:
    """Print all tables on stdout."""
    console = Console(width=None if sys.stdout.isatty() else TABLE_WIDTH, highlight=False)
    parts = _side_by_side(documents, console.width)
    for part in parts:
        console.print(_figures(part))
    if len(documents) == 1:
        console.print(_classes(documents[0], wide=console.width >= WIDE))
    else:
        for part in parts:
            console.print(_classes_by_run(part))
    for evaluation in evaluations if worst else ():
        console.print(_worst(evaluation, worst))
    rule = RULES[documents[0]["conventions"]["unlabelled"]]
    console.print(
        f"Fractions of one confusion matrix over all images; void is not counted; by class {rule}. "
        "FP and FN rate are wrongly labelled and missed pixels over the true pixels of the class; FP may exceed 1. "
        "- is a class in neither truth nor labels, or a figure without a value: it is in no mean.",
        style="dim",
    )


def _side_by_side(documents: Sequence[Document], width: int) -> list[Sequence[Document]]:
    """Parts of as many runs as fit beside each other."""
    size = max(1, (width - NAME_WIDTH) // RUN_WIDTH)
    return [documents[start : start + size] for start in range(0, len(documents), size)]


def number(value: Any) -> str:
    """A fraction with four decimals (a tiny one with its power of ten), a count as it is, `-` without a number.

    Examples
    --------
    >>> number(0.5), number(0.00002), number(3), number(None)
    ('0.5000', '2e-05', '3', '-')
    """
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return "-"
    if not isinstance(value, float):
        return str(value)
    return f"{value:.0e}" if 0 < value < SMALL else f"{value:.4f}"


def _table(title: str, first: str, documents: Sequence[Document] = ()) -> Table:
    """A table whose first column has names, and whose others are runs where there are some."""
    table = Table(title=title, title_justify="left", title_style="bold", box=box.SIMPLE_HEAD, padding=(0, 0, 0, 1))
    table.add_column(first, no_wrap=True, vertical="bottom")
    for document in documents:
        table.add_column(escape(document["run"]), justify="right", overflow="fold")
    return table


def _figures(documents: Sequence[Document]) -> Table:
    truths = [_truth(document) for document in documents]
    shared = f": {escape(truths[0])}" if len(set(truths)) == 1 else ""
    table = _table(f"Labels against the truth{shared}", "", documents)
    if not shared:
        table.add_row("truth", *map(escape, truths))
    table.add_row("supervision", *(escape(_supervision(document)) for document in documents))
    headline = HEADLINE_ROWS[documents[0]["headline"]["name"]]
    optional = _optional_figures(documents[0]) | _calibration_figures(documents)
    for label, figure in (FIGURES | optional).items():
        style = "bold" if label == headline else ""
        table.add_row(label, *(number(figure(document)) for document in documents), style=style)
    return table


def _optional_figures(document: Document) -> dict[str, Callable[[Document], Any]]:
    rows: dict[str, Callable[[Document], Any]] = {}
    if document["boundary"]:
        rows["boundary mIoU"] = lambda d: d["boundary"]["miou"]
        rows["boundary not hidden by void"] = lambda d: d["boundary"]["valid_share"]
    for title, key in (("mIoU", "miou"), ("accuracy", "pixel_accuracy")):
        for index, band in enumerate(document["trimap"] or ()):
            rows[f"{title} within {band['band']} px of contours"] = lambda d, i=index, k=key: d["trimap"][i][k]
    return rows | _more_figures(document)


def _more_figures(document: Document) -> dict[str, Callable[[Document], Any]]:
    rows: dict[str, Callable[[Document], Any]] = {}
    if document["boundary_f1"]:
        tolerance = document["boundary_f1"]["tolerance"]
        within = f"{tolerance:g} px" if tolerance >= 1 else f"{100 * tolerance:g} % of the diagonal"
        rows[f"boundary F1 ({within})"] = lambda d: d["boundary_f1"]["f1"]
    if document["panoptic"]:
        titles = {"pq": "panoptic quality", "sq": "segmentation quality", "rq": "recognition quality"}
        rows |= {title: lambda d, k=key: d["panoptic"][k] for key, title in titles.items()}
        rows["objects matched"] = lambda d: d["panoptic"]["matched"]
        rows["objects without a match"] = lambda d: d["panoptic"]["unmatched_truth"]
        rows["labels of no object"] = lambda d: d["panoptic"]["unmatched_labels"]
        rows["images with instances"] = lambda d: d["panoptic"]["images_with_instances"]
    return rows


def _calibration_figures(documents: Sequence[Document]) -> dict[str, Callable[[Document], Any]]:
    """Of several runs only some may have scores."""
    if not any(document["calibration"] for document in documents):
        return {}
    titles = {
        "ece": "calibration error (ECE)",
        "adaptive_ece": "ECE, bins of equal mass",
        "class_ece": "ECE, mean of classes",
        "nll": "negative log-likelihood",
        "brier": "Brier score",
    }
    return {title: lambda d, k=key: (d["calibration"] or {}).get(k) for key, title in titles.items()}


def _classes(document: Document, *, wide: bool) -> Table:
    """One run: all figures of each class."""
    valid = sum(row["truth_pixels"] for row in document["per_class"])
    rows = [{**row, "truth_share": row["truth_pixels"] / valid if valid else None} for row in document["per_class"]]
    table = _table("By class", "class")
    figures = [key for key in CLASS_FIGURES if key in rows[0]]
    for key in figures:
        table.add_column(CLASS_FIGURES[key][0 if wide else 1], justify="right", no_wrap=True)
    for row in rows:
        table.add_row(escape(row["name"]), *(number(row[key]) for key in figures), style=_faint(row["iou"]))
    return table


def _classes_by_run(documents: Sequence[Document]) -> Table:
    """Several runs: the IoU of each class by name, a column a run; `-` where a run does not know the class."""
    table = _table("IoU by class", "class", documents)
    by_name = [{row["name"]: row["iou"] for row in document["per_class"]} for document in documents]
    for name in dict.fromkeys(name for names in by_name for name in names):
        values = [names.get(name) for names in by_name]
        table.add_row(escape(name), *map(number, values), style=_faint(*values))
    return table


def _worst(evaluation: Evaluation, count: int) -> Table:
    rows = sorted((row for row in evaluation.images if not math.isnan(row.miou)), key=lambda row: (row.miou, row.id))
    table = _table(f"Worst images of {escape(evaluation.name)}", "image")
    for title in ("mIoU", "labelled", "coverage", "classes"):
        table.add_column(title, justify="right", no_wrap=True)
    table.add_column("classes without a label", overflow="fold")
    for row in rows[:count]:
        missed = ", ".join(evaluation.vocabulary.classes[class_id] for class_id in row.missed)
        figures = (number(row.miou), number(row.miou_labelled), number(row.coverage), str(row.num_classes))
        table.add_row(escape(row.id), *figures, escape("no label file" if row.missing else missed))
    return table


def _faint(*ious: float | None) -> str:
    return "dim" if all(iou is None for iou in ious) else ""


def _truth(document: Document) -> str:
    spec = document["truth"]
    place = spec["root"].replace("\\", "/").rstrip("/").rsplit("/", 1)[-1]
    return " ".join(part for part in (f"{spec['kind']}:{place}" if place else spec["kind"], spec["split"]) if part)


def _supervision(document: Document) -> str:
    if document["supervision"] is None:
        return "unknown"
    return ", ".join(document["supervision"]) or "none"
