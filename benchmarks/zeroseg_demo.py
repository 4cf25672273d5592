"""How good ZeroSeg labels are on the demo scenes: the trained student against the untrained one and dense CLIP.

Data: students are trained on the 160 train scenes (images only), taught by demo-clip; labels of the 80 val scenes are
scored against exact truth with the 21 VOC classes, of which ten are drawn; so are labels of 80 fresh scenes, which
nobody looked at while the recipe was chosen. Three seeds of training; `untrained` is the same student before the first
update, its encoder being the teacher's image tower already. `with the best names` gives each segment the
class that most of its pixels have, which tells grouping from naming; it reads the truth and is no method.
Expected on two free cores: ten minutes a seed. Interrupted, the same command goes on.

    python benchmarks/zeroseg_demo.py [WORK_FOLDER] [--threads N]
"""

import argparse
from collections.abc import Iterator
from pathlib import Path
from statistics import mean, stdev

import numpy as np
import torch
from record import write_result

from labelgen.data.open import open_data
from labelgen.data.sample import Generate, Sample
from labelgen.demo.scenes import SCENE_CLASSES, draw_scene
from labelgen.masks import SoftMask, harden, one_hot
from labelgen.methods.clip import ClipConfig, make_clip, prepare_clip
from labelgen.methods.zeroseg import ZeroSegConfig, make_zeroseg
from labelgen.nets.clip.config import ClipModelConfig
from labelgen.nets.clip.model import load_clip
from labelgen.nets.demo_clip import demo_clip_metadata
from labelgen.nets.zeroseg.batches import normalise_crops
from labelgen.nets.zeroseg.fit import fit_student
from labelgen.nets.zeroseg.inference import group_map
from labelgen.nets.zeroseg.presets import preset
from labelgen.nets.zeroseg.start import start_encoder
from labelgen.nets.zeroseg.student import Student, build_student
from labelgen.nets.zeroseg.student_file import FOLDER, read_student
from labelgen.quality.confusion import Scores, confusion_matrix, scores_from_confusion
from labelgen.run import rng_for

SEEDS = (0, 1, 2)
RECIPES = {
    "student": {},
    "published": {
        "locate": 0.0, "distill": 1.0, "match": 1.0, "noise": 1.0, "body_rate": 1.0, "centre": False, "mask": 0.6,
    },
    "demo-ssvt": {"init": "demo-ssvt"},
}  # fmt: skip
"""`published`: losses, noise and mask of the papers. `demo-ssvt`: starts from self-supervised weights."""

TRUTH = frozenset({"truth"})
VAL = open_data("demo", split="val")


def fresh_samples() -> Iterator[Sample]:
    """Scenes on which nothing was ever chosen."""
    for index in range(len(VAL.ids)):
        scene = draw_scene("fresh", index)
        yield Sample(f"fresh_{index:04d}", scene.labels.shape, image=scene.image, truth=scene.labels)


def val_samples() -> Iterator[Sample]:
    for sample_id in VAL.ids:
        yield VAL.load(sample_id, {"image", "truth"})


def scores_of(generate: Generate, seed: int = 0, *, needs: frozenset[str] = frozenset()) -> dict[str, float]:
    """mIoU of the labels of all val scenes, over the drawn classes without the background, and of fresh scenes."""
    val, fresh = (_scores(generate, samples, seed, needs) for samples in (val_samples(), fresh_samples()))
    return {"miou": val.miou, "foreground": float(np.nanmean(val.iou[list(SCENE_CLASSES[1:])])), "fresh": fresh.miou}


def _scores(generate: Generate, samples: Iterator[Sample], seed: int, needs: frozenset[str]) -> Scores:
    classes = VAL.vocabulary.num_classes
    matrix = np.zeros((classes, classes + 1), np.int64)
    for sample in samples:
        labels = harden(generate(sample.only(needs), rng_for(seed, sample.id)))
        matrix += confusion_matrix(sample.need_truth(), labels, num_classes=classes)
    return scores_from_confusion(matrix)


def trained(work: Path, seed: int, *, bfloat16: bool, recipe: str = "student") -> Path:
    """Folder of a student trained on the demo scenes; `RECIPES` says what is changed in the preset."""
    tower = load_clip(ClipModelConfig(device="cpu"))
    changes = RECIPES[recipe]
    out = work / f"{recipe}-{seed}"

    def progress(done: int, total: int, note: str) -> None:
        if done % 50 == 0:
            print(f"{out.name}: {done}/{total} {note}", flush=True)

    fit_student(
        open_data("demo", split="train"),
        tower,
        preset=preset("demo", seed=seed, **changes),
        out=out,
        teacher=tower.config,
        cache=work / "cache",
        device="cpu",
        bfloat16=bfloat16,
        checkpoint_every=50,
        progress=progress,
    )
    return out


