import numpy as np
import pytest

from labelgen.geometry.background import background_strokes
from labelgen.geometry.freehand import clearance, relax, stop_short, wobble
from labelgen.geometry.hand import Hand
from labelgen.geometry.interior import interior_of
from labelgen.geometry.polyline import cumulative_length
from labelgen.geometry.styles import STYLES

ROWS, COLS = np.mgrid[:90, :120]
SHAPES = {
    "disc": np.hypot(ROWS - 45, COLS - 60) < 40,
    "bar": (abs(ROWS - 45) < 4) & (abs(COLS - 60) < 55),
    "ring": (np.hypot(ROWS - 45, COLS - 60) < 42) & (np.hypot(ROWS - 45, COLS - 60) > 25),
    "l": ((abs(COLS - 20) < 8) & (ROWS > 5) & (ROWS < 85)) | ((abs(ROWS - 77) < 8) & (COLS > 12) & (COLS < 110)),
    "x": (abs(ROWS - 45 - (COLS - 60) * 0.7) < 8) | (abs(ROWS - 45 + (COLS - 60) * 0.7) < 8),
    "pole": abs(COLS - 60) < 1,
    "all": np.ones((90, 120), bool),
    "tiny": (abs(ROWS - 45) < 2) & (abs(COLS - 60) < 2),
    "pixel": (ROWS == 45) & (COLS == 60),
    "corner": ROWS + COLS < 30,
}


def inside(points, region):
    rows, cols = np.floor(points + 0.5).astype(int).T
    return region[rows, cols].all()


@pytest.mark.parametrize("style", STYLES)
@pytest.mark.parametrize("shape", SHAPES)
def test_every_vertex_of_every_style_is_in_the_region(style, shape):
    interior = interior_of(SHAPES[shape])
    for seed in range(3):
        for points in STYLES[style](interior, Hand(), np.random.default_rng(seed)):
            assert points.ndim == 2
            assert len(points) >= 1
            assert inside(points, SHAPES[shape])


@pytest.mark.parametrize("style", STYLES)
def test_the_same_numbers_draw_the_same_strokes(style):
    interior = interior_of(SHAPES["l"])
    first, again, other = (STYLES[style](interior, Hand(), np.random.default_rng(seed)) for seed in (1, 1, 2))
    assert all(np.array_equal(a, b) for a, b in zip(first, again, strict=True))
    if style != "skeleton":  # draws no numbers
        assert not all(np.array_equal(a, b) for a, b in zip(first, other, strict=False))


def test_branches_are_a_limit():
    interior = interior_of(SHAPES["x"])
    counts = [len(STYLES["path"](interior, Hand(branches=b), np.random.default_rng(0))) for b in (0, 1, 2, 5)]
    assert counts == [1, 2, 3, 3]


def test_an_l_is_followed_around_its_corner():
    points = STYLES["path"](interior_of(SHAPES["l"]), Hand(jitter=0.0), np.random.default_rng(0))[0]
    assert cumulative_length(points)[-1] > 120
    assert np.hypot(*(points - [77, 20]).T).min() < 12


def test_a_straight_line_is_straight():
    points = STYLES["line"](interior_of(SHAPES["disc"]), Hand(), np.random.default_rng(0))[0]
    assert len(points) == 2
    assert cumulative_length(points)[-1] > 50


def test_loops_surround_the_middle():
    points = STYLES["loop"](interior_of(SHAPES["disc"]), Hand(), np.random.default_rng(0))[0]
    angles = np.unwrap(np.arctan2(points[:, 0] - 45, points[:, 1] - 60))
    assert abs(angles[-1] - angles[0]) > 1.5 * np.pi


def test_smoothing_takes_the_staircase_away_and_keeps_the_ends():
    staircase = np.repeat(np.arange(40), 2).astype(float)
    path = np.stack([staircase[1:] + 20, staircase[:-1] + 20], axis=1)
    distance = interior_of(SHAPES["all"]).distance
    smooth = relax(path, distance, sigma=6.0, keep_clear=2.0)
    assert cumulative_length(path)[-1] == 78
    assert cumulative_length(smooth)[-1] == pytest.approx(39 * np.sqrt(2), rel=0.02)
    assert np.array_equal(smooth[[0, -1]], path[[0, -1]])


def test_smoothing_does_not_cut_a_corner_out_of_the_region():
    interior = interior_of(SHAPES["l"])
    path = np.array([[10.0, 20.0], [77.0, 20.0], [77.0, 105.0]])
    smooth = relax(path, interior.distance, sigma=25.0, keep_clear=2.5)
    assert (
        clearance(smooth, interior.distance).min() >= 2.3
    )  # vertices keep 2.5, the chords between them may cut a little deeper


def test_stop_short_trims_by_the_room_at_the_ends():
    interior = interior_of(SHAPES["bar"])  # half-width 4
    line = np.array([[45.0, 15.0], [45.0, 105.0]])
    assert stop_short(line, interior.distance, shares=(0.0, 0.0)).tolist() == line.tolist()
    assert stop_short(line, interior.distance, shares=(1.0, 0.5)).tolist() == [[45, 19], [45, 103]]


def test_wobble_is_bounded_by_a_quarter_of_the_room_in_spread(rng):
    distance = interior_of(SHAPES["all"]).distance
    line = np.stack([np.full(30, 45.0), np.linspace(20, 100, 30)], axis=1)
    moved = wobble(line, distance, amount=1.0, keep_clear=2.0, rng=rng)
    off = np.abs(moved - line)
    assert 0 < off[:, 0].max() < 16
    assert off[:, 1].max() < 1e-9
    assert np.array_equal(wobble(line, distance, amount=0.0, keep_clear=2.0, rng=rng), line)


def test_background_strokes_are_few_and_of_realistic_length():
    region = ~SHAPES["disc"]
    interior = interior_of(region)
    longest = cumulative_length(interior.paths(branches=0)[0])[-1]
    totals = []
    for seed in range(30):
        found = background_strokes([interior], Hand(), np.random.default_rng(seed), style="path", most=2)
        assert 1 <= len(found) <= 2
        totals.append(sum(cumulative_length(points)[-1] for _, points in found))
        assert all(inside(points, region) for _, points in found)
    assert max(totals) <= min(1.8 * longest, 3.5 * region.sum() ** 0.5) + 1e-6
    assert 0.5 * longest < np.mean(totals)


def test_a_second_piece_of_background_gets_the_second_stroke():
    pieces = [interior_of(np.ones((40, 60), bool)), interior_of(np.ones((30, 60), bool))]
    found = [
        background_strokes(pieces, Hand(), np.random.default_rng(seed), style="path", most=2) for seed in range(10)
    ]
    assert any({piece for piece, _ in entry} == {0, 1} for entry in found)
