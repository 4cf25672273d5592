"""Longest path through a skeleton, and the longest branches that leave it."""

from typing import no_type_check

import numpy as np
from jaxtyping import Bool, Float32, Int64

from labelgen.geometry.compiled import compiled

__all__ = ["skeleton_paths"]


def skeleton_paths(
    skeleton: Bool[np.ndarray, "H W"],
    *,
    branches: int = 0,
    min_branch: float = 0.4,
    distance: Float32[np.ndarray, "H W"] | None = None,
    pull: float = 0.0,
) -> list[Int64[np.ndarray, "N 2"]]:
    """Find the longest geodesic path of a skeleton and the longest paths that branch off.

    The skeleton is a graph of pixels with 8 neighbours and edges of length 1 or sqrt(2). Two sweeps of Dijkstra's
    algorithm find the longest shortest path, exactly on trees and nearly so with loops; each branch is the shortest
    path from what is drawn to the pixel farthest from it.

    Parameters
    ----------
    branches
        Most branches to add.
    min_branch
        A branch is at least this share of the main path's length, and twice as long as the region is wide where it
        leaves (when `distance` is given): anything shorter is hair, not a limb.
    distance
        Distance to the region's boundary in pixels; needed for `pull`.
    pull
        An edge costs `length * (1 + pull * (1 - distance / max distance))`, so that around loops the path prefers
        the wider way.

    Returns
    -------
    list[Int64[np.ndarray, "N 2"]]
        (row, col) of successive pixels: the main path, then the branches, each beginning on what was there before.
        Of several pieces only the one of the first pixel in reading order is searched. Empty for an empty skeleton.

    Examples
    --------
    >>> skeleton = np.array([[1, 0, 0, 0], [0, 1, 1, 1], [0, 1, 0, 0]], bool)
    >>> skeleton_paths(skeleton)[0].tolist()
    [[0, 0], [1, 1], [1, 2], [1, 3]]
    """
    pixels = np.argwhere(skeleton)
    if not len(pixels):
        return []
    height, width = skeleton.shape
    node_of = np.full((height + 2, width + 2), -1, np.int64)
    node_of[pixels[:, 0] + 1, pixels[:, 1] + 1] = np.arange(len(pixels))
    radius = np.zeros(len(pixels)) if distance is None else distance[skeleton].astype(np.float64)
    factor = 1 + pull * (1 - radius / max(radius.max(), 1e-9)) if pull else np.ones(len(pixels))
    nodes, ends = _paths(node_of, pixels, factor, radius, branches, min_branch)
    return [pixels[nodes[start:end]] for start, end in zip(np.r_[0, ends], ends, strict=False)]


@compiled
@no_type_check
def _paths(node_of, pixels, factor, radius, branches, min_branch):
    """Node ids of all paths in a row, and where each of them ends."""
    count = len(pixels)
    nodes = np.empty(2 * count + 2 * branches + 2, np.int64)
    ends = np.empty(branches + 1, np.int64)
    drawn = np.zeros(count, np.bool_)
    drawn[0] = True
    cost, length, before = _sweep(node_of, pixels, factor, drawn)
    start = _farthest(cost)
    drawn[0] = False
    drawn[start] = True
    cost, length, before = _sweep(node_of, pixels, factor, drawn)
    node = _farthest(cost)
    main = length[node]
    filled = _walk_back(node, before, drawn, nodes, 0)
    ends[0] = filled
    found = 1
    while found <= branches:
        cost, length, before = _sweep(node_of, pixels, factor, drawn)
        node = _farthest(length)
        if length[node] <= 0 or length[node] < min_branch * main:
            break
        first = filled
        filled = _walk_back(node, before, drawn, nodes, filled)
        nodes[first:filled] = nodes[first:filled][::-1].copy()
        if length[node] < 2 * radius[nodes[first]]:
            filled = first  # the pixels stay marked as drawn, so that the search goes on elsewhere
            continue
        ends[found] = filled
        found += 1
    return nodes[:filled], ends[:found]


@compiled
@no_type_check
def _farthest(values):
    best = 0
    for node in range(len(values)):
        if values[node] < np.inf and (values[node] > values[best] or values[best] == np.inf):
            best = node
    return best


@compiled
@no_type_check
def _walk_back(node, before, drawn, nodes, filled):
    """Append the path from `node` back to the drawn set, mark it as drawn, and return the new fill."""
    while node >= 0:
        nodes[filled] = node
        filled += 1
        drawn[node] = True
        node = before[node]
    return filled


@compiled
@no_type_check
def _sweep(node_of, pixels, factor, sources):
    """Dijkstra from all sources at once: cost, length and predecessor (-1 at sources) of each node."""
    count = len(pixels)
    cost = np.full(count, np.inf)
    length = np.full(count, np.inf)
    before = np.full(count, -1, np.int64)
    heap_cost = np.empty(8 * count + count)
    heap_node = np.empty(8 * count + count, np.int64)
    size = 0
    for node in range(count):
        if sources[node]:
            cost[node] = length[node] = 0.0
            size = _push(heap_cost, heap_node, size, 0.0, node)
    while size:
        reached, node = heap_cost[0], heap_node[0]
        size = _pop(heap_cost, heap_node, size)
        if reached > cost[node]:
            continue
        row, col = pixels[node, 0] + 1, pixels[node, 1] + 1
        for down in range(-1, 2):
            for right in range(-1, 2):
                near = node_of[row + down, col + right]
                if near < 0 or near == node:
                    continue
                step = 1.4142135623730951 if down and right else 1.0
                new = reached + step * 0.5 * (factor[node] + factor[near])
                if new < cost[near]:
                    cost[near] = new
                    length[near] = length[node] + step
                    before[near] = node
                    size = _push(heap_cost, heap_node, size, new, near)
    return cost, length, before


@compiled
@no_type_check
def _push(heap_cost, heap_node, size, cost, node):
    place = size
    while place:
        parent = (place - 1) // 2
        if heap_cost[parent] <= cost:
            break
        heap_cost[place], heap_node[place] = heap_cost[parent], heap_node[parent]
        place = parent
    heap_cost[place], heap_node[place] = cost, node
    return size + 1


@compiled
@no_type_check
def _pop(heap_cost, heap_node, size):
    size -= 1
    cost, node = heap_cost[size], heap_node[size]
    place = 0
    while True:
        child = 2 * place + 1
        if child >= size:
            break
        if child + 1 < size and heap_cost[child + 1] < heap_cost[child]:
            child += 1
        if heap_cost[child] >= cost:
            break
        heap_cost[place], heap_node[place] = heap_cost[child], heap_node[child]
        place = child
    heap_cost[place], heap_node[place] = cost, node
    return size
