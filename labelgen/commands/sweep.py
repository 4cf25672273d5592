"""`labelgen sweep METHOD [DATA] --shrink 0,0.5,1`: a method or refiner over values of its settings, measured."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import Parameter

from labelgen.commands.amounts import duration, file_size
from labelgen.commands.common import (
    EXIT_DONE,
    EXIT_SOME_FAILED,
    DataFlags,
    EngineFlags,
    JsonFlag,
    Switch,
    data_path,
    print_json,
    print_table,
    say,
)
from labelgen.commands.sweep_runs import MethodTarget, Target, estimate_sweep, make_and_measure, sweep_target
from labelgen.errors import ConfigError

if TYPE_CHECKING:
    from labelgen.run import RunOptions
    from labelgen.sweep.plan import SweepPoint

__all__ = ["SweepFlags", "sweep"]

Row = dict[str, Any]


@dataclass(frozen=True, kw_only=True)
class SweepFlags(EngineFlags, DataFlags):
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
        Processes, or actors with --engine ray; the result is the same for any number.
    overwrite
        Replace runs that are already there.
    strict
        Stop at the first image that cannot be labelled.
    save_scores
        Keep the scores beside the labels.
    sheet
        Draw contact_sheet.jpg, some of the images with their labels, into each run.
    dry_run
        List the runs, say what those that are missing would take, and write nothing.
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
    data: str = "",
    /,
    *,
    grid: Switch = False,
    plot: str = "",
    html: str = "",
    as_csv: Annotated[bool, Parameter(name="--csv", negative="")] = False,
    as_json: JsonFlag = False,
    flags: Annotated[SweepFlags | None, Parameter(name="*", group="Runs")] = None,
    **settings: str,
) -> int:
    """Label with several values of one or more settings of a method, or refine with them, and compare with the truth.

    Each value and seed is a run of its own, so that the same command again goes on where it was, and with more values
    or seeds makes only the new ones.

    Parameters
    ----------
    method
        A labelling method: box, cam, clip, clip-es, corrupt, point, scribble or zeroseg; or a refiner, which is swept
        over a run: affinity, attention, band, crf, debias, pamr, par, regions or walk.
    data
        Data set: demo, demo:N, a folder of known layout, or KIND:PATH. For a refiner the run that is refined. Default:
        demo; for a refiner the newest run below runs/ that is not refined itself.
    grid
        Sweep all combinations of the values. Else one setting after the other, the others at their defaults.
    plot
        Picture of the curves to write, such as sweep.png.
    html
        Page to write, such as sweep.html: the curves with intervals, the table, and how all is counted, in one file.
    as_csv
        Print one CSV line per run on stdout, nothing else.
    settings
        A setting with its values between commas, such as --shrink 0,.5,1; a single value holds for all runs. Between
        semicolons where a value holds commas, as in --kind "classes=0.2,drop=0.1;mixed", and always with lists, such
        as --classes or --scales. labelgen METHOD --help and labelgen refiners NAME list the settings; refiners have
        --certainty beside them. Default: one that is worth looking at.

    Examples
    --------
    labelgen sweep scribble --shrink 0,0.2,0.5,0.7,1 --seeds 3 --plot sweep.png
    labelgen sweep point --n 1,3,9 --radius 0,3 --grid
    labelgen sweep clip --method maskclip,naclip --classes "cat, dog, grass" --limit 20
    labelgen sweep crf runs/cam --steps 1,5,10
    """
    flags = flags or SweepFlags()
    if as_csv and as_json:
        raise ConfigError("--csv and --json exclude each other")
    if flags.seeds < 1 or flags.seed < 0:
        raise ConfigError(f"--seeds must be >= 1 and --seed >= 0, got {flags.seeds} and {flags.seed}")

    from labelgen.sweep.table import means_of

    given = {name.replace("-", "_"): text for name, text in settings.items()}
    target = sweep_target(method, data, given, flags)
    points = _plan(method, target, given, grid=grid)
    seeds = range(flags.seed, flags.seed + flags.seeds)
    if flags.dry_run:
        return _print_plan(target, points, seeds, flags, as_json=as_json)
    if html:
        from labelgen.report.html import refuse_foreign_page

        refuse_foreign_page(Path(html))
    rows = _run_all(target, points, seeds, flags)
    means = means_of(rows)
    source = data or ("demo" if isinstance(target, MethodTarget) else target.name.removesuffix(f"-{method}"))
    if plot:
        from labelgen.sweep.plot import write_plot

        write_plot(Path(plot), means, title=f"labelgen {method}, {source}")
    if html:
        from labelgen.report.html import write_page
        from labelgen.report.sweep_page import sweep_page

        write_page(Path(html), sweep_page(method, source, rows, means))
        say(f"page: {Path(html).as_posix()}")
    compare = _compare_command(points, flags)
    if as_json:
        print_json({"method": method, "data": source, "rows": rows, "means": means, "compare": compare})
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


def _plan(method: str, target: Target, given: dict[str, str], *, grid: bool) -> "list[SweepPoint]":
    from labelgen.sweep.plan import DEFAULT_SWEEPS, plan_sweep, several

    usual = DEFAULT_SWEEPS.get(method, {})
    if not any(several(target.config, name, text) for name, text in given.items()):
        if not usual or set(usual) & set(given):
            raise ConfigError(
                f"nothing is swept: no setting of {method} has several values",
                hint=f"labelgen sweep {method} --SETTING VALUE,VALUE; labelgen {method} --help lists the settings",
            )
        given = {**given, **usual}
    return plan_sweep(target.name, target.config, given, grid=grid, of=target.label)


def _options(flags: SweepFlags) -> "RunOptions":
    from labelgen.run import RunOptions

    return RunOptions(
        seed=flags.seed,
        workers=flags.workers,
        overwrite=flags.overwrite,
        strict=flags.strict,
        save_scores=flags.save_scores,
        engine=flags.chosen_engine(),
    )


def _run_all(target: Target, points: "Sequence[SweepPoint]", seeds: Sequence[int], flags: SweepFlags) -> list[Row]:
    """Make each run, or find that it is made, and measure it."""
    from labelgen.store import RunFolder
    from labelgen.sweep.table import row_of

    options = _options(flags)
    measured: dict[Path, Any] = {}
    rows = []
    for point in points:
        for seed in seeds:
            out = Path(flags.out, point.folder(seed))
            if out not in measured:
                measured[out] = make_and_measure(target, point, out, replace(options, seed=seed), sheet=flags.sheet)
            header = RunFolder.open(out).header
            rows.append(row_of(point, seed, run=out.as_posix(), header=header, document=measured[out]))
    return rows


def _print_plan(
    target: Target, points: "Sequence[SweepPoint]", seeds: Sequence[int], flags: SweepFlags, *, as_json: bool
) -> int:
    """The runs, which of them are there, and what the others would cost."""
    from labelgen.store import read_header

    runs = {Path(flags.out, point.folder(seed)): point for point in points for seed in seeds}
    there = {f for f in runs if (f / "run.json").is_file() and read_header(f)["state"] == "complete"}
    left = [(point, folder) for folder, point in runs.items() if flags.overwrite or folder not in there]
    cost = estimate_sweep(target, left, _options(flags))
    if as_json:
        print_json({"runs": [folder.as_posix() for folder in runs], "estimate": cost})
        return EXIT_DONE
    print(f"would make {len(runs)} runs (nothing is written)")  # noqa: T201
    for folder in runs:
        print(f"  {folder.as_posix()}{'  (there)' if folder in there else ''}")  # noqa: T201
    if left:
        print(f"time: {duration(cost['seconds'])} for {len(left)} runs ({cost['timed']} images timed)")  # noqa: T201
        print(f"disk: {file_size(cost['bytes'])}")  # noqa: T201
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
    from labelgen.sweep.table import MEASURES, settings_and_measures

    names, shown = settings_and_measures(means)
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
