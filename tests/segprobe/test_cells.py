import numpy as np
import pytest

from labelgen.nets.geometry import Geometry, geometry_for
from segprobe.cells import cell_counts, cell_means, cells_of, inside_box, majority
from segprobe.labels import ImageLabels
from tests.segprobe.terms.grids import padded_geometry

FINE = 8  # samples a pixel of what the network sees, along one axis


def brute_means(values, geometry):
    """Sample the padded picture finely, look up the original pixel of each sample, average by token."""
    height, width = geometry.padded
    total = np.zeros(geometry.grid)
    count = np.zeros(geometry.grid)
    for i in range(height * FINE):
        for j in range(width * FINE):
            row = ((i + 0.5) / FINE - geometry.pad[0]) * geometry.size[0] / geometry.resized[0]
            col = ((j + 0.5) / FINE - geometry.pad[1]) * geometry.size[1] / geometry.resized[1]
            if not (0 <= row < geometry.size[0] and 0 <= col < geometry.size[1]):
                continue
            col = geometry.size[1] - 1 - int(col) if geometry.flip else int(col)
            token = i // FINE // geometry.stride, j // FINE // geometry.stride
            total[token] += values[int(row), col]
            count[token] += 1
    return np.divide(total, count, out=np.zeros(geometry.grid), where=count > 0)


@pytest.mark.parametrize("flip", [False, True])
def test_means_equal_those_of_fine_samples(flip):
    geometry = padded_geometry(flip)
    values = np.random.default_rng(0).random(geometry.size)
    np.testing.assert_allclose(cell_means(values, geometry), brute_means(values, geometry), atol=1e-9)


def test_pixels_that_two_cells_share_count_by_their_share():
    geometry = Geometry(size=(1, 3), resized=(4, 8), pad=(0, 0), grid=(1, 2), stride=4)
    np.testing.assert_allclose(cell_means(np.array([[0.0, 3.0, 6.0]]), geometry), [[1.0, 5.0]])


def test_means_of_a_constant_are_constant_on_the_image_and_0_on_padding():
    geometry = Geometry(size=(8, 8), resized=(8, 8), pad=(0, 0), grid=(3, 2), stride=4)
    assert cell_means(np.full((8, 8, 2), 0.5), geometry)[..., 0].tolist() == [[0.5, 0.5], [0.5, 0.5], [0.0, 0.0]]


@pytest.mark.parametrize("flip", [False, True])
def test_inside_is_where_half_of_the_cell_is_image(flip):
    geometry = padded_geometry(flip)  # rows 2 to 14 of 16, columns 5 to 25 of 32
    rows, cols = inside_box(geometry)
    assert (rows.start, rows.stop, cols.start, cols.stop) == (0, 4, 1, 6)


def test_an_image_smaller_than_half_a_token_is_still_inside_one():
    geometry = Geometry(size=(3, 3), resized=(3, 3), pad=(5, 5), grid=(1, 1), stride=14)
    assert inside_box(geometry) == (slice(0, 1), slice(0, 1))


@pytest.mark.parametrize("flip", [False, True])
def test_cells_of_pixels_agree_with_means(flip):
    geometry = geometry_for((6, 10), (12, 20), stride=4, multiple=4, flip=flip)
    pixels = np.arange(60)
    cells = cells_of(geometry, pixels)
    for pixel in (0, 7, 33, 59):
        marked = np.zeros(60)
        marked[pixel] = 1
        share = cell_means(marked.reshape(6, 10), geometry).reshape(-1)
        assert share.argmax() == cells[pixel]


def test_counts_leave_out_what_has_no_column():
    labels = ImageLabels.of(np.array([[0, 0, 3, 255], [2, 1, 3, 3]], np.uint8))
    geometry = Geometry(size=(2, 4), resized=(2, 4), pad=(0, 0), grid=(1, 2), stride=2)
    counts = cell_counts(labels, geometry, np.array([0, -1, 1, 2]))
    assert counts.tolist() == [[[2, 1, 0], [0, 0, 3]]]


@pytest.mark.parametrize(
    ("counts", "expected"),
    [([0, 0, 0], -1), ([1, 0, 0], 0), ([7, 3, 0], 0), ([69, 31, 0], -1), ([1, 1, 8], 2), ([5, 5, 0], -1)],
)
def test_majority_needs_seven_tenths_of_the_labelled_pixels(counts, expected):
    assert majority(np.array([[counts]])).item() == expected
