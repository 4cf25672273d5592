"""The part of a page about one run: where it comes from, its figures, its classes, its plots."""

import json
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from labelgen.quality.confusion import scores_from_confusion
from labelgen.quality.evaluate import Evaluation
from labelgen.report.html import (
    Cell,
    Column,
    Fact,
    Gallery,
    Headline,
    Section,
    Table,
    count,
    fraction,
    text_cell,
)
from labelgen.report.measured import MeasuredRun
from labelgen.report.overlays import ERRORS
from labelgen.report.plots import coverage_figure, quality_figures

__all__ = ["facts_of", "headlines_of", "percent", "run_section", "settings_of"]

SHOWN_IDS = 3
MOST_NAMES = 40  # of classes that are left out of a table
RULES = {"exclude": "left out", "background": "background", "error": "an error (there are none)"}
HASH = 16  # digits of a hash


def run_section(run: MeasuredRun, *, anchor: str, galleries: Sequence[Gallery] = ()) -> Section:
    """All about one run; without truth only what the labels say of themselves."""
    evaluation = run.evaluation
    with_errors = bool(galleries) and evaluation is not None
    return Section(
        anchor=anchor,
        title=run.name,
        warnings=_warnings(run),
        headlines=headlines_of(run),
        facts=facts_of(run),
        settings=settings_of(run),
        tables=[_classes(evaluation) if evaluation else _label_classes(run)],
        figures=quality_figures(run) if evaluation else [coverage_figure(run)],
        galleries=galleries,
        errors_key=list(ERRORS.values()) if with_errors else [ERRORS[255]] if galleries else [],
    )


def percent(value: float | None) -> str:
    """A share as people read it.

    Examples
    --------
    >>> percent(0.1234), percent(0.0001), percent(0.000013), percent(0.000002), percent(None)
    ('12.3 %', '0.01 %', '0.001 %', '< 0.001 %', '-')
    """
    if value is None or np.isnan(value):
        return "-"
    if 0 < value < 0.000_01:
        return "< 0.001 %"
    return f"{100 * value:.{1 if value < 0.001 else 2}g} %" if 0 < value < 0.01 else f"{100 * value:.1f} %"


def headlines_of(run: MeasuredRun) -> list[Headline]:
    """The figures that matter."""
    document = run.document
    if document is None:
        return _label_headlines(run)
    sparse, boundary = document["sparse"], document["boundary"]
    intervals = document.get("intervals", {})
    classes = f"{document['num_classes']} of {len(document['per_class'])} classes"
    labelled = f"{document['num_classes_labelled']} classes"
    found = [
        Headline("mIoU, unlabelled = miss", fraction(document["miou"]).text, _interval(intervals.get("miou"), classes)),
        Headline(
            "mIoU, labelled pixels",
            fraction(document["miou_labelled"]).text,
            _interval(intervals.get("miou_labelled"), labelled),
        ),
        Headline("coverage", percent(document["coverage"]), "labelled share of valid pixels"),
        Headline("pixel precision", percent(document["accuracy_labelled"]), "right share of labelled pixels"),
    ]
    if boundary:
        note = f"{boundary['num_classes']} classes, {percent(boundary['valid_share'])} of it not void"
        found.append(Headline("boundary IoU", fraction(boundary["miou"]).text, note))
    found.append(
        Headline(
            "images with a missing class",
            f"{sparse['images_with_missed_classes']} of {document['num_images']}",
            "a class of the truth without any labelled pixel on it",
        )
    )
    return found


def _interval(edges: Sequence[float] | None, classes: str) -> str:
    return classes if edges is None else f"{edges[0]:.3f} to {edges[1]:.3f} (95 %), {classes}"


