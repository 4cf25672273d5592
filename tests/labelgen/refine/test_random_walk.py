import numpy as np
import pytest

from labelgen.refine.band_affinity import (
    boundary_affinity,
    cells_between,
    cosine_affinity,
    l1_affinity,
    standardised,
)
from labelgen.refine.random_walk import half_plane, random_walk, transitions


def dense(affinity, offsets, beta):
    """Transition matrix of all pairs of cells, entry by entry."""
    _, height, width = affinity.shape
    matrix = np.eye(height * width)
    for k, (down, right) in enumerate(offsets):
        for row in range(height):
            for col in range(width):
                if row + down < height and 0 <= col + right < width:
                    i, j = row * width + col, (row + down) * width + col + right
                    matrix[i, j] = matrix[j, i] = affinity[k, row, col] ** beta
    return matrix / matrix.sum(axis=0)


def affinity_of(rng, grid, radius=5):
    offsets = half_plane(radius)
    return l1_affinity(rng.normal(size=(*grid, 6)), offsets), offsets


def test_a_radius_of_five_has_34_offsets_in_half_the_plane():
    offsets = half_plane(5)
    assert len(offsets) == 34 and (offsets[:, 0] >= 0).all() and ((offsets**2).sum(axis=1) < 25).all()
    assert len({*map(tuple, offsets), *map(tuple, -offsets)}) == 68
    assert all(col > 0 for row, col in offsets if row == 0)


@pytest.mark.parametrize(
    ("steps", "wanted"),
    [
        (1, [0.699072, 0.300108, 0.0]),
        (4, [0.511317, 0.484136, 0.004596]),
        (64, [0.463939, 0.462298, 0.103308]),
    ],
)
def test_three_cells_worked_out_from_the_formula(steps, wanted):
    offsets = np.array([[0, 1], [0, 2]])
    affinity = np.array([[[0.9, 0.5, 0]], [[0.1, 0, 0]]])
    walked = random_walk(np.array([[[1.0, 0, 0]]]), affinity, offsets, beta=8, steps=steps)
    np.testing.assert_allclose(walked[0, 0], wanted, atol=1e-6)


@pytest.mark.parametrize("grid", [(12, 12), (3, 17), (1, 2)])
def test_steps_over_the_band_are_squarings_of_the_matrix(rng, grid):
    affinity, offsets = affinity_of(rng, grid)
    planes = rng.random((3, *grid), np.float32)
    matrix = dense(affinity, offsets, 8.0)
    for _ in range(5):
        matrix = matrix @ matrix
    walked = random_walk(planes, affinity, offsets, beta=8.0, steps=2**5)
    np.testing.assert_allclose(walked.reshape(3, -1), planes.reshape(3, -1) @ matrix, atol=1e-5)


def test_columns_sum_to_one_and_are_those_of_the_matrix(rng):
    affinity, offsets = affinity_of(rng, (6, 7))
    weights, around = transitions(affinity, offsets, beta=3.0)
    assert weights.shape == (6, 69, 7)
    np.testing.assert_allclose(weights.sum(axis=1), 1, atol=1e-12)
    matrix = dense(affinity, offsets, 3.0)
    for n, (down, right) in enumerate(around):
        for row in range(6):
            for col in range(7):
                inside = 0 <= row + down < 6 and 0 <= col + right < 7
                wanted = matrix[(row + down) * 7 + col + right, row * 7 + col] if inside else 0
                assert weights[row, n, col] == pytest.approx(wanted, abs=1e-6)


def test_constants_stay_and_results_lie_between_the_scores(rng):
    affinity, offsets = affinity_of(rng, (12, 9))
    constant = random_walk(np.full((1, 12, 9), 0.3), affinity, offsets, beta=8.0, steps=256)
    np.testing.assert_allclose(constant, 0.3, atol=1e-12)
    planes = rng.random((2, 12, 9))
    walked = random_walk(planes, affinity, offsets, beta=8.0, steps=100)
    for before, after in zip(planes, walked, strict=True):
        assert before.min() <= after.min() and after.max() <= before.max() and after.std() < before.std()


