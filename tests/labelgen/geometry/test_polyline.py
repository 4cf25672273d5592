import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from labelgen.geometry.polyline import cumulative_length, cut, resample, shrink_polyline

CORNER = np.array([[0.0, 0.0], [0.0, 10.0], [10.0, 10.0]])  # an L of length 20
TWO = np.array([[3.0, 0.0], [3.0, 8.0]])


def length(points):
    return float(cumulative_length(points)[-1])


def test_both_cuts_on_one_segment_leave_two_vertices():
    assert shrink_polyline(TWO, 0.5).tolist() == [[3, 2], [3, 6]]


def test_the_corner_of_an_l_stays_and_the_length_is_exact():
    assert shrink_polyline(CORNER, 0.4).tolist() == [[0, 4], [0, 10], [6, 10]]
    assert length(shrink_polyline(CORNER, 0.4)) == pytest.approx(12)


def test_shrink_0_is_the_identity_and_1_is_the_midpoint_along_the_line():
    assert shrink_polyline(CORNER, 0.0) is CORNER
    # the midpoint by arc length is the corner; the centroid would lie off the line
    assert shrink_polyline(CORNER, 1.0).tolist() == [[0, 10]]


@pytest.mark.parametrize(("anchor", "left"), [(0.0, [[3, 0], [3, 2]]), (1.0, [[3, 6], [3, 8]])])
def test_anchors_at_either_end(anchor, left):
    assert shrink_polyline(TWO, 0.75, anchor=anchor).tolist() == left


def test_a_dot_stays_a_dot():
    dot = np.array([[5.0, 6.0]])
    for shrink in (0.0, 0.5, 1.0):
        assert shrink_polyline(dot, shrink).tolist() == [[5, 6]]


def test_repeated_vertices_do_no_harm():
    points = np.array([[0.0, 0.0], [0.0, 0.0], [0.0, 4.0], [0.0, 4.0]])
    assert length(shrink_polyline(points, 0.5)) == pytest.approx(2)
    assert shrink_polyline(points[:2], 0.5).tolist() == [[0, 0]]


POINTS = st.lists(st.tuples(st.floats(0, 300), st.floats(0, 300)), min_size=2, max_size=12)


@settings(max_examples=60, deadline=None)
@given(POINTS, st.floats(0, 1), st.floats(0, 1))
def test_length_midpoint_and_nesting(vertices, shrink, more):
    points = np.array(vertices, np.float64)
    total = length(points)
    shrunk = shrink_polyline(points, shrink)
    assert length(shrunk) == pytest.approx((1 - shrink) * total, abs=1e-6)
    if total > 1:
        middle = cut(points, total / 2, total / 2)[0]
        assert np.hypot(*(cut(shrunk, length(shrunk) / 2, length(shrunk) / 2)[0] - middle)) < 1e-6
    smaller = shrink_polyline(points, shrink + (1 - shrink) * more)
    # every vertex of the smaller part is an end or a vertex of the larger part's interior
    inner = {tuple(p) for p in smaller[1:-1]}
    assert inner <= {tuple(p) for p in shrunk}


def test_resample_keeps_the_ends_and_spaces_evenly():
    points = resample(np.array([[0.0, 0.0], [0.0, 3.0], [0.0, 10.0]]), 2.5)
    assert points[:, 1].tolist() == [0, 2.5, 5, 7.5, 10]
    assert len(resample(np.zeros((3, 2)), 2.0)) == 1
