"""Distance weights against brute force over all pairs of pixels."""

import math

import numpy as np
import pytest

from labelgen.geometry.distance_weights import (
    CONTOUR_RADIUS,
    SCRIBBLE_RADIUS,
    contour_of,
    contour_weights,
    radius_of_lambda,
    scribble_weights,
)


def _distance(points: np.ndarray) -> np.ndarray:
    """Distance of every pixel to the nearest point, by looking at every point."""
    grid = np.argwhere(np.ones(points.shape, bool))
    gaps = grid[:, None, :] - np.argwhere(points)[None, :, :]
    return np.sqrt((gaps**2).sum(axis=2)).min(axis=1).reshape(points.shape)


def _contour(labels: np.ndarray, ignore: int = 255) -> np.ndarray:
    height, width = labels.shape
    contour = np.zeros(labels.shape, bool)
    for row in range(height):
        for column in range(width):
            for r, c in ((row - 1, column), (row + 1, column), (row, column - 1), (row, column + 1)):
                if 0 <= r < height and 0 <= c < width and ignore not in (labels[row, column], labels[r, c]):
                    contour[row, column] |= labels[row, column] != labels[r, c]
    return contour


@pytest.mark.parametrize("radius", [3.0, 7.5])
def test_scribble_weights_are_those_of_the_distance_to_every_stroke_pixel(radius):
    strokes = np.random.default_rng(0).random((17, 23)) < 0.02
    expected = np.clip(1 - _distance(strokes) / radius, 0, None)
    weights = scribble_weights(strokes, radius=radius)
    assert weights.dtype == np.float32
    np.testing.assert_allclose(weights, expected, atol=1e-6)


@pytest.mark.parametrize("background", [0, None])
def test_contour_weights_are_those_of_the_distance_to_every_contour_pixel(background):
    labels = np.random.default_rng(1).choice(np.array([0, 3, 7, 255], np.uint8), size=(4, 5)).repeat(5, 0).repeat(6, 1)
    expected = np.clip(_distance(_contour(labels)) / 4.0, None, 1) * (labels != 255)
    np.testing.assert_array_equal(contour_of(labels), _contour(labels))
    np.testing.assert_allclose(contour_weights(labels, radius=4.0, background=background), expected, atol=1e-6)


def test_the_defaults_are_the_factors_of_the_paper():
    assert pytest.approx(radius_of_lambda(math.e), abs=0.05) == SCRIBBLE_RADIUS
    assert pytest.approx(radius_of_lambda(math.exp(6)), abs=0.05) == CONTOUR_RADIUS
    strokes = np.zeros((1, 200), bool)
    strokes[0, 0] = True
    weights = scribble_weights(strokes)[0]
    assert weights[0] == 1
    assert (weights[:155] > 0).all()
    assert not weights[155:].any()
    labels = np.zeros((1, 100), np.uint8)
    labels[0, 50:] = 3
    weights = contour_weights(labels)[0]
    assert (weights[49 - 12 : 50] < 1).all()
    assert (weights[: 49 - 12] == 1).all()
    assert weights[49] == weights[50] == 0
    np.testing.assert_array_equal(weights, weights[::-1])


def test_nothing_to_measure_from():
    assert not scribble_weights(np.zeros((4, 5), bool)).any()
    assert not contour_weights(np.zeros((4, 5), np.uint8)).any()
    assert not contour_weights(np.full((4, 5), 255, np.uint8), background=None).any()
    whole = np.full((4, 5), 3, np.uint8)
    whole[0] = 255
    np.testing.assert_array_equal(contour_weights(whole), whole == 3)
    np.testing.assert_array_equal(contour_weights(np.zeros((2, 2), np.uint8), background=None), np.ones((2, 2)))


def test_padding_has_no_weight():
    labels = np.zeros((30, 40), np.uint8)
    labels[8:20, 10:30] = 5
    padded = np.pad(labels, ((0, 6), (4, 0)), constant_values=255)
    weights = contour_weights(padded)
    assert not weights[30:].any()
    assert not weights[:, :4].any()
    np.testing.assert_array_equal(weights[:30, 4:], contour_weights(labels))


def test_another_ignore_id():
    labels = np.array([[0, 0, 300, 300, 65535]], np.uint16)
    np.testing.assert_array_equal(contour_weights(labels, radius=1, ignore=65535), [[1, 0, 0, 1, 0]])


@pytest.mark.parametrize("radius", [0.0, -1.0, float("nan")])
def test_a_radius_is_positive(radius):
    with pytest.raises(ValueError, match="radius must be > 0"):
        scribble_weights(np.ones((2, 2), bool), radius=radius)
    with pytest.raises(ValueError, match="radius must be > 0"):
        contour_weights(np.ones((2, 2), np.uint8), radius=radius)
    with pytest.raises(ValueError, match="lambda must be > 0"):
        radius_of_lambda(radius)