def _label_headlines(run: MeasuredRun) -> list[Headline]:
    images = run.images
    used = {class_id for image in images for class_id in image.classes}
    coverage = run.header.get("counts", {}).get("coverage")
    if coverage is None:
        coverage = float(np.mean([image.coverage for image in images])) if images else None
    return [
        Headline("images labelled", count(len(images)).text),
        Headline("coverage", percent(coverage), "labelled share of all pixels"),
        Headline("classes used", f"{len(used)} of {run.shown.source.vocabulary.num_classes}"),
        Headline("images without any label", count(sum(not image.classes for image in images)).text),
    ]


def _warnings(run: MeasuredRun) -> list[str]:
    found = []
    if run.evaluation is None:
        found.append(
            f"There is no truth to compare with ({run.why_not}), so that this part says how much is labelled and not "
            "how well: no mIoU, no confusion, no errors."
        )
    else:
        if absent := run.evaluation.missing:
            found.append(f"{len(absent)} images have no label and count as unlabelled: {_some(absent)}")
        if (extra := run.evaluation.extra) and not run.is_subset:
            found.append(f"{len(extra)} labels have no truth here and are left out: {_some(extra)}")
        if (rule := run.evaluation.options.unlabelled) != "miss":
            found.append(
                f"Boundary IoU and the mIoU of images take unlabelled pixels as {RULES[rule]}; the rest of this part "
                "says by its name what they are."
            )
    if run.header.get("state") == "running":
        found.append("The run is unfinished.")
    return found


def _some(ids: Sequence[str]) -> str:
    return ", ".join(ids[:SHOWN_IDS]) + (", ..." if len(ids) > SHOWN_IDS else "")


def facts_of(run: MeasuredRun) -> list[Fact]:
    """Where a run comes from."""
    header, source = run.header, run.shown.source
    data: Mapping[str, Any] = header.get("data", {})
    spec = run.shown.dataset.spec.to_json() if run.shown.dataset is not None else dict(data)
    place = " ".join(str(spec[key]) for key in ("kind", "root", "split") if spec.get(key))
    counts = header.get("counts", {})
    pairs = [
        ("run", run.path),
        ("method", header.get("method", "a plain folder of masks")),
        ("supervision", _supervision(header)),
        ("seed", header.get("seed")),
        ("data", place),
        ("ids sha256", _short(data.get("ids_sha256", ""))),
        ("labels sha256", _short(run.labels_sha256)),
        ("vocabulary", f"{source.vocabulary.name}, {source.vocabulary.num_classes} classes"),
        ("images", counts.get("labelled", len(source.ids))),
        ("failed", counts.get("failed")),
        ("warnings", counts.get("warnings") or None),
        ("labelgen", header.get("versions", {}).get("labelgen")),
    ]
    return [Fact(name, str(value)) for name, value in pairs if value not in (None, "")]


def _short(digest: str) -> str:
    """The first digits of a hash; the whole one stands below the settings."""
    return f"{digest[:HASH]}…" if digest else ""


def _supervision(header: Mapping[str, Any]) -> str:
    return ", ".join(header["supervision"]) or "none" if header else "unknown"


def settings_of(run: MeasuredRun) -> list[Fact]:
    """Settings of the method, its models, versions of packages and hashes, as they stand in the run."""
    header = run.header
    pairs = [(name, _shown(value)) for name, value in header.get("config", {}).items()]
    pairs += [("min_score", _shown(header["min_score"]))] if header.get("min_score") else []
    pairs += [(f"model {name}", _shown(value)) for name, value in header.get("models", {}).items()]
    pairs += [(name, _shown(value)) for name, value in header.get("facts", {}).items()]
    pairs += [(name, _shown(value)) for name, value in header.get("versions", {}).items()]
    hashes = {"ids sha256": header.get("data", {}).get("ids_sha256"), "labels sha256": run.labels_sha256}
    pairs += [(name, value) for name, value in hashes.items() if value]
    return [Fact(name, value) for name, value in pairs]


def _shown(value: Any) -> str:
    return value if isinstance(value, str) and value else json.dumps(value, ensure_ascii=False)


