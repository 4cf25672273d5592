import itertools

import numpy as np
import pytest
import torch
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import minimum_spanning_tree

from segprobe.terms.grid_tree import GridTree, grid_edges, grid_tree
from segprobe.terms.tree_filter import tree_filter


def guide(height=8, width=8, depth=3, seed=0):
    return np.random.default_rng(seed).normal(size=(height, width, depth))


def path_sums(tree, distances):
    """Sum of the distances on the path between each two nodes, walked edge by edge up to the common ancestor."""
    count = len(tree.order)
    place = np.argsort(tree.order)
    sums = np.zeros((count, count))
    for i, j in itertools.product(range(count), repeat=2):
        a, b = int(place[i]), int(place[j])
        while a != b:  # a node stands after its parent, so the later one of the two has further to go
            later = max(a, b)
            sums[i, j] += distances[later]
            a, b = (int(tree.parent[later]), b) if later == a else (a, int(tree.parent[later]))
    return sums


def dense_filter(tree, distances):
    """The filter as an N x N matrix."""
    affinity = np.exp(-path_sums(tree, distances))
    return affinity / affinity.sum(axis=1, keepdims=True)


def matrix_of(tree, distances):
    return tree_filter(torch.eye(len(tree.order), dtype=torch.float64), torch.from_numpy(distances), tree).numpy()


# the tree -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [(8, 8), (3, 11), (1, 6), (5, 1)])
def test_tree_has_the_least_weight(size):
    features = guide(*size)
    tree = grid_tree(features)
    edges = grid_edges(*size)
    rows = features.reshape(-1, 3)
    weights = ((rows[edges[:, 0]] - rows[edges[:, 1]]) ** 2).sum(axis=1)
    count = len(rows)
    graph = coo_matrix((weights + 1, (edges[:, 0], edges[:, 1])), shape=(count, count))  # + 1: none is missing
    expected = minimum_spanning_tree(graph.tocsr())
    assert tree.edge_distances(rows).sum() == pytest.approx(expected.sum() - (count - 1), rel=1e-9)


def test_tree_spans_the_grid_along_neighbours():
    tree = grid_tree(guide(5, 7))
    assert sorted(tree.order.tolist()) == list(range(35))
    assert tree.order[0] == 0 and tree.parent[0] == 0
    assert (tree.parent[1:] < np.arange(1, 35)).all()
    steps = np.abs(np.stack(np.divmod(tree.order, 7)) - np.stack(np.divmod(tree.parent_nodes(), 7))).sum(axis=0)
    assert steps[1:].tolist() == [1] * 34


def test_ties_go_to_the_first_edge():
    assert grid_tree(np.zeros((3, 3, 2))).order.tolist() == [0, 1, 3, 2, 4, 6, 5, 7, 8]
    flat = grid_tree(np.zeros((40, 40, 1)))
    assert np.array_equal(flat.order, grid_tree(np.zeros((40, 40, 1))).order) and len(set(flat.order)) == 1600


def test_a_single_token_is_a_tree():
    tree = grid_tree(np.zeros((1, 1, 3)))
    assert matrix_of(tree, np.zeros(1)).tolist() == [[1.0]]


# the filter ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("sigma", [0.5, 5.0])
def test_equals_the_dense_matrix_of_path_sums(sigma):
    features = guide()
    tree = grid_tree(features)
    distances = tree.edge_distances(features.reshape(-1, 3)) / sigma
    np.testing.assert_allclose(matrix_of(tree, distances), dense_filter(tree, distances), atol=1e-8, rtol=0)


def test_path_of_three_by_hand():
    tree = GridTree(np.array([0, 1, 2], np.int32), np.array([0, 0, 1], np.int32))
    near, far = 0.5, 0.25
    distances = np.array([0.0, -np.log(near), -np.log(far)])
    affinity = np.array([[1, near, near * far], [near, 1, far], [near * far, far, 1]])
    np.testing.assert_allclose(matrix_of(tree, distances), affinity / affinity.sum(axis=1, keepdims=True), atol=1e-12)


def test_rows_sum_to_one_and_constants_stay():
    features = guide(6, 9)
    tree = grid_tree(features)
    distances = tree.edge_distances(features.reshape(-1, 3))
    np.testing.assert_allclose(matrix_of(tree, distances).sum(axis=1), 1, atol=1e-12)
    constant = torch.full((54, 2), 0.3)
    torch.testing.assert_close(tree_filter(constant, torch.from_numpy(distances), tree), constant)


def test_limits_of_sigma():
    features = guide()
    tree = grid_tree(features)
    distances = torch.from_numpy(tree.edge_distances(features.reshape(-1, 3)))
    values = torch.rand(64, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    torch.testing.assert_close(tree_filter(values, distances / 1e12, tree), values.mean(0).expand(64, 3))
    torch.testing.assert_close(tree_filter(values, distances / 1e-9, tree), values)


def test_what_the_root_is_given_as_distance_does_not_matter():
    tree = grid_tree(guide())
    distances = torch.rand(64, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    values = torch.rand(64, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    other = distances.clone()
    other[0] = 5.0
    assert torch.equal(tree_filter(values, distances, tree), tree_filter(values, other, tree))


# gradients ----------------------------------------------------------------------------------------------------------


def test_gradcheck_of_values_and_distances():
    tree = grid_tree(guide(3, 4))
    generator = torch.Generator().manual_seed(0)
    values = torch.rand(12, 2, dtype=torch.float64, generator=generator, requires_grad=True)
    distances = torch.rand(12, dtype=torch.float64, generator=generator, requires_grad=True)
    assert torch.autograd.gradcheck(lambda v, d: tree_filter(v, d, tree), (values, distances))


def test_gradient_equals_that_of_the_dense_matrix():
    features = guide(5, 5)
    tree = grid_tree(features)
    place = np.argsort(tree.order)
    on_path = np.zeros((25, 25, 25))  # which edges lie between each two nodes
    for edge in range(1, 25):
        alone = np.zeros(25)
        alone[edge] = 1
        on_path[..., edge] = path_sums(tree, alone)
    assert on_path[tree.order[0], tree.order[1], place[tree.order[1]]] == 1
    distances = torch.from_numpy(tree.edge_distances(features.reshape(-1, 3)) / 4).requires_grad_()
    values = torch.rand(25, 5, dtype=torch.float64, generator=torch.Generator().manual_seed(0), requires_grad=True)
    target = torch.rand(25, 5, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    (tree_filter(values, distances, tree) * target).sum().backward()
    found = values.grad.clone(), distances.grad.clone()
    values.grad = distances.grad = None
    dense = torch.exp(-(torch.from_numpy(on_path) @ distances))
    ((dense @ values / dense.sum(1, keepdim=True)) * target).sum().backward()
    torch.testing.assert_close(found[0], values.grad, atol=1e-10, rtol=0)
    torch.testing.assert_close(found[1], distances.grad, atol=1e-10, rtol=0)


def test_keeps_the_precision_of_what_comes_in():
    tree = grid_tree(guide())
    values = torch.rand(64, 2, generator=torch.Generator().manual_seed(0), requires_grad=True)
    filtered = tree_filter(values, torch.ones(64), tree)
    filtered.sum().backward()
    assert filtered.dtype == values.grad.dtype == torch.float32
