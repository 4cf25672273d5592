"""The tables of what was measured on drawn scenes."""

from markdown_table import Table, percent


def demo(result: dict) -> Table:
    """What `segprobe demo` prints."""
    header = ["supervision", "coverage", "label mIoU", "probe mIoU", "retention"]
    rows = [
        [
            row["supervision"],
            percent(row["coverage"]),
            f"{row['label_miou']:.3f}",
            f"{row['probe_miou']:.3f}",
            f"{row['retention']:.2f}",
        ]
        for row in result["rows"]
    ]
    return header, rows


def demo_ssvt(result: dict) -> Table:
    """Linear probes on colours, on the untrained net and on demo-ssvt."""
    rows = [
        [row["features"], f"{row['miou']:.3f} ± {row['spread']:.3f}", f"{row['foreground_miou']:.3f}"]
        for row in result["rows"]
    ]
    return ["features", "val mIoU", "without background"], rows


def demo_clip(result: dict) -> Table:
    """Dense methods on demo-clip, and how well it names whole scenes."""

    def both(score: dict) -> str:
        return f"{score['mean']:.3f} ± {score['std']:.3f}"

    rows = [
        [
            f"`{row['method']}`",
            both(row["miou"]),
            f"{row['gain']:+.3f}",
            both(row["drawn"]),
            f"{row['untrained_miou']['mean']:.3f}",
        ]
        for row in result["rows"]
    ]
    whole = result["whole_scenes"]
    names = (
        f"Whole scenes: the best of the twenty names is in the picture for "
        f"{percent(whole['best_name_in_picture']['mean'])} (untrained "
        f"{percent(whole['untrained_best_name_in_picture']['mean'])}), mean average precision "
        f"{whole['mean_average_precision']['mean']:.3f} (untrained "
        f"{whole['untrained_mean_average_precision']['mean']:.3f})."
    )
    header = ["method", "val mIoU", "over `clip`", "ten drawn classes", "untrained"]
    return header, rows, names


def refiners(result: dict) -> Table:
    """What refiners make of labels of several kinds."""
    ways = [key for key in result["rows"][0] if key not in ("labels", "before")]
    rows = [[row["labels"], *(f"{row[way]:.3f}" for way in ("before", *ways))] for row in result["rows"]]
    rows.append(["seconds an image", "", *(f"{result['seconds_per_image'][way]:.2g}" for way in ways)])
    return ["labels", "before", *ways], rows


def zeroseg_demo(result: dict) -> Table:
    """The ZeroSeg student on the demo scenes, beside dense CLIP."""
    rows = [
        [
            row["labels"],
            f"{row['miou']:.3f}" + (f" ± {row['spread']:.3f}" if row["runs"] > 1 else ""),
            f"{row['foreground_miou']:.3f}",
            f"{row['fresh_miou']:.3f}",
        ]
        for row in result["rows"]
    ]
    return ["labels", "val mIoU", "ten drawn classes", "fresh scenes, mIoU"], rows


def cam_demo(result: dict) -> Table:
    """Classifiers on the demo scenes: their seeds, and what SEAM and EPS gain over plain CAM."""
    rows = []
    for row in result["rows"]:
        if row["method"] == "cam" and row["normalise"] == "minmax":
            continue  # to be set against SEAM alone; the margins of the file know it
        cells = [f"`--method {row['method']}`"]
        for scenes in ("val", "fresh"):
            cells += [
                f"{row[f'{scenes}_fixed']:.3f} ± {row[f'{scenes}_fixed_spread']:.3f}",
                f"{row[f'{scenes}_oracle']:.3f}",
                " ".join(
                    f"{gain:+.3f}" for gain in result["margins"].get(f"{row['method']} over cam, {scenes}, fixed", [])
                ),
            ]
        rows.append(cells)
    header = ["classifier", "val mIoU", "oracle", "each seed over cam", "fresh mIoU", "oracle", "each seed over cam"]
    return header, rows
