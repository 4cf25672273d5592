"""Pixels keep their place through resizing, mirroring, padding and patches."""

import numpy as np
import pytest

from labelgen.errors import ConfigError
from labelgen.nets.geometry import Geometry, fitted_size, geometry_for


def centres_seen_by_tokens(geometry: Geometry) -> tuple[np.ndarray, np.ndarray]:
    """Push a picture of original (row, col) through the steps, literally, and read it at the centre of each token."""
    (height, width), (top, left) = geometry.resized, geometry.pad
    rows = (np.arange(height) + 0.5) * geometry.size[0] / height - 0.5
    cols = (np.arange(width) + 0.5) * geometry.size[1] / width - 0.5
    if geometry.flip:
        cols = cols[::-1]
    padded = np.full((*geometry.padded, 2), np.nan)
    padded[top : top + height, left : left + width, 0] = rows[:, None]
    padded[top : top + height, left : left + width, 1] = cols[None]
    patches = padded.reshape(geometry.grid[0], geometry.stride, geometry.grid[1], geometry.stride, 2)
    means = patches.mean(axis=(1, 3))  # an affine picture: its mean over a patch is its value at the centre
    return means[..., 0], means[..., 1]


@pytest.mark.parametrize("flip", [False, True])
@pytest.mark.parametrize(
    ("size", "resized", "stride"),
    [((37, 511), (37, 511), 14), ((375, 500), (448, 597), 16), ((64, 48), (64, 48), 8), ((10, 7), (33, 50), 5)],
)
def test_coordinates_agree_with_a_coordinate_picture(size, resized, stride, flip):
    geometry = geometry_for(size, resized, stride=stride, multiple=stride, flip=flip)
    rows, cols = centres_seen_by_tokens(geometry)
    whole = ~np.isnan(rows)  # tokens with padding see no single place
    i, j = np.nonzero(whole)
    u, v = geometry.token_coordinates(rows[whole], cols[whole])
    np.testing.assert_allclose(u, i, atol=1e-9)
    np.testing.assert_allclose(v, j, atol=1e-9)


def test_mirroring_an_image_mirrors_its_coordinates():
    plain = geometry_for((20, 30), (20, 30), stride=10, multiple=10)
    mirrored = geometry_for((20, 30), (20, 30), stride=10, multiple=10, flip=True)
    cols = np.arange(30.0)
    rows = np.zeros(30)
    assert np.allclose(plain.token_coordinates(rows, cols)[1], mirrored.token_coordinates(rows, cols[::-1])[1])


def test_padding_is_centred_to_the_coarsest_stride():
    geometry = geometry_for((33, 65), (33, 65), stride=8, multiple=32)
    assert geometry.padded == (64, 96)
    assert geometry.grid == (8, 12)
    assert geometry.pad == (15, 15)


def test_the_long_side_is_limited_without_distortion():
    assert fitted_size((37, 511), policy="keep", side=518, max_side=1036) == (75, 1036)
    assert fitted_size((100, 400), policy="native", side=0, max_side=200) == (50, 200)
    assert fitted_size((100, 400), policy="square", side=64, max_side=0) == (64, 64)
    assert fitted_size((1, 1000), policy="native", side=0, max_side=10) == (1, 10)


def test_unknown_policy_is_refused():
    with pytest.raises(ConfigError, match="must be one of keep, square, native, got 'crop'"):
        fitted_size((4, 4), policy="crop", side=4, max_side=0)
