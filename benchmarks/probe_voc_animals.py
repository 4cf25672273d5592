"""Frozen MobileNetV2 with a linear head on real photographs, from truth, scribbles and human clicks.

Data: voc2012-animals of the shared data folder (437 train, 170 val images), mIoU on val over the seven classes that it
effectively holds. Everything goes through the commands a user would type. Expected on two cores: about twenty minutes;
truth >= .49, scribbles >= .86 of it, human clicks with background clicks >= .82 of it.

    python benchmarks/mobilenetv2_checkpoint.py --data SHARED/data --out WORK/mobilenetv2.safetensors
    python benchmarks/probe_voc_animals.py --data SHARED/data --weights WORK/mobilenetv2.safetensors --work WORK
"""

import argparse
import json
import time
from pathlib import Path
from statistics import mean, stdev

from compared import command
from record import write_result

CLASSES = ("background", "cat", "cow", "dog", "horse", "person", "sheep")
FIT = ["--layers=-2,-1", "--size", "288", "--steps", "600", "--pixels", "512"]


def label_runs(data: str, points: Path, work: Path, seed: int) -> dict[str, str]:
    """Make the label runs of one seed; returns name -> folder (or `truth`)."""
    clicks, background = points / "voc_whats_the_point.json", points / "voc_whats_the_point_bg_from_scribbles.json"
    makers = {
        "scribbles": ["scribble"],
        "scribbles, shrink 0.5": ["scribble", "--shrink", "0.5"],
        "human clicks + background clicks": ["point", "--from-json", str(clicks), "--from-json", str(background)],
        "human clicks alone": ["point", "--from-json", str(clicks)],
    }
    runs = {"truth": "truth"}
    for name, (method, *flags) in makers.items():
        folder = work / "runs" / f"{name.replace(' ', '-').replace(',', '')}-{seed}"
        command("labelgen", method, data, "--split", "train", "--seed", str(seed), "--out", str(folder), *flags)
        runs[name] = str(folder)
    return runs


def probe(run: str, data: str, options: argparse.Namespace, name: str, seed: int) -> dict:
    """Fit on one run and score on val: mIoU over the seven classes, label figures, seconds."""
    out = options.work / "probes" / f"{name.replace(' ', '-').replace(',', '')}-{seed}"
    started = time.perf_counter()
    command(
        "segprobe", "fit", run, "--data", data, "--split", "train", "--out", str(out), "--seed", str(seed),
        "--backbone", "mobilenetv2_100", "--weights", str(options.weights), "--cache", str(options.work / "cache"),
        *options.fit,
    )  # fmt: skip
    seconds = time.perf_counter() - started
    scores = json.loads(command("segprobe", "eval", str(out), "--data", data, "--split", "val", "--json"))
    by_name = {c["name"]: c["iou"] for c in scores["per_class"]}
    row = {"labels": name, "seed": seed, "miou": mean(by_name[c] for c in CLASSES), "seconds": seconds}
    row["per_class"] = {c: by_name[c] for c in CLASSES}
    if run != "truth":
        quality = json.loads(command("labelgen", "quality", run, "--json"))[0]
        row |= {k: quality[k] for k in ("coverage", "miou_labelled")} | {"label_miou": quality["miou"]}
    else:
        row |= {"coverage": 1.0, "miou_labelled": 1.0, "label_miou": 1.0}
    print(f"{name:34} seed {seed}  mIoU {row['miou']:.4f}  ({seconds:.0f} s)", flush=True)
    return row


def summary(rows: list[dict]) -> list[dict]:
    """One row per label source: mean and spread over seeds, retention against truth."""
    names = list(dict.fromkeys(row["labels"] for row in rows))
    table, reference = [], mean(row["miou"] for row in rows if row["labels"] == "truth")
    for name in names:
        mine = [row for row in rows if row["labels"] == name]
        scores = [row["miou"] for row in mine]
        entry = {"labels": name, "miou": mean(scores), "spread": stdev(scores) if len(scores) > 1 else 0.0}
        entry |= {k: mean(row[k] for row in mine) for k in ("coverage", "miou_labelled", "label_miou", "seconds")}
        table.append(entry | {"retention": entry["miou"] / reference})
    return table


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True, help="the shared data folder")
    parser.add_argument("--weights", type=Path, required=True, help="checkpoint of mobilenetv2_checkpoint.py")
    parser.add_argument("--work", type=Path, required=True, help="folder for runs, probes and the cache")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("fit", nargs="*", default=FIT, help="flags for `segprobe fit`, after --")
    options = parser.parse_args()
    data = f"voc:{options.data / 'voc2012-animals'}"
    rows = []
    for seed in range(options.seeds):
        runs = label_runs(data, options.data / "voc2012-points", options.work, seed)
        rows += [probe(run, data, options, name, seed) for name, run in runs.items()]
    facts = {"backbone": "mobilenetv2_100, frozen", "fit": options.fit, "classes": CLASSES, "runs": rows}
    print(write_result("probe_voc_animals", summary(rows), seeds=list(range(options.seeds)), **facts))


if __name__ == "__main__":
    main()
