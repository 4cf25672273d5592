"""The page of `labelgen sweep`: curves with intervals, the means of each setting, and every run."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

from labelgen.report.conventions import sweep_conventions
from labelgen.report.figures import Curve, curves
from labelgen.report.html import Cell, Column, Fact, Figure, Page, Section, Table, count, fraction, missing, text_cell
from labelgen.sweep.plot import CURVES, curves_of
from labelgen.sweep.plot import Curve as Swept
from labelgen.sweep.table import MEASURES, settings_and_measures

__all__ = ["sweep_page"]

Row = dict[str, Any]
WITH_INTERVALS = ("miou", "miou_labelled")


def sweep_page(method: str, data: str, rows: Sequence[Row], means: Sequence[Row]) -> Page:
    """Put the results of a sweep on a page.

    Parameters
    ----------
    rows
        What `row_of` gave for each run.
    means
        What `means_of` made of them.
    """
    seeds = max((row["seeds"] for row in means), default=1)
    spread = "bands and whiskers are the range over seeds"
    if seeds == 1:
        spread = "whiskers are 95 % intervals over images (none for coverage)"
        means = [_with_intervals(mean, rows) for mean in means]
    shown = Section(
        anchor="sweep",
        title=f"{method} on {data}",
        warnings=_warnings(rows),
        facts=[
            Fact("method", method),
            Fact("data", data),
            Fact("runs", str(len({row["run"] for row in rows}))),
            Fact("seeds", str(seeds)),
            Fact("images", ", ".join(sorted({str(row["images"]) for row in rows}))),
        ],
        figures=[_figure(panel, found, means, spread) for panel, found in curves_of(means).items()],
    )
    tables = Section(anchor="tables", title="In numbers", tables=[_means(means), _runs(rows)])
    lead = f"One method over values of its settings: {len(means)} {_plural('setting', len(means))}"
    lead += f", {seeds} {_plural('seed', seeds)} each."
    return Page(f"Sweep: {method}", lead, [shown, tables], (sweep_conventions(seeds=seeds),))


def _plural(word: str, number: int) -> str:
    return word if number == 1 else f"{word}s"


def _with_intervals(mean: Row, rows: Sequence[Row]) -> Row:
    """A mean of one run with the interval of that run instead of a range without width."""
    run = next(row for row in rows if row["sweeps"] == mean["sweeps"] and row["settings"] == mean["settings"])
    found = dict(mean)
    for key in WITH_INTERVALS:
        edges = (run.get("intervals") or {}).get(key)
        if edges and found[key]:
            found[key] = {**found[key], "min": edges[0], "max": edges[1]}
    return found


def _warnings(rows: Sequence[Row]) -> list[str]:
    found = []
    if any(row["miou"] is None for row in rows):
        found.append("Some runs have no truth in their classes: only coverage is known of them.")
    if failed := sum(row["failed"] for row in rows):
        found.append(f"{failed} images could not be labelled; failures.jsonl of each run says why.")
    return found


def _figure(panel: str, found: Sequence[Swept], means: Sequence[Row], spread: str) -> Figure:
    texts = list(dict.fromkeys(value for _, values, _ in found for value in values))
    numbers = [_number(text) for text in texts]
    names = [] if all(number is not None for number in numbers) else texts
    lines = []
    for name, values, points in found:
        places = [float(texts.index(value)) if names else float(value) for value in values]
        order = sorted(range(len(places)), key=places.__getitem__)
        lines.append(
            Curve(
                name,
                [places[i] for i in order],
                [points[i]["mean"] for i in order],
                [points[i]["min"] for i in order],
                [points[i]["max"] for i in order],
            )
        )
    is_measure = panel in MEASURES.values()
    setting = means[0]["sweeps"][0] if is_measure else panel
    chart = curves(
        lines,
        x_title=setting.replace("_", " "),
        y_title=panel if is_measure else "fraction",
        names=names,
        about=f"{', '.join(line.name for line in lines)} over {setting}",
        y_range=(0.0, 1.02),
        joined=not names,
    )
    over = f"over {setting.replace('_', ' ')}"
    return Figure(f"{panel} {over}" if is_measure else over.capitalize(), chart, f"Means over runs; {spread}.")


def _number(text: str) -> float | None:
    try:
        value = float(text)
    except ValueError:
        return None
    return value if math.isfinite(value) else None


def _means(means: Sequence[Row]) -> Table:
    names, shown = settings_and_measures(means)
    rows = [
        [
            *(_setting(row["settings"].get(name)) for name in names),
            count(row["seeds"]),
            *(_spread(row[key], whole=key == "strokes", with_range=key in CURVES) for key in shown),
        ]
        for row in means
    ]
    columns = [*(Column(name.replace("_", " ")) for name in names), Column("seeds")]
    columns += [Column(MEASURES[key]) for key in shown]
    return Table(
        "Settings",
        columns,
        rows,
        caption="Means over seeds; behind them from lowest to highest, or the interval of a single run.",
    )


def _setting(text: str | None) -> Cell:
    if text is None:
        return missing()
    number = _number(text)
    return Cell(text, text if number is None else number)


def _spread(found: Mapping[str, Any] | None, *, whole: bool, with_range: bool) -> Cell:
    if found is None:
        return missing()
    text = f"{found['mean']:.1f}" if whole else f"{found['mean']:.4f}"
    if with_range and found["max"] > found["min"]:
        text += f" ({found['min']:.3f} to {found['max']:.3f})"
    return Cell(text, float(found["mean"]))


def _runs(rows: Sequence[Row]) -> Table:
    figures = [key for key in MEASURES if key != "strokes"]
    lines = [
        [
            text_cell(row["run"]),
            count(row["seed"]),
            *(fraction(row[key], digits=4) for key in figures),
            count(row["images"]),
            count(row["failed"]),
        ]
        for row in rows
    ]
    columns = [Column("run", kind="name"), Column("seed"), *(Column(MEASURES[key]) for key in figures)]
    return Table("Runs", [*columns, Column("images"), Column("failed")], lines)
