import numpy as np
import pytest
import torch

from labelgen.errors import ConfigError
from labelgen.nets.geometry import Geometry, geometry_for
from segprobe.sampling import upsample_logits
from segprobe.upsampling import (
    GuidedSettings,
    guided_upsample,
    joint_bilateral,
    parse_upsample,
    token_colours,
)


def picture(size, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (*size, 3), dtype=np.uint8)


def shares(grid, classes=3, seed=1):
    return torch.from_numpy(np.random.default_rng(seed).dirichlet(np.ones(classes), grid).astype(np.float32))


def loop(values, colours, seen, image, rows, cols, settings):
    """The weighted mean over the window of every pixel, term by term, in float64."""
    out = np.zeros((len(rows), len(cols), values.shape[-1]))
    height, width = seen.shape
    for y, u in enumerate(rows):
        for x, v in enumerate(cols):
            i0, j0 = (min(max(int(np.floor(p + 0.5)), 0), n - 1) for p, n in ((u, height), (v, width)))
            total, mass = np.zeros(values.shape[-1]), 0.0
            for i in range(max(0, i0 - settings.radius), min(height, i0 + settings.radius + 1)):
                for j in range(max(0, j0 - settings.radius), min(width, j0 + settings.radius + 1)):
                    space = ((u - i) ** 2 + (v - j) ** 2) / (2 * settings.sigma_space**2)
                    colour = ((image[y, x] - colours[i, j]) ** 2).sum() / (2 * settings.sigma_colour**2)
                    weight = np.exp(-space - colour) * seen[i, j]
                    total, mass = total + weight * values[i, j], mass + weight
            out[y, x] = total / mass
    return out


@pytest.mark.parametrize("flip", [False, True])
def test_the_filter_equals_a_loop_over_pixels_and_tokens(flip):
    geometry = geometry_for((9, 11), (18, 22), stride=4, multiple=4, flip=flip)
    settings = GuidedSettings(radius=1, sigma_space=0.8, sigma_colour=0.3)
    guide, values = picture((9, 11)), shares(geometry.grid)
    colours, seen = token_colours(torch.from_numpy(guide.astype(np.float32) / 255), geometry)
    rows, _ = geometry.token_coordinates(np.arange(9.0), np.zeros(9))
    _, cols = geometry.token_coordinates(np.zeros(11), np.arange(11.0))
    doubles = (x.double().numpy() for x in (values, colours, seen))
    expected = loop(*doubles, guide.astype(np.float64) / 255, rows, cols, settings)
    np.testing.assert_allclose(guided_upsample(values, guide, geometry, settings), expected, atol=1e-5)


def test_strips_change_nothing(monkeypatch):
    geometry = geometry_for((20, 16), (20, 16), stride=4, multiple=4)
    guide, values = picture((20, 16)), shares(geometry.grid)
    whole = guided_upsample(values, guide, geometry)
    monkeypatch.setattr("segprobe.upsampling.AT_ONCE", 16 * 25 * 3)
    torch.testing.assert_close(guided_upsample(values, guide, geometry), whole)


def test_colours_of_tokens_are_the_bilinear_means_of_their_pixels():
    geometry = Geometry(size=(2, 4), resized=(2, 4), pad=(0, 2), grid=(1, 4), stride=2)
    image = torch.zeros(2, 4, 3)
    image[:, 1:3] = 1.0
    colours, seen = token_colours(image, geometry)
    # pixels lie at 0.75, 1.25, 1.75, 2.25 tokens
    np.testing.assert_allclose(colours[0, 1:3, 0], [1.0 / 1.75, 1.0 / 1.75], atol=1e-6)
    assert seen.tolist() == [[True, True, True, True]]


def test_tokens_of_the_padding_have_no_say():
    geometry = Geometry(size=(2, 2), resized=(2, 2), pad=(0, 4), grid=(1, 5), stride=2)
    values = torch.zeros(1, 5, 1)
    values[0, [0, 4]] = 9.0
    values[0, 2] = 1.0
    found = guided_upsample(values, picture((2, 2)), geometry, GuidedSettings(sigma_colour=9.0, sigma_space=9.0))
    assert found.min() > 0 and found.max() < 1


def test_probabilities_remain_probabilities_even_far_from_every_colour():
    geometry = geometry_for((8, 8), (8, 8), stride=4, multiple=4)
    guide = np.zeros((8, 8, 3), np.uint8)
    guide[::5, ::5] = 255
    found = guided_upsample(shares(geometry.grid), guide, geometry, GuidedSettings(sigma_colour=0.001))
    assert torch.isfinite(found).all()
    torch.testing.assert_close(found.sum(-1), torch.ones(8, 8))


def test_an_edge_between_tokens_is_found_by_its_colour():
    geometry = geometry_for((8, 16), (8, 16), stride=4, multiple=4)
    guide = np.full((8, 16, 3), 40, np.uint8)
    guide[:, 7:] = 220  # one pixel before the border between the second and the third token
    values = torch.zeros(2, 4, 2)
    values[:, :2, 0] = values[:, 2:, 1] = 1.0
    truth = np.broadcast_to(np.arange(16) >= 7, (8, 16))
    bilinear = upsample_logits(values, geometry).argmax(-1).numpy() == 1
    guided = guided_upsample(values, guide, geometry).argmax(-1).numpy() == 1
    assert (bilinear != truth).any()
    np.testing.assert_array_equal(guided, truth)


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("nearest", "upsample must be bilinear or guided, got 'nearest'"),
        ("bilinear,radius=2", "upsample must be bilinear or guided"),
        ("guided,radius=0", "radius must be >= 1 tokens"),
        ("guided,sigma_colour=0", "sigma_colour must be > 0"),
        ("guided,sigma=1", "upsample guided has no setting 'sigma'"),
    ],
)
def test_what_makes_no_sense_is_refused(text, sentence):
    with pytest.raises(ConfigError, match=sentence):
        parse_upsample(text)


def test_a_flat_image_leaves_a_blur_by_distance():
    geometry = geometry_for((4, 4), (4, 4), stride=2, multiple=2)
    values, settings = shares((2, 2)), GuidedSettings()
    found = guided_upsample(values, np.full((4, 4, 3), 9, np.uint8), geometry, settings)
    same = joint_bilateral(
        values,
        torch.zeros(2, 2, 3),
        torch.ones(2, 2, dtype=torch.bool),
        torch.zeros(4, 4, 3),
        torch.tensor([-0.25, 0.25, 0.75, 1.25]),
        torch.tensor([-0.25, 0.25, 0.75, 1.25]),
        settings,
    )
    torch.testing.assert_close(found, same)
