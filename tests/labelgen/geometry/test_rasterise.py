from itertools import pairwise

import numpy as np
import pytest

from labelgen.geometry.pens import PENS, draw_rloss, draw_tel
from labelgen.geometry.polyline import shrink_polyline
from labelgen.geometry.rasterise import draw_inside, draw_polyline


def test_a_horizontal_line_three_pixels_wide():
    drawn = draw_polyline(np.array([[2.0, 2.0], [2.0, 5.0]]), width=3.0, size=(5, 8))
    assert drawn.astype(int).tolist() == [
        [0, 0, 0, 0, 0, 0, 0, 0],
        [0, 1, 1, 1, 1, 1, 1, 0],
        [0, 1, 1, 1, 1, 1, 1, 0],
        [0, 1, 1, 1, 1, 1, 1, 0],
        [0, 0, 0, 0, 0, 0, 0, 0],
    ]


def test_equals_brute_force_distance_to_the_segments(rng):
    points = rng.uniform(-5, 35, size=(6, 2))
    grid = np.stack(np.mgrid[:30, :40], axis=-1).astype(float)
    nearest = np.full((30, 40), np.inf)
    for start, end in pairwise(points):
        along = np.clip(((grid - start) @ (end - start)) / ((end - start) @ (end - start)), 0, 1)
        nearest = np.minimum(nearest, np.hypot(*np.moveaxis(grid - start - along[..., None] * (end - start), -1, 0)))
    for width in (2.0, 3.0, 7.5):
        assert np.array_equal(draw_polyline(points, width=width, size=(30, 40)), nearest <= width / 2 + 0.1 + 1e-9)


@pytest.mark.parametrize("width", [1.0, 1.3])
def test_thin_pens_leave_no_gap(width, rng):
    import cv2

    for _ in range(20):
        points = rng.uniform(2, 38, size=(5, 2))
        drawn = draw_polyline(points, width=width, size=(40, 40))
        assert cv2.connectedComponents(drawn.astype(np.uint8), connectivity=8)[0] == 2


def test_parts_cover_subsets(rng):
    points = rng.uniform(0, 50, size=(7, 2))
    larger = draw_polyline(points, width=3.0, size=(50, 50))
    for shrink in (0.2, 0.5, 0.7, 1.0):
        smaller = draw_polyline(shrink_polyline(points, shrink), width=3.0, size=(50, 50))
        assert not (smaller & ~larger).any()
        larger = smaller


def test_mean_width_of_long_strokes(rng):
    ratios = []
    for _ in range(20):
        points = rng.uniform(10, 190, size=(2, 2))
        span = np.hypot(*(points[1] - points[0]))
        if span > 60:
            ratios.append((draw_polyline(points, width=3.0, size=(200, 200)).sum() - np.pi * 1.6**2) / span)
    assert 3.0 <= np.mean(ratios) <= 3.6


def test_a_line_in_a_region_thinner_than_the_pen_stays_on_its_side():
    region = np.array([[1, 1, 1, 1], [0, 0, 0, 0], [1, 1, 1, 1]], bool)
    drawn = draw_inside(np.array([[0.0, 0.0], [0.0, 3.0]]), width=5.0, region=region)
    assert drawn.astype(int).tolist() == [[1, 1, 1, 1], [0, 0, 0, 0], [0, 0, 0, 0]]


def test_a_line_that_misses_its_region_marks_the_nearest_pixel():
    region = np.zeros((9, 9), bool)
    region[8, 8] = True
    assert np.argwhere(draw_inside(np.array([[1.0, 1.0]]), width=3.0, region=region)).tolist() == [[8, 8]]
    assert not draw_inside(np.array([[1.0, 1.0]]), width=3.0, region=np.zeros((3, 3), bool)).any()


def test_other_pens():
    line = np.array([[3.0, 2.0], [3.0, 7.0]])
    plain = draw_rloss(line, width=3.0, size=(7, 10))
    assert plain.astype(int).tolist()[2:5] == [[0, 0, 1, 1, 1, 1, 1, 1, 0, 0]] * 3
    round_ends = draw_tel(line, width=3.0, size=(7, 10))
    assert round_ends[3, 1]
    assert round_ends[3, 8]
    assert not round_ends[2, 1]
    dot = np.array([[2.0, 2.0]])
    assert draw_rloss(dot, width=3.0, size=(5, 5)).sum() == 9
    assert draw_tel(dot, width=1.0, size=(5, 5)).sum() == 1
    assert set(PENS) == {"round", "rloss", "tel"}
