"""How fast are scribbles made, and which?

Masks of PASCAL VOC, from the PNG that is read to the PNG that is written, on one thread, side by side in this one
process: for each mask first one way, then the other, in several rounds. The time that counts is processor time (other
programs may be running); of each mask the median over the rounds is taken. The masks are cut into parts, and of each
part the quotient is taken: the median of the quotients counts, beside their quartiles.

- labelgen: what `labelgen scribble` does for each image (default settings), strokes as JSON included;
- plain: what one would write in an evening with scikit-image and networkx: label the components of each class,
  skeletonise, longest path by two sweeps of Dijkstra over a graph of pixels, draw it three wide inside the region.
  No smoothing, no branches, no wobble, no strokes on disk.

A third row gives labelgen without reading and writing. Goal: 10 times the plain version. All 1,464 masks of the split
take about nine minutes on an idle core:

    python benchmarks/scribble_speed.py --data DIR/voc2012-masks
"""

import argparse
import json
import statistics
import tempfile
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
from times import Seconds, compare, load, timed

from labelgen.data.open import open_data
from labelgen.masks import encode_mask, harden, write_atomic
from labelgen.methods.scribble import ScribbleConfig, make_scribble
from labelgen.run import rng_for
from labelgen.strokes import strokes_to_json

SEED = 0
ROUNDS = 3
MIN_AREA = 80
PARTS = 24
PLAIN = "plain (scikit-image, networkx)"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", required=True, help="VOC folder with SegmentationClass and ImageSets")
    parser.add_argument("--split", default="train")
    parser.add_argument("--images", type=int, default=0, help="masks, taken evenly from the split; 0 for all")
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    arguments = parser.parse_args()
    cv2.setNumThreads(1)
    dataset = open_data(f"voc:{arguments.data}", split=arguments.split)
    wanted = arguments.images or len(dataset.ids)
    ids = dataset.ids[:: max(1, len(dataset.ids) // wanted)][:wanted]
    generate = make_scribble(ScribbleConfig(), dataset.vocabulary)
    with tempfile.TemporaryDirectory() as folder:
        ways = {
            "labelgen": with_labelgen(dataset, generate, Path(folder)),
            PLAIN: lambda i: plain(Path(arguments.data), i, Path(folder)),
            "labelgen, strokes and labels alone": without_files(dataset, generate, ids),
        }
        for way in ways.values():
            way(ids[0])  # compile and import
        times = measure(ways, ids, arguments.rounds)
    rows = summarise(times)
    for row in rows:
        print(f"{row['way']:36} {row['images_per_core_second']:7.1f} images/s/core {row['ms_per_image']:7.1f} ms")
    write_result(
        "scribble_speed",
        rows,
        seeds=[SEED],
        packages=("networkx",),
        images=len(ids),
        rounds=arguments.rounds,
        load=load(),
        comparisons=[comparison(times)],
    )


def measure(ways: dict[str, Callable[[str], object]], ids: tuple[str, ...], rounds: int) -> dict[str, list[Seconds]]:
    """Median time of each mask over the rounds, by way."""
    taken = {name: [[] for _ in ids] for name in ways}
    for _ in range(rounds):
        for number, sample_id in enumerate(ids):
            for name, way in ways.items():
                taken[name][number].append(timed(lambda way=way, sample_id=sample_id: way(sample_id))[1])
    return {name: [median_of(repeats) for repeats in masks] for name, masks in taken.items()}


def median_of(repeats: list[Seconds]) -> Seconds:
    return Seconds(*map(statistics.median, zip(*repeats, strict=True)))


def comparison(times: dict[str, list[Seconds]]) -> dict:
    """Parts of the masks against each other."""
    ways = ("labelgen", PLAIN)
    parts = np.array_split(np.arange(len(times[PLAIN])), min(PARTS, len(times[PLAIN])))
    sums = [[Seconds(*np.sum([times[way][i] for i in part], axis=0)) for part in parts] for way in ways]
    return compare("scribble", *sums, images=[len(part) for part in parts])


def summarise(times: dict[str, list[Seconds]]) -> list[dict]:
    processor = {name: [taken.processor for taken in masks] for name, masks in times.items()}
    ours = sum(processor["labelgen"])
    return [
        {
            "way": name,
            "images_per_core_second": round(len(seconds) / sum(seconds), 1),
            "ms_per_image": round(1000 * sum(seconds) / len(seconds), 2),
            "ms_median": round(1000 * statistics.median(seconds), 2),
            "ms_worst": round(1000 * max(seconds), 2),
            "time_over_labelgen": round(sum(seconds) / ours, 2),
        }
        for name, seconds in processor.items()
    ]


def with_labelgen(dataset, generate, folder: Path) -> Callable[[str], object]:
    """Read, scribble, write labels and strokes, as the runner does."""
    palette = dataset.vocabulary.colours

    def work(sample_id: str) -> None:
        sample = dataset.load(sample_id, {"truth"})
        mask = generate(sample, rng_for(SEED, sample_id))
        content = encode_mask(harden(mask), palette=palette)
        write_atomic(folder / "labels" / f"{sample_id}.png", content, durable=False)
        strokes = json.dumps(strokes_to_json(mask.strokes, size=sample.size), separators=(",", ":"))
        write_atomic(folder / "strokes" / f"{sample_id}.json", strokes.encode(), durable=False)

    return work


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
