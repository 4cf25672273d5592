"""Scribbles, the pseudo-labels that their classes give, and both together, over ever shorter scribbles.

After class-driven scribble promotion (arXiv 2402.17555): tags are read off the scribbles, a classifier trained from
them gives pseudo-labels, and a head on frozen features learns from the scribbles alone, from the pseudo-labels alone,
from both merged, and from both with the terms of the paper. Drawn scenes with demo-ssvt and SEAM classifiers;
photographs (voc2012-animals) with MobileNetV2 and the refined class maps of `cam_voc_animals.py`. Three seeds of
labels, classifiers and training. Regions of pseudo-labels that scribbles contradict are left unlabelled.

    python benchmarks/promotion.py --work WORK                                             # drawn scenes
    python benchmarks/promotion.py --work WORK --data SHARED/data --weights MOBILENETV2    # photographs as well
"""

from pathlib import Path

from compare_voc_animals import BACKBONE
from compared import compare, make_run, rounded, table
from record import write_result
from terms import DEMO, PHOTOGRAPHS, on_photographs, parsed

SHRINKS = (0, 0.5, 0.7, 1)
VARIANTS = (
    "scribbles: layer=scribble",
    "pseudo-labels: layer=pseudo",
    "merged",
    "both, terms of the paper: layer=scribble; terms=pseudo,distance-entropy",
)
MAPS = ["--cam", "scales=1"]  # of scenes: class maps at one scale take a seventh of the time of four
REFINED = "cam-{seed}-walk-colour-beta-16-labels-crf-irn"


def promoted(data: list[str], name: str, work: Path, *, pseudo: str = "") -> list[str]:
    """Scribbles of each length and seed, promoted; the classifier of a seed is trained from its whole scribbles."""
    names, folder = [], work / f"{name}-runs"
    for shrink in SHRINKS:
        for seed in range(3):
            words = ["scribble", *data, "--shrink", str(shrink), "--seed", str(seed)]
            scribbles = make_run(words, folder / f"short-{shrink}-{seed}")
            source = ["--pseudo", pseudo.format(seed=seed)]
            if not pseudo and shrink == SHRINKS[0]:
                source = ["--method", "seam", "--seed", str(seed), *MAPS]
            elif not pseudo:
                source = ["--classifier", str(folder / f"shrink-{SHRINKS[0]}-{seed}-seam-classifier"), *MAPS]
            make_run(["promote", scribbles, "--contradicted", "unlabel", *source], folder / f"shrink-{shrink}-{seed}")
        names.append(str(folder / f"shrink-{shrink}-{{seed}}"))
    return names


def measured(runs: list[str], words: list[str], out: Path, processes: int) -> list[dict]:
    """Rows of all variants, with the gain over the better of scribbles and pseudo-labels, seed by seed."""
    typed = [word for variant in VARIANTS for word in ("--variant", variant)]
    place = ["--out", str(out), "--no-truth", "--seeds", "3"]
    rows = table(compare([*runs, *words, *typed, *place], processes=processes))
    for row in rows:
        same = [r for r in rows if r["run"] == row["run"]]
        alone = [r for r in same if r["variant"] in ("scribbles", "pseudo-labels")]
        row["over_scribbles"] = rounded(row["miou"] - alone[0]["miou"])
        row["over_better"] = rounded(row["miou"] - max(r["miou"] for r in alone))
        row["over_better_seeds"] = [
            rounded(mine - max(others))
            for mine, *others in zip(row["seeds"], *(r["seeds"] for r in alone), strict=True)
        ]
    return rows


def main() -> None:
    options = parsed(__doc__)
    runs = promoted(["demo"], "promote-demo", options.work)
    rows = measured(runs, ["--data", "demo", *DEMO], options.work / "promote-demo", options.processes)
    if options.data:
        data = f"voc:{options.data / 'voc2012-animals'}"
        pseudo = str(options.work / "runs" / REFINED)
        runs = promoted([data, "--split", "train"], "promote-voc", options.work, pseudo=pseudo)
        rows += measured(runs, on_photographs(options), options.work / "promote-voc", options.processes)
    facts = {"settings": {"demo": DEMO, "photographs": PHOTOGRAPHS, "backbone": BACKBONE, "variants": VARIANTS}}
    print(write_result("promotion", rows, seeds=[0, 1, 2], **facts))


if __name__ == "__main__":
    main()
