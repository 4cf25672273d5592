"""How fast is the random walk over a sparse band, compared with squaring the matrix of all pairs?

Photographs of PASCAL VOC of 375 x 500 pixels; scores are the classes of the truth with a certainty of .7, affinities
those of colours, so that no network has a part in it. The settings of PSA: power 8, 256 steps, radius 5. Side by side
in this one process, on one thread each:

- ours: `labelgen.refine.random_walk.random_walk`, the transitions made anew each time;
- dense: the column-normalised matrix of all pairs of cells in torch float32, squared eight times, as the papers' code
  does it, and one product with the scores. At a stride of 4 the matrix has 138 million entries. One squaring is timed
  there and counted eight times, unless --whole asks for all eight, which takes several minutes.

Results are compared in full: with the dense ones where these are computed, at a stride of 8 also with the dense power
in double precision, since the single one of the papers' code is off by about 1e-5 by itself, and always with the same
steps over scipy's sparse matrices in double precision. Goals: 10 times faster at a stride of 8 and 500 times at 4,
results equal to 1e-5.
Factors are of processor time, because other programs may be running. Ten minutes with --whole:

    python benchmarks/walk_speed.py --data DIR/voc2012-animals --whole
"""

import argparse
import statistics

import numpy as np
import scipy.sparse
import torch
from record import write_result
from times import Seconds, compare, load, timed

from labelgen.data.open import open_data
from labelgen.refine.band_affinity import l1_affinity, standardised
from labelgen.refine.cells import pixels_to_cells
from labelgen.refine.random_walk import half_plane, random_walk
from labelgen.refine.source import certain_scores
from labelgen.refine.walk_grid import cell_colours, grid_of

BETA, SQUARINGS = 8.0, 8
OFFSETS = half_plane(5)
REPEATS = 3
IMAGES = 3
SIZE = (375, 500)
LARGEST_IN_DOUBLE = 4000  # cells; beyond, the matrix takes gigabytes


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", required=True, help="VOC folder with JPEGImages, SegmentationClass and ImageSets")
    parser.add_argument("--split", default="val")
    parser.add_argument("--whole", action="store_true", help="all squarings at a stride of 4 too")
    parser.add_argument("--stride", type=int, choices=(8, 4), help="only this one")
    parser.add_argument("--images", type=int, default=IMAGES, help="at a stride of 8")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    data = open_data(f"voc:{arguments.data}", split=arguments.split)
    loaded = (data.load(sample_id, {"image", "truth"}) for sample_id in data.ids)
    samples = [sample for sample in loaded if sample.size == SIZE][:IMAGES]
    rows, comparisons = [], []
    for stride in (8, 4) if arguments.stride is None else (arguments.stride,):
        times: list[list[Seconds]] = [[], []]
        for sample in samples[: arguments.images] if stride == 8 else samples[:1]:
            affinity, planes = problem(sample, stride)
            row, own, dense = measured(affinity, planes, whole=stride == 8 or arguments.whole)
            rows.append(row | {"stride": stride, "image": sample.id})
            times[0] += own
            times[1] += [dense] * len(own)  # it is run once
            print(", ".join(f"{key} {value}" for key, value in rows[-1].items()), flush=True)
        comparisons.append(compare(f"walk-{stride}", *times))
    write_result(
        "walk_speed", rows, seeds=[], packages=("scipy",), repeats=REPEATS, load=load(), comparisons=comparisons
    )


def problem(sample, stride: int) -> tuple[np.ndarray, np.ndarray]:
    """Affinities of the cells of an image, and the scores that walk over them."""
    geometry = grid_of(sample.size, stride)
    scores = certain_scores(sample.need_truth(), certainty=0.7).scores
    sums, votes = pixels_to_cells(scores, geometry)
    affinity = l1_affinity(standardised(cell_colours(sample.need_image(), geometry)), OFFSETS)
    return affinity, np.divide(sums, votes, out=np.zeros_like(sums), where=votes > 0)


