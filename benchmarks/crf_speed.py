"""How fast is our dense CRF beside pydensecrf, and is it the same?

Photographs of PASCAL VOC of 375 x 500 pixels, 10 steps. Scores are the one-hot truth, displaced and blurred, with a
little smooth noise in all classes: 21 planes of them, as a network with 21 outputs gives, or three (background, the
class of the picture, and one that is absent), as image-level labels leave. Timed is the whole of `dense_crf` from
image and scores to Q. Ways follow each other within each repeat, so that a busy moment hits all of them; of each
repeat the quotient to pydensecrf is taken by the clock, and the median of the quotients counts. Where other programs
run beside this one, quotients of processor time say more about one thread; see `load`.

Goals, for the preset psa on two threads: 3 times as fast with 21 classes, 2.5 times with three, 6 times with the three
that are present instead of 21; the same Q to 1e-3. About three minutes on two cores:

    python benchmarks/crf_speed.py --data DIR/voc2012-animals
"""

import argparse
import statistics
from pathlib import Path

import numpy as np
from PIL import Image
from record import write_result
from scipy import ndimage
from times import Seconds, compare, load, timed

from labelgen.refine.dense_crf import dense_crf

SEED = 0
NUM_CLASSES = 21
SIZE = (375, 500)
MAIN = "psa"
PRESETS = (MAIN, "irn", "deeplab", "adele")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", required=True, help="VOC folder with JPEGImages and SegmentationClass")
    parser.add_argument("--images", type=int, default=3)
    parser.add_argument("--repeats", type=int, default=7)
    arguments = parser.parse_args()
    pictures = photographs(Path(arguments.data), arguments.images)
    rows, comparisons = [], []
    for preset in PRESETS:
        repeats = arguments.repeats if preset == MAIN else max(1, arguments.repeats // 2)
        found, seconds = rows_of(preset, pictures, repeats)
        rows += found
        if preset == MAIN:
            comparisons = [compare(name, seconds[o], seconds[t], by="clock") for name, (o, t) in COMPARED.items()]
        for row in rows[-len(WAYS) :]:
            print(*(f"{name} {value}" for name, value in row.items()), sep=", ", flush=True)
    write_result(
        "crf_speed",
        rows,
        seeds=[SEED],
        packages=("pydensecrf2",),
        images=len(pictures),
        size=SIZE,
        repeats=arguments.repeats,
        load=load(),
        comparisons=comparisons,
    )


def photographs(folder: Path, count: int) -> list[tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """Image, scores of 21 classes, scores of three, for the first images of the size that have a mask."""
    rng = np.random.default_rng(SEED)
    found = []
    for mask in sorted((folder / "SegmentationClass").glob("*.png")):
        truth = np.array(Image.open(mask))
        if truth.shape == SIZE and len(found) < count:
            image = np.array(Image.open(folder / "JPEGImages" / f"{mask.stem}.jpg").convert("RGB"))
            scores = scores_of(truth, rng)
            present = [c for c in np.unique(truth) if 0 < c < NUM_CLASSES]
            absent = next(c for c in range(1, NUM_CLASSES) if c not in present)
            found.append((image, scores, scores[sorted([0, present[0], absent])]))
    return found


def scores_of(truth: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Displaced, blurred truth and smooth noise; void counts as background."""
    labels = np.roll(np.where(truth == 255, 0, truth), (5, -7), axis=(0, 1))
    planes = (labels == np.arange(NUM_CLASSES)[:, None, None]).astype(np.float32)
    noise = rng.random(planes.shape, np.float32) - 0.5
    scores = [0.8 * ndimage.gaussian_filter(p, 6) + ndimage.gaussian_filter(n, 8) for p, n in zip(planes, noise)]
    return np.clip(scores, 0, 1).astype(np.float32)


def ours(threads: int, few: bool):
    return lambda picture, preset: dense_crf(picture[0], picture[1 + few], preset=preset, threads=threads)


def theirs(few: bool):
    return lambda picture, preset: dense_crf(picture[0], picture[1 + few], preset=preset, backend="pydensecrf")


WAYS = {  # classes, and the way that the quotient is to
    "pydensecrf, 21 classes": (theirs(False), None),
    "labelgen, 21 classes, 1 thread": (ours(1, False), "pydensecrf, 21 classes"),
    "labelgen, 21 classes, 2 threads": (ours(2, False), "pydensecrf, 21 classes"),
    "pydensecrf, 3 classes": (theirs(True), None),
    "labelgen, 3 classes, 1 thread": (ours(1, True), "pydensecrf, 3 classes"),
    "labelgen, 3 classes, 2 threads": (ours(2, True), "pydensecrf, 3 classes"),
}


COMPARED = {  # by the clock: ours, theirs
    "crf-21": ("labelgen, 21 classes, 2 threads", "pydensecrf, 21 classes"),
    "crf-3": ("labelgen, 3 classes, 2 threads", "pydensecrf, 3 classes"),
    "crf-present": ("labelgen, 3 classes, 2 threads", "pydensecrf, 21 classes"),
}


def rows_of(preset: str, pictures: list, repeats: int) -> tuple[list[dict], dict[str, list[Seconds]]]:
    seconds: dict[str, list[Seconds]] = {name: [] for name in WAYS}
    results = {}
    for name, (run, _) in WAYS.items():
        run(pictures[0], preset)  # compiled, and the lattice of places is made, once
        results[name] = [run(picture, preset) for picture in pictures]
    for _ in range(repeats):
        for picture in pictures:
            for name, (run, _) in WAYS.items():
                seconds[name].append(timed(lambda run=run, picture=picture: run(picture, preset))[1])
    return [row_of(preset, name, WAYS[name][1], seconds, results) for name in WAYS], seconds


def row_of(preset: str, name: str, reference: str | None, seconds: dict, results: dict) -> dict:
    row = {"preset": preset, "way": name}
    for kind, index in (("wall_ms", 0), ("processor_ms", 1)):
        row[kind] = round(1000 * statistics.median(times[index] for times in seconds[name]), 1)
    if reference is None:
        return row
    row["times_as_fast"] = quotient(seconds, name, reference, 0)
    row["times_as_fast_by_processor_time"] = quotient(seconds, name, reference, 1)
    row["times_as_fast_as_21_classes_of_pydensecrf"] = quotient(seconds, name, "pydensecrf, 21 classes", 0)
    pairs = list(zip(results[name], results[reference]))
    row["largest_difference_of_q"] = float(max(np.abs(a - b).max() for a, b in pairs))
    row["same_labels"] = float(np.mean([(a.argmax(0) == b.argmax(0)).mean() for a, b in pairs]))
    return row


def quotient(seconds: dict, name: str, reference: str, index: int) -> float:
    pairs = zip(seconds[reference], seconds[name])
    return round(statistics.median(theirs[index] / ours[index] for theirs, ours in pairs), 2)


if __name__ == "__main__":
    main()
