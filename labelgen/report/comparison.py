"""The part of a page about several runs beside each other: figures, classes with their changes, curves, images."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from labelgen.report.figures import Curve, curves
from labelgen.report.gallery import Album, Panels, card_of, text_size_of
from labelgen.report.html import Cell, Column, Figure, Gallery, Section, Table, change, count, fraction, text_cell
from labelgen.report.measured import MeasuredRun
from labelgen.report.overlays import label_picture
from labelgen.report.views import View
from labelgen.vocab import Colour, Vocabulary

__all__ = ["comparison_section", "swept_setting"]

MOST_BESIDE = 4  # labels beside each other in the gallery of a comparison
SIDE = 320  # pixels of the long side of a picture
MEASURES = {  # key of a document: title, and whether it is a fraction
    "miou": "mIoU, unlabelled = miss",
    "miou_labelled": "mIoU, labelled pixels",
    "coverage": "coverage",
    "accuracy_labelled": "pixel precision",
    "boundary": "boundary IoU",
    "mean_image_miou": "mIoU by image, mean",
    "images_with_missed_classes": "images with a missing class",
    "num_images": "images",
}
CURVES = ("miou", "miou_labelled", "coverage")


def comparison_section(runs: Sequence[MeasuredRun], album: Album, *, images: int, budget: float) -> Section:
    """Set runs beside each other; changes are against the first.

    Parameters
    ----------
    images
        How many images to show on which the runs differ most, at most.
    budget
        Bytes of their pictures.
    """
    scored = [run for run in runs if run.document is not None]
    warnings = []
    if len(scored) < len(runs):
        names = ", ".join(run.name for run in runs if run.document is None)
        warnings.append(f"Without truth, and so without scores: {names}.")
    if len({tuple(row.id for row in run.evaluation.images) for run in scored if run.evaluation}) > 1:
        warnings.append("The runs are not scored on the same images, so that their figures are not comparable.")
    tables, figures, galleries = [_figures(runs)], [], []
    if len(scored) > 1:
        tables.append(_classes(scored))
        figures += _swept(scored)
        galleries += _differing(scored, album, images=images, budget=budget)
    return Section(
        anchor="comparison",
        title=f"{len(runs)} runs beside each other",
        intro=(
            f"Changes are against the first run, {runs[0].name}; more is better, but for images with a missing class.",
        ),
        warnings=warnings,
        tables=tables,
        figures=figures,
        galleries=galleries,
    )


def _value(run: MeasuredRun, key: str) -> float | None:
    document = run.document
    if document is None:
        return run.header.get("counts", {}).get("coverage") if key == "coverage" else None
    if key == "boundary":
        return (document["boundary"] or {}).get("miou")
    return document["sparse"][key] if key in document["sparse"] else document[key]


def _figures(runs: Sequence[MeasuredRun]) -> Table:
    """A row a run, so that any number of runs fits; each figure with its change."""
    sizes = {_value(run, "num_images") for run in runs}
    measures = {key: title for key, title in MEASURES.items() if key != "num_images" or len(sizes) > 1}
    rows = []
    for number, run in enumerate(runs):
        cells = [text_cell(run.name), text_cell(", ".join(run.header.get("supervision", [])) or "-")]
        for key in measures:
            value, first = _value(run, key), _value(runs[0], key)
            whole = key in ("images_with_missed_classes", "num_images")
            cells.append(count(None if value is None else int(value)) if whole else fraction(value))
            if key in CURVES:
                both = number and value is not None and first is not None
                cells.append(change(value - first) if both and value is not None and first is not None else Cell(""))
        rows.append(cells)
    columns = [Column("run", kind="name"), Column("supervision", kind="words")]
    for key, title in measures.items():
        columns.append(Column(title))
        columns += [Column("change", f"of {title}")] if key in CURVES else []
    (size,) = sizes if len(sizes) == 1 else (None,)
    return Table("Figures", columns, rows, caption="" if size is None else f"Each over {size:.0f} images.")


def _classes(runs: Sequence[MeasuredRun]) -> Table:
    """IoU of each class by run, by name, with the change against the first run."""
    by_name = [{row["name"]: row for row in (run.document or {})["per_class"]} for run in runs]
    names = [
        n for n in dict.fromkeys(n for found in by_name for n in found) if any(_iou(f, n) is not None for f in by_name)
    ]
    absent = len({n for found in by_name for n in found}) - len(names)
    rows = []
    for name in names:
        first = _iou(by_name[0], name)
        cells = [text_cell(name), fraction(first)]
        for found in by_name[1:]:
            value = _iou(found, name)
            cells += [fraction(value), change(None if value is None or first is None else value - first)]
        rows.append(cells)
    columns = [Column("class", kind="name"), Column(f"IoU, {runs[0].name}")]
    for run in runs[1:]:
        columns += [Column(f"IoU, {run.name}"), Column("change", f"of {run.name} against {runs[0].name}")]
    left_out = f" {absent} classes that are in neither the truth nor any run are left out." if absent else ""
    return Table("IoU by class", columns, rows, caption=f"Unlabelled pixels are misses.{left_out}")


def _iou(rows: Mapping[str, Mapping[str, Any]], name: str) -> float | None:
    return rows[name]["iou"] if name in rows else None


def swept_setting(configs: Sequence[Mapping[str, Any]]) -> str:
    """The one setting in which the configs of runs differ; empty when there is none or more than one.

    Examples
    --------
    >>> swept_setting([{"shrink": 0, "drop": 0}, {"shrink": 0.5, "drop": 0}, {"shrink": 0.5, "drop": 0}])
    'shrink'
    >>> swept_setting([{"shrink": 0, "drop": 0}, {"shrink": 0.5, "drop": 1}]), swept_setting([{}, {}])
    ('', '')
    """
    keys = list(dict.fromkeys(key for config in configs for key in config))
    apart = [key for key in keys if len({repr(config.get(key)) for config in configs}) > 1]
    return apart[0] if len(apart) == 1 else ""


def _swept(runs: Sequence[MeasuredRun]) -> list[Figure]:
    """Curves over the setting in which the runs of one method differ."""
    if len({run.header.get("method") for run in runs}) != 1 or not runs[0].header:
        return []
    key = swept_setting([run.header["config"] for run in runs])
    if not key:
        return []
    values = list(dict.fromkeys(run.header["config"][key] for run in runs if _is_plain(run.header["config"][key])))
    if len(values) < 2:
        return []
    numbers = all(isinstance(value, int | float) and not isinstance(value, bool) for value in values)
    values = sorted(values) if numbers else values
    lines = [_line(runs, key, values, figure, numbers=numbers) for figure in CURVES]
    several = any(sum(run.header["config"][key] == value for run in runs) > 1 for value in values)
    what = "the range over runs of one value" if several else "95 % intervals over images (none for coverage)"
    chart = curves(
        lines,
        x_title=key.replace("_", " "),
        y_title="fraction",
        names=() if numbers else [str(value) for value in values],
        about=f"mIoU and coverage over {key}",
        joined=numbers,
    )
    return [Figure(f"Over {key}", chart, f"The runs differ in this setting only. Bands and whiskers: {what}.")]


def _is_plain(value: Any) -> bool:
    return isinstance(value, str | int | float | bool)


def _line(runs: Sequence[MeasuredRun], key: str, values: Sequence[Any], figure: str, *, numbers: bool) -> Curve:
    means, lows, highs = [], [], []
    for value in values:
        found = [run for run in runs if run.header["config"][key] == value]
        scores = [score for run in found if (score := _value(run, figure)) is not None]
        edges = ((found[0].document or {}).get("intervals", {}).get(figure) if len(found) == 1 else None) or scores
        means.append(float(np.mean(scores)) if scores else math.nan)
        lows.append(min(edges, default=math.nan))
        highs.append(max(edges, default=math.nan))
    places = list(values) if numbers else list(range(len(values)))
    return Curve(MEASURES[figure], places, means, lows, highs)


def _differing(runs: Sequence[MeasuredRun], album: Album, *, images: int, budget: float) -> list[Gallery]:
    """Images on which the mIoU of the runs differs most, with the labels of each."""
    scores = [{row.id: row.miou for row in run.evaluation.images} for run in runs if run.evaluation is not None]
    shared = [i for i in scores[0] if all(i in found and not math.isnan(found[i]) for found in scores)]
    spread = {i: max(found[i] for found in scores) - min(found[i] for found in scores) for i in shared}
    ranked = sorted((i for i in shared if spread[i] > 0), key=lambda i: (-spread[i], i))[:images]
    classes = runs[0].shown.vocabulary.classes
    beside = [run for run in runs if run.shown.vocabulary.classes == classes][:MOST_BESIDE]
    cards, used = [], 0
    for sample_id in ranked:
        note = "; ".join(f"{run.name} {found[sample_id]:.3f}" for run, found in zip(runs, scores, strict=True))
        views = {run.name: run.shown.view(sample_id, side=SIDE) for run in beside}
        first, *others = views.values()
        card, cost = card_of(
            first,
            beside[0].shown.vocabulary,
            f"mIoU: {note}",
            album,
            anchor=f"differ-{len(cards) + 1}",
            panels=_beside(views),
            others=others,
        )
        if used + cost > budget:
            break
        used += cost
        cards.append(card)
    more = f" Labels of {', '.join(run.name for run in beside)}." if len(runs) > len(beside) else ""
    caption = f"Largest spread of image mIoU first: up to {max(spread.values(), default=0.0):.3f} apart.{more}"
    return [Gallery("Where the runs differ most", cards, caption)] if cards else []


def _beside(views: Mapping[str, View]) -> Panels:
    """Image, truth, and the labels of each run by its name."""

    def panels(view: View, vocabulary: Vocabulary, colours: dict[int, Colour]) -> list[tuple[str, np.ndarray]]:
        found = [("image", view.image)]
        if view.truth is not None:
            found.append(
                ("truth", label_picture(view.image, view.truth, vocabulary, colours, text_size=text_size_of(view)))
            )
        for name, other in views.items():
            if other.labels is not None:
                drawn = label_picture(
                    view.image, other.labels, vocabulary, colours, strokes=other.strokes, text_size=text_size_of(view)
                )
                found.append((name, drawn))
        return found

    return panels
