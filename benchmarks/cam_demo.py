"""Class maps of CAM, SEAM and EPS classifiers on the demo scenes: does more than classification make better seeds?

Data: classifiers learn from the 160 train scenes and their tags, EPS also from saliency maps that `ncut` makes of
demo-ssvt. Seeds of the 80 val scenes and of 80 fresh ones, on which nothing was ever chosen, are scored against exact
truth (21 VOC classes, of which ten are drawn). As always with such seeds, an image's own tags say which of its classes
may appear. Three seeds of training; recipes and the fixed threshold were chosen on scenes of the split `dev`, which are
in neither. Each method has its own normalisation (SEAM minmax, the others max), and plain CAM also that of SEAM.
`oracle` is the best threshold for these very scenes, which only the truth can tell.
Expected on two free cores: two to four minutes a classifier. Interrupted, the same command goes on.

    python benchmarks/cam_demo.py [WORK_FOLDER] [--seeds 0 1 2] [--bfloat16]
"""

import argparse
import json
import time
from collections.abc import Iterator
from pathlib import Path
from statistics import mean, stdev

import torch
from record import write_result

from labelgen.data.open import open_data
from labelgen.data.sample import Sample
from labelgen.data.tags import tags_of_truth
from labelgen.demo.scenes import draw_scene
from labelgen.methods.cam import CAM, CamConfig
from labelgen.nets.cam.classifier_file import load_classifier
from labelgen.nets.cam.config import METHODS
from labelgen.nets.cam.fit import fit_classifier
from labelgen.nets.cam.presets import preset
from labelgen.nets.saliency import open_saliency
from labelgen.quality.curve import ThresholdHistogram, best_point, curve_points, image_histogram
from labelgen.run import rng_for

SEEDS = (0, 1, 2)
FIXED = 0.4  # the same for all; chosen on dev, where it is within a point of the best of each
PUBLISHED = {"cam": 0.2, "seam": 0.26, "eps": 0.2}
ROWS = (("cam", "max"), ("cam", "minmax"), ("seam", "minmax"), ("eps", "max"))
BINS = 100
VAL = open_data("demo", split="val")


def scenes(split: str) -> Iterator[Sample]:
    """Scenes with truth and the tags that follow from it."""
    for index in range(len(VAL.ids)):
        scene = draw_scene(split, index)
        tags = tags_of_truth(scene.labels, VAL.vocabulary)
        yield Sample(f"{split}_{index:04d}", scene.labels.shape, image=scene.image, truth=scene.labels, tags=tags)


def trained(work: Path, method: str, seed: int, *, bfloat16: bool) -> Path:
    """Folder of a classifier of the demo preset."""
    data = open_data("demo", split="train")
    out = work / f"{method}-{seed}"
    begin = time.process_time()

    def progress(done: int, total: int, note: str) -> None:
        if done % 25 == 0:
            print(f"{out.name}: {done}/{total} {note}, {time.process_time() - begin:.0f} CPU seconds", flush=True)

    fit_classifier(
        data,
        method=method,
        preset=preset("demo", method, seed=seed),
        out=out,
        saliency=open_saliency("ncut", data.spec, "cpu") if method == "eps" else None,
        device="cpu",
        bfloat16=bfloat16,
        checkpoint_every=25,
        progress=progress,
    )
    return out


def figures(folder: Path, method: str, how: str, split: str) -> dict[str, float]:
    """mIoU of the seeds at the thresholds; kept beside the classifier."""
    kept = folder.with_name(f"{folder.name}-{how}-{split}.json")
    if kept.is_file():
        return json.loads(kept.read_text())
    config = CAM.settle(CamConfig(weights=str(folder), normalise=how, device="cpu"), VAL.vocabulary, None).config
    generate = CAM.make(config, VAL.vocabulary)
    histogram = ThresholdHistogram(num_classes=VAL.vocabulary.num_classes, background=0, bins=BINS)
    for sample in scenes(split):
        mask = generate(sample.only({"tags"}), rng_for(0, sample.id))
        truth = sample.need_truth()
        histogram.add(image_histogram(truth, mask, background=0, num_classes=histogram.num_classes, bins=BINS))
    points = curve_points(histogram)
    best = best_point(points)
    found = {
        "fixed": points[round(FIXED * BINS)].miou,
        "published": points[round(PUBLISHED[method] * BINS)].miou,
        "oracle": best.miou,
        "oracle_threshold": best.threshold,
    }
    kept.write_text(json.dumps(found))
    print(folder.name, how, split, found, flush=True)
    return found


def row(method: str, how: str, runs: dict[str, list[dict[str, float]]], scores: list[dict[str, float]]) -> dict:
    """One line of the table: means over the seeds."""
    line = {"method": method, "normalise": how, "runs": len(scores)}
    for split, found in runs.items():
        for name in ("fixed", "published", "oracle", "oracle_threshold"):
            values = [run[name] for run in found]
            line[f"{split}_{name}"] = round(mean(values), 4)
            line[f"{split}_{name}_spread"] = round(stdev(values), 4) if len(values) > 1 else 0.0
    line["train_map"] = round(mean(score["map"] for score in scores), 4)
    return line


def margins(runs: dict[tuple[str, str], dict[str, list[dict[str, float]]]]) -> dict[str, list[float]]:
    """By how much each seed of SEAM and of EPS is better than CAM of the same seed, its better normalisation."""
    found = {}
    for method, how in ROWS[2:]:
        for split in ("val", "fresh"):
            for name in ("fixed", "oracle"):
                plain = [max(a[name], b[name]) for a, b in zip(runs[ROWS[0]][split], runs[ROWS[1]][split], strict=True)]
                own = [run[name] for run in runs[method, how][split]]
                found[f"{method} over cam, {split}, {name}"] = [
                    round(a - b, 4) for a, b in zip(own, plain, strict=True)
                ]
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("work", type=Path, nargs="?", default=Path("cam_demo"), help="folder of classifiers")
    parser.add_argument("--seeds", type=int, nargs="+", default=SEEDS, help="fewer, to share them among processes")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--bfloat16", action="store_true", help="train with matrix products in bfloat16")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    folders = {
        (method, seed): trained(arguments.work, method, seed, bfloat16=arguments.bfloat16)
        for seed in arguments.seeds
        for method in METHODS
    }
    runs = {
        (method, how): {
            split: [figures(folders[method, seed], method, how, split) for seed in arguments.seeds]
            for split in ("val", "fresh")
        }
        for method, how in ROWS
    }
    abouts = {method: [load_classifier(folders[method, seed]).about for seed in arguments.seeds] for method in METHODS}
    rows = [
        row(method, how, runs[method, how], [about["figures"]["image_level"] for about in abouts[method]])
        for method, how in ROWS
    ]
    for line in rows:
        print(line)
    better = margins(runs)
    print(json.dumps(better, indent=1))
    if tuple(arguments.seeds) == SEEDS:
        settings = {method: abouts[method][0]["training"] for method in METHODS}
        write_result("cam_demo", rows, seeds=list(SEEDS), fixed_threshold=FIXED, margins=better, training=settings,
                     precision="bfloat16" if arguments.bfloat16 else "float32",
                     saliency=abouts["eps"][0]["saliency"])  # fmt: skip


if __name__ == "__main__":
    main()
