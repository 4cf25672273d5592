"""How fast are labels compared with the truth?

All masks of a split of PASCAL VOC; labels are made from the truth by a fixed rule: once shifted by a few pixels with a
share of pixels set to another class ("dense"), once only thin lines of it kept, as in scribbles ("sparse"). The masks
are cut into parts; within each part all ways follow each other in this one process, on one thread each, so that a busy
moment hits all of them. Of each part the quotient is taken, and the median of the quotients counts, beside their
quartiles; factors are of processor time, because other programs may be running:

- counting alone: our kernel, scikit-learn's confusion_matrix, torchmetrics (confusion matrix and Jaccard index, as
  it is updated image by image), the histograms of Hugging Face evaluate's mean_iou, the formula of common mIoU scripts;
- from files: the whole of `labelgen.quality.evaluate`, on one thread and on two (by the clock), beside the others after
  a bare decoding of the two PNGs by Pillow, and beside that decoding alone.

The counts of all ways are asserted equal. Goals, from files: 5 times scikit-learn, 10 times torchmetrics' Jaccard
index, 5 times the formula of evaluate, at most 1.3 times the decoding, two threads 1.8 times as fast as one. Ten
minutes on two idle cores:

    python benchmarks/quality_speed.py --data DIR/voc2012-masks
"""

import argparse
import tempfile
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image
from record import write_result
from times import Times, compare, figures, load, timed

from labelgen.data.open import open_data
from labelgen.masks import write_mask
from labelgen.quality.confusion import confusion_matrix
from labelgen.quality.evaluate import QualityOptions, evaluate
from labelgen.store import open_labels

