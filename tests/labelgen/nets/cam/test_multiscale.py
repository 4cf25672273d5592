import numpy as np
import pytest
import torch
from PIL import Image
from torch.nn import functional as F

from labelgen.errors import ConfigError, ShapeError
from labelgen.nets.cam.classifier import ClassMaps
from labelgen.nets.cam.multiscale import Views, interpolation_matrix, look_at_views, seen_pixels

PLAIN = {"mean": (0.0, 0.0, 0.0), "std": (1.0, 1.0, 1.0)}


def picture(size=(13, 18), seed=0):
    return np.random.default_rng(seed).integers(0, 256, (*size, 3), np.uint8)


def random_look(classes=3, stride=4, *, background=False, seed=0):
    """Two convolutions with random weights; what it saw is kept in `look.seen`."""
    generator = torch.Generator().manual_seed(seed)
    first = torch.randn(classes + 1, 3, stride, stride, generator=generator)
    second = torch.randn(classes + 1, classes + 1, 3, 3, generator=generator)

    def look(images):
        look.seen.append(tuple(images.shape))
        maps = F.conv2d(F.relu(F.conv2d(images, first, stride=stride)), second, padding=1)
        return ClassMaps(maps[:, :classes], maps[:, classes:].sigmoid() if background else None)

    look.seen = []
    return look


def by_the_book(look, image, views):
    """Scales, flip and bilinear interpolation as a plain loop, for sizes without padding."""
    size, total = image.shape[:2], 0
    for scale in views.scales:
        shape = (round(scale * size[0]), round(scale * size[1]))
        seen = np.asarray(Image.fromarray(image).resize(shape[::-1], Image.Resampling.BICUBIC))
        maps = []
        for flipped in (False, True)[: 1 + views.flip]:
            pixels = torch.from_numpy(seen[:, ::-1].copy() if flipped else seen.copy())
            raw = look(pixels.permute(2, 0, 1)[None].float() / 255).foreground
            raw = raw.relu() if views.relu else raw
            whole = F.interpolate(raw, size=size, mode="bilinear", align_corners=False)[0]
            maps.append(whole.flip(-1) if flipped else whole)
        total = total + (torch.stack(maps).amax(dim=0) if views.combine == "max" else sum(maps))
    return total


@pytest.mark.parametrize(
    "views",
    [
        Views(),
        Views(scales=(1.0,), flip=False),
        Views(scales=(1.0, 0.5, 1.5), combine="max"),
        Views(relu=True),
    ],
)
def test_it_is_the_sum_that_the_papers_describe(views):
    look, image = random_look(stride=2), picture((16, 24))
    found = look_at_views(look, image, views, multiple=2, **PLAIN)
    torch.testing.assert_close(found.foreground, by_the_book(look, image, views), rtol=1e-4, atol=1e-5)
    assert found.background is None


def test_an_image_and_its_mirror_image_share_a_pass_in_whole_multiples():
    look = random_look(stride=4)
    look_at_views(look, picture((13, 18)), Views(), multiple=8, **PLAIN)
    assert look.seen == [(2, 3, 8, 16), (2, 3, 16, 24), (2, 3, 24, 32), (2, 3, 32, 40)]


