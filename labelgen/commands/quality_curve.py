"""The threshold curve of `labelgen quality --curve`: flags, table, CSV and picture."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from labelgen.commands.common import Switch, print_table, progress_bar, writing_to
from labelgen.engine import Engine
from labelgen.errors import ConfigError

if TYPE_CHECKING:
    from labelgen.data.dataset import Dataset
    from labelgen.quality.confusion import Unlabelled
    from labelgen.store import LabelSource

__all__ = ["CurveFlags", "curve_of", "print_curves", "write_curves", "write_plot"]

SHOWN_STEP = 20  # thresholds in the table are multiples of 1 / 20
CSV_COLUMNS = ("run", "threshold", "alpha", "miou", "num_classes", "foreground")


@dataclass(frozen=True, kw_only=True)
class CurveFlags:
    """What a background threshold does to seeds.

    Parameters
    ----------
    curve
        Also score every threshold against the saved scores of a run (`labelgen cam --save-scores`): what the run did
        itself (fixed) beside the best threshold, which needs truth (oracle).
    select_on
        File with one image id a line: choose the threshold on these, report on the others.
    bins
        Steps between thresholds 0 and 1.
    curve_csv
        CSV file to write, one line per run and threshold.
    plot
        Picture of the curves to write, such as curve.png.
    """

    curve: Switch = False
    select_on: str = ""
    bins: int = 1000
    curve_csv: str = ""
    plot: str = ""

    def check(self) -> None:
        """Refuse flags that would do nothing."""
        for name, given in (
            ("select-on", bool(self.select_on)),
            ("bins", self.bins != CurveFlags.bins),
            ("curve-csv", bool(self.curve_csv)),
            ("plot", bool(self.plot)),
        ):
            if given and not self.curve:
                raise ConfigError(f"--{name} is of the threshold curve, which was not asked for", hint="add --curve")
        if self.select_on and not Path(self.select_on).is_file():
            raise ConfigError(f"--select-on must be a file of ids, got {self.select_on}", hint="one id a line")
        if self.plot and Path(self.plot).suffix.lower() not in (".png", ".pdf", ".svg"):
            raise ConfigError(f"--plot must end in .png, .pdf or .svg, got {self.plot}")


def curve_of(
    source: "LabelSource",
    truth: "Dataset",
    flags: CurveFlags,
    *,
    unlabelled: "Unlabelled",
    workers: int,
    engine: Engine,
) -> dict[str, Any]:
    """Sweep the scores of one run."""
    from labelgen.data.selection import read_ids
    from labelgen.methods import METHODS
    from labelgen.quality.curve_document import curve_document
    from labelgen.quality.curve_run import CurveOptions, run_curve
    from labelgen.store import RunFolder

    if not isinstance(source, RunFolder):
        raise ConfigError(f"a curve needs scores, and {source.path} is a plain folder of masks", hint="name a run")
    select_on = read_ids(Path(flags.select_on), truth.ids) if flags.select_on else None
    options = CurveOptions(flags.bins, unlabelled, select_on)
    with progress_bar(f"curve {source.name}") as progress:
        curve = run_curve(source, truth, options, workers=workers, engine=engine, progress=progress)
    name = source.header["method"]
    if name == "refine":
        name = (source.header["config"].get("source") or {}).get("method")
    notes = []
    if name in METHODS and METHODS[name].likely is not None:
        notes.append(f"{name} keeps scores only of classes that win a pixel, so the others are nowhere on the curve")
    return curve_document(curve, notes=notes)


def print_curves(documents: Sequence[dict[str, Any]]) -> None:
    """Print, for each run, what it did itself, what was selected, and what truth would have chosen; then the curve."""
    rows = []
    for document in documents:
        for kind in ("fixed", "selected", "oracle"):
            point = document[kind]
            if point is not None:
                rule = point.get("background") or "-"
                cells = (_cell(point["threshold"], "g"), _cell(point["alpha"], ".3g"), _cell(point["miou"], ".4f"))
                rows.append((document["run"], kind, rule, *cells, point["num_images"]))
    print_table(
        ("run", "", "background", "threshold", "alpha", "mIoU", "images"), rows, title="Threshold of background"
    )
    step = max(1, documents[0]["curve_conventions"]["bins"] // SHOWN_STEP)
    lines = []
    for points in zip(*(document["curve"][::step] for document in documents), strict=True):
        first = (_cell(points[0]["threshold"], "g"), _cell(points[0]["alpha"], ".3g"))
        lines.append((*first, *(f"{_cell(p['miou'], '.4f')} ({_cell(p['foreground'], '.2f')})" for p in points)))
    names = [document["run"] for document in documents]
    print_table(("threshold", "alpha", *names), lines, title="mIoU (share of foreground) at each threshold")
    sentences = [("oracle", documents[0]["oracle"]["sentence"])]
    sentences += [("selected", documents[0]["selected"]["sentence"])] if documents[0]["selected"] else []
    for document in documents:
        sentences += [
            ("note", note) for note in document["curve_conventions"]["notes"] if ("note", note) not in sentences
        ]
    for word, sentence in sentences:
        print(f"{word}: {sentence}")  # noqa: T201


def write_curves(path: Path, documents: Sequence[dict[str, Any]]) -> None:
    """Write one line per run and threshold.

    Raises
    ------
    RunFolderError
        When the file cannot be written.
    """
    from labelgen.commands.quality_csv import csv_text
    from labelgen.masks import write_atomic

    rows = ([document["run"], *point.values()] for document in documents for point in document["curve"])
    with writing_to(path):
        write_atomic(path, csv_text(CSV_COLUMNS, rows).encode())


def write_plot(path: Path, documents: Sequence[dict[str, Any]]) -> None:
    """Draw the curves, with a dot where truth would have put the threshold and a line where the run's own labels are.

    Raises
    ------
    RunFolderError
        When the file cannot be written.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7, 4.5), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    for document in documents:
        points = [point for point in document["curve"] if point["miou"] is not None]
        (line,) = axes.plot([p["threshold"] for p in points], [p["miou"] for p in points], label=document["run"])
        fixed, oracle = document["fixed"], document["oracle"]
        axes.plot(oracle["threshold"], oracle["miou"], "o", color=line.get_color(), markerfacecolor="none")
        axes.axhline(fixed["miou"], color=line.get_color(), linestyle=":", linewidth=1)
        if fixed["threshold"] is not None:
            axes.plot(fixed["threshold"], fixed["miou"], "s", color=line.get_color())
    axes.plot([], [], "o", color="grey", markerfacecolor="none", label="oracle: chosen with truth")
    axes.plot([], [], "s:", color="grey", linewidth=1, label="fixed: the run's own labels")
    provenance = documents[0]["curve_conventions"]["provenance"]
    axes.set(xlabel="threshold of background", ylabel="mIoU", xlim=(0, 1), ylim=(0, None))
    axes.set_title(f"{provenance['truth']} {provenance['split']}: {documents[0]['fixed']['num_images']} images")
    axes.grid(alpha=0.3)
    axes.legend()
    with writing_to(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        figure.savefig(path, dpi=150)


def _cell(value: float | None, form: str) -> str:
    return "-" if value is None else format(value, form)
