"""The table of a comparison: one row a cell, one for the mean over seeds, and what differs between strategies."""

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from segprobe.compare.cell import CellResult, LabelResult
from segprobe.compare.intervals import Counts, difference_interval, miou_of, seed_miou_interval
from segprobe.compare.plan import TRUTH
from segprobe.compare.published import network_of, published_row

__all__ = ["Crossing", "Difference", "Row", "crossings", "differences", "table_rows"]

DENSE = 0.5
"""Coverage from which labels count as dense: only their quality is an axis on which frozen and tuned can cross."""


@dataclass(frozen=True)
class Row:
    """One row; shares, not per cent.

    Parameters
    ----------
    run, backbone, head, strategy, variant
        What was trained on which labels, and how.
    seed
        None for the mean over seeds.
    miou
        On the val split.
    interval
        95 %: over images, and for the mean over seeds, too.
    label_miou
        mIoU of the labels on their own images, over the pixels that they label.
    coverage
        Share of the pixels that are labelled.
    train_miou
        mIoU of the probe on the images of its labels.
    gain
        `train_miou` minus the mIoU of the labels, unlabelled pixels being misses: what training made of the labels.
    gain_interval
        95 %, on the same images.
    retention
        mIoU over that of full truth with the same backbone, head and strategy, means over seeds; None without it.
    seconds
        Of fit and scores.
    published
        What the paper reports for such labels and this strategy, in its own setting; None where it reports nothing.
    published_network
        Row of `segprobe paper` that it is from, such as dinov2; empty without one.
    """

    run: str
    backbone: str
    head: str
    strategy: str
    variant: str
    seed: int | None
    miou: float
    interval: tuple[float, float]
    label_miou: float
    coverage: float
    train_miou: float
    gain: float
    gain_interval: tuple[float, float]
    retention: float | None
    seconds: float
    published: float | None = None
    published_network: str = ""

    def to_json(self) -> dict[str, Any]:
        """Plain JSON values."""
        return {k: list(v) if isinstance(v, tuple) else v for k, v in asdict(self).items()}


@dataclass(frozen=True)
class Difference:
    """Frozen minus tuned on the same labels, with its 95 % interval over images and seeds."""

    run: str
    backbone: str
    head: str
    variant: str
    label_miou: float
    coverage: float
    frozen: float
    tuned: float
    difference: float
    interval: tuple[float, float]


@dataclass(frozen=True)
class Crossing:
    """Where the curves of frozen and tuned over the quality of dense labels cross.

    Parameters
    ----------
    quality
        Label mIoU of each crossing; empty when one strategy is ahead everywhere.
    worst, best
        Frozen minus tuned at the worst and at the best labels.
    """

    backbone: str
    head: str
    variant: str
    quality: tuple[float, ...]
    worst: float
    best: float


Group = tuple[str, str, str, str, str]


def table_rows(
    results: Sequence[CellResult],
    labels: Mapping[str, LabelResult],
    *,
    columns: Sequence[int] | None = None,
    resamples: int = 1000,
) -> list[Row]:
    """Rows of all cells, grouped, the mean over seeds after its seeds.

    Parameters
    ----------
    labels
        Scores of the labels by their folder.
    columns
        Class ids that the mean is taken over; all when left out.
    resamples
        Of each interval.
    """
    groups = _grouped(results)
    full = {
        group[1:]: float(np.mean([miou(r.val, columns) for r in members]))
        for group, members in groups.items()
        if group[0] == TRUTH
    }
    rows: list[Row] = []
    for group, members in groups.items():
        for seed, chosen in [*((r.cell.seed, [r]) for r in members), (None, members)]:
            rows.append(_row(group, seed, chosen, labels, full.get(group[1:]), columns, resamples))
    return rows


