"""What `--dry-run` of segprobe's commands prints: what would be done, and what it would take."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from labelgen.commands.amounts import duration, file_size
from labelgen.commands.common import print_json, print_table

if TYPE_CHECKING:
    from labelgen.data import Dataset
    from segprobe.compare.cell import Workshop
    from segprobe.compare.plan import Cell
    from segprobe.estimate import FeatureEstimate, FitEstimate
    from segprobe.estimate_crossfit import CrossfitEstimate

__all__ = ["plan_compare", "plan_crossfit", "plan_fit", "print_rows", "rows_of_features", "rows_of_fit"]

TITLE = "would do (nothing is written; times are those of this machine)"


def print_rows(rows: list[tuple[str, Any]], document: dict[str, Any], *, as_json: bool) -> None:
    """One of the two forms of a plan."""
    if as_json:
        print_json(document)
    else:
        print_table(("", ""), rows, title=TITLE, texts=(0, 1))


def rows_of_features(cost: "FeatureEstimate") -> list[tuple[str, Any]]:
    """What features would take."""
    if not cost.images:
        return [("features", "all there")]
    took = f"{duration(cost.seconds)}, {file_size(cost.bytes)} ({cost.timed} images timed)"
    return [("features", f"{cost.images:,} images, {took}")]


def rows_of_fit(cost: "FitEstimate") -> list[tuple[str, Any]]:
    """What a fit would take."""
    training = f"{cost.steps:,} updates, " if cost.steps else "in closed form, "
    rows = rows_of_features(cost.features) if cost.features else []
    return [*rows, ("training", training + duration(cost.seconds)), ("probe", file_size(cost.bytes))]


def plan_fit(source: Any, dataset: "Dataset", out: Path, cost: "FitEstimate", *, as_json: bool) -> None:
    """What `segprobe fit` would do."""
    from segprobe.probe_file import DESCRIPTION

    there = "a complete fit" if (out / DESCRIPTION).is_file() else "an unfinished fit" if out.is_dir() else ""
    facts = {"labels": source.name, "images": cost.images, "out": out.as_posix(), "there": there}
    note = f" ({there} is there; it goes on, or stays, where the settings are the same)" if there else ""
    rows = [("labels", source.name), ("images", f"{cost.images:,} of {len(dataset.ids):,}"), *rows_of_fit(cost)]
    rows += [("time in all", duration(cost.all_seconds)), ("out", f"{out.as_posix()}{note}")]
    document = {**facts, "estimate": {**cost.to_json(), "all_seconds": round(cost.all_seconds, 2)}}
    print_rows(rows, document, as_json=as_json)


def plan_crossfit(
    source: Any, dataset: "Dataset", out: Path, probes: Path, cost: "CrossfitEstimate", *, as_json: bool
) -> None:
    """What `segprobe crossfit` would do, all of it; what is there already is named."""
    from segprobe.probe_file import DESCRIPTION

    there = sum((probes / f"fold-{number}" / DESCRIPTION).is_file() for number in range(cost.folds))
    facts = {"labels": source.name, "images": cost.predictions.images, "folds": cost.folds, "probes_there": there}
    document = {**facts, "out": out.as_posix(), "probes": probes.as_posix(), "estimate": cost.to_json()}
    note = f" ({there} are there; they stay where the settings are the same)" if there else ""
    rows = [
        ("labels", source.name),
        *(rows_of_features(cost.fit.features) if cost.fit.features else []),
        ("fits", f"{cost.folds} on {cost.fit.images:,} images each, {duration(cost.fit.seconds)} each"),
        (
            "predictions",
            f"{cost.predictions.images:,} of {len(dataset.ids):,} images, {duration(cost.predictions.seconds)}",
        ),
        ("time in all", duration(cost.seconds)),
        ("disk", file_size(cost.bytes)),
        ("probes", f"{probes.as_posix()}/fold-0 ...{note}"),
        ("out", out.as_posix()),
    ]
    print_rows(rows, document, as_json=as_json)


def plan_compare(
    workshop: "Workshop",
    cells: "Sequence[Cell]",
    train: "Dataset",
    val: "Dataset",
    *,
    overwrite: bool,
    as_json: bool,
) -> None:
    """What `segprobe compare` would do: one fit of each kind is tried, and multiplied."""
    left = [cell for cell in cells if workshop.result(cell, anew=overwrite) is None]
    costs, features = _costs(workshop, left, train, val)
    seconds = sum(row["seconds"] * row["cells"] for row in costs)
    extra = {key: sum(row[key] for row in features) for key in ("seconds", "bytes")}
    size = extra["bytes"] + sum(row["bytes"] * row["cells"] for row in costs)
    document = {
        "cells": [cell.folder for cell in cells],
        "to_fill": [cell.folder for cell in left],
        "fits": costs,
        "features": features,
        "estimate": {"seconds": round(seconds + extra["seconds"], 2), "bytes": size},
        "out": workshop.out.as_posix(),
    }
    rows: list[tuple[str, Any]] = [("cells", f"{len(cells)}, {len(left)} of them to fill")]
    rows += [(f"{row['cells']} x {row['kind']}", f"{duration(row['seconds'])} each") for row in costs]
    rows += [
        (f"features by {row['backbone']}", f"{row['images']:,} images, {duration(row['seconds'])}") for row in features
    ]
    rows += [("time in all", duration(seconds + extra["seconds"])), ("disk", file_size(size))]
    print_rows([*rows, ("out", workshop.out.as_posix())], document, as_json=as_json)


def _costs(
    workshop: "Workshop", left: "Sequence[Cell]", train: "Dataset", val: "Dataset"
) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """A row for each kind of fit, and one for the features of each backbone."""
    from labelgen.nets.backbones import load_backbone
    from segprobe.compare.cell import PLAIN
    from segprobe.estimate import estimate_features, estimate_fit

    kinds: dict[tuple[str, ...], list[Cell]] = {}
    for cell in left:
        kinds.setdefault((cell.backbone.name, cell.head, cell.strategy, cell.variant), []).append(cell)
    costs, features = [], []
    for (backbone, *words), group in kinds.items():
        first = group[0]
        asked = {"backbone": first.backbone.config, "cache": workshop.cache, "device": workshop.device}
        cost = estimate_fit(workshop.source(first), train, config=first.config, **asked)
        kind = ", ".join(filter(None, (backbone, *words)))
        costs.append({"kind": kind, "cells": len(group), "seconds": round(cost.seconds, 2), "bytes": cost.bytes})
        if cost.features is not None and backbone not in {row["backbone"] for row in features}:
            frozen = load_backbone(first.backbone.config, device=workshop.device)
            more = estimate_features(val, val.ids, frozen, workshop.cache, views=(PLAIN,))
            features.append(
                {
                    "backbone": backbone,
                    "images": cost.features.images + more.images,
                    "seconds": round(cost.features.seconds + more.seconds, 2),
                    "bytes": cost.features.bytes + more.bytes,
                }
            )
    return costs, features
