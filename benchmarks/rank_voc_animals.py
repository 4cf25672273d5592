"""Finding corrupted labels of photographs: AUROC of every score of `labelgen rank`, without any look at the truth.

Data: voc2012-animals of the shared data folder, 437 train images. Half of the images are corrupted on purpose by
`labelgen corrupt --images 0.5`, in several ways, each at full strength but for look-alikes: where all objects of half
of the images take the class of their look-alike, cat and dog are each half wrong, and no method can tell which half.
`segprobe crossfit` predicts each image by a head that never saw its labels, on frozen MobileNetV2 features;
`labelgen rank --json` then says how well each score finds the images that came out corrupted. Three seeds, of
corruption, folds and pixels, by the commands that a user would type; runs of predictions are removed once ranked.

    python benchmarks/mobilenetv2_checkpoint.py --data SHARED/data --out WORK/mobilenetv2.safetensors
    python benchmarks/rank_voc_animals.py --data SHARED/data --weights WORK/mobilenetv2.safetensors --work WORK

Features are computed once (about a minute on one core); then about three minutes for each kind and seed.
"""

import argparse
import json
import shutil
from pathlib import Path
from statistics import mean

from compare_voc_animals import BACKBONE, CLASSES
from compared import command
from record import write_result

KINDS: dict[str, tuple[str, bool]] = {
    "any other class": ("classes=1", True),
    "any other class, and outlines": ("classes=1,mixed=1", True),
    "half of the look-alikes": ("classes=0.5", False),
    "outlines eroded or dilated": ("mixed=1", False),
    "objects forgotten": ("drop=1", False),
}
"""What is done to the corrupted images, and whether classes are drawn from all animals and not from look-alikes."""
FOLDS = 5
HEAD = ["--head", "ridge", "--ridge-penalty", "0.3", "--pixels", "512"]
SCORES = ("combined", "probe", "region", "given", "softmin", "confident")
CHOSEN = (
    "the settings of the head, and those of the classifier of regions (penalty 1, one round), were chosen on corrupted "
    "labels of seed 0 of these images"
)


def backbone_flags(weights: Path) -> list[str]:
    """The backbone of the comparison, as flags of crossfit."""
    pairs = dict(part.split("=") for part in BACKBONE.replace("layers=-2,-1", "layers=-2;-1").split(","))
    flags = [f"--{name}={value.replace(';', ',')}" for name, value in pairs.items()]
    return ["--backbone", "mobilenetv2_100", "--weights", str(weights), *flags]


def any_class(folder: Path) -> Path:
    """A file by which each animal is taken for any other one."""
    names = [name for name in CLASSES.split(",") if name != "background"]
    path = folder / "any-class.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps({true: {wrong: 1 for wrong in names if wrong != true} for true in names}), "utf-8")
    return path


def ranked(number: int, seed: int, options: argparse.Namespace) -> dict:
    """Corrupt, cross-fit and rank once; returns what `labelgen rank --json` prints."""
    kind, anything = list(KINDS.values())[number]
    data, root = f"voc:{options.data / 'voc2012-animals'}", options.work / "rank"
    name = f"kind-{number}-{seed}" + (f"-{options.limit}" if options.limit else "")
    labels, predictions, kept = root / name, root / f"{name}-crossfit", root / f"{name}.json"
    few = ["--limit", str(options.limit)] if options.limit else []
    if kept.is_file():
        return json.loads(kept.read_text(encoding="utf-8"))
    confusion = ["--confusion", str(any_class(root))] if anything else []
    command(
        "labelgen", "corrupt", data, "--split", "train", *few, "--images", "0.5", "--seed", str(seed),
        "--kind", kind, *confusion, "--no-sheet", "--out", str(labels),
    )  # fmt: skip
    command(
        "segprobe", "crossfit", str(labels), "--folds", str(FOLDS), "--seed", str(seed), "--out", str(predictions),
        "--probes", str(root / "probes" / name), "--cache", str(options.work / "cache"), "--no-sheet", *HEAD,
        *backbone_flags(options.weights),
    )  # fmt: skip
    words = ["rank", str(labels), "--probe", str(predictions), "--truth", data, "--top", "0", "--json"]
    text = command("labelgen", *words)
    shutil.rmtree(predictions)  # a gigabyte of scores
    shutil.rmtree(root / "probes" / name)
    kept.write_text(text, encoding="utf-8")
    return json.loads(text)


def row_of(name: str, documents: list[dict]) -> dict:
    """Mean over seeds of the AUROC of each score, with the values of the seeds of the one that is the default."""
    row: dict = {"kind": name, "images": documents[0]["num_images"]}
    row |= {"corrupted": [d["corrupted"]["corrupted"] for d in documents]}
    for score in SCORES:
        found = [d["corrupted"]["scores"][score]["auroc"] for d in documents]
        if None in found:  # forgotten objects leave no region to judge
            row |= {f"auroc_{score}": None, f"seeds_{score}": found}
            continue
        row |= {f"auroc_{score}": round(mean(found), 4), f"seeds_{score}": [round(value, 4) for value in found]}
    spearman = [d["truth"]["scores"]["combined"]["spearman"] for d in documents]
    return row | {"spearman_combined": round(mean(spearman), 4)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True, help="the shared data folder")
    parser.add_argument("--weights", type=Path, required=True, help="checkpoint of mobilenetv2_checkpoint.py")
    parser.add_argument("--work", type=Path, required=True, help="folder for runs, probes and features")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--limit", type=int, default=0, help="a try with the first N images; nothing is written down")
    options = parser.parse_args()
    rows = []
    for number, name in enumerate(KINDS):
        rows.append(row_of(name, [ranked(number, seed, options) for seed in range(options.seeds)]))
        print(json.dumps(rows[-1]), flush=True)
    if options.limit:
        return
    settings = {"backbone": f"mobilenetv2_100, frozen, {BACKBONE}", "head": HEAD, "folds": FOLDS, "classes": CLASSES}
    facts = {"settings": settings, "kinds": KINDS, "default_score": "combined", "chosen": CHOSEN}
    print(write_result("rank_voc_animals", rows, seeds=list(range(options.seeds)), **facts))


if __name__ == "__main__":
    main()
