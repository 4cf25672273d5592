import numpy as np
import pytest
import torch
from torch.nn import functional as F

from labelgen.nets.geometry import fitted_size, resize_image
from labelgen.nets.zeroshot.similarity import (
    ScoreMaps,
    encode_windows,
    fused_features,
    grid_term,
    linear_weights,
    window_term,
)
from labelgen.nets.zeroshot.views import LONGEST_SIDE, Windows, cosine_scores, tile_maps, window_maps
from labelgen.nets.zeroshot.windows import axis_windows

COLOURS = np.array([[255, 0, 0], [0, 255, 0], [0, 0, 255]], np.uint8)


def noise(*shape, seed=0):
    return torch.from_numpy(np.random.default_rng(seed).standard_normal(shape).astype(np.float32))


def slow_maps(scores, rows, columns, patch, resized, size):
    """Windows up-sampled, cut to their pixels, summed, divided by their number, resized: as the papers' code does."""
    prompts, _, _, high, wide = scores.shape
    total, count = torch.zeros(1, prompts, *resized), torch.zeros(resized)
    for i, (top, bottom) in enumerate(rows):
        for j, (left, right) in enumerate(columns):
            up = F.interpolate(scores[None, :, i, j], size=(high * patch, wide * patch), mode="bilinear")
            total[:, :, top:bottom, left:right] += up[..., : bottom - top, : right - left]
            count[top:bottom, left:right] += 1
    return F.interpolate(total / count, size=size, mode="bilinear")[0]


