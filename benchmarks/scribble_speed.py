"""How fast are scribbles made, and which?

Masks of PASCAL VOC, from the PNG that is read to the PNG that is written, on one thread, side by side in this one
process: for each mask first one way, then the other, in several rounds. The time that counts is processor time (other
programs may be running); of each mask the median over the rounds is taken.

- labelgen: what `labelgen scribble` does for each image (default settings), strokes as JSON included;
- plain: what one would write in an evening with scikit-image and networkx: label the components of each class,
  skeletonise, longest path by two sweeps of Dijkstra over a graph of pixels, draw it three wide inside the region.
  No smoothing, no branches, no wobble, no strokes on disk.

A third row gives labelgen without reading and writing. Goals: 25 images per second and core, against about 10 of the
plain version. About three minutes on two cores:

    python benchmarks/scribble_speed.py --data DIR/voc2012-masks
"""

import argparse
import json
import os
import statistics
import tempfile
import time
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

import cv2
import networkx as nx
import numpy as np
from PIL import Image
from record import write_result
from skimage.draw import line
from skimage.measure import label, regionprops
from skimage.morphology import dilation, footprint_rectangle, skeletonize

from labelgen.data.open import open_data
from labelgen.masks import encode_mask, harden, write_atomic
from labelgen.methods.scribble import ScribbleConfig, make_scribble
from labelgen.run import rng_for
from labelgen.strokes import strokes_to_json

SEED = 0
ROUNDS = 3
MIN_AREA = 80


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", required=True, help="VOC folder with SegmentationClass and ImageSets")
    parser.add_argument("--split", default="train")
    parser.add_argument("--images", type=int, default=100, help="masks, taken evenly from the split")
    arguments = parser.parse_args()
    cv2.setNumThreads(1)
    dataset = open_data(f"voc:{arguments.data}", split=arguments.split)
    ids = dataset.ids[:: max(1, len(dataset.ids) // arguments.images)][: arguments.images]
    generate = make_scribble(ScribbleConfig(), dataset.vocabulary)
    with tempfile.TemporaryDirectory() as folder:
        ways = {
            "labelgen": lambda i: with_labelgen(dataset, generate, i, Path(folder)),
            "plain (scikit-image, networkx)": lambda i: plain(Path(arguments.data), i, Path(folder)),
            "labelgen, strokes and labels alone": without_files(dataset, generate, ids),
        }
        for way in ways.values():
            way(ids[0])  # compile and import
        times = measure(ways, ids)
    rows = summarise(times)
    for row in rows:
        print(f"{row['way']:36} {row['images_per_core_second']:7.1f} images/s/core {row['ms_per_image']:7.1f} ms")
    load = os.getloadavg() if hasattr(os, "getloadavg") else None
    write_result(
        "scribble_speed", rows, seeds=[SEED], packages=("networkx",), images=len(ids), rounds=ROUNDS, load=load
    )


def measure(ways: dict[str, Callable[[str], object]], ids: tuple[str, ...]) -> dict[str, list[float]]:
    """Median processor time of each mask over the rounds, by way."""
    taken = {name: [[] for _ in ids] for name in ways}
    for _ in range(ROUNDS):
        for number, sample_id in enumerate(ids):
            for name, way in ways.items():
                start = time.process_time()
                way(sample_id)
                taken[name][number].append(time.process_time() - start)
    return {name: [statistics.median(rounds) for rounds in masks] for name, masks in taken.items()}


def summarise(times: dict[str, list[float]]) -> list[dict]:
    ours = sum(times["labelgen"])
    return [
        {
            "way": name,
            "images_per_core_second": round(len(seconds) / sum(seconds), 1),
            "ms_per_image": round(1000 * sum(seconds) / len(seconds), 2),
            "ms_median": round(1000 * statistics.median(seconds), 2),
            "ms_worst": round(1000 * max(seconds), 2),
            "time_over_labelgen": round(sum(seconds) / ours, 2),
        }
        for name, seconds in times.items()
    ]


def with_labelgen(dataset, generate, sample_id: str, folder: Path) -> None:
    """Read, scribble, write labels and strokes, as the runner does."""
    sample = dataset.load(sample_id, {"truth"})
    mask = generate(sample, rng_for(SEED, sample_id))
    content = encode_mask(harden(mask), palette=dataset.vocabulary.colours)
    write_atomic(folder / "labels" / f"{sample_id}.png", content)
    strokes = json.dumps(strokes_to_json(mask.strokes, size=sample.size), separators=(",", ":"))
    write_atomic(folder / "strokes" / f"{sample_id}.json", strokes.encode())


def without_files(dataset, generate, ids: tuple[str, ...]) -> Callable[[str], object]:
    samples = {sample_id: dataset.load(sample_id, {"truth"}) for sample_id in ids}
    return lambda sample_id: harden(generate(samples[sample_id], rng_for(SEED, sample_id)))


def plain(data: Path, sample_id: str, folder: Path) -> None:
    """The straightforward version: read, longest skeleton path of each component, write."""
    with Image.open(data / "SegmentationClass" / f"{sample_id}.png") as picture:
        truth, palette = np.array(picture), picture.getpalette()
    labels = np.full(truth.shape, 255, np.uint8)
    for class_id in np.unique(truth[truth != 255]):
        for region in regionprops(label(truth == class_id, connectivity=2)):
            if region.area < MIN_AREA:
                continue
            path = plain_longest_path(skeletonize(region.image))
            drawn = np.zeros(region.image.shape, bool)
            for start, end in pairwise(path):
                drawn[line(*start, *end)] = True
            drawn = dilation(drawn, footprint_rectangle((3, 3))) & region.image
            labels[region.slice][drawn] = class_id
    picture = Image.fromarray(labels)
    picture.putpalette(palette)
    picture.save(folder / f"{sample_id}.png")


def plain_longest_path(skeleton: np.ndarray) -> list[tuple[int, int]]:
    graph = nx.Graph()
    pixels = {(int(row), int(col)) for row, col in np.argwhere(skeleton)}
    for row, col in pixels:
        for down, right in ((0, 1), (1, -1), (1, 0), (1, 1)):
            if (row + down, col + right) in pixels:
                graph.add_edge((row, col), (row + down, col + right), weight=(down**2 + right**2) ** 0.5)
    if not graph:
        return list(pixels)
    first = next(iter(graph))
    distances = nx.single_source_dijkstra_path_length(graph, first)
    start = max(distances, key=distances.get)
    distances, paths = nx.single_source_dijkstra(graph, start)
    return paths[max(distances, key=distances.get)]


if __name__ == "__main__":
    main()
