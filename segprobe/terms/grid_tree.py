"""Minimum spanning trees of a grid of tokens: what is alike hangs together."""

from dataclasses import dataclass
from typing import no_type_check

import numpy as np
from jaxtyping import Float, Float64, Int32, Int64

from labelgen.geometry.compiled import compiled

__all__ = ["GridTree", "grid_edges", "grid_tree", "spanning_tree"]

_BESIDE = np.s_[:, :-1], np.s_[:, 1:]
_ABOVE = np.s_[:-1], np.s_[1:]


@dataclass(frozen=True)
class GridTree:
    """A spanning tree of the nodes of a grid, in an order in which each node comes after its parent.

    Parameters
    ----------
    order
        Node `row * w + col` at each place; the root, node 0, comes first, then breadth first.
    parent
        Place of the parent of the node at each place; 0 for the root itself.
    """

    order: Int32[np.ndarray, "N"]
    parent: Int32[np.ndarray, "N"]

    @property
    def nbytes(self) -> int:
        """Memory in bytes."""
        return self.order.nbytes + self.parent.nbytes

    def parent_nodes(self) -> Int32[np.ndarray, "N"]:
        """Node of the parent of the node at each place."""
        return self.order[self.parent]

    def edge_distances(self, guide: Float[np.ndarray, "N D"]) -> Float64[np.ndarray, "N"]:
        """Squared Euclidean distance of each node, by place, to its parent; 0 for the root."""
        guide = np.asarray(guide, np.float64)
        return ((guide[self.order] - guide[self.parent_nodes()]) ** 2).sum(axis=1)


def grid_tree(guide: Float[np.ndarray, "h w D"]) -> GridTree:
    """Find the minimum spanning tree of the 4-neighbour grid, an edge weighing |f_a - f_b|^2.

    Ties go to the edge that comes first in `grid_edges`, so that the same guide gives the same tree everywhere; edges
    of weight 0 are edges like others (sparse-matrix libraries take them for missing ones).

    Examples
    --------
    >>> tree = grid_tree(np.array([[[0.0], [9.0]], [[0.0], [8.0]]]))
    >>> tree.order.tolist(), tree.parent.tolist()
    ([0, 2, 3, 1], [0, 0, 1, 2])
    """
    height, width = guide.shape[:2]
    edges = grid_edges(height, width)
    beside, above = (((guide[a] - guide[b]) ** 2).sum(axis=2) for a, b in (_BESIDE, _ABOVE))
    weights = np.concatenate([beside.reshape(-1), above.reshape(-1)])
    return spanning_tree(height * width, edges, weights.astype(np.float64))


def grid_edges(height: int, width: int) -> Int64[np.ndarray, "E 2"]:
    """Pairs of neighbours of a grid: first all beside each other, then all above each other.

    Examples
    --------
    >>> grid_edges(2, 2).tolist()
    [[0, 1], [2, 3], [0, 2], [1, 3]]
    """
    nodes = np.arange(height * width).reshape(height, width)
    pairs = (np.stack([nodes[a].reshape(-1), nodes[b].reshape(-1)], axis=1) for a, b in (_BESIDE, _ABOVE))
    return np.concatenate(list(pairs))


def spanning_tree(count: int, edges: Int64[np.ndarray, "E 2"], weights: Float64[np.ndarray, "E"]) -> GridTree:
    """Kruskal's algorithm on a connected graph of `count` nodes, then breadth first from node 0."""
    by_weight = np.argsort(weights, kind="stable")
    chosen = np.empty((count - 1, 2), np.int64)
    _join(edges[by_weight], count, chosen)
    order, parent = np.empty(count, np.int32), np.zeros(count, np.int32)
    _breadth_first(chosen, order, parent)
    return GridTree(order, parent)


@compiled
@no_type_check
def _join(edges, count, chosen):
    """Write the edges that join two parts, in the given order."""
    part = np.arange(count)
    found = 0
    for edge in range(len(edges)):
        a, b = edges[edge]
        while part[a] != a:
            part[a] = part[part[a]]
            a = part[a]
        while part[b] != b:
            part[b] = part[part[b]]
            b = part[b]
        if a != b:
            part[max(a, b)] = min(a, b)
            chosen[found] = edges[edge]
            found += 1
            if found == count - 1:
                return


@compiled
@no_type_check
def _breadth_first(edges, order, parent):
    """Write nodes in the order of their distance from node 0, and where their parents stand."""
    count = len(order)
    first = np.zeros(count + 1, np.int64)
    for edge in range(len(edges)):
        first[edges[edge, 0] + 1] += 1
        first[edges[edge, 1] + 1] += 1
    for node in range(count):
        first[node + 1] += first[node]
    free, beside = first[:-1].copy(), np.empty(2 * len(edges), np.int64)
    for edge in range(len(edges)):
        for end in range(2):
            node = edges[edge, end]
            beside[free[node]] = edges[edge, 1 - end]
            free[node] += 1
    order[0], done = 0, 1
    for place in range(count):
        node = order[place]
        above = order[parent[place]] if place else -1
        for k in range(first[node], first[node + 1]):
            if beside[k] != above:
                order[done] = beside[k]
                parent[done] = place
                done += 1