def untrained(work: Path, seed: int) -> Path:
    """The same student before its first update, as a file that the method reads."""
    about = read_student(work / f"student-{seed}").about
    settings = {key: about[key] for key in ("student", "training", "labelling", "precision", "init", "teacher", "data")}
    student = build_student(read_student(work / f"student-{seed}").student.config, seed=seed)
    start_encoder(student, preset("demo").init, tower=load_clip(ClipModelConfig(device="cpu")))
    out = work / f"untrained-{seed}"
    FOLDER.finish(out, student, settings, figures={"steps": 0}, versions={})
    return out


def named_best(student: Student) -> Generate:
    """Each segment with the class that most of its pixels have in truth."""

    def named_best(sample, rng: np.random.Generator) -> SoftMask:
        image, truth, patch = sample.need_image(), sample.need_truth(), student.config.patch
        with torch.inference_mode():
            assignment = student.segment(normalise_crops(image[None], student.config)).of_patches()[0]
        groups = group_map(assignment.unflatten(-1, (image.shape[0] // patch, -1)), patch=patch).numpy()
        labels = np.zeros_like(truth)
        for group in np.unique(groups):
            labels[groups == group] = np.bincount(truth[groups == group]).argmax()
        return one_hot(labels)

    return named_best


def zeroseg(folder: Path) -> Generate:
    return make_zeroseg(ZeroSegConfig(weights=str(folder), device="cpu"), VAL.vocabulary)


def clip(method: str) -> Generate:
    config = ClipConfig(method=method, device="cpu")
    return make_clip(prepare_clip(config, VAL.vocabulary, VAL).config, VAL.vocabulary)


def row(name: str, runs: list[dict[str, float]]) -> dict:
    """One line of the table: means over the runs."""
    miou = [run["miou"] for run in runs]
    spread = stdev(miou) if len(miou) > 1 else 0.0
    foreground, fresh = (mean(run[key] for run in runs) for key in ("foreground", "fresh"))
    figures = f"mIoU {mean(miou):.3f} +- {spread:.3f}   foreground {foreground:.3f}   fresh scenes {fresh:.3f}"
    print(f"{name:44s} {figures}", flush=True)
    return {
        "labels": name,
        "miou": round(mean(miou), 4),
        "spread": round(spread, 4),
        "foreground_miou": round(foreground, 4),
        "fresh_miou": round(fresh, 4),
        "runs": len(runs),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "work", type=Path, nargs="?", default=Path("zeroseg_demo"), help="folder of students and vectors"
    )
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--bfloat16", action="store_true", help="train with matrix products in bfloat16")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    work = arguments.work
    folders = [trained(work, seed, bfloat16=arguments.bfloat16) for seed in SEEDS]
    blank = [untrained(work, seed) for seed in SEEDS]
    other = {name: trained(work, 0, bfloat16=arguments.bfloat16, recipe=name) for name in ("demo-ssvt", "published")}
    students = [[read_student(folder).student for folder in group] for group in (folders, blank)]
    rows = [
        row("ZeroSeg, trained", [scores_of(zeroseg(folder)) for folder in folders]),
        row("ZeroSeg, untrained", [scores_of(zeroseg(folder)) for folder in blank]),
        row("ZeroSeg, trained from demo-ssvt", [scores_of(zeroseg(other["demo-ssvt"]))]),
        row("ZeroSeg, only the published losses", [scores_of(zeroseg(other["published"]))]),
        row("trained, with the best names (oracle)", [scores_of(named_best(s), needs=TRUTH) for s in students[0]]),
        row("untrained, with the best names (oracle)", [scores_of(named_best(s), needs=TRUTH) for s in students[1]]),
        row("clip", [scores_of(clip("clip"))]),
        row("naclip", [scores_of(clip("naclip"))]),
        row("zeroseg-lite", [scores_of(clip("zeroseg-lite"), seed) for seed in SEEDS]),
    ]
    found = {entry["labels"]: entry for entry in rows}
    margins = {
        f"over {name}": {
            scenes: round(found["ZeroSeg, trained"][key] - found[name][key], 4)
            for scenes, key in (("val", "miou"), ("fresh", "fresh_miou"))
        }
        for name in ("ZeroSeg, untrained", "clip", "naclip", "zeroseg-lite")
    }
    print(margins)
    about = read_student(folders[0]).about
    write_result(
        "zeroseg_demo",
        rows,
        seeds=list(SEEDS),
        packages=("open_clip_torch",),
        margins=margins,
        training={key: about[key] for key in ("training", "precision", "init", "figures")},
        teacher=demo_clip_metadata()["sha256"],
    )


if __name__ == "__main__":
    main()
