"""Finding corrupted labels of photographs: AUROC of every score of `labelgen rank`, without any look at the truth.

Data: voc2012-animals of the shared data folder, 437 train images. Half of the images are corrupted on purpose by
`labelgen corrupt --images 0.5`: objects that have a look-alike take its class, and outlines are eroded or dilated, at
several strengths. `segprobe crossfit` predicts each image by a head that never saw its labels, on frozen MobileNetV2
features; `labelgen rank --json` then says how well each score finds the images that came out corrupted. Three seeds,
of corruption, folds and pixels, by the commands that a user would type; runs of predictions are removed once ranked.

    python benchmarks/mobilenetv2_checkpoint.py --data SHARED/data --out WORK/mobilenetv2.safetensors
    python benchmarks/rank_voc_animals.py --data SHARED/data --weights WORK/mobilenetv2.safetensors --work WORK

Features are computed once (about a minute on one core); then about four minutes for each strength and seed.
"""

import argparse
import json
import shutil
from pathlib import Path
from statistics import mean, stdev

from compare_voc_animals import BACKBONE, CLASSES
from compared import command
from record import write_result

STRENGTHS = (0.3, 0.5, 0.7, 1.0)
FOLDS = 5
HEAD = ["--head", "ridge", "--ridge-penalty", "0.3", "--pixels", "512"]
SCORES = ("probe", "given", "softmin", "confident")
REASON = (
    "probe is the default: the mean logarithm of the soft IoU of labels and out-of-sample predictions, less what is "
    "usual for the class. Unlike means over pixels it weighs a small object like its background, and unlike a plain "
    "IoU it does not call every image with a hard class suspicious."
)


def backbone_flags(weights: Path) -> list[str]:
    """The backbone of the comparison, as flags of crossfit."""
    pairs = dict(part.split("=") for part in BACKBONE.replace("layers=-2,-1", "layers=-2;-1").split(","))
    flags = [f"--{name}={value.replace(';', ',')}" for name, value in pairs.items()]
    return ["--backbone", "mobilenetv2_100", "--weights", str(weights), *flags]


def ranked(strength: float, seed: int, options: argparse.Namespace) -> dict:
    """Corrupt, cross-fit and rank once; returns what `labelgen rank --json` prints."""
    data = f"voc:{options.data / 'voc2012-animals'}"
    name = f"half-{strength}-{seed}" + (f"-{options.limit}" if options.limit else "")
    labels, predictions = options.work / "rank-runs" / name, options.work / "rank-runs" / f"{name}-crossfit"
    few = ["--limit", str(options.limit)] if options.limit else []
    kept = options.work / "rank-runs" / f"{name}.json"
    if kept.is_file():
        return json.loads(kept.read_text(encoding="utf-8"))
    command(
        "labelgen", "corrupt", data, "--split", "train", *few, "--images", "0.5", "--seed", str(seed),
        "--kind", f"classes={strength},mixed={strength}", "--out", str(labels),
    )  # fmt: skip
    command(
        "segprobe", "crossfit", str(labels), "--folds", str(FOLDS), "--seed", str(seed), "--out", str(predictions),
        "--probes", str(options.work / "rank-probes" / name), "--cache", str(options.work / "cache"), *HEAD,
        *backbone_flags(options.weights),
    )  # fmt: skip
    words = ["rank", str(labels), "--probe", str(predictions), "--truth", data, "--top", "0", "--json"]
    text = command("labelgen", *words)
    shutil.rmtree(predictions)  # a gigabyte of scores
    shutil.rmtree(options.work / "rank-probes" / name)
    kept.write_text(text, encoding="utf-8")
    return json.loads(text)


def row_of(strength: float, documents: list[dict]) -> dict:
    """Mean over seeds of the AUROC of each score, with the values of the seeds of the best."""
    found = {name: [d["corrupted"]["scores"][name]["auroc"] for d in documents] for name in SCORES}
    spearman = [d["truth"]["scores"]["probe"]["spearman"] for d in documents]
    row = {"strength": strength, "images": documents[0]["num_images"]}
    row |= {"corrupted": [d["corrupted"]["corrupted"] for d in documents]}
    row |= {f"auroc_{name}": round(mean(values), 4) for name, values in found.items()}
    row |= {"spread_probe": round(stdev(found["probe"]), 4) if len(documents) > 1 else 0.0}
    return row | {"spearman_probe": round(mean(spearman), 4), "seeds_probe": [round(v, 4) for v in found["probe"]]}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True, help="the shared data folder")
    parser.add_argument("--weights", type=Path, required=True, help="checkpoint of mobilenetv2_checkpoint.py")
    parser.add_argument("--work", type=Path, required=True, help="folder for runs, probes and features")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--strengths", type=float, nargs="+", default=list(STRENGTHS))
    parser.add_argument("--limit", type=int, default=0, help="a try with the first N images; nothing is written down")
    options = parser.parse_args()
    rows = []
    for strength in options.strengths:
        rows.append(row_of(strength, [ranked(strength, seed, options) for seed in range(options.seeds)]))
        print(json.dumps(rows[-1]), flush=True)
    if options.limit:
        return
    settings = {"backbone": f"mobilenetv2_100, frozen, {BACKBONE}", "head": HEAD, "folds": FOLDS, "classes": CLASSES}
    facts = {"settings": settings, "default_score": "probe", "reason": REASON}
    print(write_result("rank_voc_animals", rows, seeds=list(range(options.seeds)), **facts))


if __name__ == "__main__":
    main()