SEED = 0
NUM_CLASSES = 21
WARM_UP = 4  # masks that each way sees before it is timed
EVALUATE = "Hugging Face evaluate's formula"
PEERS = {  # of the dense labels, from files
    "quality-sklearn": "scikit-learn confusion_matrix",
    "quality-torchmetrics": "torchmetrics Jaccard index",
    "quality-evaluate": EVALUATE,
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", required=True, help="VOC folder with SegmentationClass and ImageSets")
    parser.add_argument("--split", default="train")
    parser.add_argument("--images", type=int, default=0, help="only the first N masks; 0 for all")
    parser.add_argument("--parts", type=int, default=24)
    arguments = parser.parse_args()
    import torch

    torch.set_num_threads(1)
    data = f"voc:{arguments.data}"
    ids = open_data(data, split=arguments.split, limit=arguments.images).ids
    parts = [list(map(str, part)) for part in np.array_split(ids, min(arguments.parts, len(ids)))]
    rows, comparisons, pixels = [], [], 0
    for kind in LABELS:
        counting, files = defaultdict(list), defaultdict(list)
        counters, rng = counters_of(), np.random.default_rng(SEED)
        for number, part in enumerate([parts[0][:WARM_UP], *parts]):
            with tempfile.TemporaryDirectory() as folder:
                work = Part(data, arguments.split, part, kind, rng, Path(folder), Path(arguments.data))
                found = work.count(counters), work.score(counters)
            if number:
                for times, new in zip((counting, files), found, strict=True):
                    for way, seconds in new.items():
                        times[way].append(seconds)
                pixels += sum(truth.size for truth in work.maps) if kind == "dense" else 0
        sizes = [len(part) for part in parts]
        rows += rows_of(kind, "counting alone", counting, sizes, reference="labelgen")
        rows += rows_of(kind, "from files", files, sizes, reference="decoding both PNGs")
        if kind == "dense":
            comparisons = comparisons_of(files, sizes)
    print_rows(rows)
    write_result(
        "quality_speed",
        rows,
        seeds=[SEED],
        packages=("scikit-learn", "torchmetrics"),
        images=len(ids),
        pixels=pixels,
        parts=len(parts),
        load=load(),
        comparisons=comparisons,
    )


def dense(truth: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Every pixel labelled: shifted by 4 pixels, 2 % of pixels another class, void filled."""
    labels = np.roll(np.where(truth == 255, 0, truth).astype(np.uint8), 4, axis=1)
    wrong = rng.random(truth.shape) < 0.02
    labels[wrong] = rng.integers(0, NUM_CLASSES, int(wrong.sum()))
    return labels


def sparse(truth: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Lines of 3 pixels every 100: about 3 % of pixels labelled."""
    labels = np.full_like(truth, 255)
    first = int(rng.integers(0, 97))
    for row in range(first, len(truth), 100):
        labels[row : row + 3] = truth[row : row + 3]
    return labels


LABELS = {"dense": dense, "sparse": sparse}


def ours(truth: np.ndarray, labels: np.ndarray) -> np.ndarray:
    return confusion_matrix(truth, labels, num_classes=NUM_CLASSES)


def with_sklearn(truth: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Unlabelled pixels as class 21."""
    from sklearn.metrics import confusion_matrix as sklearn_matrix

    valid = truth != 255
    codes = np.where(labels == 255, NUM_CLASSES, labels)[valid]
    return sklearn_matrix(truth[valid], codes, labels=np.arange(NUM_CLASSES + 1))[:NUM_CLASSES]


def with_histogram(truth: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Mask out void, combine both ids in one number, count the numbers."""
    valid = truth != 255
    codes = np.where(labels == 255, NUM_CLASSES, labels)[valid].astype(np.int64)
    combined = truth[valid].astype(np.int64) * (NUM_CLASSES + 1) + codes
    counts = np.bincount(combined, minlength=NUM_CLASSES * (NUM_CLASSES + 1))
    return counts.reshape(NUM_CLASSES, NUM_CLASSES + 1)


class WithTorchmetrics:
    """A metric object that is updated image by image; unlabelled pixels as class 21."""

    def __init__(self, kind: str) -> None:
        from torchmetrics.classification import MulticlassConfusionMatrix, MulticlassJaccardIndex

        metrics = {"confusion matrix": MulticlassConfusionMatrix, "Jaccard index": MulticlassJaccardIndex}
        self.metric = metrics[kind](num_classes=NUM_CLASSES + 1, ignore_index=255)

    def __call__(self, truth: np.ndarray, labels: np.ndarray) -> np.ndarray:
        import torch

        codes = torch.from_numpy(np.where(labels == 255, NUM_CLASSES, labels).astype(np.int64))
        before = self.metric.confmat.clone()
        self.metric.update(codes[None], torch.from_numpy(truth.astype(np.int64))[None])
        return (self.metric.confmat - before).numpy()[:NUM_CLASSES]


def with_evaluate(truth: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Areas as the mean_iou of Hugging Face evaluate takes them: three histograms over [0, classes - 1].

    Returns intersection, labels and truth of each class, `(3, classes)`. Unlabelled pixels fall outside the range.
    """
    valid = truth != 255
    labels, truth = labels[valid], truth[valid]
    areas = (labels[labels == truth], labels, truth)
    return np.stack([np.histogram(a, bins=NUM_CLASSES, range=(0, NUM_CLASSES - 1))[0] for a in areas])


def areas_of(matrix: np.ndarray) -> np.ndarray:
    """The same of a confusion matrix whose last column is unlabelled."""
    return np.stack([np.diag(matrix), matrix[:, :NUM_CLASSES].sum(axis=0), matrix.sum(axis=1)])


def counters_of() -> dict:
    return {
        "labelgen": ours,
        "scikit-learn confusion_matrix": with_sklearn,
        "torchmetrics confusion matrix": WithTorchmetrics("confusion matrix"),
        "torchmetrics Jaccard index": WithTorchmetrics("Jaccard index"),
        EVALUATE: with_evaluate,
        "histogram formula (numpy)": with_histogram,
    }


class Part:
    """Some masks and labels for them, in memory and as files."""

    def __init__(
        self, data: str, split: str, ids: Sequence[str], kind: str, rng: np.random.Generator, folder: Path, root: Path
    ) -> None:
        (folder / "ids.txt").write_text("\n".join(ids) + "\n", encoding="utf-8")
        self.truth = open_data(data, split=split, ids_file=str(folder / "ids.txt"))
        self.maps = [self.truth.truth(sample_id) for sample_id in self.truth.ids]
        self.labels = [LABELS[kind](true_map, rng) for true_map in self.maps]
        self.folder = folder / "labels"
        for sample_id, label_map in zip(self.truth.ids, self.labels, strict=True):
            write_mask(self.folder / f"{sample_id}.png", label_map, palette=self.truth.vocabulary.colours)
        self.source = open_labels(self.folder, vocabulary=self.truth.vocabulary)
        self.masks = root / "SegmentationClass"
        self.expected = sum(ours(*pair) for pair in zip(self.maps, self.labels, strict=True))

    def count(self, counters: dict) -> dict:
        """What each way takes on arrays."""
        taken = {}
        for name, count in counters.items():
            found, taken[name] = timed(lambda count=count: sum(map(count, self.maps, self.labels)))
            self.check(name, found)
        return taken

    def score(self, counters: dict) -> dict:
        """What each way takes from files."""
        options = QualityOptions()
        further = QualityOptions(boundary=True, bands=(1, 3, 5, 10))
        ways = {
            "decoding both PNGs": lambda: sum(len(truth) for truth, _ in self.decoded()),
            "labelgen, 1 thread": lambda: evaluate(self.source, self.truth, options, workers=1).matrix,
            "labelgen, 2 threads": lambda: evaluate(self.source, self.truth, options, workers=2).matrix,
            "labelgen, 1 thread, boundary and bands": lambda: (
                evaluate(self.source, self.truth, further, workers=1).matrix
            ),
        }
        for name in PEERS.values():
            ways[name] = lambda name=name: sum(counters[name](*pair) for pair in self.decoded())
        taken = {}
        for name, run in ways.items():
            found, taken[name] = timed(run)
            if name != "decoding both PNGs":
                self.check(name, found)
        return taken

    def decoded(self):
        for sample_id in self.truth.ids:
            with (
                Image.open(self.masks / f"{sample_id}.png") as truth,
                Image.open(self.folder / f"{sample_id}.png") as label,
            ):
                yield np.array(truth), np.array(label)

    def check(self, name: str, found: np.ndarray) -> None:
        expected = areas_of(self.expected) if name == EVALUATE else self.expected
        assert np.array_equal(found, expected), f"{name} counts something else"


def comparisons_of(files: Times, sizes: Sequence[int]) -> list[dict]:
    one, two = files["labelgen, 1 thread"], files["labelgen, 2 threads"]
    return [
        *(compare(name, one, files[way], images=sizes) for name, way in PEERS.items()),
        compare("quality-threads", two, one, by="clock", images=sizes),
        compare("quality-decoding", one, files["decoding both PNGs"], images=sizes),
    ]


def rows_of(kind: str, task: str, times: Times, sizes: Sequence[int], *, reference: str) -> list[dict]:
    count, rows = sum(sizes), []
    for name, taken in times.items():
        wall, processor = (sum(column) for column in zip(*taken, strict=True))
        quotients = compare("", times[reference], taken, images=sizes)
        rows.append(
            {
                "labels": kind,
                "task": task,
                "way": name,
                "images_per_second": round(count / wall, 1),
                "images_per_core_second": round(count / processor, 1),
                "ms_per_image": round(1000 * processor / count, 4),
                "time_over_" + reference.replace(" ", "_"): figures(quotients["ratio"]),
                "quartiles": [quotients["ratio_low"], quotients["ratio_high"]],
            }
        )
    return rows


def print_rows(rows: list[dict]) -> None:
    print(f"{'labels':8}{'task':16}{'way':40}{'images/s':>10}{'per core':>10}{'ms':>9}{'x':>8}")
    for row in rows:
        labels, task, way, speed, per_core, milliseconds, factor, _ = row.values()
        print(f"{labels:8}{task:16}{way:40}{speed:10.1f}{per_core:10.1f}{milliseconds:9.3f}{factor:8.2f}")


if __name__ == "__main__":
    main()