def measured(affinity: np.ndarray, planes: np.ndarray, *, whole: bool) -> tuple[dict, list[Seconds], Seconds]:
    """The row, and seconds of ours (each repeat) and of the dense way."""

    def ours() -> np.ndarray:
        return random_walk(planes, affinity, OFFSETS, beta=BETA, steps=2**SQUARINGS)

    result = ours()
    repeats = [timed(ours)[1] for _ in range(REPEATS)]
    own = statistics.median(taken.processor for taken in repeats)
    matrix = dense_matrix(affinity)
    flat = torch.from_numpy(planes.reshape(len(planes), -1))
    squarings = SQUARINGS if whole else 1
    walked, seconds = timed(lambda: squared(matrix, squarings))
    walked, last = timed(lambda: flat @ walked)
    dense = Seconds(*(a * SQUARINGS / squarings + b for a, b in zip(seconds, last, strict=True)))
    seconds = dense.processor
    exact = by_scipy(affinity, planes)
    flat_result = result.reshape(len(planes), -1)
    difference = float(np.abs(flat_result - walked.numpy()).max()) if whole else None
    double = in_double(affinity, planes) if matrix.shape[0] < LARGEST_IN_DOUBLE else None
    row = {
        "cells": affinity.shape[1] * affinity.shape[2],
        "planes": len(planes),
        "ours_seconds": round(own, 4),
        "dense_seconds": round(seconds, 2),
        "dense_is": "measured" if whole else "one squaring, times eight",
        "times_faster": round(seconds / own),
        "dense_matrix_mb": round(matrix.numel() * 4 / 1e6),
        "band_mb": round(affinity.shape[1] * affinity.shape[2] * (2 * len(OFFSETS) + 1) * 8 / 1e6, 1),
        "largest_difference_to_dense": difference,
        "largest_difference_to_dense_double": None if double is None else float(np.abs(flat_result - double).max()),
        "largest_difference_to_scipy": float(np.abs(result - exact).max()),
    }
    return row, repeats, dense


def dense_matrix(affinity: np.ndarray) -> torch.Tensor:
    """Of all pairs, powers taken and columns summing to one."""
    return torch.from_numpy(sparse_matrix(affinity).astype(np.float32).toarray())


def squared(matrix: torch.Tensor, times: int) -> torch.Tensor:
    for _ in range(times):
        matrix = matrix @ matrix
    return matrix


def in_double(affinity: np.ndarray, planes: np.ndarray) -> np.ndarray:
    """What the dense way would give without its rounding."""
    power = np.linalg.matrix_power(sparse_matrix(affinity).toarray(), 2**SQUARINGS)
    return planes.reshape(len(planes), -1).astype(np.float64) @ power


def sparse_matrix(affinity: np.ndarray) -> scipy.sparse.csr_array:
    """The same matrix with only the band, entry by entry from the affinities."""
    count, height, width = affinity.shape
    cells = np.arange(height * width).reshape(height, width)
    rows, cols, values = [cells.ravel()], [cells.ravel()], [np.ones(cells.size)]
    for k in range(count):
        down, right = OFFSETS[k]
        inside = [(r, c) for r in range(height - down) for c in range(max(0, -right), width - max(0, right))]
        r, c = np.array(inside).T
        first, second = cells[r, c], cells[r + down, c + right]
        powers = affinity[k, r, c].astype(np.float64) ** BETA
        rows += [first, second]
        cols += [second, first]
        values += [powers, powers]
    entries = (np.concatenate(values), (np.concatenate(rows), np.concatenate(cols)))
    matrix = scipy.sparse.coo_array(entries, shape=(cells.size, cells.size)).tocsr()
    return matrix @ scipy.sparse.diags_array(1 / matrix.sum(axis=0))


def by_scipy(affinity: np.ndarray, planes: np.ndarray) -> np.ndarray:
    matrix = sparse_matrix(affinity)
    walked = planes.reshape(len(planes), -1).astype(np.float64)
    for _ in range(2**SQUARINGS):
        walked = walked @ matrix
    return walked.reshape(planes.shape)


if __name__ == "__main__":
    main()