def differences(
    results: Sequence[CellResult],
    labels: Mapping[str, LabelResult],
    *,
    columns: Sequence[int] | None = None,
    resamples: int = 1000,
) -> list[Difference]:
    """Frozen minus tuned, wherever both are there."""
    groups = _grouped(results)
    found = []
    for (run, backbone, head, strategy, variant), members in groups.items():
        others = groups.get((run, backbone, head, "tuned", variant))
        if strategy != "frozen" or not others:
            continue
        one, two = _stack([r.val for r in members], columns), _stack([r.val for r in others], columns)
        frozen, tuned = float(np.mean(miou_of(one.sum(1)))), float(np.mean(miou_of(two.sum(1))))
        about = [labels[r.cell.source] for r in members]
        found.append(
            Difference(
                run,
                backbone,
                head,
                variant,
                float(np.mean([miou(label.labelled, columns) for label in about])),
                float(np.mean([label.coverage for label in about])),
                frozen,
                tuned,
                frozen - tuned,
                difference_interval(one, two, resamples=resamples),
            )
        )
    return found


def crossings(found: Sequence[Difference]) -> list[Crossing]:
    """Where frozen and tuned are level, between the points of dense labels, by straight lines.

    Examples
    --------
    >>> def at(quality, lead):
    ...     return Difference("a", "b", "linear", "", quality, 1.0, lead, 0.0, lead, (0.0, 0.0))
    >>> crossings([at(0.4, 0.1), at(0.8, -0.1)])[0].quality
    (0.6,)
    """
    kinds = dict.fromkeys((d.backbone, d.head, d.variant) for d in found)
    lines = []
    for kind in kinds:
        members = [d for d in found if (d.backbone, d.head, d.variant) == kind and d.coverage >= DENSE]
        if len(members) < 2:
            continue
        points = sorted((d.label_miou, d.difference) for d in members)
        zeros = [x0 + (x1 - x0) * y0 / (y0 - y1) for (x0, y0), (x1, y1) in itertools.pairwise(points) if y0 * y1 < 0]
        zeros += [x for x, y in points if y == 0]
        quality = tuple(sorted(round(float(zero), 4) for zero in zeros))
        lines.append(Crossing(*kind, quality, points[0][1], points[-1][1]))
    return lines


def miou(counts: Any, columns: Sequence[int] | None) -> float:
    """Mean IoU of counts by image, over some classes."""
    return float(miou_of(_chosen(counts, columns).sum(0)))


def _row(
    group: Group,
    seed: int | None,
    members: Sequence[CellResult],
    labels: Mapping[str, LabelResult],
    full: float | None,
    columns: Sequence[int] | None,
    resamples: int,
) -> Row:
    about = [labels[r.cell.source] for r in members]
    val, train = (_stack([getattr(r, part) for r in members], columns) for part in ("val", "train"))
    whole = _stack([label.counts for label in about], columns)
    score = float(np.mean(miou_of(val.sum(1))))
    train_score = float(np.mean(miou_of(train.sum(1))))
    published = published_row(
        about[0].facts,
        run=group[0],
        head=group[2],
        strategy=group[3],
        network=network_of(members[0].cell.backbone.config),
    )
    return Row(
        *group,
        seed=seed,
        miou=score,
        interval=seed_miou_interval(val, resamples=resamples),
        label_miou=float(np.mean([miou(label.labelled, columns) for label in about])),
        coverage=float(np.mean([label.coverage for label in about])),
        train_miou=train_score,
        gain=train_score - float(np.mean(miou_of(whole.sum(1)))),
        gain_interval=difference_interval(train, whole, resamples=resamples),
        retention=None if full is None else score / full,
        seconds=float(np.mean([r.seconds for r in members])),
        published=None if published is None else published.miou / 100,
        published_network="" if published is None else published.network,
    )


def _grouped(results: Sequence[CellResult]) -> dict[Group, list[CellResult]]:
    groups: dict[Group, list[CellResult]] = {}
    for result in results:
        cell = result.cell
        groups.setdefault((cell.run, cell.backbone.name, cell.head, cell.strategy, cell.variant), []).append(result)
    return groups


def _chosen(counts: Any, columns: Sequence[int] | None) -> Any:
    return counts if columns is None else counts[..., list(columns)]


def _stack(counts: Sequence[Any], columns: Sequence[int] | None) -> Counts:
    return _chosen(np.stack(counts), columns)
