"""Self-supervision at small scale on photographs: is a frozen backbone robust to wrong labels when it saw 3,301 images?

The architecture of demo-ssvt (1.9 million parameters), trained without any label on the photographs of the shared data
folder but for the val images of voc2012-animals:

    python examples/train_demo_ssvt.py WORK/ssvt --images LIST --processes 1 --chunks 21 --steps 3600 4800 \
        --export WORK/photo_ssvt.safetensors
    python benchmarks/compare_voc_animals.py ...      # for the runs of labels
    python benchmarks/compare_photo_ssvt.py --data SHARED/data --work WORK

where LIST names the pictures. It is frozen and tuned on full truth, on truth corrupted by half and on class
activation maps; the same architecture with random weights and with those learned from drawn scenes stand beside it,
frozen. Three seeds; mIoU over seven classes of voc2012-animals val. A network of this size that saw so few images knows
little: DINOv2 saw 142 million. What it shows is the sign of the differences, not their size.
Tuning has as many steps as the frozen head: with 150 it did not even fit full truth (.16 on train images, frozen .23).
"""

import argparse
from pathlib import Path

from compare_voc_animals import CLASSES
from compared import compare, differences, table
from record import write_result

from labelgen.nets.demo_ssvt import build_demo_ssvt, save_demo_ssvt

SETTINGS = "size=160,policy=square"
COMMON = ["--pixels", "512", "--seeds", "3", "--train-images", "110"]
FROZEN = "steps=600,lr=0.003"
TUNED = "steps=600,batch_size=8,lr=0.003,backbone_lr=0.3,amp=bfloat16"
LABELS = ("corrupt-0.5-{seed}",)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True, help="the shared data folder")
    parser.add_argument("--work", type=Path, required=True, help="folder with photo_ssvt.safetensors")
    parser.add_argument("--processes", type=int, default=2)
    options = parser.parse_args()
    untrained = options.work / "untrained_ssvt.safetensors"
    if not untrained.exists():
        save_demo_ssvt(build_demo_ssvt(pretrained=False), untrained, about={"recipe": "random weights"})
    runs = [*(str(options.work / "compare-runs" / name) for name in LABELS), str(options.work / "runs" / "cam-{seed}")]
    words = [
        *runs, "--data", f"voc:{options.data / 'voc2012-animals'}", "--split", "train", "--classes", CLASSES, *COMMON,
        "--frozen-settings", FROZEN, "--tuned-settings", TUNED, "--cache", str(options.work / "photo-cache"),
    ]  # fmt: skip
    photographs = f"photographs:demo-ssvt@{options.work / 'photo_ssvt.safetensors'},{SETTINGS}"
    others = f"drawn scenes:demo-ssvt,{SETTINGS},untrained:demo-ssvt@{untrained},{SETTINGS}"
    out = options.work / "photo-ssvt"
    both = ["--backbones", photographs, "--strategies", "frozen,tuned", "--out", str(out / "both")]
    document = compare([*words, *both], processes=options.processes)
    beside = ["--backbones", others, "--strategies", "frozen", "--out", str(out / "beside")]
    rows = table(document) + table(compare([*words, *beside], processes=options.processes))
    facts = {"settings": {"backbone": SETTINGS, "common": COMMON, "frozen": FROZEN, "tuned": TUNED}}
    facts |= {"differences": differences(document), "crossings": document["crossings"]}
    print(write_result("compare_photo_ssvt", rows, seeds=[0, 1, 2], **facts))


if __name__ == "__main__":
    main()
