"""Photographs and their tags alone: a classifier, its class activation maps, what refiners make of them, and a probe.

Data: voc2012-animals of the shared data folder, its 437 train images; mIoU over background, cat, cow, dog, horse and
sheep. MobileNetV2 (ImageNet) is fine-tuned from the image-level tags, maps are made and refined on the same images, and
a linear head on the frozen, original network is trained from the best labels and scored on the same images and on val.
Everything goes through the commands that a user would type. Expected: seeds >= .40, the best chain 5 points more, the
probe above its labels; about half an hour on two cores.

    python benchmarks/mobilenetv2_checkpoint.py --data SHARED/data --out WORK/mobilenetv2.safetensors
    python benchmarks/cam_voc_animals.py --data SHARED/data --weights WORK/mobilenetv2.safetensors --work WORK
"""

import argparse
import json
import subprocess
import sys
import time
from pathlib import Path
from statistics import mean

from record import write_result

CLASSES = ("background", "cat", "cow", "dog", "horse", "sheep")
BACKBONE = "mobilenetv2_100"
FIT_CAM = ["--output-stride", "16"]
FIT = ["--layers=-2,-1", "--size", "288", "--steps", "600", "--pixels", "512"]
CHAINS = {
    "crf": ("crf",),
    "crf:deeplab": ("crf:deeplab",),
    "pamr": ("pamr",),
    "par": ("par",),
    "walk": ("walk",),
    "walk, crf": ("walk", "crf"),
    "pamr, crf": ("pamr", "crf"),
}


def command(*words: str) -> str:
    """Run one command of the product and return its standard output."""
    package, *rest = words
    run = subprocess.run([sys.executable, "-m", package, *rest], stdout=subprocess.PIPE, text=True, check=True)
    return run.stdout


def over_classes(scores: dict) -> dict:
    """The mean over the classes of this benchmark, and each of them."""
    by_name = {c["name"]: c["iou"] for c in scores["per_class"]}
    return {"miou": mean(by_name[c] for c in CLASSES), "per_class": {c: by_name[c] for c in CLASSES}}


def quality(run: Path) -> dict:
    """Score a run on the images that it was made from."""
    document = json.loads(command("labelgen", "quality", str(run), "--json"))[0]
    return over_classes(document) | {"coverage": document["coverage"]}


def timed(*words: str) -> float:
    """Seconds that one command took."""
    started = time.perf_counter()
    command(*words)
    return time.perf_counter() - started


def probe(run: Path, data: str, options: argparse.Namespace, name: str, seed: int) -> dict:
    """Fit a frozen probe from labels; how good its own labels of the same images are, and those of val."""
    out = options.work / "probes" / f"{name}-{seed}"
    backbone = ["--backbone", BACKBONE, "--weights", str(options.weights), "--cache", str(options.work / "cache")]
    words = ["--data", data, "--split", "train", "--out", str(out), "--seed", str(seed), *backbone, *FIT]
    seconds = timed("segprobe", "fit", str(run), *words)
    scores = {}
    for split in ("train", "val"):
        text = command("segprobe", "eval", str(out), "--data", data, "--split", split, "--json")
        scores[split] = over_classes(json.loads(text))
    return {"labels": name, "seed": seed, "seconds": seconds, **scores}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True, help="the shared data folder")
    parser.add_argument("--weights", type=Path, required=True, help="checkpoint of mobilenetv2_checkpoint.py")
    parser.add_argument("--work", type=Path, required=True, help="folder for classifier, runs, probes and the cache")
    parser.add_argument("--seeds", type=int, default=3, help="of the probes")
    options = parser.parse_args()
    data = f"voc:{options.data / 'voc2012-animals'}"
    images, runs, classifier = [data, "--split", "train"], options.work / "runs", options.work / "cam-classifier"
    training = ["--backbone", BACKBONE, "--weights", str(options.weights), *FIT_CAM]
    seconds = {"fit-cam": timed("labelgen", "fit-cam", *images, "--method", "cam", "--out", str(classifier), *training)}
    seeds = runs / "cam"
    words = ["--weights", str(classifier), "--out", str(seeds), "--save-scores"]
    seconds["cam"] = timed("labelgen", "cam", *images, *words)
    before = quality(seeds)
    rows = [{"labels": "cam", "gain": 0.0, "seconds": seconds["cam"], **before}]
    for name, chain in CHAINS.items():
        out = runs / f"cam-{name.replace(':', '-').replace(', ', '-')}"
        steps = [word for step in chain for word in ("--with", step)]
        seconds[name] = timed("labelgen", "refine", str(seeds), *steps, "--out", str(out), "--save-scores")
        after = quality(out)
        rows.append({"labels": name, "gain": after["miou"] - before["miou"], "seconds": seconds[name], **after})
        print(f"{name:14} {after['miou']:.4f}  ({after['miou'] - before['miou']:+.4f})", flush=True)
    best = max(rows, key=lambda row: row["miou"])
    best_run = seeds if best["labels"] == "cam" else runs / f"cam-{best['labels'].replace(':', '-').replace(', ', '-')}"
    curve = json.loads(command("labelgen", "quality", str(seeds), "--curve", "--json"))[0]["curve"]
    probes = [
        probe(run, data, options, name, seed)
        for name, run in (("cam", seeds), (best["labels"], best_run))
        for seed in range(options.seeds)
    ]
    facts = {"classes": CLASSES, "training": training[4:], "fit": FIT, "seconds": seconds, "best": best["labels"]}
    print(write_result("cam_voc_animals", rows, seeds=[0], **facts, curve=curve, probes=probes))


if __name__ == "__main__":
    main()
