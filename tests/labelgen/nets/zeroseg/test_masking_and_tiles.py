"""Which patches are seen, and how an image is cut for the teacher."""

import numpy as np
import pytest
import torch

from labelgen.nets.zeroseg.masking import hidden_patches, take, visible_patches
from labelgen.nets.zeroseg.tiles import centre_crop, tile_boxes, tile_members, tiles_of


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


@pytest.mark.parametrize(("mask", "kept"), [(0.0, 10), (0.6, 4), (0.75, 2), (0.99, 1)])
def test_so_many_patches_stay_in_order_and_each_once(mask, kept):
    visible = visible_patches(50, 10, mask=mask, generator=generator())
    assert visible.shape == (50, kept)
    assert (visible[:, 1:] > visible[:, :-1]).all()
    assert visible.min() >= 0 and visible.max() < 10


def test_masks_differ_between_images_and_come_from_the_generator():
    first, again, other = (visible_patches(8, 16, mask=0.5, generator=generator(s)) for s in (0, 0, 1))
    assert torch.equal(first, again) and not torch.equal(first, other)
    assert len({tuple(row) for row in first.tolist()}) > 1


def test_every_patch_is_seen_equally_often():
    visible = visible_patches(4000, 5, mask=0.6, generator=generator())
    shares = torch.bincount(visible.flatten(), minlength=5) / 4000
    assert torch.allclose(shares, torch.full((5,), 0.4), atol=0.03)


def test_hidden_is_what_is_not_visible():
    visible = torch.tensor([[0, 3], [1, 2]])
    assert hidden_patches(visible, 4).tolist() == [[False, True, True, False], [True, False, False, True]]
    tokens = torch.arange(8.0).reshape(2, 4, 1)
    assert take(tokens, visible).flatten().tolist() == [0, 3, 5, 6]


@pytest.mark.parametrize("size", [(12, 12), (13, 7), (128, 160), (5, 97)])
def test_tiles_of_each_scale_cover_the_image_once(size):
    boxes = tile_boxes(size, (1, 2, 3, 4))
    assert len(boxes) == 30 and boxes[0].tolist() == [0, 0, *size]
    first = 0
    for parts in (1, 2, 3, 4):
        counts = np.zeros(size, int)
        sides = []
        for top, left, bottom, right in boxes[first : first + parts**2]:
            counts[top:bottom, left:right] += 1
            sides.append((bottom - top, right - left))
        assert (counts == 1).all()
        assert (np.ptp(sides, axis=0) <= 1).all(), "equal but for rounding"
        first += parts**2


def test_patches_belong_to_the_tile_that_holds_their_centre():
    """Tiles of 24 pixels and patches of 8: a third of the image is 8 pixels, a quarter 6."""
    members = tile_members(3, 8, (1, 2, 3, 4)).reshape(30, 9)
    assert members[0].all()
    assert (members[5:14] == np.eye(9, dtype=bool)).all()
    assert (members[:5].sum(axis=0) == 2).all() and (members[14:].sum(axis=0) == 1).all()
    centres = [(4 + 8 * row, 4 + 8 * col) for row in range(3) for col in range(3)]
    for (top, left, bottom, right), held in zip(tile_boxes((24, 24), (1, 2, 3, 4)), members, strict=True):
        assert [top <= row < bottom and left <= col < right for row, col in centres] == held.tolist()


def test_tiles_are_read_row_by_row_and_resized():
    image = np.zeros((4, 6, 3), np.uint8)
    image[:2, 3:] = 200
    tiles = tiles_of(image, (1, 2), size=(5, 5))
    assert tiles.shape == (5, 5, 5, 3)
    assert [int(tile.mean()) for tile in tiles[1:]] == [0, 200, 0, 0]


def test_the_crop_is_the_middle_square_of_the_short_side():
    image = np.zeros((4, 10, 3), np.uint8)
    image[:, 3:7] = 9
    assert (centre_crop(image, 4) == 9).all()
    assert centre_crop(image, 8).shape == (8, 8, 3)
    assert centre_crop(image.transpose(1, 0, 2), 4).min() == 9
