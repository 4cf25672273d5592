"""Curves of a sweep as a picture: a panel per parameter, a line per measure, a band for the spread over seeds."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from labelgen.errors import RunFolderError
from labelgen.sweep.table import MEASURES

__all__ = ["CURVES", "curves_of", "write_plot"]

LEGEND_COLUMNS = 3
CURVES = ("miou", "miou_labelled", "coverage")
"""Fractions that are drawn."""

Row = dict[str, Any]
Curve = tuple[str, list[str], list[dict[str, float]]]
"""What the line is called, the values of the parameter, and mean and spread at each."""


def curves_of(means: Sequence[Row]) -> dict[str, list[Curve]]:
    """Title of each panel to its lines.

    One panel per parameter that was swept on its own, a line per measure. Of a grid, one panel per measure over the
    first parameter, a line per combination of the others.
    """
    panels: dict[str, dict[str, tuple[list[str], list[dict[str, float]]]]] = {}
    for row in means:
        first, *others = row["sweeps"]
        combination = ", ".join(f"{name} {row['settings'][name]}" for name in others)
        for key in CURVES:
            if row[key] is None:
                continue
            panel, line = (MEASURES[key], combination) if others else (first, MEASURES[key])
            values, points = panels.setdefault(panel, {}).setdefault(line, ([], []))
            values.append(row["settings"][first])
            points.append(row[key])
    return {panel: [(name, *found) for name, found in lines.items()] for panel, lines in panels.items()}


def write_plot(path: Path, means: Sequence[Row], *, title: str) -> None:
    """Draw the curves into a PNG (or what else the suffix says).

    Raises
    ------
    RunFolderError
        When the file cannot be written.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    panels = curves_of(means)
    figure = Figure(figsize=(5.2 * max(1, len(panels)), 4.2), layout="constrained")
    FigureCanvasAgg(figure)
    for axes, (panel, curves) in zip(figure.subplots(1, max(1, len(panels)), squeeze=False)[0], panels.items()):
        for name, values, points in curves:
            _draw(axes, name, values, points)
        is_measure = panel in MEASURES.values()
        axes.set(
            xlabel=means[0]["sweeps"][0] if is_measure else panel,
            ylabel=panel if is_measure else "fraction",
            ylim=(0, 1.02),
        )
        axes.grid(alpha=0.3)
        # below, because curves of labels run along both ends of [0, 1]
        axes.legend(loc="upper center", bbox_to_anchor=(0.5, -0.14), ncols=LEGEND_COLUMNS, frameon=False, fontsize=8)
    seeds = max((row["seeds"] for row in means), default=1)
    figure.suptitle(f"{title}, mean and range of {seeds} seeds" if seeds > 1 else title)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        figure.savefig(path, dpi=150)
    except (OSError, ValueError) as error:  # ValueError: a suffix that names no format
        raise RunFolderError(f"cannot write {path} ({error})", hint="choose another file, such as sweep.png") from error


def _draw(axes: Any, name: str, values: list[str], points: list[dict[str, float]]) -> None:
    """Values that are all numbers lie on an axis of numbers, others beside each other."""
    try:
        places: list[Any] = [float(value) for value in values]
    except ValueError:
        places = values
    (line,) = axes.plot(places, [point["mean"] for point in points], "o-", markersize=4, label=name)
    low, high = [point["min"] for point in points], [point["max"] for point in points]
    axes.fill_between(places, low, high, color=line.get_color(), alpha=0.2, linewidth=0)
