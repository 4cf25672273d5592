"""How fast are a pass of the tree filter, its gradient, and the trees themselves?

Grids of 32 x 32 and 64 x 64 tokens with 21 classes; the guide is a smoothed random field of 384 channels, since only
the shape of the tree depends on it. Side by side in this one process, on one thread, in double precision:

- ours: `segprobe.terms.tree_filter`, compiled loops over the tree, with its exact gradient by hand;
- plain Python: the same two passes, node by node over numpy rows, as one would write them without a compiler; its
  gradient with respect to the values is the same two passes again, and it has none for the distances;
- dense: the matrix of all path sums, made row by row from the tree, and one product; its gradient is one more product.

All three are compared in full, to 1e-8, gradients included. Seconds are of the processor, because other programs may be
running; the median of the repeats. Goal: under 30 ms a pass at 64 x 64. Half a minute:

    python benchmarks/tree_speed.py
"""

import os
import statistics
import time
from collections.abc import Callable

import numpy as np
import torch
from record import write_result
from scipy.ndimage import gaussian_filter

from segprobe.terms.grid_tree import GridTree, grid_tree
from segprobe.terms.tree_filter import tree_filter

SEED = 0
SIDES = (32, 64)
CLASSES, CHANNELS = 21, 384
REPEATS = {"ours": 20, "plain Python": 3, "dense": 3}


def main() -> None:
    torch.set_num_threads(1)
    rows = []
    for side in SIDES:
        guide = smooth_guide(side)
        grid_tree(guide[:4, :4])  # compiles
        building, tree = timed(lambda guide=guide: grid_tree(guide), 5)
        distances = tree.edge_distances(guide.reshape(side * side, -1))
        values = torch.from_numpy(np.random.default_rng(SEED).dirichlet(np.ones(CLASSES), side * side))
        found = {name: way(values, distances, tree) for name, way in WAYS.items()}
        reference = found["dense"][2]
        for name, (forward, backward, results) in found.items():
            errors = [float(np.abs(a - b).max()) for a, b in zip(results, reference, strict=True)]
            assert max(errors) < 1e-8, (name, errors)
            rows.append(
                {
                    "way": name,
                    "tokens": f"{side} x {side}",
                    "classes": CLASSES,
                    "pass_ms": round(1e3 * forward, 2),
                    "gradient_ms": round(1e3 * backward, 2),
                    "tree_ms": round(1e3 * building, 2),
                    "times_faster": round(found["plain Python"][0] / forward, 1),
                    "largest_difference": max(errors),
                }
            )
            print(", ".join(f"{key} {value}" for key, value in rows[-1].items()), flush=True)
    write_result("tree_speed", rows, seeds=[SEED], repeats=REPEATS, channels=CHANNELS, load=os.getloadavg())


def smooth_guide(side: int) -> np.ndarray:
    noise = np.random.default_rng(SEED).normal(size=(side, side, CHANNELS))
    smooth = gaussian_filter(noise, sigma=(2, 2, 0))
    return (smooth / np.linalg.norm(smooth, axis=2, keepdims=True)).astype(np.float32)


def timed(run: Callable, repeats: int) -> tuple[float, object]:
    """Median seconds of the processor, and the last result."""
    seconds, result = [], run()
    for _ in range(repeats):
        start = time.process_time()
        result = run()
        seconds.append(time.process_time() - start)
    return statistics.median(seconds), result


def ours(values: torch.Tensor, distances: np.ndarray, tree: GridTree) -> tuple[float, float, tuple]:
    inputs = values.clone().requires_grad_(), torch.from_numpy(distances).requires_grad_()
    forward, filtered = timed(lambda: tree_filter(*inputs, tree), REPEATS["ours"])
    weight = upstream(filtered.shape)
    backward, gradients = timed(
        lambda: torch.autograd.grad(filtered, inputs, torch.from_numpy(weight), retain_graph=True), REPEATS["ours"]
    )
    return forward, backward, (filtered.detach().numpy(), gradients[0].numpy())


def plain(values: torch.Tensor, distances: np.ndarray, tree: GridTree) -> tuple[float, float, tuple]:
    rows, ones = values.numpy(), np.ones((len(distances), 1))
    repeats = REPEATS["plain Python"]
    forward, sums = timed(lambda: plain_sums(np.hstack([rows, ones]), distances, tree), repeats)
    weight = upstream(rows.shape) / sums[:, -1:]
    backward, gradient = timed(lambda: plain_sums(weight, distances, tree), repeats)
    return forward, backward, (sums[:, :-1] / sums[:, -1:], gradient)


def plain_sums(rows: np.ndarray, distances: np.ndarray, tree: GridTree) -> np.ndarray:
    share = np.exp(-distances)
    below = rows[tree.order]
    for place in range(len(share) - 1, 0, -1):
        below[tree.parent[place]] += share[place] * below[place]
    sums = below.copy()
    for place in range(1, len(share)):
        sums[place] = below[place] + share[place] * (sums[tree.parent[place]] - share[place] * below[place])
    found = np.empty_like(sums)
    found[tree.order] = sums
    return found


def dense(values: torch.Tensor, distances: np.ndarray, tree: GridTree) -> tuple[float, float, tuple]:
    rows = values.numpy()

    def run() -> tuple[np.ndarray, np.ndarray]:
        affinity = dense_affinity(distances, tree)
        total = affinity.sum(axis=1, keepdims=True)
        return affinity @ rows / total, total

    forward, (filtered, total) = timed(run, REPEATS["dense"])
    affinity = dense_affinity(distances, tree)
    backward, gradient = timed(lambda: affinity @ (upstream(rows.shape) / total), REPEATS["dense"])
    return forward, backward, (filtered, gradient)


def dense_affinity(distances: np.ndarray, tree: GridTree) -> np.ndarray:
    count = len(distances)
    sums = np.zeros((count, count))
    for place in range(1, count):
        sums[place, :place] = sums[tree.parent[place], :place] + distances[place]
        sums[:place, place] = sums[place, :place]
    place = np.argsort(tree.order)
    return np.exp(-sums)[place][:, place]


def upstream(shape: tuple[int, ...]) -> np.ndarray:
    return np.random.default_rng(SEED + 1).normal(size=shape)


WAYS = {"ours": ours, "plain Python": plain, "dense": dense}

if __name__ == "__main__":
    main()
