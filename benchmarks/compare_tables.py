"""The README tables of the comparisons: frozen and tuned, terms on the token grid, promoted scribbles."""

from collections.abc import Sequence

from markdown_table import Table, percent


def interval(low_high: Sequence[float], *, sign: bool = False) -> str:
    """An interval as text."""
    low, high = low_high
    return f"{low:+.3f} to {high:+.3f}" if sign else f"{low:.3f} to {high:.3f}"


def frozen_and_tuned(result: dict) -> Table:
    """One row for each kind of labels, backbone and head: both strategies, their difference, retention and gain."""
    apart = {(d["run"], d["backbone"], d["head"]): d for d in result["differences"]}
    named = [name for name in ("backbone", "head") if len({row[name] for row in result["rows"]}) > 1]
    kinds = {(row["run"], row["backbone"], row["head"], row["strategy"]): row for row in result["rows"]}
    rows = []
    for (*kind, strategy), row in kinds.items():
        if strategy != "frozen":
            continue
        tuned = kinds.get((*kind, "tuned"))
        both = [row, *([tuned] if tuned else [])]
        difference = apart.get(tuple(kind))
        lead = f"{difference['difference']:+.3f} ({interval(difference['interval'], sign=True)})" if difference else "-"
        rows.append(
            [
                row["run"],
                *(row[name] for name in named),
                f"{row['label_miou']:.3f}",
                percent(row["coverage"]),
                f"{row['miou']:.3f}",
                f"{tuned['miou']:.3f}" if tuned else "-",
                lead,
                " / ".join(f"{r['retention']:.2f}" for r in both),
                " / ".join(f"{r['gain']:+.3f}" for r in both),
            ]
        )
    header = ["labels", *named, "label mIoU", "coverage", "frozen", "tuned"]
    return [*header, "frozen - tuned (95 %)", "retention, frozen / tuned", "gain on train, frozen / tuned"], rows


def terms(result: dict) -> Table:
    """Gain of each term over masked cross-entropy; a column for each kind of labels."""
    plain = [row for row in result["rows"] if row["variant"] == "plain" and row["head"] == "linear"]
    kinds = [(row["run"], row["backbone"]) for row in plain]
    found = {(row["run"], row["backbone"], row["head"], row["variant"]): row for row in result["rows"]}
    rows = []
    for head, variant in dict.fromkeys((row["head"], row["variant"]) for row in result["rows"]):
        name = "masked cross-entropy" if variant == "plain" else f"`--term {variant}`"
        cells = [name + ("" if head == "linear" else f", head {head}")]
        for kind in kinds:
            row = found[(*kind, head, variant)]
            seeds = " ".join(f"{gain:+.3f}" for gain in row["over_plain_seeds"])
            cells.append(f"{row['miou']:.3f}" if variant == "plain" else f"{row['over_plain']:+.3f} ({seeds})")
        rows.append(cells)
    return ["loss", *(f"{run}, {backbone}" for run, backbone in kinds)], rows


def promotion(result: dict) -> Table:
    """Val mIoU of each way to use scribbles and pseudo-labels; a row for each length of scribbles."""
    ways = list(dict.fromkeys(row["variant"] for row in result["rows"]))
    rows = []
    for run, backbone in dict.fromkeys((row["run"], row["backbone"]) for row in result["rows"]):
        mine = {row["variant"]: row for row in result["rows"] if (row["run"], row["backbone"]) == (run, backbone)}
        best = max(mine.values(), key=lambda row: row["miou"])
        seeds = " ".join(f"{gain:+.3f}" for gain in best["over_better_seeds"])
        rows.append(
            [
                f"{run}, {backbone}",
                *(f"{mine[way]['miou']:.3f}" for way in ways),
                f"{best['over_better']:+.3f} ({seeds})",
            ]
        )
    return ["scribbles, backbone", *ways, "best over the better alone"], rows