def _classes(evaluation: Evaluation) -> Table:
    """One row per class in the truth or the labels; the others have no value, and are named below the table."""
    table, names = evaluation.matrix, evaluation.vocabulary.classes
    miss, labelled = scores_from_confusion(table), scores_from_confusion(table, unlabelled="exclude")
    boundary = _boundary_ious(evaluation)
    rows = []
    there = (table.sum(axis=1) > 0) | (miss.label_pixels > 0)
    for class_id, name in enumerate(names):
        if not there[class_id]:
            continue
        rows.append(
            [
                text_cell(name),
                count(int(miss.truth_pixels[class_id])),
                count(int(miss.label_pixels[class_id])),
                fraction(float(miss.coverage[class_id])),
                fraction(float(miss.precision[class_id])),
                fraction(float(miss.recall[class_id])),
                fraction(float(miss.iou[class_id])),
                fraction(float(labelled.iou[class_id])),
                *([] if boundary is None else [fraction(float(boundary[class_id]))]),
                _top_confusion(table[class_id], class_id, names),
            ]
        )
    columns = [
        Column("class", kind="name"),
        Column("truth px", "valid pixels of the class in the truth"),
        Column("label px", "valid pixels with this label"),
        Column("coverage", "labelled share of the pixels of the class"),
        Column("precision", "right share of the pixels with this label"),
        Column("recall", "share of the pixels of the class with its label; unlabelled ones are misses"),
        Column("IoU", "unlabelled pixels are misses"),
        Column("IoU, labelled", "labelled pixels only"),
        *([] if boundary is None else [Column("boundary IoU", "near contours only")]),
        Column("most often taken for", "share of the pixels of the class with that label", kind="number words"),
    ]
    return Table(
        "By class",
        columns,
        rows,
        caption="A class that is only labelled has an IoU of 0, which counts. "
        + _left_out(
            [name for name, shown in zip(names, there) if not shown], "in neither truth nor labels, in no mean"
        ),
    )


def _left_out(names: Sequence[str], why: str) -> str:
    """What is said of classes without a row; empty when there are none.

    Examples
    --------
    >>> _left_out(["bus"], "in no label"), _left_out([], "in no label")
    ('1 class left out, in no label: bus.', '')
    """
    if not names:
        return ""
    shown = ", ".join(names[:MOST_NAMES]) + (", ..." if len(names) > MOST_NAMES else "")
    return f"{len(names)} {'class' if len(names) == 1 else 'classes'} left out, {why}: {shown}."


def _boundary_ious(evaluation: Evaluation) -> np.ndarray | None:
    if evaluation.boundary is None:
        return None
    both, either = evaluation.boundary[:2]
    return np.where(either > 0, both / np.maximum(either, 1), np.nan)


def _top_confusion(row: np.ndarray, class_id: int, names: Sequence[str]) -> Cell:
    """The wrong label that a class has most often."""
    wrong = row[:-1].copy()
    wrong[class_id] = 0
    if not wrong.any():
        return Cell("-", None, "missing words")
    share = float(wrong.max() / row.sum())
    return Cell(f"{names[int(wrong.argmax())]} {percent(share)}", share, "words")


def _label_classes(run: MeasuredRun) -> Table:
    """Without truth: how much there is of each label."""
    names = run.shown.source.vocabulary.classes
    pixels, images = dict.fromkeys(range(len(names)), 0), dict.fromkeys(range(len(names)), 0)
    for image in run.images:
        for class_id, number in image.classes.items():
            pixels[class_id] += number
            images[class_id] += 1
    total = sum(pixels.values())
    rows = [
        [
            text_cell(name),
            count(pixels[i]),
            fraction(pixels[i] / total),
            count(images[i]),
        ]
        for i, name in enumerate(names)
        if pixels[i]
    ]
    unused = [name for i, name in enumerate(names) if not pixels[i]]
    columns = [
        Column("class", kind="name"),
        Column("label px"),
        Column("share", "of all labelled pixels"),
        Column("images", "with this label"),
    ]
    return Table("By class", columns, rows, caption=_left_out(unused, "in no label"))
