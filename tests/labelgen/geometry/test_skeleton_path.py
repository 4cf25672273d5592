import networkx as nx
import numpy as np
import pytest

from labelgen.geometry.polyline import cumulative_length
from labelgen.geometry.skeleton_path import skeleton_paths
from labelgen.geometry.thinning import thin
from labelgen.strokes import arc_length


def length(path):
    return float(cumulative_length(path.astype(float))[-1])


def graph_of(skeleton):
    graph = nx.Graph()
    nodes = {tuple(int(v) for v in p) for p in np.argwhere(skeleton)}
    graph.add_nodes_from(nodes)
    for row, col in nodes:
        for down, right in ((0, 1), (1, -1), (1, 0), (1, 1)):
            if (row + down, col + right) in nodes:
                graph.add_edge((row, col), (row + down, col + right), weight=float(np.hypot(down, right)))
    return graph


def test_the_letter_t():
    skeleton = np.array([[1, 1, 1, 1, 1, 1, 1], [0, 0, 1, 0, 0, 0, 0], [0, 0, 1, 0, 0, 0, 0]], bool)
    main, branch = skeleton_paths(skeleton, branches=1, min_branch=0.2)
    assert {tuple(main[0]), tuple(main[-1])} == {(0, 6), (0, 0)} or tuple(main[-1]) == (2, 2)
    assert len(main) + len(branch) >= 9


def test_a_bar_of_100_by_5():
    path = skeleton_paths(thin(np.ones((5, 100), bool)))[0]
    assert 92 <= length(path) <= 100


def test_a_ring_gives_at_least_half_of_it():
    rows, cols = np.mgrid[:61, :61] - 30
    radius = np.hypot(rows, cols)
    path = skeleton_paths(thin((radius > 15) & (radius < 25)))[0]
    assert length(path) >= np.pi * 20 * 0.95


def test_an_x_with_two_branches_covers_both_diagonals():
    skeleton = np.eye(41, dtype=bool) | np.eye(41, dtype=bool)[::-1]
    paths = skeleton_paths(skeleton, branches=2)
    drawn = np.zeros_like(skeleton)
    for path in paths:
        drawn[tuple(path.T)] = True
    assert len(paths) == 3
    assert np.array_equal(drawn, skeleton)


@pytest.mark.parametrize("seed", range(6))
def test_equals_dijkstra_of_networkx_on_random_trees(seed):
    rng = np.random.default_rng(seed)
    skeleton = np.zeros((40, 40), bool)
    row, col = 20, 20
    for _ in range(60):  # a random walk of straight pieces with gaps of a pixel, thinned to a tree or nearly so
        down, right = rng.integers(-1, 2, 2)
        for _ in range(4):
            row, col = int(np.clip(row + down, 1, 38)), int(np.clip(col + right, 1, 38))
            skeleton[row, col] = True
    skeleton = thin(skeleton)
    graph = graph_of(skeleton)
    component = nx.node_connected_component(graph, tuple(int(v) for v in np.argwhere(skeleton)[0]))
    start = min(component)
    for _ in range(2):
        reach = nx.single_source_dijkstra_path_length(graph, start)
        start, best = max(reach.items(), key=lambda item: (item[1], item[0]))
    path = skeleton_paths(skeleton)[0]
    assert arc_length(path.astype(float)) == pytest.approx(best, rel=0.1)
    assert (np.abs(np.diff(path, axis=0)).max(axis=1) == 1).all()
    assert skeleton[tuple(path.T)].all()
    # no detours: the path is a shortest one between its ends
    ends = [tuple(int(v) for v in path[i]) for i in (0, -1)]
    assert nx.dijkstra_path_length(graph, *ends) == pytest.approx(length(path))


def test_a_hair_on_a_thick_stem_is_no_branch():
    region = np.zeros((41, 121), bool)
    region[10:31, 5:116] = True
    region[2:10, 60] = True
    skeleton = thin(region)
    from labelgen.geometry.distance import boundary_distance

    assert len(skeleton_paths(skeleton, branches=3, min_branch=0.0, distance=boundary_distance(region))) <= 3
    assert len(skeleton_paths(skeleton, branches=3, distance=boundary_distance(region))) == 1


def test_pull_takes_the_wider_way_around_a_hole():
    region = np.ones((40, 80), bool)
    region[4:12, 20:60] = False  # above the hole 4 pixels are left, below it 28
    from labelgen.geometry.distance import boundary_distance

    distance = boundary_distance(region)
    path = skeleton_paths(thin(region), distance=distance, pull=5.0)[0]
    middle = path[np.abs(path[:, 1] - 40) < 5]
    assert (middle[:, 0] > 12).all()


def test_empty_and_single():
    assert skeleton_paths(np.zeros((3, 3), bool)) == []
    single = np.zeros((3, 3), bool)
    single[1, 2] = True
    assert [p.tolist() for p in skeleton_paths(single, branches=2)] == [[[1, 2]]]
