"""Photographs and their tags alone: a classifier, its class activation maps, what refiners make of them, and a probe.

Data: voc2012-animals of the shared data folder, its 437 train images; mIoU over background, cat, cow, dog, horse and
sheep. MobileNetV2 (ImageNet) is fine-tuned from the image-level tags, maps are made and refined on the same images, and
a linear head on the frozen, original network is trained from the best labels and scored on the same images and on val.
Everything goes through the commands that a user would type. Classifiers and their maps are made with several seeds; all
chains of refiners are compared on the first, and the best of them is applied to the maps of each. The default beta of
the walk over colours (16) and the certainty were chosen with the truth of every fourth of these images.
Expected: seeds >= .40, the best chain 5 points more, the probe above its labels; about an hour on two cores, and the
same command goes on where it was stopped.

    python benchmarks/mobilenetv2_checkpoint.py --data SHARED/data --out WORK/mobilenetv2.safetensors
    python benchmarks/cam_voc_animals.py --data SHARED/data --weights WORK/mobilenetv2.safetensors --work WORK
"""

import argparse
import json
import time
from pathlib import Path
from statistics import mean

from compared import command
from record import write_result

CLASSES = ("background", "cat", "cow", "dog", "horse", "sheep")
BACKBONE = "mobilenetv2_100"
FIT_CAM = [
    *("--method", "cam", "--output-stride", "16", "--freeze", "0", "--crop", "256", "--long-side", "320", "512"),
    *("--epochs", "6", "--batch", "16", "--lr", "0.01", "--momentum-rule", "stated", "--jitter", "0"),
]
FIT = ["--layers=-2,-1", "--size", "288", "--steps", "600", "--pixels", "512"]
FROM_LABELS = ["--certainty", "0.7"]
CHAINS: dict[str, tuple[tuple[str, ...], ...]] = {  # name: stages, each a run of its own; "labels" drops the scores
    "crf": (("crf",),),
    "crf:deeplab": (("crf:deeplab",),),
    "crf:irn from labels": (("labels", "crf:irn"),),
    "pamr": (("pamr",),),
    "par": (("par",),),
    "walk:boundary,preset=irn": (("walk:boundary,preset=irn",),),
    "walk:colour,beta=8": (("walk:colour,beta=8",),),
    "walk:colour": (("walk:colour",),),
    "pamr, crf:irn from labels": (("pamr",), ("labels", "crf:irn")),
    "walk:boundary,preset=irn, crf:irn from labels": (("walk:boundary,preset=irn",), ("labels", "crf:irn")),
    "walk:colour, crf:irn from labels": (("walk:colour",), ("labels", "crf:irn")),
}


def over_classes(scores: dict) -> dict:
    """The mean over the classes of this benchmark, and each of them."""
    by_name = {c["name"]: c["iou"] for c in scores["per_class"]}
    return {"miou": mean(by_name[c] for c in CLASSES), "per_class": {c: by_name[c] for c in CLASSES}}


def quality(run: Path) -> dict:
    """Score a run on the images that it was made from."""
    document = json.loads(command("labelgen", "quality", str(run), "--json"))[0]
    return over_classes(document) | {"coverage": document["coverage"]}


def timed(*words: str) -> float | None:
    """Seconds that one command took; None where its result was there before."""
    started = time.perf_counter()
    done_before = "complete: nothing to do" in command(*words)
    return None if done_before else time.perf_counter() - started


def seeds_of_tags(options: argparse.Namespace, seed: int) -> tuple[Path, dict]:
    """A classifier and the run of its maps."""
    images = [f"voc:{options.data / 'voc2012-animals'}", "--split", "train"]
    classifier, run = options.work / "classifiers" / str(seed), options.work / "runs" / f"cam-{seed}"
    training = ["--backbone", BACKBONE, "--weights", str(options.weights), "--seed", str(seed), *FIT_CAM]
    seconds = {"fit-cam": timed("labelgen", "fit-cam", *images, "--out", str(classifier), *training)}
    seconds["cam"] = timed("labelgen", "cam", *images, "--weights", str(classifier), "--out", str(run), "--save-scores")
    return run, seconds


def refined(run: Path, stages: tuple[tuple[str, ...], ...]) -> tuple[Path, float | None]:
    """The run that a chain makes of another, and the seconds of its last stage."""
    seconds = None
    for stage in stages:
        start = FROM_LABELS if stage[0] == "labels" else []
        refiners = [refiner for refiner in stage if refiner != "labels"]
        out = run.with_name("-".join([run.name, *stage]).replace(":", "-").replace(",", "-").replace("=", "-"))
        steps = [word for refiner in refiners for word in ("--with", refiner)]
        seconds = timed("labelgen", "refine", str(run), *steps, *start, "--out", str(out), "--save-scores")
        run = out
    return run, seconds


def probe(run: Path, options: argparse.Namespace, name: str, seed: int) -> dict:
    """Fit a frozen probe from labels; how good its own labels of the same images are, and those of val."""
    data = f"voc:{options.data / 'voc2012-animals'}"
    out = options.work / "probes" / f"{run.name}-{seed}"
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
    parser.add_argument("--work", type=Path, required=True, help="folder for classifiers, runs, probes and the cache")
    parser.add_argument("--seeds", type=int, default=3, help="of the classifiers, and of the probes")
    options = parser.parse_args()
    rows, runs, scores, best = [], [], [], ""
    for seed in range(options.seeds):
        run, seconds = seeds_of_tags(options, seed)
        runs.append(run)
        before = quality(run)
        print(f"classifier {seed}: {before['miou']:.4f}", flush=True)
        if seed == 0:
            rows.append({"labels": "cam", "gain": 0.0, "seconds": seconds["cam"], **before})
            for name, stages in CHAINS.items():
                out, last = refined(run, stages)
                after = quality(out)
                rows.append({"labels": name, "gain": after["miou"] - before["miou"], "seconds": last, **after})
                print(f"{name:48} {after['miou']:.4f}  ({rows[-1]['gain']:+.4f})", flush=True)
            best = max(rows, key=lambda row: row["miou"])["labels"]
        after = quality(refined(run, CHAINS[best])[0]) if best in CHAINS else before
        scores.append({"seed": seed, "cam": before["miou"], "best": after["miou"], "seconds": seconds})
        print(f"  {best}: {after['miou']:.4f}", flush=True)
    document = json.loads(command("labelgen", "quality", str(runs[0]), "--curve", "--json"))[0]
    sources = {"cam": runs[0], best: refined(runs[0], CHAINS[best])[0] if best in CHAINS else runs[0]}
    probes = [probe(run, options, name, seed) for name, run in sources.items() for seed in range(options.seeds)]
    facts = {"classes": CLASSES, "fit_cam": FIT_CAM, "fit": FIT, "chains": CHAINS, "best": best, "classifiers": scores}
    seeds = list(range(options.seeds))
    print(write_result("cam_voc_animals", rows, seeds=seeds, **facts, curve=document["curve"][::50], probes=probes))


if __name__ == "__main__":
    main()
