"""Put the tables of benchmarks/results into README.md and examples/*.md; `--check` only says whether they are stale."""

import argparse
import ast
import json
import re
import sys
from collections.abc import Callable
from pathlib import Path
from statistics import mean, stdev

import compare_tables

ROOT = Path(__file__).resolve().parent.parent
RESULTS = ROOT / "benchmarks" / "results"


def markdown(header: list[str], rows: list[list[str]]) -> str:
    """Write a Markdown table; the first column is left-aligned, the others right."""
    rule = ["---", *["---:"] * (len(header) - 1)]
    return "\n".join("| " + " | ".join(cells) + " |" for cells in (header, rule, *rows))


def percent(share: float) -> str:
    """Three digits that mean something, also for a few clicks in a large image."""
    return f"{100 * share:.3g} %"


def load(name: str) -> dict:
    """Read one result file."""
    return json.loads((RESULTS / f"{name}.json").read_text(encoding="utf-8"))


def source(result: dict) -> str:
    """Say where the figures come from: machine, seeds, commit."""
    seeds = len(result.get("seeds", []))
    return f"*{result['machine']}; {seeds} seed{'s' if seeds != 1 else ''}; commit {result['commit']}.*"


def demo() -> str:
    """What `segprobe demo` prints."""
    result = load("demo")
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
    return markdown(header, rows) + "\n\n" + source(result)


def demo_ssvt() -> str:
    """Linear probes on colours, on the untrained net and on demo-ssvt."""
    result = load("demo_ssvt")
    rows = [
        [row["features"], f"{row['miou']:.3f} ± {row['spread']:.3f}", f"{row['foreground_miou']:.3f}"]
        for row in result["rows"]
    ]
    return markdown(["features", "val mIoU", "without background"], rows) + "\n\n" + source(result)


def demo_clip() -> str:
    """Dense methods on demo-clip, and how well it names whole scenes."""
    result = load("demo_clip")

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
    return "\n\n".join([markdown(header, rows), names, source(result)])


def refiners() -> str:
    """What refiners make of labels of several kinds."""
    result = load("refiners")
    ways = [key for key in result["rows"][0] if key not in ("labels", "before")]
    rows = [[row["labels"], *(f"{row[way]:.3f}" for way in ("before", *ways))] for row in result["rows"]]
    rows.append(["seconds an image", "", *(f"{result['seconds_per_image'][way]:.2g}" for way in ways)])
    return markdown(["labels", "before", *ways], rows) + "\n\n" + source(result)


def zeroseg_demo() -> str:
    """The ZeroSeg student on the demo scenes, beside dense CLIP."""
    result = load("zeroseg_demo")
    rows = [
        [
            row["labels"],
            f"{row['miou']:.3f}" + (f" ± {row['spread']:.3f}" if row["runs"] > 1 else ""),
            f"{row['foreground_miou']:.3f}",
            f"{row['fresh_miou']:.3f}",
        ]
        for row in result["rows"]
    ]
    return markdown(["labels", "val mIoU", "ten drawn classes", "fresh scenes, mIoU"], rows) + "\n\n" + source(result)


def cam_demo() -> str:
    """Classifiers on the demo scenes: their seeds, and what SEAM and EPS gain over plain CAM."""
    result = load("cam_demo")
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
    return markdown(header, rows) + "\n\n" + source(result)


def cam_voc_animals() -> str:
    """Photographs: seeds, what each refiner makes of them, and probes trained on both."""
    result = load("cam_voc_animals")
    classes = result["classes"]
    rows = [
        [row["labels"], f"{row['miou']:.3f}", f"{row['gain']:+.3f}" if row["labels"] != "cam" else ""]
        + [f"{row['per_class'][name]:.2f}" for name in classes]
        for row in result["rows"]
    ]
    table = markdown(["labels", "train mIoU", "gain", *classes], rows)
    quality = {row["labels"]: row["miou"] for row in result["rows"]}
    rows = []
    for labels in dict.fromkeys(row["labels"] for row in result["probes"]):
        scores = [row for row in result["probes"] if row["labels"] == labels]
        train, val = ([row[split]["miou"] for row in scores] for split in ("train", "val"))
        rows.append([labels, f"{quality[labels]:.3f}", *(f"{mean(s):.3f} ± {stdev(s):.3f}" for s in (train, val))])
    probes = markdown(["probe from", "its labels, train", "probe, train", "probe, val"], rows)
    seeds, best = ([row[key] for row in result["classifiers"]] for key in ("cam", "best"))
    classifiers = (
        f"Classifiers of seeds {', '.join(str(row['seed']) for row in result['classifiers'])}: cam "
        f"{', '.join(f'{score:.3f}' for score in seeds)} (mean {mean(seeds):.3f}); {result['best']} "
        f"{', '.join(f'{score:.3f}' for score in best)} (mean {mean(best):.3f})."
    )
    return "\n\n".join([table, classifiers, probes, source(result)])


