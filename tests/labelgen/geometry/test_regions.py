from itertools import pairwise

import numpy as np
import pytest
from scipy import ndimage

from labelgen.geometry.distance import NO_SIDES, boundary_distance
from labelgen.geometry.interior import coarse_cells, interior_of
from labelgen.geometry.overrun import run_over
from labelgen.geometry.regions import component_regions, instance_regions, largest_component


def test_diagonal_pixels_are_one_component():
    labels = np.array([[7, 0, 0], [0, 7, 0], [0, 0, 255]], np.uint8)
    found = [(region.class_id, region.index, region.area) for region in component_regions(labels)]
    assert found == [(0, 0, 6), (7, 1, 2)]


def test_regions_cover_everything_but_void_once(rng):
    labels = rng.integers(0, 3, size=(20, 30)).astype(np.uint8)
    labels[rng.uniform(size=labels.shape) < 0.1] = 255
    seen = np.zeros(labels.shape, int)
    for region in component_regions(labels):
        (top, left), (height, width) = region.origin, region.mask.shape
        seen[top : top + height, left : left + width] += region.mask
        assert (labels[top : top + height, left : left + width][region.mask] == region.class_id).all()
        assert region.mask.sum() == region.area
    assert np.array_equal(seen, (labels != 255).astype(int))
    for class_id in range(3):
        count = ndimage.label(labels == class_id, structure=np.ones((3, 3)))[1]
        assert count == sum(region.class_id == class_id for region in component_regions(labels))


def test_wide_ids():
    labels = np.array([[300, 65535]], np.uint16)
    assert [region.class_id for region in component_regions(labels, ignore=65535)] == [300]


def test_touching_instances_are_two_regions_and_background_goes_by_component():
    labels = np.array([[0, 7, 7, 7, 0], [0, 7, 7, 7, 0]], np.uint8)
    instances = np.array([[0, 1, 1, 2, 0], [0, 1, 0, 2, 0]], np.int32)
    found = instance_regions(labels, instances, background=0)
    assert [(region.class_id, region.area) for region in found] == [(0, 2), (0, 2), (7, 1), (7, 3), (7, 2)]
    assert [region.index for region in found] == [0, 1, 2, 3, 4]


def test_largest_component_takes_the_first_of_equals():
    mask = np.array([[1, 1, 0, 1, 1]], bool)
    assert largest_component(mask).astype(int).tolist() == [[1, 1, 0, 0, 0]]


def test_distance_equals_scipy_and_knows_about_the_border(rng):
    region = rng.uniform(size=(20, 30)) > 0.2
    padded = ndimage.distance_transform_edt(np.pad(region, 1))[1:-1, 1:-1]
    assert np.allclose(boundary_distance(region), padded, atol=1e-4)
    assert np.allclose(boundary_distance(region, sides=NO_SIDES), ndimage.distance_transform_edt(region), atol=1e-4)
    # a region with the image border on its left only
    one = boundary_distance(np.ones((1, 4), bool), sides=(False, False, False, True))
    assert one.tolist() == [[4, 3, 2, 1]]
    assert boundary_distance(np.ones((2, 3), bool), sides=NO_SIDES).tolist() == [[5, 5, 5]] * 2


def test_interior_with_a_margin_keeps_the_largest_part():
    mask = np.zeros((11, 30), bool)
    mask[1:10, 1:10] = True
    mask[5, 10:20] = True
    mask[2:9, 20:27] = True
    inside = interior_of(mask, margin=0.5)
    assert inside.mask.sum() == 25  # distances 3, 4 and 5 of the larger square
    assert inside.area == mask.sum()
    assert inside.centre.tolist() == [5, 5]
    assert interior_of(mask, margin=0.99).mask.any()


@pytest.mark.parametrize("factor", [2, 3])
def test_coarse_cells_lie_wholly_inside(factor):
    rows, cols = np.mgrid[:60, :70]
    region = np.hypot(rows - 30, cols - 35) < 25
    cells, _ = coarse_cells(boundary_distance(region), factor)
    back = np.kron(cells, np.ones((factor, factor), bool))
    assert cells.any()
    assert not (back & ~region[: back.shape[0], : back.shape[1]]).any()


def test_paths_of_large_regions_on_the_coarse_grid_stay_inside():
    rows, cols = np.mgrid[:300, :400]
    region = (np.hypot((rows - 150) / 140, (cols - 200) / 190) < 1) & (np.hypot(rows - 150, cols - 200) > 30)
    for path in interior_of(region).paths(branches=2):
        dense = np.concatenate([a + (b - a) * np.linspace(0, 1, 5)[:, None] for a, b in pairwise(path)])
        assert region[tuple(np.floor(dense + 0.5).astype(int).T)].all()


def test_run_over_goes_past_the_contour_but_not_out_of_the_image():
    region = np.zeros((9, 40), bool)
    region[:, :20] = True
    points = np.array([[4.0, 8.0], [4.0, 15.0]])
    longer = run_over(points, region, overshoot=(0.0, 1.0))
    assert longer.tolist() == [[4, 8], [4, 15], [4, 35]]
    assert run_over(points[:1], region, overshoot=(0.0, 1.0)).tolist() == [[4, 8]]
