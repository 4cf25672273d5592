"""Pictures of a comparison: frozen and tuned over label quality, and scores over ever sparser scribbles."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from segprobe.compare.cell import LabelResult
from segprobe.compare.table import DENSE, Crossing, Row

__all__ = ["draw_crossing", "draw_robustness", "robustness_of"]

COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#56b4e9", "#e69f00")  # Okabe and Ito: told apart by everybody
LINES = {"frozen": "-", "tuned": "--"}
MARKERS = {"frozen": "o^D", "tuned": "svP"}  # the next ones when the colours begin anew
LEGEND_INSIDE = 8  # curves; of more, the legend stands beside the axes
LEGEND_WIDTH = 3.0  # inches
BESIDE = 0.005  # of the width: one curve is drawn this far from the next, or their error bars hide each other
BETWEEN_NAMES = 0.03  # of the width of the axes, so that the names of labels stay legible
AXES = ("shrink", "drop")

Point = tuple[float, Row]


def draw_crossing(rows: Sequence[Row], crossings: Sequence[Crossing], path: Path) -> bool:
    """Draw val mIoU over the quality of dense labels, a curve for each backbone, head and strategy.

    Returns
    -------
    bool
        False, and nothing is written, when there are fewer than two qualities.
    """
    dense = [row for row in rows if row.seed is None and row.coverage >= DENSE]
    if len({row.run for row in dense}) < 2:
        return False

    def quality(row: Row) -> float:
        return row.label_miou

    figure, axes = _new_figure()
    _draw_curves(axes, dense, quality)
    low = min(*(row.interval[0] for row in dense), *(row.label_miou for row in dense))
    high = max(row.label_miou for row in dense)
    axes.plot([low, high], [low, high], color="0.6", linewidth=1, linestyle=":", label="as good as the labels")
    for crossing in crossings:
        for at in crossing.quality:
            axes.axvline(at, color="0.8", linewidth=1, zorder=0)
    names = {row.run: row.label_miou for row in dense}
    _name_points(axes, names)
    axes.set_xlabel("mIoU of the labels (train images)")
    axes.set_ylabel("mIoU of what was trained on them (val images)")
    return _finish(figure, axes, path)


def draw_robustness(points: Mapping[str, Sequence[Point]], path: Path) -> bool:
    """Draw val mIoU over what was taken from the labels: one panel for shrink, one for drop."""
    shown = {name: found for name, found in points.items() if len({x for x, _ in found}) > 1}
    if not shown:
        return False
    figure, panels = _new_figure(len(shown))
    for axes, (name, found) in zip(panels if len(shown) > 1 else [panels], shown.items(), strict=True):
        at = {id(row): x for x, row in found}
        _draw_curves(axes, [row for _, row in found], lambda row, at=at: at[id(row)])
        axes.set_xlabel({"shrink": "share of each stroke removed", "drop": "share of strokes dropped"}[name])
        axes.set_ylabel("mIoU (val images)")
        axes.set_ylim(bottom=0)
        _legend(axes)
    return _save(figure, path)


def robustness_of(rows: Sequence[Row], labels: Mapping[str, LabelResult]) -> dict[str, list[Point]]:
    """Rows of scribbles by their share of shrinking or dropping; whole scribbles are the first point of both.

    Parameters
    ----------
    labels
        By name of the run.
    """
    found: dict[str, list[Point]] = {name: [] for name in AXES}
    for row in rows:
        about = labels[row.run].facts if row.run in labels else {}
        if row.seed is not None or about.get("method") != "scribble":
            continue
        values = {name: float((about.get("config") or {}).get(name) or 0.0) for name in AXES}
        for name in AXES:
            if not any(values[other] for other in AXES if other != name):
                found[name].append((values[name], row))
    return found


def _draw_curves(axes: Any, rows: Sequence[Row], place: Callable[[Row], float]) -> None:
    networks = list(dict.fromkeys((row.backbone, row.head, row.variant) for row in rows))
    drawn = {(*network, strategy): number for number, network in enumerate(networks) for strategy in LINES}
    curves = {kind: [r for r in rows if (r.backbone, r.head, r.variant, r.strategy) == kind] for kind in drawn}
    curves = {kind: sorted(mine, key=place) for kind, mine in curves.items() if mine}
    places = [place(row) for row in rows]
    step = BESIDE * (max(places) - min(places))
    for order, (kind, mine) in enumerate(curves.items()):
        number, strategy = drawn[kind], kind[-1]
        shift = step * (order - (len(curves) - 1) / 2)
        y = [row.miou for row in mine]
        below = [row.miou - row.interval[0] for row in mine], [row.interval[1] - row.miou for row in mine]
        axes.errorbar(
            [place(row) + shift for row in mine],
            y,
            yerr=below,
            color=COLOURS[number % len(COLOURS)],
            linestyle=LINES[strategy],
            marker=MARKERS[strategy][number // len(COLOURS) % len(MARKERS[strategy])],
            markersize=5,
            markerfacecolor="white" if strategy == "tuned" else None,
            capsize=2,
            linewidth=1.5,
            elinewidth=0.7,
            label=", ".join(filter(None, kind)),
        )


def _name_points(axes: Any, names: Mapping[str, float]) -> None:
    """Names of the labels along the upper edge, each over its quality, or a little to the right of its neighbour."""
    left, right = axes.get_xlim()
    place = left
    for name, at in sorted(names.items(), key=lambda item: item[1]):
        place = max(at, place + BETWEEN_NAMES * (right - left))
        axes.annotate(
            name,
            (place, 1.0),
            xycoords=("data", "axes fraction"),
            xytext=(0, 3),
            textcoords="offset points",
            rotation=40,
            fontsize=7,
            ha="left",
            va="bottom",
            color="0.35",
        )


def _new_figure(panels: int = 1) -> tuple[Any, Any]:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7.0 if panels == 1 else 5.0 * panels, 5.2), dpi=130, layout="constrained")
    return figure, figure.subplots(1, panels)


def _finish(figure: Any, axes: Any, path: Path) -> bool:
    _legend(axes)
    return _save(figure, path)


def _legend(axes: Any) -> None:
    axes.grid(alpha=0.25)
    axes.spines[["top", "right"]].set_visible(False)
    beside = len(axes.get_legend_handles_labels()[0]) > LEGEND_INSIDE
    if beside:
        width, height = axes.figure.get_size_inches()
        axes.figure.set_size_inches(width + LEGEND_WIDTH, height)
    axes.legend(frameon=False, fontsize=8, **({"loc": "upper left", "bbox_to_anchor": (1.0, 1.0)} if beside else {}))


def _save(figure: Any, path: Path) -> bool:
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path)
    return True