def test_blocks_without_affinity_never_exchange_anything(rng):
    features = np.zeros((8, 10, 2))
    features[:, :4, 0] = features[:, 4:, 1] = 1
    affinity, planes = cosine_affinity(features, half_plane(5)), rng.random((1, 8, 10))
    other = planes.copy()
    other[:, :, 4:] = 0
    walked, alone = (random_walk(p, affinity, half_plane(5), beta=1.0, steps=64) for p in (planes, other))
    np.testing.assert_array_equal(walked[:, :, :4], alone[:, :, :4])
    assert not alone[:, :, 4:].any() and not np.allclose(walked[:, :, :4], planes[:, :, :4])
    degrees = 1 / transitions(affinity, half_plane(5), beta=1.0)[0][:, 0]
    for block in (np.s_[0, :, :4], np.s_[0, :, 4:]):
        assert (walked[block] * degrees[block[1:]]).sum() == pytest.approx((planes[block] * degrees[block[1:]]).sum())


def test_a_high_power_leaves_different_cells_alone(rng):
    affinity, planes = affinity_of(rng, (6, 6))[0], rng.random((2, 6, 6))
    np.testing.assert_allclose(random_walk(planes, affinity, half_plane(5), beta=1e4, steps=256), planes, atol=1e-9)
    assert np.abs(random_walk(planes, affinity, half_plane(5), beta=1.0, steps=256) - planes).max() > 0.1


def test_a_boundary_is_a_wall(rng):
    boundary = np.zeros((9, 9))
    for step in range(9):
        boundary[step, 8 - step] = 1  # a diagonal, of which neighbours touch only at corners
    affinity = boundary_affinity(boundary, half_plane(5))
    planes = np.zeros((1, 9, 9))
    planes[0, 0, 0] = 1
    walked = random_walk(planes, affinity, half_plane(5), beta=10.0, steps=256)[0]
    above = np.add.outer(np.arange(9), np.arange(9)) < 8
    assert (walked[above] > 1e-4).all() and not walked[~above].any()
    open_grid = random_walk(planes, boundary_affinity(boundary * 0, half_plane(5)), half_plane(5), beta=10, steps=64)
    assert (open_grid[0] > 1e-4).all()


def test_boundary_affinity_is_the_formula_cell_by_cell(rng):
    boundary, offsets = rng.random((5, 6)), half_plane(4)
    affinity = boundary_affinity(boundary, offsets)
    for k, (down, right) in enumerate(offsets):
        for row in range(5):
            for col in range(6):
                wanted = 0.0
                if row + down < 5 and 0 <= col + right < 6:
                    cells = cells_between(int(down), int(right))
                    wanted = 1 - max(boundary[row + r, col + c] for r, c in cells)
                assert affinity[k, row, col] == pytest.approx(wanted, abs=1e-6)


@pytest.mark.parametrize("offset", [(0, 3), (2, 0), (1, 1), (3, -2), (4, 1)])
def test_lines_hold_both_ends_and_are_the_same_both_ways(offset):
    cells = cells_between(*offset)
    assert (0, 0) in cells and offset in cells
    assert {(offset[0] - r, offset[1] - c) for r, c in cells} == set(cells)
    rows, cols = (sorted({cell[axis] for cell in cells}) for axis in (0, 1))
    assert len(rows) == abs(offset[0]) + 1 and len(cols) == abs(offset[1]) + 1


def test_affinities_of_features_are_the_formulas(rng):
    features, offsets = rng.normal(size=(4, 5, 3)), half_plane(3)
    l1, cosine = l1_affinity(features, offsets), cosine_affinity(features, offsets)
    for k, (down, right) in enumerate(offsets):
        for row in range(4):
            for col in range(5):
                if not (row + down < 4 and 0 <= col + right < 5):
                    assert l1[k, row, col] == cosine[k, row, col] == 0
                    continue
                a, b = features[row, col], features[row + down, col + right]
                assert l1[k, row, col] == pytest.approx(np.exp(-np.abs(a - b).mean()), rel=1e-5)
                wanted = max(0, a @ b / np.linalg.norm(a) / np.linalg.norm(b))
                assert cosine[k, row, col] == pytest.approx(wanted, abs=1e-6)


def test_features_count_in_standard_deviations_of_the_image(rng):
    features = rng.normal(size=(4, 5, 3))
    np.testing.assert_allclose(standardised(features * 7 + 100), standardised(features), atol=1e-5)
    assert standardised(features).std() == pytest.approx(1)
    flat = standardised(np.full((4, 5, 3), 0.1))
    assert not flat.any() and (l1_affinity(flat, np.array([[0, 1]]))[:, :, :-1] == 1).all()