def probe_voc_animals() -> str:
    """Label sources on real photographs."""
    result = load("probe_voc_animals")
    header = ["labels", "coverage", "mIoU of labelled pixels", "probe mIoU", "retention"]
    rows = [
        [
            row["labels"],
            percent(row["coverage"]),
            f"{row['miou_labelled']:.3f}",
            f"{row['miou']:.3f} ± {row['spread']:.3f}",
            f"{row['retention']:.2f}",
        ]
        for row in result["rows"]
    ]
    return markdown(header, rows) + "\n\n" + source(result)


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


def ranked(result: dict) -> tuple[list[str], list[list[str]]]:
    """AUROC of finding corrupted photographs: one row for each kind of corruption, the seeds of the default score."""
    scores = ("combined", "region", "probe", "confident", "softmin", "given")
    rows = [
        [
            row["kind"],
            f"{row['auroc_combined']:.3f} ({' '.join(f'{seed:.3f}' for seed in row['seeds_combined'])})",
            *("-" if (found := row[f"auroc_{score}"]) is None else f"{found:.3f}" for score in scores[1:]),
        ]
        for row in result["rows"]
    ]
    return ["half of the images: their labels", "combined, default (seeds)", *scores[1:]], rows


def compared(name: str, table: Callable[[dict], tuple[list[str], list[list[str]]]]) -> Callable[[], str]:
    """The table of a comparison and where it comes from."""

    def rendered() -> str:
        result = load(name)
        return markdown(*table(result)) + "\n\n" + source(result)

    return rendered


def speed() -> str:
    """Ours and the peer on the same work in one run, from several benchmarks."""
    rows = []
    scribble = {row["way"]: row for row in load("scribble_speed")["rows"]}
    ours, plain = scribble["labelgen"], scribble["plain (scikit-image, networkx)"]
    rows.append(
        [
            "scribbles on VOC masks, images/s per core",
            f"{ours['images_per_core_second']:.0f}",
            f"{plain['images_per_core_second']:.0f} (scikit-image + networkx)",
            f"{plain['time_over_labelgen']:.1f}x",
        ]
    )
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
    for row in load("fit_speed")["rows"]:
        if row["way"] == "cached and sampled":
            rows.append(
                [
                    f"fit, 40 epochs, {row['setup']}, seconds",
                    f"{row['seconds']:.0f}",
                    f"{row['seconds'] * row['times_faster']:.0f} (plain loop)",
                    f"{row['times_faster']:.0f}x, mIoU {row['miou_difference']:+.3f}",
                ]
            )
    clip = {row["way"]: row for row in load("clip_speed")["rows"]}
    for way in ("network alone", "window by window"):
        rows.append(
            [
                f"clip labels, {load('clip_speed')['model']}, images/s per core",
                f"{1 / clip['labelgen']['seconds_per_image']:.1f}",
                f"{1 / clip[way]['seconds_per_image']:.1f} ({way}, {clip[way]['dtype']})",
                f"{clip[way]['time_over_labelgen']:.2f}x",
            ]
        )
    rows += [*crf_rows(), *walk_rows(), *pamr_rows(), *cam_rows(), *tree_rows()]
    names = ("scribble", "quality", "fit", "clip", "crf", "walk", "pamr", "cam")
    results = [load(f"{name}_speed") for name in names]
    commits = ", ".join(result["commit"] for result in results)
    origin = f"*{results[0]['machine']}; 1 seed each; commits ({', '.join(names)}): {commits}.*"
    return markdown(["work", "ours", "peer", "ratio"], rows) + "\n\n" + origin


def crf_rows() -> list[list[str]]:
    """The dense CRF and pydensecrf: processor time of one thread, and two threads by the clock."""
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
    for classes, peer_classes in (
        ("21 classes", "21 classes"),
        ("3 classes", "3 classes"),
        ("3 classes", "21 classes"),
    ):
        ours, peer = table["psa", f"labelgen, {classes}, 2 threads"], table["psa", f"pydensecrf, {peer_classes}"]
        against = f", against {peer_classes}" if peer_classes != classes else ""
        rows.append(
            [
                f"dense CRF, psa, {classes}{against}, two threads, ms by the clock",
                f"{ours['wall_ms']:.0f}",
                f"{peer['wall_ms']:.0f} (pydensecrf)",
                f"{peer['wall_ms'] / ours['wall_ms']:.1f}x",
            ]
        )
    return rows