@pytest.mark.parametrize("combine", ["sum", "max"])
def test_a_mirrored_image_has_mirrored_maps(combine):
    look, image, views = random_look(background=True), picture(), Views(combine=combine)
    straight = look_at_views(look, image, views, multiple=8, **PLAIN)
    mirrored = look_at_views(look, image[:, ::-1].copy(), views, multiple=8, **PLAIN)
    torch.testing.assert_close(mirrored.foreground, straight.foreground.flip(-1), rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(mirrored.background, straight.background.flip(-1), rtol=1e-5, atol=1e-5)
    alone = look_at_views(look, image[:, ::-1].copy(), Views(flip=False), multiple=8, **PLAIN).foreground
    other = look_at_views(look, image, Views(flip=False), multiple=8, **PLAIN).foreground.flip(-1)
    assert (alone - other).abs().max() > 0.1, "the network itself is not symmetric"


def test_padding_moves_nothing():
    """A map that repeats the picture comes back as the picture, whatever the padding adds below and to the right."""
    ramp = np.tile(np.arange(18, dtype=np.uint8) * 10, (13, 1))
    image = np.stack([ramp] * 3, axis=2)

    def repeat(images):
        return ClassMaps(images[:, :1])

    for multiple in (1, 7, 16):
        views = Views(scales=(1.0,))
        found = look_at_views(repeat, image, views, multiple=multiple, **PLAIN).foreground[0]
        torch.testing.assert_close(found, torch.from_numpy(2 * (ramp / np.float32(255))))


def test_cut_off_below_zero_view_by_view_is_not_the_same_as_after_the_sum():
    look, image = random_look(), picture()
    once = look_at_views(look, image, Views(), multiple=4, **PLAIN).foreground.relu()
    each = look_at_views(look, image, Views(relu=True), multiple=4, **PLAIN).foreground
    assert (each >= once - 1e-5).all() and (each - once).max() > 0.1


def test_the_background_of_the_network_is_averaged():
    image = picture()

    def constant(images):
        return ClassMaps(images[:, :1], torch.full_like(images[:, :1], 0.25))

    for views in (Views(), Views(flip=False), Views(combine="max")):
        background = look_at_views(constant, image, views, multiple=4, **PLAIN).background
        torch.testing.assert_close(background, torch.full((13, 18), 0.25))


def test_a_permutation_of_classes_permutes_the_maps():
    look, image = random_look(), picture()
    order = [2, 0, 1]

    def permuted(images):
        return ClassMaps(look(images).foreground[:, order])

    expected = look_at_views(look, image, Views(), multiple=4, **PLAIN).foreground[order]
    torch.testing.assert_close(look_at_views(permuted, image, Views(), multiple=4, **PLAIN).foreground, expected)


def test_no_class_gives_no_map():
    def nothing(images):
        return ClassMaps(images[:, :0])

    assert look_at_views(nothing, picture(), Views(), multiple=4, **PLAIN).foreground.shape == (0, 13, 18)


def test_pixels_are_normalised_after_the_edge_is_repeated():
    image = picture((3, 5))
    seen = seen_pixels(image, (3, 5), flip=True, multiple=4, mean=(0.1, 0.2, 0.3), std=(0.5, 0.25, 2.0))
    assert seen.shape == (2, 3, 4, 8)
    assert seen[0, 1, 2, 4].item() == pytest.approx((image[2, 4, 1] / 255 - 0.2) / 0.25, abs=1e-5)
    torch.testing.assert_close(seen[0, :, 3, 7], seen[0, :, 2, 4])
    torch.testing.assert_close(seen[1, :, :3, :5], seen[0, :, :3, :5].flip(-1))


@pytest.mark.parametrize(("length", "cells"), [(12, 3), (3, 12), (7, 7), (10, 1), (1, 4)])
def test_the_matrix_interpolates_as_torch_does(length, cells):
    row = torch.randn(cells, generator=torch.Generator().manual_seed(0))
    expected = F.interpolate(row[None, None], size=length, mode="linear", align_corners=False)[0, 0]
    torch.testing.assert_close(interpolation_matrix(length, cells, step=cells / length) @ row, expected)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"scales": ()}, "one or more"),
        ({"scales": (1.0, 0.0)}, r"in \(0, 8\]"),
        ({"scales": (float("nan"),)}, r"in \(0, 8\]"),
        ({"scales": (9.0,)}, r"in \(0, 8\]"),
        ({"scales": (1.0, 1.0)}, "looked at once"),
        ({"combine": "max", "flip": False}, "flip is off"),
    ],
)
def test_views_that_make_no_sense_are_refused(settings, message):
    with pytest.raises(ConfigError, match=message):
        Views(**settings)


def test_maps_larger_than_the_image_are_refused():
    with pytest.raises(ShapeError, match="must not be larger"):
        look_at_views(
            lambda images: ClassMaps(images.repeat(1, 1, 2, 2)), picture(), Views(flip=False), multiple=1, **PLAIN
        )
