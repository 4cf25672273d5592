"""Figures of the runs of a sweep: one row per run, and means with their spread over seeds."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

from labelgen.sweep.plan import SweepPoint

__all__ = ["MEASURES", "means_of", "row_of", "settings_and_measures"]

MEASURES: Mapping[str, str] = {
    "miou": "mIoU, unlabelled = miss",
    "miou_labelled": "mIoU, labelled pixels",
    "miou_background": "mIoU, unlabelled = background",
    "coverage": "coverage",
    "accuracy_labelled": "accuracy on labelled pixels",
    "missed_classes": "share of classes missed",
    "strokes": "strokes",
}
"""Key of a figure to what it is called; all but strokes are fractions."""

Row = dict[str, Any]


def row_of(
    point: SweepPoint, seed: int, *, run: str, header: Mapping[str, Any], document: Mapping[str, Any] | None
) -> Row:
    """All about one run.

    Parameters
    ----------
    run
        Path of the run folder.
    header
        Its run.json; the intervals of `document` come along.
    document
        What `quality_document` says of it; None where there is no truth.
    """
    counts = header["counts"]
    figures = ("miou", "miou_labelled", "miou_background", "accuracy_labelled")
    quality = {key: None if document is None else document[key] for key in figures}
    return {
        "run": run,
        "method": header["method"],
        "sweeps": list(point.sweeps),
        "settings": dict(point.values),
        "seed": seed,
        **quality,
        "intervals": None if document is None else document.get("intervals"),
        "coverage": counts["coverage"] if document is None else document["coverage"],
        "missed_classes": None if document is None else document["sparse"]["missed_class_rate"],
        "strokes": counts["strokes"],
        "images": counts["labelled"],
        "failed": counts["failed"],
    }


def means_of(rows: Sequence[Row]) -> list[Row]:
    """Mean and sample standard deviation over the seeds of each setting, in the order of the rows.

    Examples
    --------
    >>> base = {"sweeps": ["drop"], "settings": {"drop": "0.5"}, **dict.fromkeys(MEASURES)}
    >>> [mean] = means_of([base | {"seed": 0, "miou": 0.25}, base | {"seed": 1, "miou": 0.75}])
    >>> mean["seeds"], mean["miou"]["mean"], round(mean["miou"]["std"], 4), mean["coverage"]
    (2, 0.5, 0.3536, None)
    """
    groups: dict[tuple, list[Row]] = {}
    for row in rows:
        groups.setdefault((tuple(row["sweeps"]), tuple(row["settings"].items())), []).append(row)
    return [
        {
            "sweeps": group[0]["sweeps"],
            "settings": group[0]["settings"],
            "seeds": len(group),
            **{key: _spread([row[key] for row in group]) for key in MEASURES},
        }
        for group in groups.values()
    ]


def settings_and_measures(means: Sequence[Row]) -> tuple[list[str], list[str]]:
    """Names of the settings that were given, and keys of the figures that there are; no strokes where none is drawn."""
    names = list(dict.fromkeys(name for row in means for name in row["settings"]))
    measures = [key for key in MEASURES if any(row[key] is not None for row in means)]
    drawn = any(row["strokes"] and row["strokes"]["max"] for row in means)
    return names, [key for key in measures if key != "strokes" or drawn]


def _spread(values: Sequence[float | None]) -> dict[str, float | None] | None:
    """None where a value is missing; no standard deviation of a single one."""
    numbers = [float(value) for value in values if value is not None]
    if len(numbers) < len(values) or not numbers:
        return None
    mean = sum(numbers) / len(numbers)
    std = math.sqrt(sum((n - mean) ** 2 for n in numbers) / (len(numbers) - 1)) if len(numbers) > 1 else None
    return {"mean": mean, "std": std, "min": min(numbers), "max": max(numbers)}
