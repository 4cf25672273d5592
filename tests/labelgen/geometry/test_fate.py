import numpy as np
import pytest

from labelgen.geometry.fate import choose_dropped, shrink_strokes
from labelgen.strokes import Stroke


@pytest.mark.parametrize("drop", [0.1, 0.3, 0.5])
def test_share_of_a_thousand_strokes(drop, rng):
    dropped = choose_dropped([0] * 1000, rng.uniform(size=1000), drop=drop)
    assert abs(dropped.mean() - drop) < 4 * np.sqrt(drop * (1 - drop) / 1000)


@pytest.mark.parametrize(("drop", "count", "gone"), [(0.29, 100, 29), (0.5, 3, 1), (0.3, 10, 3), (1.0, 4, 4)])
def test_exact_mode_rounds_down(drop, count, gone, rng):
    assert choose_dropped([0] * count, rng.uniform(size=count), drop=drop, exact=True).sum() == gone


@pytest.mark.parametrize("exact", [False, True])
@pytest.mark.parametrize("keep_one", [False, True])
def test_larger_drops_take_supersets(exact, keep_one, rng):
    class_ids, luck = rng.integers(0, 4, 30).tolist(), rng.uniform(size=30)
    before = np.zeros(30, bool)
    for drop in (0.1, 0.2, 0.4, 0.8, 1.0):
        dropped = choose_dropped(class_ids, luck, drop=drop, exact=exact, keep_one_per_class=keep_one)
        assert not (before & ~dropped).any()
        if keep_one:
            assert {c for c, gone in zip(class_ids, dropped, strict=True) if not gone} == set(class_ids)
        before = dropped


def test_exact_takes_others_instead_of_spared_ones():
    luck = np.array([0.1, 0.2, 0.3, 0.4])
    assert choose_dropped([0, 1, 1, 1], luck, drop=0.5, exact=True, keep_one_per_class=True).tolist() == [
        False, True, True, False,
    ]  # fmt: skip


def test_no_strokes():
    assert choose_dropped([], np.zeros(0), drop=0.5, exact=True).shape == (0,)


def test_shrinking_keeps_the_full_vertices_and_shrinks_from_them_again():
    stroke = Stroke(3, np.array([[0.0, 0.0], [0.0, 16.0]]))
    half = shrink_strokes([stroke], 0.5, anchors=np.array([0.5]))[0]
    assert half.length == 8
    again = shrink_strokes([half], 0.75, anchors=np.array([0.5]))[0]
    assert again.points.tolist() == [[0, 6], [0, 10]]
    assert half.whole().points.tolist() == stroke.points.tolist()
    assert shrink_strokes([stroke], 0.0, anchors=np.array([0.5])) == (stroke,)