@pytest.mark.parametrize(
    ("resized", "crop", "stride", "patch", "size"),
    [
        ((40, 56), 16, 8, 4, (40, 56)),
        ((37, 53), 16, 8, 4, (61, 90)),
        ((33, 47), 21, 10, 8, (20, 31)),
        ((12, 64), 16, 16, 8, (12, 64)),
        ((9, 7), 0, 0, 4, (18, 14)),
        ((3, 5), 8, 4, 4, (1, 1)),
    ],
)
def test_maps_are_those_of_the_slow_way(resized, crop, stride, patch, size):
    rows, columns = (axis_windows(length, crop=crop, stride=stride) for length in resized)
    high, wide = (-(-(spans[0][1] - spans[0][0]) // patch) for spans in (rows, columns))
    scores = noise(3, len(rows), len(columns), high, wide)
    term = window_term(scores, rows=rows, columns=columns, patch=patch, resized=resized, size=size)
    maps = ScoreMaps((term,))
    assert len(maps) == 3 and maps.size == size
    expected = slow_maps(scores, rows, columns, patch, resized, size)
    for index in range(3):
        torch.testing.assert_close(maps.plane(index), expected[index], atol=1e-5, rtol=1e-5)


def test_a_constant_in_each_window_gives_averages():
    rows = columns = axis_windows(12, crop=8, stride=4)
    values = torch.tensor([[1.0, 2.0], [3.0, 4.0]])
    scores = values[None, :, :, None, None].expand(1, 2, 2, 2, 2).contiguous()
    plane = ScoreMaps(
        (window_term(scores, rows=rows, columns=columns, patch=4, resized=(12, 12), size=(12, 12)),)
    ).plane(0)
    expected = torch.empty(12, 12)
    covering = [[0], [0, 1], [1]]  # windows that hold each third of an axis
    for i, row_windows in enumerate(covering):
        for j, column_windows in enumerate(covering):
            mean = values[row_windows][:, column_windows].mean()
            expected[4 * i : 4 * i + 4, 4 * j : 4 * j + 4] = mean
    torch.testing.assert_close(plane, expected, atol=1e-6, rtol=0)


def test_a_map_does_not_depend_on_how_many_there_are():
    rows, columns = axis_windows(40, crop=16, stride=8), axis_windows(56, crop=16, stride=8)
    scores = noise(171, len(rows), len(columns), 4, 4)
    where = {"rows": rows, "columns": columns, "patch": 4, "resized": (40, 56), "size": (75, 100)}
    together = ScoreMaps((window_term(scores, **where),))
    for index in (0, 57, 170):
        alone = ScoreMaps((window_term(scores[index : index + 1], **where),))
        assert torch.equal(together.plane(index), alone.plane(0))


def test_grids_cover_the_image():
    scores = noise(2, 3, 5)
    maps = ScoreMaps((grid_term(scores, size=(14, 9)),))
    expected = F.interpolate(scores[None], size=(14, 9), mode="bilinear")[0]
    torch.testing.assert_close(torch.stack([maps.plane(0), maps.plane(1)]), expected, atol=1e-6, rtol=1e-6)


def test_terms_are_averaged_and_mirrored():
    one, other = grid_term(noise(1, 2, 3), size=(4, 6)), grid_term(noise(1, 2, 3, seed=1), size=(4, 6))
    mean = ScoreMaps((one, other)).plane(0)
    torch.testing.assert_close(mean, (ScoreMaps((one,)).plane(0) + ScoreMaps((other,)).plane(0)) / 2)
    assert torch.equal(ScoreMaps((one.mirrored(),)).plane(0), ScoreMaps((one,)).plane(0).flip(1))
    doubled = ScoreMaps((one,)).with_scores(lambda scores: torch.cat([scores, 2 * scores]))
    torch.testing.assert_close(doubled.plane(1), 2 * doubled.plane(0))


def test_interpolation_is_that_of_torch():
    values = noise(1, 1, 7)
    weights = linear_weights((np.arange(20) + 0.5) * 7 / 20 - 0.5, 7)
    expected = F.interpolate(values, size=20, mode="linear")[0, 0]
    torch.testing.assert_close(torch.from_numpy(weights).float() @ values[0, 0], expected)
    assert linear_weights(np.array([-3.0, 9.0]), 1).tolist() == [[1.0], [1.0]]


def test_features_of_aligned_windows_fuse_without_interpolation():
    rows = columns = axis_windows(24, crop=16, stride=8)
    whole = F.normalize(noise(6, 6, 3), dim=-1)
    parts = torch.stack([torch.stack([whole[top : top + 4, left : left + 4] for left in (0, 2)]) for top in (0, 2)])
    fused = fused_features(parts, rows=rows, columns=columns, patch=4, resized=(24, 24))
    torch.testing.assert_close(fused, whole, atol=1e-6, rtol=1e-6)
    odd = fused_features(parts, rows=((0, 13), (7, 20)), columns=((0, 16), (8, 24)), patch=4, resized=(20, 24))
    assert odd.shape == (5, 6, 3) and torch.isfinite(odd).all()


def test_windows_go_through_the_network_in_batches():
    pixels = np.arange(6 * 8 * 3, dtype=np.uint8).reshape(6, 8, 3)
    rows, columns = axis_windows(6, crop=4, stride=2), axis_windows(8, crop=4, stride=2)
    seen = []

    def encode(crops):
        seen.append(len(crops))
        return torch.from_numpy(crops[:, :2, :2, :1].astype(np.float32))

    features = encode_windows(pixels, encode, rows=rows, columns=columns, batch=4)
    assert features.shape == (2, 3, 2, 2, 1) and seen == [4, 2]
    assert features[1, 2, 0, 0, 0] == pixels[2, 4, 0]


def one_hot_colours(patch):
    """An encoder that says of each patch which colour its middle has, padding as the image tower does."""

    def encode(crops):
        height, width = (-length % patch for length in crops.shape[1:3])
        padded = np.pad(crops, ((0, 0), (0, height), (0, width), (0, 0)), mode="edge")
        blocks = padded.reshape(len(crops), padded.shape[1] // patch, patch, padded.shape[2] // patch, patch, 3)
        return torch.from_numpy(blocks.mean(axis=(2, 4)).astype(np.float32)) / 255

    return encode


@pytest.mark.parametrize("size", [(37, 53), (224, 224), (500, 333), (16, 700)])
@pytest.mark.parametrize("fuse", [False, True])
def test_the_label_map_of_a_colour_encoder_is_the_colour_map(size, fuse):
    truth = np.zeros(size, np.int64)
    truth[:, size[1] // 3 :] = 1
    truth[size[0] // 2 :, size[1] // 2 :] = 2
    windows = Windows(112, 64, 32, fuse_features=fuse)
    maps = window_maps(COLOURS[truth], one_hot_colours(8), cosine_scores(torch.eye(3)), windows, patch=8)
    labels = torch.stack([maps.plane(k) for k in range(3)]).argmax(dim=0).numpy()
    assert labels.shape == size
    resized = fitted_size(size, policy="keep", side=112, max_side=LONGEST_SIDE)
    reach = int(np.ceil(8 * max(size[0] / resized[0], size[1] / resized[1]))) + 1
    padded = np.pad(truth, reach, mode="edge")
    near = np.zeros(size, bool)
    for down in (-reach, 0, reach):
        for across in (-reach, 0, reach):
            shifted = padded[reach + down :, reach + across :][: size[0], : size[1]]
            near |= shifted != truth
    assert (~near).any(), "some pixels are farther than a patch from every border"
    assert (labels[~near] == truth[~near]).all()


def test_a_mirrored_image_gives_mirrored_maps():
    image = np.random.default_rng(0).integers(0, 256, (40, 64, 3), np.uint8)
    encode, compare = one_hot_colours(8), cosine_scores(F.normalize(noise(4, 3), dim=1))
    # sizes at which windows and patches lie symmetrically, so that the encoder commutes with mirroring
    plain, flip = Windows(40, 24, 8), Windows(40, 20, 10, flip=True)
    for windows in (plain, flip):
        one = window_maps(image, encode, compare, windows, patch=8)
        other = window_maps(np.ascontiguousarray(image[:, ::-1]), encode, compare, windows, patch=8)
        for index in range(4):
            torch.testing.assert_close(other.plane(index), one.plane(index).flip(1), atol=1e-5, rtol=0)


def test_resizing_keeps_proportions_and_limits_the_long_side():
    seen = []

    def encode(crops):
        seen.append(crops.shape[1:3])
        return torch.ones(len(crops), -(-crops.shape[1] // 16), -(-crops.shape[2] // 16), 2)

    for size in ((30, 60), (10, 4000)):
        maps = window_maps(
            np.zeros((*size, 3), np.uint8), encode, cosine_scores(torch.eye(2)), Windows(32, 0, 0), patch=16
        )
        assert maps.size == size
    assert seen == [(32, 64), (5, 2048)]


def test_tiles_see_all_of_the_image_at_several_sizes():
    image = np.zeros((32, 64, 3), np.uint8)
    image[:, 32:] = 255
    counts = []

    def embed(crops):
        counts.append(len(crops))
        white = torch.from_numpy(crops.mean(axis=(1, 2, 3)) / 255).float()
        return torch.stack([1 - white, white], dim=1)

    maps = tile_maps(image, embed, cosine_scores(torch.eye(2)), Windows(32, batch=200))
    assert counts == [1 * 3, 3 * 7, 7 * 15]
    labels = (maps.plane(1) > maps.plane(0)).numpy()
    assert not labels[:, :24].any() and labels[:, 40:].all()
    mirrored = tile_maps(
        np.ascontiguousarray(image[:, ::-1]), embed, cosine_scores(torch.eye(2)), Windows(32, flip=True)
    )
    torch.testing.assert_close(mirrored.plane(0), maps.plane(0).flip(1), atol=1e-6, rtol=0)


def test_images_are_resized_as_the_models_were_trained():
    image = np.random.default_rng(0).integers(0, 256, (20, 30, 3), np.uint8)
    assert resize_image(image, (20, 30)) is image
    assert resize_image(image, (10, 15)).std() < image.std()  # antialiased
