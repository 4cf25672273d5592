"""A tiny data set and method for tests of the runner; as a script it makes a run, to be killed or run in parallel."""

import os
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from labelgen.data.dataset import DataSpec
from labelgen.data.sample import Sample
from labelgen.errors import DataError, LabelgenError
from labelgen.masks import one_hot
from labelgen.run import Job, RunOptions, run_job
from labelgen.strokes import Stroke
from labelgen.vocab import Vocabulary

TOY = Vocabulary("toy", ("ground", "cat", "dog"), background=0)
SIZE = (6, 8)


@dataclass(frozen=True)
class ToyData:
    """Images `a/00`, `a/01`, ...: the truth of number n is class n % 3 everywhere."""

    count: int = 6
    broken: frozenset = frozenset()
    spec: DataSpec = field(default_factory=lambda: DataSpec("toy"))
    vocabulary: Vocabulary = TOY
    tags_source: str = "truth"

    @property
    def ids(self):
        return tuple(f"a/{number:02d}" for number in range(self.count))

    def truth(self, sample_id):
        return np.full(SIZE, int(sample_id[-2:]) % 3, np.uint8)

    def image(self, sample_id):
        return np.zeros((*SIZE, 3), np.uint8)

    def load(self, sample_id, fields):
        if sample_id in self.broken:
            raise DataError(f"truncated: {sample_id}", hint="fetch it again")
        assert set(fields) <= {"truth", "image", "tags"}
        return Sample(
            sample_id,
            SIZE,
            image=self.image(sample_id) if "image" in fields else None,
            truth=self.truth(sample_id),
            tags=frozenset({1}),
        )


@dataclass(frozen=True)
class MakeToy:
    """Label one random pixel with its true class, and say so as a stroke."""

    delay: float = 0.0
    crash: str = ""

    def __call__(self):
        def generate(sample, rng):
            time.sleep(self.delay)
            if self.crash and sample.id == "a/03":
                os._exit(9) if self.crash == "die" else {}["absent"]
            labels = np.full(sample.size, 255, np.uint8)
            row, col = (int(rng.integers(side)) for side in sample.size)
            labels[row, col] = sample.need_truth()[row, col]
            stroke = Stroke(int(labels[row, col]), np.array([[row, col]], np.float64), style="point")
            return one_hot(labels, strokes=[stroke], details={"row": np.int64(row)})

        return generate


def toy_job(make=None, *, needs=("truth",), method="toy", config=None):
    return Job(method, config or {"n": 1}, make or MakeToy(), frozenset(needs), False, TOY)


def main(out, workers="1", shard="1/1", count="6", delay="0", crash=""):
    part, parts = shard.split("/")
    options = RunOptions(workers=int(workers), shard=(int(part), int(parts)), save_scores=True)
    data = ToyData(int(count), broken=frozenset({"a/04"}))
    try:
        report = run_job(data, toy_job(MakeToy(float(delay), crash)), Path(out), options)
    except (LabelgenError, RuntimeError) as error:
        sys.exit(f"{type(error).__name__}: {error}")
    print(report.done, report.skipped, report.failed, report.complete)


if __name__ == "__main__":
    main(*sys.argv[1:])
