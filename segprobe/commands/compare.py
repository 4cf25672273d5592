"""`segprobe compare RUN ...`: label runs against backbones, heads and strategies, over seeds, in one table."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import Parameter

from labelgen.commands.common import (
    DataFlags,
    JsonFlag,
    Switch,
    open_dataset_from,
    parse_shard,
    print_json,
    print_table,
    progress_bar,
    refuse_negative,
    say,
)
from labelgen.errors import ConfigError, RunFolderError
from segprobe.commands.flags import BackboneFlags, DryRunFlag
from segprobe.config import FitConfig

if TYPE_CHECKING:
    from labelgen.data.dataset import Dataset
    from segprobe.compare.cell import CellResult
    from segprobe.compare.table import Row

__all__ = ["compare"]


def compare(
    *runs: str,
    data: str = "",
    out: str = "compare",
    backbones: str = "",
    heads: str = "",
    strategies: str = "frozen",
    seeds: int = 3,
    variants: Annotated[tuple[str, ...], Parameter(name="--variant", negative="")] = (),
    frozen_settings: str = "",
    tuned_settings: str = "",
    truth: bool = True,
    val_split: str = "val",
    train_images: int = 0,
    classes: str = "",
    cache: str = "",
    device: str = "auto",
    shard: str = "1/1",
    resamples: int = 1000,
    plot: Switch = False,
    html: str = "",
    overwrite: Switch = False,
    dry_run: DryRunFlag = False,
    as_json: JsonFlag = False,
    settings: Annotated[FitConfig | None, Parameter(name="*", group="Training")] = None,
    images: Annotated[DataFlags | None, Parameter(name="*", group="Images")] = None,
) -> None:
    """Train on every label run with every backbone, head and strategy, and set the results side by side.

    Each cell is a fit of its own and is kept below --out: the same command again fills what is missing.

    Parameters
    ----------
    runs
        Run folders, or folders of mask PNGs. `{seed}` in a name stands for the seed: runs/scribble-{seed}. Default: the
        newest run.
    data
        Images of the labels. Default: those that the first run was made from.
    out
        Folder of the comparison.
    backbones
        One or more of `[LABEL:]NAME[@CHECKPOINT][,setting=value...]` between commas, settings as layers=-2,-1,size=288.
        Default: demo-ssvt on the demo data, else a small DINOv2.
    heads
        One or more between commas, each as `segprobe fit --head` takes it. Default: --head.
    strategies
        frozen, tuned, or both as frozen,tuned.
    seeds
        Number of seeds, from --seed on.
    variants
        Ways to train that are set side by side, once for each: `NAME: setting=value; setting=value`, as
        'gce: loss=gce,q=0.7' or 'tree: terms=tree'; `plain` is what the other flags say.
    frozen_settings
        Training settings of the strategy frozen alone, as lr=0.0003,epochs=10.
    tuned_settings
        Training settings of the strategy tuned alone.
    truth
        Also train on full truth, which retention refers to.
    val_split
        Part of the data that scores are for.
    train_images
        Compare probes with their own labels on so many of the train images, spread evenly; 0 for all.
    classes
        Names between commas: the mean IoU is taken over these. Default: all that are there.
    cache
        Folder below which features are kept. Default: OUT/cache.
    device
        cpu, cuda, or auto for a GPU where there is one.
    shard
        Fill only part i of n of the cells, as i/n: several processes or machines can share the work.
    resamples
        Times that images and seeds are drawn anew for the 95 % intervals.
    plot
        Also write crossing.png and robustness.png into --out.
    html
        Page to write, such as compare.html: the table with its intervals, plots, and how all is counted, in one file.
    overwrite
        Make cells anew that were made with other settings.

    Examples
    --------
    segprobe compare runs/scribble runs/point --seeds 3
    segprobe compare 'runs/sweep/scribble-shrink-0.5-seed{seed}' --heads linear,mlp --plot
    segprobe compare runs/cam --strategies frozen,tuned --variant 'plain' --variant 'gce: loss=gce,q=0.7' --dry-run
    """
    from labelgen.store import newest_run
    from segprobe.compare.cell import Workshop
    from segprobe.compare.plan import TRUTH, Plan, parse_backbone, parse_variant, split_list, split_settings
    from segprobe.kept import KeptDataset

    own, of = parse_shard(shard)
    if not 1 <= own <= of:
        raise ConfigError(f"shard i/n must have 1 <= i <= n, got {shard}", hint="--shard 1/2, then 2/2")
    refuse_negative(train_images=train_images)
    if resamples < 1:
        raise ConfigError(f"--resamples must be >= 1, got {resamples}")
    if html:
        from labelgen.report.html import refuse_foreign_page

        refuse_foreign_page(Path(html))
    runs = runs or (str(newest_run()),)
    flags, config = images or DataFlags(), settings or FitConfig()
    first = next((run for run in runs if run != TRUTH), TRUTH).replace("{seed}", str(config.seed))
    train, val = _datasets(first, data, flags, val_split)
    backbones = backbones or BackboneFlags().config(train.spec).name
    plan = Plan(
        runs=tuple(runs),
        backbones=tuple(parse_backbone(text) for text in split_list(backbones)),
        heads=split_list(heads or config.head),
        strategies=split_list(strategies),
        seeds=seeds,
        config=config,
        frozen=split_settings(frozen_settings),
        tuned=split_settings(tuned_settings),
        variants=tuple(parse_variant(text) for text in variants) or (("", ()),),
        truth=truth,
    )
    columns = _columns(classes, train)
    place = Path(cache) if cache else None
    workshop = Workshop(
        Path(out), KeptDataset(train), KeptDataset(val), device=device, cache=place, train_images=train_images
    )
    cells = plan.cells()
    for source in dict.fromkeys(cell.source for cell in cells if cell.source != TRUTH):
        if not Path(source).is_dir():  # before hours of work on the others
            raise RunFolderError(f"no such run or folder: {source}", hint="labelgen scribble --out RUN makes one")
    if dry_run:
        from segprobe.commands.plans import plan_compare

        plan_compare(workshop, cells, train, val, overwrite=overwrite, as_json=as_json)
        return
    with progress_bar("compare") as progress:
        for number, cell in enumerate(cells):
            if number % of == own - 1 and workshop.result(cell, anew=overwrite) is None:
                workshop.fill(cell, overwrite=overwrite)
            progress(number + 1, len(cells), cell.folder)
    found = [result for cell in cells if (result := workshop.result(cell, anew=overwrite)) is not None]
    missing = len(cells) - len(found)
    if missing:
        say(f"{missing} of {len(cells)} cells are not filled yet; the table below is of the others")
    _report(
        found, missing, workshop, columns, out=Path(out), resamples=resamples, plot=plot, html=html, as_json=as_json
    )


def _report(
    found: "list[CellResult]",
    missing: int,
    workshop: Any,
    columns: tuple[int, ...] | None,
    *,
    out: Path,
    resamples: int,
    plot: bool,
    html: str,
    as_json: bool,
) -> None:
    from segprobe.compare.plot import draw_crossing, draw_robustness, robustness_of
    from segprobe.compare.table import crossings, differences, table_rows

    if not found:
        if html:
            say(f"no page: nothing is filled yet that {html} could show")
        if as_json:
            print_json({"rows": [], "differences": [], "crossings": [], "missing": missing})
        return
    labels = {result.cell.source: workshop.labels(result.cell) for result in found}
    rows = table_rows(found, labels, columns=columns, resamples=resamples)
    apart = differences(found, labels, columns=columns, resamples=resamples)
    crossed = crossings(apart)
    document: dict[str, Any] = {
        "rows": [row.to_json() for row in rows],
        "differences": [vars(difference) | {"interval": list(difference.interval)} for difference in apart],
        "crossings": [vars(crossing) | {"quality": list(crossing.quality)} for crossing in crossed],
        "missing": missing,
    }
    if plot:
        by_name = {result.cell.run: labels[result.cell.source] for result in found}
        wanted = {
            "crossing": draw_crossing(rows, crossed, out / "crossing.png"),
            "robustness": draw_robustness(robustness_of(rows, by_name), out / "robustness.png"),
        }
        document["plots"] = [str(out / f"{name}.png") for name, drawn in wanted.items() if drawn]
        for name in (name for name, drawn in wanted.items() if not drawn):
            say(f"no {name} plot: it needs runs of at least two {NEEDS[name]}")
    if html:
        from labelgen.report.html import write_page
        from segprobe.compare.page import compare_page

        write_page(Path(html), compare_page(rows, apart, crossed, unfilled=missing, resamples=resamples))
        say(f"page: {Path(html).as_posix()}")
    if as_json:
        print_json(document)
    else:
        _print(rows, document)


NEEDS = {"crossing": "qualities that label most pixels", "robustness": "shares of --shrink or --drop"}


def _print(rows: "list[Row]", document: dict[str, Any]) -> None:
    means = [row for row in rows if row.seed is None]
    published = any(row.published is not None for row in means)
    varied = any(row.variant for row in means)
    head = [
        "labels",
        "backbone",
        "head",
        "strategy",
        *(["variant"] if varied else []),
        "label mIoU",
        "coverage",
        "mIoU",
        "95 %",
        "retention",
        "gain",
        "s",
    ]
    table = []
    for row in means:
        cells = [
            row.run,
            row.backbone,
            row.head,
            row.strategy,
            *([row.variant] if varied else []),
            f"{row.label_miou:.3f}",
            f"{100 * row.coverage:.3g} %",
            f"{row.miou:.3f}",
            f"{row.interval[0]:.3f} to {row.interval[1]:.3f}",
            "-" if row.retention is None else f"{row.retention:.3f}",
            f"{row.gain:+.3f}",
            f"{row.seconds:.0f}",
        ]
        if published:
            cells.append("-" if row.published is None else f"{row.published:.3f} {row.published_network}")
        table.append(tuple(cells))
    print_table((*head, "published (paper's own setting)") if published else tuple(head), table)
    if document["differences"]:
        lines = []
        for d in document["differences"]:
            what = ", ".join(filter(None, (d["head"], d["variant"])))
            low, high = d["interval"]
            lines.append((d["run"], d["backbone"], what, f"{d['difference']:+.3f}", f"{low:+.3f} to {high:+.3f}"))
        print_table(("labels", "backbone", "head", "frozen - tuned", "95 %"), lines)
    for crossing in document["crossings"]:
        where = ", ".join(f"{at:.3f}" for at in crossing["quality"])
        cross = f"cross at a label mIoU of {where}" if where else "do not cross in the range of these labels"
        what = ", ".join(filter(None, (crossing["backbone"], crossing["head"], crossing["variant"])))
        say(f"frozen and tuned {cross} ({what})")
    for path in document.get("plots", []):
        say(f"plot: {path}")


def _datasets(run: str, data: str, flags: DataFlags, val_split: str) -> "tuple[Dataset, Dataset]":
    """The images of the labels, and those of the scores."""
    from dataclasses import replace

    from labelgen.data.open import reopen
    from segprobe.commands.fit import open_supervision

    _, train = open_supervision(run, data, flags)
    if data:
        val = open_dataset_from(replace(flags, split=val_split, ids="", limit=0), data)
    else:
        val = reopen(replace(train.spec, split=val_split, ids_file="", limit=0))
    return train, val


def _columns(text: str, train: "Dataset") -> tuple[int, ...] | None:
    if not text:
        return None
    names = [name.strip() for name in text.split(",") if name.strip()]
    known = list(train.vocabulary.classes)
    unknown = [name for name in names if name not in known]
    if unknown or not names:
        raise ConfigError(
            f"--classes must be names of the vocabulary, got {', '.join(unknown) or 'none'}",
            hint=f"its classes: {', '.join(known)}",
        )
    return tuple(known.index(name) for name in names)
