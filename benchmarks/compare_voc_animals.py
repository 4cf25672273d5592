"""Frozen against tuned MobileNetV2 on photographs, over labels from whole masks to single dots.

Data: voc2012-animals of the shared data folder (437 train, 170 val images); mIoU over the seven classes that it
effectively holds. Labels: truth; scribbles at shrink 0, .2, .5, .7, 1 and drop .1 to .5; human clicks with background
clicks; class activation maps of three classifiers (of `cam_voc_animals.py`); corrupted truth at five strengths
(outlines and classes). Three seeds, of labels and of training, by the commands that a user would type. Gains are those
on every fourth train image.

    python benchmarks/mobilenetv2_checkpoint.py --data SHARED/data --out WORK/mobilenetv2.safetensors
    python benchmarks/cam_voc_animals.py --data SHARED/data --weights WORK/mobilenetv2.safetensors --work WORK
    python benchmarks/compare_voc_animals.py --data SHARED/data --weights WORK/mobilenetv2.safetensors --work WORK

The tuned cells take most of the time: a bit more than a minute each on one core, 57 of them. The same command goes on
where it was stopped. The learning rate of tuning is the first that was tried, with full truth: .62 on val.
"""

import argparse
from pathlib import Path

from compared import compare, differences, make_run, table
from record import write_result

CLASSES = "background,cat,cow,dog,horse,person,sheep"
SHRINKS, DROPS, STRENGTHS = (0, 0.2, 0.5, 0.7, 1), (0.1, 0.2, 0.3, 0.4, 0.5), (0.1, 0.2, 0.35, 0.5, 0.7)
BACKBONE = "layers=-2,-1,size=224,policy=square"
COMMON = ["--pixels", "512", "--seeds", "3", "--strategies", "frozen,tuned", "--train-images", "110"]
FROZEN = "steps=600"
TUNED = "steps=200,batch_size=8,lr=0.003,backbone_lr=0.1,amp=float32"


def label_runs(data: str, points: Path, work: Path, seeds: int) -> list[str]:
    """Make the runs of all seeds; names with `{seed}` for `segprobe compare`."""
    clicks, background = points / "voc_whats_the_point.json", points / "voc_whats_the_point_bg_from_scribbles.json"
    makers = {f"scribble-shrink-{s}": ["scribble", "--shrink", str(s)] for s in SHRINKS}
    makers |= {f"scribble-drop-{d}": ["scribble", "--drop", str(d)] for d in DROPS}
    makers |= {f"corrupt-{s}": ["corrupt", "--kind", f"classes={s},mixed={s}"] for s in STRENGTHS}
    names = []
    for name, (method, *flags) in makers.items():
        for seed in range(seeds):
            words = [method, data, "--split", "train", "--seed", str(seed), *flags]
            make_run(words, work / "compare-runs" / f"{name}-{seed}")
        names.append(str(work / "compare-runs" / f"{name}-{{seed}}"))
    words = ["point", data, "--split", "train", "--from-json", str(clicks), "--from-json", str(background)]
    return [*names, make_run(words, work / "compare-runs" / "clicks"), str(work / "runs" / "cam-{seed}")]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True, help="the shared data folder")
    parser.add_argument("--weights", type=Path, required=True, help="checkpoint of mobilenetv2_checkpoint.py")
    parser.add_argument("--work", type=Path, required=True, help="folder for runs, cells and features")
    parser.add_argument("--processes", type=int, default=2)
    options = parser.parse_args()
    data = f"voc:{options.data / 'voc2012-animals'}"
    runs = label_runs(data, options.data / "voc2012-points", options.work, 3)
    words = [
        *runs, "--data", data, "--split", "train", "--classes", CLASSES, "--out", str(options.work / "compare"),
        "--backbones", f"mobilenetv2_100@{options.weights},{BACKBONE}", *COMMON,
        "--frozen-settings", FROZEN, "--tuned-settings", TUNED,
    ]  # fmt: skip
    document = compare(words, processes=options.processes)
    facts = {"settings": {"common": COMMON, "backbone": BACKBONE, "frozen": FROZEN, "tuned": TUNED, "classes": CLASSES}}
    facts |= {"differences": differences(document), "crossings": document["crossings"]}
    print(write_result("compare_voc_animals", table(document), seeds=[0, 1, 2], **facts))


if __name__ == "__main__":
    main()
