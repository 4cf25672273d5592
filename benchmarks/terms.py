"""Does it pay to say something about unlabelled tokens? Each term against masked cross-entropy, on sparse labels.

Scribbles and points, three seeds of labels and training, a linear head on frozen features: drawn scenes with demo-ssvt
(80 val scenes), and photographs with MobileNetV2 (voc2012-animals, 170 val images, seven classes; points are human
clicks with background clicks, the same for all seeds). Terms have the settings of their papers. `lorm` needs a trained
projection, and is compared with the same head without it.

    python benchmarks/terms.py --work WORK                                             # drawn scenes
    python benchmarks/terms.py --work WORK --data SHARED/data --weights MOBILENETV2    # photographs as well

About half a minute a cell on one core, where a term is in the loss.
"""

import argparse
from pathlib import Path

from compare_voc_animals import BACKBONE, CLASSES
from compared import compare, make_run, rounded, table
from record import write_result

TERMS = ("tree", "gated-crf", "distance-entropy", "prototype", "absent", "entropy")
VARIANTS = ["plain", *(f"{term}: terms={term}" for term in TERMS)]
PROJECTED = ["plain", "lorm: terms=lorm"]
DEMO = ["--lr", "0.01", "--epochs", "40", "--pixels", "512"]
PHOTOGRAPHS = ["--steps", "600", "--pixels", "512"]


def parsed(about: str) -> argparse.Namespace:
    """Options of a benchmark on drawn scenes, and on photographs where they are given."""
    parser = argparse.ArgumentParser(description=about.splitlines()[0])
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--data", type=Path, help="the shared data folder")
    parser.add_argument("--weights", type=Path, help="checkpoint of mobilenetv2_checkpoint.py")
    parser.add_argument("--processes", type=int, default=2)
    return parser.parse_args()


def on_photographs(options: argparse.Namespace) -> list[str]:
    """What `segprobe compare` is given for them."""
    data = f"voc:{options.data / 'voc2012-animals'}"
    backbone = f"mobilenetv2_100@{options.weights},{BACKBONE}"
    return ["--data", data, "--split", "train", "--classes", CLASSES, *PHOTOGRAPHS, "--backbones", backbone]


def measured(runs: list[str], words: list[str], out: Path, processes: int) -> list[dict]:
    """Rows of all terms, with the gain over masked cross-entropy seed by seed."""
    rows = []
    for head, variants in (("linear", VARIANTS), ("projection", PROJECTED)):
        typed = [word for variant in variants for word in ("--variant", variant)]
        place = ["--out", str(out / head), "--heads", head, "--no-truth", "--cache", str(out / "cache")]
        rows += table(compare([*runs, *words, *typed, *place, "--seeds", "3"], processes=processes))
    for row in rows:
        same = ("run", "backbone", "head")
        plain = next(r for r in rows if r["variant"] == "plain" and all(r[k] == row[k] for k in same))
        row["over_plain"] = rounded(row["miou"] - plain["miou"])
        row["over_plain_seeds"] = [rounded(a - b) for a, b in zip(row["seeds"], plain["seeds"], strict=True)]
    return rows


def main() -> None:
    options = parsed(__doc__)
    runs = []
    for name in ("scribble", "point"):
        for seed in range(3):
            make_run([name, "demo", "--seed", str(seed)], options.work / "demo-runs" / f"{name}-{seed}")
        runs.append(str(options.work / "demo-runs" / f"{name}-{{seed}}"))
    rows = measured(runs, ["--data", "demo", *DEMO], options.work / "demo-terms", options.processes)
    if options.data:
        sparse = [str(options.work / "compare-runs" / name) for name in ("scribble-shrink-0-{seed}", "clicks")]
        rows += measured(sparse, on_photographs(options), options.work / "terms", options.processes)
    facts = {"settings": {"demo": DEMO, "photographs": PHOTOGRAPHS, "backbone": BACKBONE}}
    print(write_result("terms", rows, seeds=[0, 1, 2], **facts))


if __name__ == "__main__":
    main()