def walk_rows() -> list[list[str]]:
    """The random walk and the power of its dense matrix, one row for each stride."""
    table = load("walk_speed")["rows"]
    rows = []
    for stride in dict.fromkeys(row["stride"] for row in table):
        of_stride = [row for row in table if row["stride"] == stride]
        ours, dense = (mean(row[key] for row in of_stride) for key in ("ours_seconds", "dense_seconds"))
        way = "dense" if of_stride[0]["dense_is"] == "measured" else f"dense: {of_stride[0]['dense_is']}"
        work = f"random walk, 500 x 375 at stride {stride}, ms"
        rows.append([work, f"{1000 * ours:.0f}", f"{1000 * dense:,.0f} ({way})", f"{dense / ours:.0f}x"])
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


def cam_rows() -> list[list[str]]:
    """Multi-scale class maps and pytorch-grad-cam called for each class."""
    table = {row["way"]: row for row in load("cam_speed")["rows"]}
    ours, peer = table["labelgen"], table["pytorch-grad-cam, plain"]
    return [
        [
            "class maps, 4 scales and mirror images, s of processor time",
            f"{ours['seconds_per_image']:.1f}",
            f"{peer['seconds_per_image']:.1f} (pytorch-grad-cam)",
            f"{peer['time_over_labelgen']:.1f}x",
        ]
    ]


def presets() -> str:
    """Published mIoU of each protocol that `labelgen clip --preset` knows."""
    from labelgen.methods.clip_presets import PRESETS

    split = [(name.partition("-"), preset.miou) for name, preset in PRESETS.items()]
    families = list(dict.fromkeys(family for (family, _, _), _ in split))
    benchmarks = list(dict.fromkeys(benchmark for (_, _, benchmark), _ in split))
    table = {(family, benchmark): f"{miou:.1f}" for (family, _, benchmark), miou in split}
    rows = [[f"`{family}-...`", *(table.get((family, b), "-") for b in benchmarks)] for family in families]
    return markdown(["`--preset`", *(f"`-{b}`" for b in benchmarks)], rows)


def code_map() -> str:
    """Every module of the two packages with the first line of its docstring; folders in one line."""
    lines = []
    for package in ("labelgen", "labelgen/nets", "segprobe"):
        for path in sorted((ROOT / package).iterdir()):
            if path.is_dir() and (path / "__init__.py").is_file():
                lines.append((f"{package}/{path.name}/", path / "__init__.py"))
            elif path.suffix == ".py" and not path.name.startswith("__") and "/" not in package:
                lines.append((f"{package}/{path.name}", path))
    rows = [
        [f"`{name}`", ast.get_docstring(ast.parse(p.read_text(encoding="utf-8"))).split("\n")[0]] for name, p in lines
    ]
    return "\n".join(["| where | what |", "|---|---|", *(f"| {name} | {sentence} |" for name, sentence in rows)])


TABLES: dict[str, Callable[[], str]] = {
    "map": code_map,
    "demo": demo,
    "demo_ssvt": demo_ssvt,
    "demo_clip": demo_clip,
    "refiners": refiners,
    "zeroseg_demo": zeroseg_demo,
    "cam_demo": cam_demo,
    "cam_voc_animals": cam_voc_animals,
    "probe_voc_animals": probe_voc_animals,
    "compare_demo": compared("compare_demo", compare_tables.frozen_and_tuned),
    "compare_voc_animals": compared("compare_voc_animals", compare_tables.frozen_and_tuned),
    "compare_photo_ssvt": compared("compare_photo_ssvt", compare_tables.frozen_and_tuned),
    "promotion": compared("promotion", compare_tables.promotion),
    "terms": compared("terms", compare_tables.terms),
    "rank_voc_animals": compared("rank_voc_animals", ranked),
    "speed": speed,
    "presets": presets,
}


def documents() -> dict[Path, str]:
    """README.md and the pages of examples/, as they are."""
    paths = [ROOT / "README.md", *sorted((ROOT / "examples").glob("*.md"))]
    return {path: path.read_text(encoding="utf-8") for path in paths}


def render(texts: dict[Path, str]) -> dict[Path, str]:
    """Replace what stands between the markers of every known table, each of which is in one of the documents."""
    texts = dict(texts)
    for name, table in TABLES.items():
        pattern = re.compile(rf"(<!-- table: {name} -->\n).*?(<!-- end -->)", flags=re.DOTALL)
        found = [path for path, text in texts.items() for _ in pattern.finditer(text)]
        if len(found) != 1:
            sys.exit(f"error: one document must hold the markers of table {name!r} once, found {len(found)}")
        body = table() + "\n"
        texts[found[0]] = pattern.sub(lambda m, body=body: m[1] + body + m[2], texts[found[0]])
    return texts


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true", help="change nothing; exit 1 when a document is stale")
    check = parser.parse_args().check
    old = documents()
    stale = {path: text for path, text in render(old).items() if text != old[path]}
    if check and stale:
        names = ", ".join(path.relative_to(ROOT).as_posix() for path in stale)
        sys.exit(f"error: stale: {names}; run python benchmarks/table.py")
    for path, text in stale.items():
        path.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
