"""The page of a comparison: what was trained on which labels, with intervals, and how all is counted."""

from collections.abc import Callable, Sequence

from labelgen.report.conventions import conventions
from labelgen.report.figures import Curve, curves
from labelgen.report.html import Cell, Column, Fact, Figure, Page, Section, Table, change, fraction, missing, text_cell
from segprobe.compare.table import Crossing, Difference, Row

__all__ = ["compare_page"]

RULES = (
    (
        "mIoU of a probe",
        "Its predictions for the val images against their truth; a mean over seeds in the first table",
    ),
    ("95 %", "Images and seeds drawn anew with replacement; with one seed only the images vary"),
    ("label mIoU", "The labels against the truth of their own (train) images, over the pixels that they label"),
    (
        "gain",
        "mIoU of the probe on the images of its labels, minus that of the labels, unlabelled = miss",
    ),
    ("retention", "mIoU over that of full truth with the same backbone, head and strategy; - without such a row"),
    ("published", "What the paper reports for such labels in its own setting; not comparable in absolute terms"),
)


def compare_page(
    rows: Sequence[Row], apart: Sequence[Difference], crossed: Sequence[Crossing], *, unfilled: int, resamples: int
) -> Page:
    """Put the results of `segprobe compare` on a page.

    Parameters
    ----------
    rows, apart, crossed
        What `table_rows`, `differences` and `crossings` gave.
    unfilled
        Cells that are not filled yet.
    resamples
        Of the intervals.
    """
    means, single = [row for row in rows if row.seed is None], [row for row in rows if row.seed is not None]
    seeds = len({row.seed for row in single})
    warnings = [f"{unfilled} cells are not filled yet and are not on this page."] if unfilled else []
    shown = Section(
        anchor="comparison",
        title="What is trained on which labels",
        warnings=warnings,
        facts=[
            Fact("labels", str(len({row.run for row in means}))),
            Fact("backbones", ", ".join(dict.fromkeys(row.backbone for row in means))),
            Fact("strategies", ", ".join(dict.fromkeys(row.strategy for row in means))),
            Fact("seeds", str(seeds)),
            Fact("resamples", str(resamples)),
        ],
        figures=_figures(means),
        tables=[_table("Means over seeds", means)],
    )
    sections = [shown]
    if apart:
        intro = [_crossing(crossing) for crossing in crossed]
        sections.append(Section("strategies", "Frozen and tuned", intro=intro, tables=[_differences(apart)]))
    sections.append(Section("seeds", "Every seed", tables=[_table("One row a fit", single)]))
    lead = f"{len(means)} rows of {seeds} {'seed' if seeds == 1 else 'seeds'}: probes on frozen features and others."
    return Page("Label sets and what is trained on them", lead, sections, (conventions(RULES),))


def _name(row: Row) -> str:
    return ", ".join(part for part in (row.backbone, row.head, row.strategy, row.variant) if part)


def _figures(means: Sequence[Row]) -> list[Figure]:
    runs = list(dict.fromkeys(row.run for row in means))
    by_run = curves(
        _lines(means, lambda row: float(runs.index(row.run))),
        x_title="labels",
        y_title="mIoU on val images",
        names=runs,
        about=f"mIoU after training on {len(runs)} sets of labels",
        joined=False,
    )
    ends = (min(row.label_miou for row in means), max(row.label_miou for row in means))
    lines = _lines(means, lambda row: row.label_miou)
    if ends[1] > ends[0]:
        lines.append(Curve("as good as the labels", ends, ends))
    by_quality = curves(
        lines,
        x_title="mIoU of the labels, where they label",
        y_title="mIoU on val images",
        about="mIoU after training over the quality of the labels",
    )
    caption = "Means over seeds with 95 % intervals."
    return [
        Figure("mIoU by labels", by_run, caption),
        Figure("mIoU over label quality", by_quality, f"{caption} Sparse labels may be right and few; see coverage."),
    ]


def _lines(means: Sequence[Row], place: Callable[[Row], float]) -> list[Curve]:
    groups: dict[str, list[Row]] = {}
    for row in means:
        groups.setdefault(_name(row), []).append(row)
    return [
        Curve(
            name,
            [place(row) for row in ordered],
            [row.miou for row in ordered],
            [row.interval[0] for row in ordered],
            [row.interval[1] for row in ordered],
        )
        for name, members in groups.items()
        for ordered in [sorted(members, key=place)]
    ]


def _table(title: str, rows: Sequence[Row]) -> Table:
    """All about some rows; columns that would be empty are left out."""
    columns: list[tuple[Column, Callable[[Row], Cell]]] = [
        (Column("labels", kind="words"), lambda row: text_cell(row.run)),
        (Column("backbone", kind="words"), lambda row: text_cell(row.backbone)),
        (Column("head", kind="words"), lambda row: text_cell(row.head)),
        (Column("strategy", kind="words"), lambda row: text_cell(row.strategy)),
        (Column("variant", kind="words"), lambda row: text_cell(row.variant) if row.variant else missing()),
        (Column("seed"), lambda row: missing() if row.seed is None else Cell(str(row.seed), row.seed)),
        (Column("label mIoU"), lambda row: fraction(row.label_miou)),
        (Column("coverage"), lambda row: fraction(row.coverage)),
        (Column("mIoU"), lambda row: fraction(row.miou)),
        (Column("95 %", "of mIoU"), lambda row: _interval(row.interval)),
        (Column("retention"), lambda row: fraction(row.retention)),
        (Column("gain"), lambda row: change(row.gain)),
        (Column("95 %", "of gain"), lambda row: _interval(row.gain_interval)),
        (Column("s", "seconds of fit and scores"), lambda row: Cell(f"{row.seconds:.1f}", row.seconds)),
        (Column("published"), _published),
    ]
    shown = [(column, cell) for column, cell in columns if any(cell(row) != missing() for row in rows)]
    return Table(title, [column for column, _ in shown], [[cell(row) for _, cell in shown] for row in rows])


def _published(row: Row) -> Cell:
    return missing() if row.published is None else Cell(f"{row.published:.3f} {row.published_network}", row.published)


def _interval(edges: tuple[float, float]) -> Cell:
    return Cell(f"{edges[0]:.3f} to {edges[1]:.3f}", edges[0])


def _differences(apart: Sequence[Difference]) -> Table:
    rows = [
        [
            text_cell(d.run),
            text_cell(", ".join(part for part in (d.backbone, d.head, d.variant) if part)),
            fraction(d.label_miou),
            fraction(d.frozen),
            fraction(d.tuned),
            change(d.difference),
            _interval(d.interval),
        ]
        for d in apart
    ]
    columns = [Column("labels", kind="words"), Column("with", kind="words")]
    columns += [Column(name) for name in ("label mIoU", "frozen", "tuned", "frozen - tuned", "95 %")]
    return Table("Frozen minus tuned", columns, rows, caption="The same labels, images and seeds.")


def _crossing(crossing: Crossing) -> str:
    what = ", ".join(part for part in (crossing.backbone, crossing.head, crossing.variant) if part)
    if not crossing.quality:
        return f"{what}: the curves of frozen and tuned do not cross in the range of these labels."
    where = ", ".join(f"{at:.3f}" for at in crossing.quality)
    return f"{what}: the curves of frozen and tuned cross at a label mIoU of {where}."
