"""The tables of what was measured on photographs."""

from statistics import mean, stdev

from markdown_table import Table, markdown, percent


def cam_voc_animals(result: dict) -> Table:
    """Photographs: seeds, what each refiner makes of them, and probes trained on both."""
    classes = result["classes"]
    rows = [
        [row["labels"], f"{row['miou']:.3f}", f"{row['gain']:+.3f}" if row["labels"] != "cam" else ""]
        + [f"{row['per_class'][name]:.2f}" for name in classes]
        for row in result["rows"]
    ]
    quality = {row["labels"]: row["miou"] for row in result["rows"]}
    probes = []
    for labels in dict.fromkeys(row["labels"] for row in result["probes"]):
        scores = [row for row in result["probes"] if row["labels"] == labels]
        train, val = ([row[split]["miou"] for row in scores] for split in ("train", "val"))
        probes.append([labels, f"{quality[labels]:.3f}", *(f"{mean(s):.3f} ± {stdev(s):.3f}" for s in (train, val))])
    seeds, best = ([row[key] for row in result["classifiers"]] for key in ("cam", "best"))
    classifiers = (
        f"Classifiers of seeds {', '.join(str(row['seed']) for row in result['classifiers'])}: cam "
        f"{', '.join(f'{score:.3f}' for score in seeds)} (mean {mean(seeds):.3f}); {result['best']} "
        f"{', '.join(f'{score:.3f}' for score in best)} (mean {mean(best):.3f})."
    )
    below = markdown(["probe from", "its labels, train", "probe, train", "probe, val"], probes)
    return ["labels", "train mIoU", "gain", *classes], rows, classifiers, below


def probe_voc_animals(result: dict) -> Table:
    """Label sources on real photographs."""
    header = ["labels", "coverage", "mIoU of labelled pixels", "probe mIoU", "retention"]
    rows = [
        [
            row["labels"],
            percent(row["coverage"]),
            f"{row['miou_labelled']:.3f}",
            f"{row['miou']:.3f} ± {row['spread']:.3f}",
            f"{row['retention']:.2f}",
        ]
        for row in result["rows"]
    ]
    return header, rows


def rank_voc_animals(result: dict) -> Table:
    """AUROC of finding corrupted photographs: one row for each kind of corruption, the seeds of the default score."""
    scores = ("combined", "region", "probe", "confident", "softmin", "given")
    rows = [
        [
            row["kind"],
            f"{row['auroc_combined']:.3f} ({' '.join(f'{seed:.3f}' for seed in row['seeds_combined'])})",
            *("-" if (found := row[f"auroc_{score}"]) is None else f"{found:.3f}" for score in scores[1:]),
        ]
        for row in result["rows"]
    ]
    return ["half of the images: their labels", "combined, default (seeds)", *scores[1:]], rows
