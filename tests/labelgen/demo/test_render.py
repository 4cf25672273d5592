import numpy as np
import pytest

from labelgen.demo.render import paint_object, placement
from labelgen.demo.shapes import Part, box, ellipse, polygon
from labelgen.demo.textures import TILE_NAMES, plain, tiles

UNIT = np.array([[1.0, 0.0, 0.0], [0.0, 1.0, 0.0]])
RED = plain((200, 0, 0))


def painted(part: Part, *, shape: tuple[int, int] = (6, 7)) -> tuple[np.ndarray, np.ndarray]:
    image = np.zeros((*shape, 3), dtype=np.uint8)
    return image, paint_object(image, [part], UNIT, offset=0)


def test_whole_pixels_of_a_box_are_owned_and_coloured():
    image, owned = painted(Part(box(1, 2, 4, 6), RED))
    expected = np.zeros((6, 7), dtype=bool)
    expected[1:4, 2:6] = True
    assert np.array_equal(owned, expected)
    assert np.array_equal(image[..., 0] > 0, expected)


def test_a_pixel_belongs_to_what_covers_half_of_it():
    image, owned = painted(Part(box(1, 2.5, 4, 6), RED))
    assert owned[2, 2]  # half covered
    assert 0 < image[2, 2, 0] < image[2, 4, 0]  # and mixed with the black below
    _, owned = painted(Part(box(1.5, 2.5, 4, 6), RED))
    assert not owned[1, 2]  # a quarter


def test_fill_agrees_with_the_even_odd_rule_at_the_subpixel_centres():
    rng = np.random.default_rng(3)
    for _ in range(8):
        corners = rng.integers(-40, 200, size=(6, 2)) / 16
        _, owned = painted(Part(corners, RED), shape=(12, 12))
        centres = (np.arange(24) + 0.5) / 2
        inside = np.array([[_inside(corners, row, col) for col in centres] for row in centres])
        cover = inside.reshape(12, 2, 12, 2).sum(axis=(1, 3))
        assert np.array_equal(owned, cover >= 2)


def _inside(corners: np.ndarray, row: float, col: float) -> bool:
    crossings = 0
    for (row_a, col_a), (row_b, col_b) in zip(corners, np.roll(corners, -1, axis=0), strict=True):
        if (row >= row_a) != (row >= row_b):
            crossing = col_a + (col_b - col_a) * (row - row_a) / (row_b - row_a)
            crossings += np.floor(crossing * 32) / 32 <= col  # crossings are rounded down to 1/16 of a subpixel
    return crossings % 2 == 1


def test_outside_the_image_nothing_happens():
    image, owned = painted(Part(box(10, 20, 14, 26), RED))
    assert not owned.any()
    assert not image.any()


def test_later_parts_cover_earlier_ones():
    image = np.zeros((6, 6, 3), dtype=np.uint8)
    parts = [Part(box(0, 0, 6, 6), RED), Part(box(2, 2, 5, 5), plain((0, 0, 200)))]
    paint_object(image, parts, UNIT, offset=0)
    assert image[3, 3, 2] > 150
    assert image[3, 3, 0] == 0


@pytest.mark.parametrize(("flip", "col"), [(False, 14.0), (True, 6.0)])
def test_placement_scales_flips_and_moves(flip, col):
    matrix = placement(20.0, 10.0, scale=2.0, flip=flip, tilt=0.0, shear=0.0, stretch=1.0)
    assert np.allclose(matrix @ [-3.0, 2.0, 1.0], [14.0, col])


def test_placement_lifts_the_nose_for_a_positive_tilt():
    matrix = placement(0.0, 0.0, scale=1.0, flip=False, tilt=90.0, shear=0.0, stretch=1.0)
    assert np.allclose(matrix @ [0.0, 1.0, 1.0], [-1.0, 0.0])


def test_tiles_are_all_different_and_textured():
    stack = tiles()
    assert stack.shape == (len(TILE_NAMES), 64, 64)
    assert len({tile.tobytes() for tile in stack}) == len(TILE_NAMES)
    assert all(tile.std() > 10 for tile in stack)


def test_shapes_lie_where_they_should():
    disc = ellipse(-5.0, 2.0, 5.0, 3.0)
    assert np.allclose(disc.mean(axis=0), [-5.0, 2.0])
    assert disc[:, 0].max() <= 0.0
    assert np.array_equal(polygon((1, 2), (3, 4)), [[1.0, 2.0], [3.0, 4.0]])
