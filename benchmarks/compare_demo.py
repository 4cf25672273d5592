"""What the paper claims for frozen self-supervised features, tested on drawn scenes with demo-ssvt.

Self-supervised (demo-ssvt), frozen and tuned, on labels of many kinds, and supervised (the same architecture trained on
tags, `demo_supervised.py`) on three of them; five seeds of labels and training; 160 train and 80 val scenes. Claims are
those of arXiv 2401.12535: (1) on imperfect labels frozen beats tuned; (2) it ends above its labels; (3) a
classification backbone does not gain from freezing; (5) sparse labels retain nearly all of full supervision; (6) the
gain is largest where labels are worst. (Claim 4 needs stronger self-supervised networks.) The rate and the length of
tuning are the best of four that were tried on 60 other scenes with full truth. Gains are those on every fourth train
scene.

    python benchmarks/demo_supervised.py WORK
    python benchmarks/compare_demo.py --work WORK
"""

import argparse
from pathlib import Path

from compared import compare, differences, make_run, table
from record import write_result

MAKERS = {
    "scribble": ["scribble"],
    "point": ["point"],
    "corrupt-0.2": ["corrupt", "--kind", "classes=0.2,mixed=0.2"],
    "corrupt-0.5": ["corrupt", "--kind", "classes=0.5,mixed=0.5"],
    "corrupt-0.8": ["corrupt", "--kind", "classes=0.8,mixed=0.8"],
}
SUPERVISED = ("corrupt-0.5", "seam")  # labels for the supervised backbone; claim 3 is about such
CAPACITY = ("corrupt-0.5", "zero-shot")  # labels for larger heads on the frozen backbone: is it the head that limits?
FIXED = {"zero-shot": ["clip", "--vocab", "voc"]}
BOTH = ["--strategies", "frozen,tuned"]
COMMON = ["--pixels", "512", "--train-images", "40"]
FROZEN = "lr=0.01,epochs=40"
TUNED = "lr=0.003,epochs=10,backbone_lr=0.3,batch_size=8,amp=bfloat16"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--work", type=Path, required=True, help="folder with supervised.safetensors")
    parser.add_argument("--cam", default="", help="folder of a classifier made by `labelgen fit-cam --method seam`")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--processes", type=int, default=2)
    options = parser.parse_args()
    names = []
    for name, words in MAKERS.items():
        for seed in range(options.seeds):
            make_run([*words, "demo", "--seed", str(seed)], options.work / "demo-runs" / f"{name}-{seed}")
        names.append(str(options.work / "demo-runs" / f"{name}-{{seed}}"))
    fixed = FIXED | ({"seam": ["cam", "--method", "seam", "--weights", options.cam]} if options.cam else {})
    names += [
        make_run([*words[:1], "demo", *words[1:]], options.work / "demo-runs" / name) for name, words in fixed.items()
    ]
    common = ["--data", "demo", "--seeds", str(options.seeds), *COMMON]
    common += ["--frozen-settings", FROZEN, "--tuned-settings", TUNED]
    out = options.work / "demo-compare"
    ours = [*names, *common, *BOTH, "--out", str(out), "--backbones", "demo-ssvt"]
    supervised = f"supervised:demo-ssvt@{options.work / 'supervised.safetensors'}"
    other = [*_among(names, SUPERVISED), *common, *BOTH, "--out", f"{out}-supervised", "--backbones", supervised]
    larger = [
        *_among(names, CAPACITY),
        *common,
        "--strategies",
        "frozen",
        "--heads",
        "mlp,conv",
        "--out",
        f"{out}-heads",
    ]
    documents = [compare(words, processes=options.processes) for words in (ours, other, larger)]
    rows = [row for document in documents for row in table(document)]
    facts = {"settings": {"common": COMMON + BOTH, "frozen": FROZEN, "tuned": TUNED}}
    facts |= {"differences": [line for document in documents for line in differences(document)]}
    facts |= {"crossings": [line for document in documents for line in document["crossings"]]}
    print(write_result("compare_demo", rows, seeds=list(range(options.seeds)), **facts))


def _among(names: list[str], wanted: tuple[str, ...]) -> list[str]:
    """Runs whose names begin with one of these."""
    return [name for name in names if Path(name).name.startswith(wanted)]


if __name__ == "__main__":
    main()
