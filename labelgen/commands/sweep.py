"""`labelgen sweep METHOD [DATA] --shrink 0,0.5,1`: one method over values of its settings, measured."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import Parameter

from labelgen.commands.common import (
    EXIT_DONE,
    EXIT_SOME_FAILED,
    DataFlags,
    Switch,
    data_path,
    print_json,
    print_table,
    progress_bar,
    say,
)
from labelgen.errors import ConfigError

if TYPE_CHECKING:
    from labelgen.run import RunOptions
    from labelgen.sweep.plan import SweepPoint

__all__ = ["SweepFlags", "sweep"]

Row = dict[str, Any]


@dataclass(frozen=True, kw_only=True)
class SweepFlags(DataFlags):
    """Flags of all runs of a sweep.

    Parameters
    ----------
    out
        Folder of the runs, named METHOD-SETTING-VALUE-seedN.
    seed
        The first seed.
    seeds
        How many seeds each setting is run with.
    refine
        Repair each mask, as in labelgen METHOD; several are applied in their order.
    workers
        Processes; the result is the same for any number.
    overwrite
        Replace runs that are already there.
    strict
        Stop at the first image that cannot be labelled.
    save_scores
        Keep the scores beside the labels.
    sheet
        Draw contact_sheet.jpg, some of the images with their labels, into each run.
    dry_run
        List the runs and write nothing.
    """

    out: str = "runs/sweep"
    seed: int = 0
    seeds: int = 1
    refine: tuple[str, ...] = ()
    workers: int = 1
    overwrite: Switch = False
    strict: Switch = False
    save_scores: Switch = False
    sheet: bool = True
    dry_run: Switch = False


def sweep(
    method: str = "scribble",
    data: str = "demo",
    /,
    *,
    grid: Switch = False,
    plot: str = "",
    html: str = "",
    as_csv: Annotated[bool, Parameter(name="--csv", negative="")] = False,
    as_json: Annotated[bool, Parameter(name="--json", negative="")] = False,
    flags: Annotated[SweepFlags | None, Parameter(name="*", group="Runs")] = None,
    **settings: str,
) -> int:
    """Label with several values of one or more settings of a method, and compare the labels with the truth.

    Each value and seed is a run of its own, so that the same command again goes on where it was, and with more values
    or seeds makes only the new ones.

    Parameters
    ----------
    method
        A labelling method: box, cam, clip, clip-es, corrupt, point, scribble or zeroseg.
    data
        Data set: demo, demo:N, a folder of known layout, or KIND:PATH.
    grid
        Sweep all combinations of the values. Else one setting after the other, the others at their defaults.
    plot
        Picture of the curves to write, such as sweep.png.
    html
        Page to write, such as sweep.html: the curves with intervals, the table, and how all is counted, in one file.
    as_csv
        Print one CSV line per run on stdout, nothing else.
    as_json
        Print one JSON document on stdout, nothing else.
    settings
        A setting of the method with its values between commas, such as --shrink 0,.5,1 (between semicolons where a
        value holds commas); a single value holds for all runs. labelgen METHOD --help lists the settings. Default:
        shrink for scribble, drop for point, level for corrupt, margin for box, background for cam.
    """
    flags = flags or SweepFlags()
    if as_csv and as_json:
        raise ConfigError("--csv and --json exclude each other")
    if flags.seeds < 1 or flags.seed < 0:
        raise ConfigError(f"--seeds must be >= 1 and --seed >= 0, got {flags.seeds} and {flags.seed}")

    from labelgen.sweep.table import means_of

    points = _plan(method, settings, grid=grid)
    seeds = range(flags.seed, flags.seed + flags.seeds)
    folders = list(dict.fromkeys(Path(flags.out, point.folder(seed)) for point in points for seed in seeds))
    if flags.dry_run:
        return _print_plan(folders, as_json=as_json)
    if html:
        from labelgen.report.html import refuse_foreign_page

        refuse_foreign_page(Path(html))
    rows = _run_all(method, data, points, seeds, flags)
    means = means_of(rows)
    if plot:
        from labelgen.sweep.plot import write_plot

        write_plot(Path(plot), means, title=f"labelgen {method}, {data}")
    if html:
        from labelgen.report.html import write_page
        from labelgen.report.sweep_page import sweep_page

        write_page(Path(html), sweep_page(method, data, rows, means))
        say(f"page: {Path(html).as_posix()}")
    compare = _compare_command(points, flags)
    if as_json:
        print_json({"method": method, "data": data, "rows": rows, "means": means, "compare": compare})
    elif as_csv:
        _print_csv(rows)
    else:
        _print_means(method, means)
        if plot:
            print(f"plot: {plot}")  # noqa: T201
        print(f"next: {compare}")  # noqa: T201
    return EXIT_SOME_FAILED if any(row["failed"] for row in rows) else EXIT_DONE


def _compare_command(points: "Sequence[SweepPoint]", flags: SweepFlags) -> str:
    """What trains on these runs: each setting is one label source, whose seeds are `{seed}`."""
    names = dict.fromkeys(data_path(Path(flags.out, point.folder("{seed}"))) for point in points)
    words = " ".join(f"'{name.strip(chr(39))}'" for name in names)
    return f"segprobe compare {words} --seeds {flags.seeds}" + (f" --seed {flags.seed}" if flags.seed else "")


def _plan(method: str, settings: dict[str, str], *, grid: bool) -> "list[SweepPoint]":
    from labelgen.methods import METHODS
    from labelgen.sweep.plan import DEFAULT_SWEEPS, plan_sweep

    if method not in METHODS:
        raise ConfigError(f"unknown method {method!r}", hint=f"methods: {', '.join(METHODS)}")
    given = {name.replace("-", "_"): text for name, text in settings.items()}
    usual = DEFAULT_SWEEPS.get(method, {})
    if not any(len(text.replace(";", ",").split(",")) > 1 for text in given.values()):
        if not usual or set(usual) & set(given):
            raise ConfigError(
                f"nothing is swept: no setting of {method} has several values",
                hint=f"labelgen sweep {method} --SETTING VALUE,VALUE; labelgen {method} --help lists the settings",
            )
        given = {**given, **usual}
    return plan_sweep(method, METHODS[method].config, given, grid=grid)


def _run_all(
    method: str, data: str, points: "Sequence[SweepPoint]", seeds: Sequence[int], flags: SweepFlags
) -> list[Row]:
    """Make each run, or find that it is made, and measure it."""
    from labelgen.run import RunOptions
    from labelgen.store import RunFolder
    from labelgen.sweep.table import row_of

    options = RunOptions(
        workers=flags.workers, overwrite=flags.overwrite, strict=flags.strict, save_scores=flags.save_scores
    )
    measured: dict[Path, Any] = {}
    rows = []
    for point in points:
        for seed in seeds:
            out = Path(flags.out, point.folder(seed))
            if out not in measured:
                measured[out] = _make(method, data, point, out, replace(options, seed=seed), flags)
            header = RunFolder.open(out).header
            rows.append(row_of(point, seed, run=out.as_posix(), header=header, document=measured[out]))
    return rows


def _make(
    method: str, data: str, point: "SweepPoint", out: Path, options: "RunOptions", flags: SweepFlags
) -> dict[str, Any] | None:
    """One run, and its quality where there is truth for it."""
    from labelgen.commands.generate import open_for, refuse_unused, say_failures
    from labelgen.commands.next_step import can_be_scored
    from labelgen.commands.sheet import leave_sheet
    from labelgen.methods import METHODS
    from labelgen.quality.document import quality_document
    from labelgen.quality.evaluate import QualityOptions, evaluate
    from labelgen.run import method_job, run_job
    from labelgen.store import RunFolder

    row = METHODS[method]
    refuse_unused(method, row, point.config, flags)
    dataset, vocabulary = open_for(row, point.config, data, flags)
    job = method_job(method, point.config, vocabulary, dataset=dataset, refine=flags.refine, seed=options.seed)
    with progress_bar(out.name) as progress:
        report = run_job(dataset, job, out, options, progress=progress)
    leave_sheet(report, dataset, wanted=flags.sheet)
    if report.first_failure is not None:
        say_failures(report, report.first_failure)
    if not can_be_scored(dataset, job.vocabulary):
        say(f"{out}: no truth in its classes, so that only coverage is known")
        return None
    return quality_document(evaluate(RunFolder.open(out), dataset, QualityOptions(intervals=True)))


def _print_plan(folders: Sequence[Path], *, as_json: bool) -> int:
    if as_json:
        print_json({"runs": [folder.as_posix() for folder in folders]})
        return EXIT_DONE
    print(f"would make {len(folders)} runs (nothing is written)")  # noqa: T201
    for folder in folders:
        there = "  (there)" if (folder / "run.json").is_file() else ""
        print(f"  {folder.as_posix()}{there}")  # noqa: T201
    return EXIT_DONE


def _print_csv(rows: Sequence[Row]) -> None:
    """One line per run, a column per setting."""
    import sys

    from labelgen.commands.quality_csv import csv_text

    names = list(dict.fromkeys(name for row in rows for name in row["settings"]))
    figures = [key for key in rows[0] if key not in ("sweeps", "settings", "intervals")]
    lines = [[*(row["settings"].get(name) for name in names), *(row[key] for key in figures)] for row in rows]
    sys.stdout.write(csv_text([*names, *figures], lines))


def _print_means(method: str, means: Sequence[Row]) -> None:
    from labelgen.sweep.table import MEASURES

    names = list(dict.fromkeys(name for row in means for name in row["settings"]))
    shown = [key for key in MEASURES if any(row[key] is not None for row in means)]
    shown = [key for key in shown if key != "strokes" or any(row[key]["mean"] for row in means)]
    lines = [
        (*(row["settings"].get(name, "-") for name in names), row["seeds"], *(_cell(row[key], key) for key in shown))
        for row in means
    ]
    columns = (*names, "seeds", *(MEASURES[key] for key in shown))
    print_table(columns, lines, title=f"labelgen {method}: mean and standard deviation over seeds", texts=())


def _cell(found: dict[str, Any] | None, key: str) -> str:
    if found is None:
        return "-"
    form = ".1f" if key == "strokes" else ".4f"
    spread = "" if found["std"] is None else f" ± {format(found['std'], form)}"
    return format(found["mean"], form) + spread
