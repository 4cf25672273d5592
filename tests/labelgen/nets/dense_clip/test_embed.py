"""Padding and positions on other grids."""

import pytest
import torch

from labelgen.nets.dense_clip.embed import pad_to_multiple, resample_positions
from tests.labelgen.nets.dense_clip.towers import noise
from tests.labelgen.nets.reference_vit import cubic_resampled


def test_padding_reflects_at_the_right_and_at_the_bottom():
    image = torch.arange(12.0).reshape(1, 1, 3, 4)
    expected = [
        [0, 1, 2, 3, 2, 1],
        [4, 5, 6, 7, 6, 5],
        [8, 9, 10, 11, 10, 9],
        [4, 5, 6, 7, 6, 5],
        [0, 1, 2, 3, 2, 1],
    ]
    padded = pad_to_multiple(pad_to_multiple(image, 1), 5)
    assert padded.shape == (1, 1, 5, 5)
    assert torch.equal(padded[0, 0], torch.tensor(expected, dtype=torch.float32)[:, :5])


def test_a_pad_longer_than_the_image_repeats_the_last_pixel():
    image = torch.tensor([[[[1.0, 2.0], [3.0, 4.0]]]])
    expected = [[1, 2, 2, 2, 2], [3, 4, 4, 4, 4], [3, 4, 4, 4, 4], [3, 4, 4, 4, 4], [3, 4, 4, 4, 4]]
    assert torch.equal(pad_to_multiple(image, 5)[0, 0], torch.tensor(expected, dtype=torch.float32))


def test_whole_patches_are_left_alone():
    image = noise(1, 3, 16, 8)
    assert pad_to_multiple(image, 8) is image


def test_native_grid_returns_the_stored_positions():
    positions = noise(13, 5)
    assert resample_positions(positions, (3, 4), (3, 4), prefix=1) is positions


@pytest.mark.parametrize("prefix", [0, 1, 3])
def test_growing_is_cubic_convolution_along_each_axis(prefix):
    positions = noise(prefix + 12, 5)
    found = resample_positions(positions, (3, 4), (5, 7), prefix=prefix)
    assert torch.equal(found[:prefix], positions[:prefix])
    native = positions[prefix:].reshape(3, 4, 5)
    rows = torch.stack([cubic_resampled(native[:, c], 5, scale=5 / 3) for c in range(4)], dim=1)
    expected = torch.stack([cubic_resampled(rows[r], 7, scale=7 / 4) for r in range(5)])
    torch.testing.assert_close(found[prefix:], expected.reshape(35, 5).float(), atol=1e-5, rtol=0)


def test_rows_and_columns_are_not_swapped():
    rows = torch.arange(4.0)[:, None].expand(4, 3)
    columns = torch.arange(3.0)[None].expand(4, 3)
    found = resample_positions(torch.stack([rows, columns], dim=-1).reshape(12, 2), (4, 3), (8, 9), prefix=0)
    found = found.reshape(8, 9, 2)
    assert (found[1:, :, 0] > found[:-1, :, 0]).all()
    assert (found[:, 1:, 1] > found[:, :-1, 1]).all()
    torch.testing.assert_close(found[..., 0], found[:, :1, 0].expand(8, 9))


def test_shrinking_is_antialiased():
    stripes = torch.tensor([1.0, -1.0]).repeat(8)[None].expand(16, 16).reshape(256, 1)
    found = resample_positions(stripes, (16, 16), (5, 5), prefix=0)
    assert float(found.abs().max()) < 0.2  # without antialiasing, stripes of one patch come back at full contrast


def test_low_precision_positions_are_resampled_in_float32():
    positions = noise(9, 4)
    found = resample_positions(positions.bfloat16(), (3, 3), (6, 6), prefix=0)
    exact = resample_positions(positions.bfloat16().float(), (3, 3), (6, 6), prefix=0)
    assert torch.equal(found, exact.bfloat16())
