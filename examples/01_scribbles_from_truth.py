"""Scribbles from ground truth: the same strokes whole, halved and as dots, and a new method of your own beside them.

python examples/01_scribbles_from_truth.py [FOLDER]
"""

import sys
import tempfile
from functools import partial
from pathlib import Path

import numpy as np

from labelgen.data import Generate, Sample
from labelgen.data.open import open_data
from labelgen.masks import SoftMask, one_hot
from labelgen.methods.scribble import ScribbleConfig
from labelgen.run import Job, RunOptions, method_job, run_job


def make_every_nth_row(step: int) -> Generate:
    """A method is a function of one sample and its own random generator; here: every nth row is annotated."""

    def generate(sample: Sample, rng: np.random.Generator) -> SoftMask:
        labels = np.full_like(sample.need_truth(), 255)
        rows = slice(int(rng.integers(step)), None, step)
        labels[rows] = sample.need_truth()[rows]
        return one_hot(labels)

    return generate


def main(folder: Path) -> None:
    scenes = open_data("demo", split="train", limit=12)
    for shrink in (0.0, 0.5, 1.0):
        job = method_job("scribble", ScribbleConfig(shrink=shrink), scenes.vocabulary)
        report = run_job(scenes, job, folder / f"scribble-{shrink}", RunOptions(seed=1))
        print(f"shrink {shrink}: {report.done} images, coverage {report.coverage:.2%}, in {report.out}")

    rows = Job(
        method="every-nth-row",
        config={"step": 40},
        make=partial(make_every_nth_row, 40),
        needs=frozenset({"truth"}),
        reads_image=False,
        vocabulary=scenes.vocabulary,
    )
    report = run_job(scenes, rows, folder / "rows", RunOptions(seed=1))
    print(f"every 40th row: coverage {report.coverage:.2%}")


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else Path(tempfile.mkdtemp()))
