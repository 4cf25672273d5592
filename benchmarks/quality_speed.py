"""How fast are labels compared with the truth?

Masks of PASCAL VOC; labels are made from the truth by a fixed rule: once shifted by a few pixels with a share of pixels
set to another class ("dense"), once only thin lines of it kept, as in scribbles ("sparse"). Measured side by side in
this one process, on one thread each, in alternating repeats of which the median counts; factors are of processor time,
because other programs may be running:

- counting alone: our kernel, scikit-learn's confusion_matrix, torchmetrics (confusion matrix and Jaccard index, as it
  is updated image by image), and the histogram formula of common mIoU scripts in numpy;
- from files: decoding the two PNGs alone, and the whole of `labelgen.quality.evaluate`.

The counts of all ways are asserted equal. Goals: 5 times scikit-learn, 10 times torchmetrics, and at most 1.5 times the
time that decoding takes. About three minutes on two cores:

    python benchmarks/quality_speed.py --data DIR/voc2012-masks
"""

import argparse
import os
import statistics
import tempfile
import time
from pathlib import Path

import numpy as np
from record import write_result

from labelgen.data.open import open_data
from labelgen.masks import read_mask, write_mask
from labelgen.quality.confusion import confusion_matrix
from labelgen.quality.evaluate import QualityOptions, evaluate
from labelgen.store import open_labels

SEED = 0
REPEATS = 5
NUM_CLASSES = 21


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", required=True, help="VOC folder with SegmentationClass and ImageSets")
    parser.add_argument("--split", default="val")
    parser.add_argument("--images", type=int, default=200)
    arguments = parser.parse_args()
    import torch

    torch.set_num_threads(1)
    truth = open_data(f"voc:{arguments.data}", split=arguments.split, limit=arguments.images)
    maps = [truth.truth(sample_id) for sample_id in truth.ids]
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        for kind, make in LABELS.items():
            rng = np.random.default_rng(SEED)
            labels = [make(true_map, rng) for true_map in maps]
            rows += counting_rows(kind, maps, labels)
            target = Path(folder) / kind
            for sample_id, label_map in zip(truth.ids, labels, strict=True):
                write_mask(target / f"{sample_id}.png", label_map, palette=truth.vocabulary.colours)
            rows += file_rows(kind, truth, Path(arguments.data), target)
    print_rows(rows)
    pixels = sum(true_map.size for true_map in maps)
    packages = ("scikit-learn", "torchmetrics")
    write_result(
        "quality_speed",
        rows,
        seeds=[SEED],
        packages=packages,
        images=len(maps),
        pixels=pixels,
        repeats=REPEATS,
        load=os.getloadavg() if hasattr(os, "getloadavg") else None,
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


def counting_rows(kind: str, maps: list, labels: list) -> list[dict]:
    ways = {
        "labelgen": ours,
        "scikit-learn confusion_matrix": with_sklearn,
        "torchmetrics confusion matrix": WithTorchmetrics("confusion matrix"),
        "torchmetrics Jaccard index": WithTorchmetrics("Jaccard index"),
        "histogram formula (numpy)": with_histogram,
    }
    pairs = list(zip(maps, labels, strict=True))
    expected = [ours(*pair) for pair in pairs]
    for name, count in ways.items():
        for pair, matrix in zip(pairs, expected, strict=True):
            assert np.array_equal(count(*pair), matrix), name
    seconds = timed({name: lambda count=count: [count(*pair) for pair in pairs] for name, count in ways.items()})
    return rows_of(kind, "counting alone", seconds, len(maps), reference="labelgen")


def file_rows(kind: str, truth, data: Path, folder: Path) -> list[dict]:
    source = open_labels(folder, vocabulary=truth.vocabulary)
    masks = data / "SegmentationClass"

    def decode() -> None:
        for sample_id in truth.ids:
            read_mask(masks / f"{sample_id}.png")
            read_mask(folder / f"{sample_id}.png")

    options = QualityOptions()
    ways = {
        "decoding both PNGs": decode,
        "labelgen, 1 thread": lambda: evaluate(source, truth, options, workers=1),
        "labelgen, all cores": lambda: evaluate(source, truth, options, workers=0),
        "labelgen, 1 thread, boundary and bands": lambda: evaluate(
            source, truth, QualityOptions(boundary=True, bands=(1, 3, 5, 10)), workers=1
        ),
    }
    return rows_of(kind, "from files", timed(ways), len(truth.ids), reference="decoding both PNGs")


def timed(ways: dict) -> dict[str, tuple[float, float]]:
    """Median seconds by the clock and of the processor; repeats alternate, so that a busy moment hits all ways."""
    seconds: dict[str, list[tuple[float, float]]] = {name: [] for name in ways}
    for _ in range(REPEATS):
        for name, run in ways.items():
            wall, processor = time.perf_counter(), time.process_time()
            run()
            seconds[name].append((time.perf_counter() - wall, time.process_time() - processor))
    return {name: tuple(map(statistics.median, zip(*values, strict=True))) for name, values in seconds.items()}


def rows_of(kind: str, task: str, seconds: dict[str, tuple[float, float]], count: int, *, reference: str) -> list[dict]:
    return [
        {
            "labels": kind,
            "task": task,
            "way": name,
            "images_per_second": round(count / wall, 1),
            "images_per_core_second": round(count / processor, 1),
            "ms_per_image": round(1000 * processor / count, 4),
            "time_over_" + reference.replace(" ", "_"): round(processor / seconds[reference][1], 3),
        }
        for name, (wall, processor) in seconds.items()
    ]


def print_rows(rows: list[dict]) -> None:
    print(f"{'labels':8}{'task':16}{'way':40}{'images/s':>10}{'per core':>10}{'ms':>9}{'x':>8}")
    for row in rows:
        labels, task, way, speed, per_core, milliseconds, factor = row.values()
        print(f"{labels:8}{task:16}{way:40}{speed:10.1f}{per_core:10.1f}{milliseconds:9.3f}{factor:8.2f}")


if __name__ == "__main__":
    main()
