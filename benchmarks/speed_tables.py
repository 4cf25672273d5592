"""The table of speed: what has a goal, and what has none."""

from markdown_table import load, markdown


def speed() -> str:
    """Every goal beside what was measured, then what has no goal."""
    result = load("run_all")
    rows, missed = [], []
    for row in result["rows"]:
        if not row["measured"]:
            rows.append([row["work"], row["against"], row["goal"], "-", "-", "not measured", ""])
            continue
        low, high = row["spread"]
        times = [f"{three(row[side])} {row['unit']}" for side in ("ours", "peer")]
        ratio = f"{three(row['ratio'])}x ({three(low)} to {three(high)}; {row['of']})"
        if "miou_difference" in row:
            ratio += f", mIoU {row['miou_difference']:+.4f}"
        rows.append([row["work"], row["against"], row["goal"], *times, ratio, "yes" if row["met"] else "no"])
        if not row["met"]:
            missed.append(f"- {row['work']}, against {row['against']}: {row['why_missed']}.")
    header = ["work", "against", "goal", "ours", "peer", "median of quotients (quartiles; how many)", "met"]
    gpu = ", ".join(dict.fromkeys(row["work"] for row in result["rows"] if "gpu" in row))
    parts = [markdown(header, rows), f"On a GPU ({gpu}): not measured."]
    parts += ["Goals that are missed:\n\n" + "\n".join(missed)] if missed else []
    commits = ", ".join(dict.fromkeys(row["from"]["commit"] for row in result["rows"] if row["measured"]))
    parts.append(f"*{result['machine']}; commit {commits or result['commit']}.*")
    further = [*quality_rows(), *fit_rows(), *crf_rows(), *pamr_rows(), *tree_rows()]
    return "\n\n".join([*parts, "Without a goal:", markdown(["work", "ours", "peer", "ratio"], further)])


def three(number: float) -> str:
    """Three digits, or the whole number where there are more."""
    return f"{number:,.0f}" if number >= 1000 else f"{number:.3g}"


def quality_rows() -> list[list[str]]:
    """Counting alone, of arrays."""
    rows = []
    for labels in ("dense", "sparse"):
        mine = {(r["task"], r["way"]): r for r in load("quality_speed")["rows"] if r["labels"] == labels}
        counted = mine["counting alone", "labelgen"]
        for way in ("scikit-learn confusion_matrix", "torchmetrics confusion matrix"):
            peer = mine["counting alone", way]
            rows.append(
                [
                    f"quality, {labels} labels, images/s per core",
                    f"{counted['images_per_core_second']:,.0f}",
                    f"{peer['images_per_core_second']:.0f} ({way})",
                    f"{peer['time_over_labelgen']:.0f}x",
                ]
            )
    return rows


def fit_rows() -> list[list[str]]:
    """Fits on cached features beside the plain loop."""
    return [
        [
            f"fit, 40 epochs, {row['setup']}, seconds",
            f"{row['seconds']:.0f}",
            f"{row['seconds'] * row['times_faster']:.0f} (plain loop)",
            f"{row['times_faster']:.0f}x, mIoU {row['miou_difference']:+.3f}",
        ]
        for row in load("fit_speed")["rows"]
        if row["way"] == "cached and sampled" and "448" not in row["setup"]  # which has a goal
    ]


def crf_rows() -> list[list[str]]:
    """The dense CRF and pydensecrf: processor time of one thread, and two threads by the clock, which has goals."""
    table = {(row["preset"], row["way"]): row for row in load("crf_speed")["rows"]}
    rows = []
    for preset in dict.fromkeys(preset for preset, _ in table):
        for classes in ("21 classes", "3 classes"):
            ours, peer = table[preset, f"labelgen, {classes}, 1 thread"], table[preset, f"pydensecrf, {classes}"]
            rows.append(
                [
                    f"dense CRF, {preset}, {classes}, ms of processor time",
                    f"{ours['processor_ms']:.0f}",
                    f"{peer['processor_ms']:.0f} (pydensecrf)",
                    f"{ours['times_as_fast_by_processor_time']:.1f}x",
                ]
            )
    return rows


def pamr_rows() -> list[list[str]]:
    """PAMR and PAR of ten steps, 21 classes, beside the plain version in torch; seconds and memory."""
    table = {(row["refiner"], row["way"]): row for row in load("pamr_speed")["rows"] if row["classes"] == 21}
    rows = []
    for refiner in dict.fromkeys(refiner for refiner, _ in table):
        ours, plain = (
            f"{row['seconds']:.2g} s, {row['peak_mb']} MB"
            for row in (table[refiner, "ours"], table[refiner, "plain torch"])
        )
        ratio = f"{table[refiner, 'ours']['times_faster']:.0f}x"
        rows.append([f"{refiner}, 500 x 375, 21 classes", ours, f"{plain} (plain torch)", ratio])
    return rows


def tree_rows() -> list[list[str]]:
    """A pass of the tree filter, and the same sums by an interpreted loop and by the dense matrix."""
    rows = [row for row in load("tree_speed")["rows"] if row["tokens"] == "64 x 64"]
    ours, *others = rows
    work = f"tree filter, {ours['tokens']} tokens, {ours['classes']} classes, ms a pass"
    return [
        [
            work,
            f"{ours['pass_ms']:.1f}",
            f"{row['pass_ms']:.0f} ({row['way']})",
            f"{row['pass_ms'] / ours['pass_ms']:.0f}x",
        ]
        for row in others
    ]
