import numpy as np
import pytest
import torch
from torch.nn import functional as F

from labelgen.errors import ConfigError
from labelgen.nets.clip_cam import check_tower, clip_cam
from labelgen.nets.clip_cam.softmax_cam import block_attention, image_vector
from labelgen.nets.dense_clip.blocks import read_block, run_blocks
from labelgen.refine.attention_affinity import component_boxes
from tests.labelgen.nets.dense_clip.towers import (
    checksum,
    noise,
    siglip_like,
    timm_clip,
    tiny_clip,
    tiny_resnet,
)
from tests.labelgen.nets.toy_clip import SHAPES, normalised, pictures, prototypes, trained

SIDE = 64


def words(count, dim=64, seed=1):
    return F.normalize(noise(count, dim, seed=seed), dim=1)


def whole_features(model, images, *, feature):
    tower = check_tower(model)
    tokens, _ = tower.embed(images)
    return image_vector(tower, run_blocks(tower.blocks, tokens), feature=feature)


@pytest.mark.parametrize("settings", [{}, {"quick_gelu": True}, {"custom_text": True}, {"batch_first": False}])
def test_the_class_token_is_what_open_clip_gives(settings):
    model, images = tiny_clip(**settings), noise(2, 3, SIDE, SIDE)
    with torch.no_grad():
        torch.testing.assert_close(
            whole_features(model, images, feature="class"), model.encode_image(images), atol=1e-5, rtol=1e-5
        )


@pytest.mark.parametrize("model", [tiny_clip(pool_type="avg"), timm_clip("test_vit", pool="avg", proj="linear")])
def test_the_mean_of_patches_is_what_towers_give_that_pool_so(model):
    side = check_tower(model).native_size[0]
    images = noise(1, 3, side, side)
    with torch.no_grad():
        torch.testing.assert_close(
            whole_features(model, images, feature="patches"), model.encode_image(images), atol=1e-4, rtol=1e-4
        )


def test_attention_is_that_of_open_clips_own_module():
    model = tiny_clip()
    block = model.visual.transformer.resblocks[1]
    normed = block.ln_1(noise(1, 10, 96))
    with torch.no_grad():
        wanted = block.attn(normed, normed, normed, need_weights=True, average_attn_weights=True)[1]
        torch.testing.assert_close(block_attention(read_block(block), normed), wanted[0])


@pytest.mark.parametrize("feature", ["patches", "class"])
def test_maps_are_those_of_gradients_through_the_whole_model(feature):
    model, images, text = tiny_clip(), noise(1, 3, SIDE, SIDE + 16), words(5)
    found = clip_cam(model, images, text, [1, 3], scale=7.0, feature=feature)
    tower = check_tower(model)
    for index, k in enumerate((1, 3)):
        seen = []

        def keep(module, given, output, seen=seen):
            seen.append(output.detach().requires_grad_())
            return seen[-1]

        handle = model.visual.transformer.resblocks[-1].ln_1.register_forward_hook(keep)
        tokens, grid = tower.embed(images)
        for block in model.visual.transformer.resblocks:  # open_clip's own forward
            tokens = block(tokens)
        handle.remove()
        finished = tower.visual.ln_post(tokens) @ tower.visual.proj
        vector = finished[0, 0] if feature == "class" else finished[0, 1:].mean(dim=0)
        chance = (7.0 * text @ vector / vector.norm()).softmax(dim=0)
        gradient = torch.autograd.grad(chance[k], seen[0])[0]
        wanted = (gradient[0, 1:].mean(dim=0) * seen[0][0, 1:]).sum(dim=1).reshape(grid)
        torch.testing.assert_close(found.maps[index], wanted.detach(), atol=1e-7, rtol=1e-3)
        torch.testing.assert_close(found.probabilities, chance.detach(), atol=1e-6, rtol=1e-4)
    assert not found.is_dead.any()


def test_attention_of_the_last_layers_is_their_mean():
    model, images = tiny_clip(), noise(1, 3, 32, 48)
    tower = check_tower(model)
    tokens, _ = tower.embed(images)
    maps = []
    with torch.no_grad():
        for block in tower.blocks:
            maps.append(block_attention(read_block(block), block.ln_1(tokens))[1:, 1:])
            tokens = block(tokens)
    for layers in (1, 2, 4):
        found = clip_cam(model, images, words(3), [0], scale=5.0, layers=layers)
        torch.testing.assert_close(found.attention, torch.stack(maps[-layers:]).mean(dim=0), atol=1e-6, rtol=1e-4)
    assert clip_cam(model, images, words(3), [0], scale=5.0).attention is None


def test_the_model_is_only_read():
    model = tiny_clip()
    before = checksum(model)
    with torch.inference_mode():  # as callers may be in
        found = clip_cam(model, noise(1, 3, 32, 32), words(3), [0, 1], scale=5.0, layers=2)
    assert checksum(model) == before and not any(p.requires_grad or p.grad is not None for p in model.parameters())
    assert not found.maps.requires_grad and not found.attention.requires_grad


def test_several_words_are_as_one_after_the_other():
    model, images, text = tiny_clip(), noise(1, 3, 32, 40), words(4)
    together = clip_cam(model, images, text, [0, 2, 3], scale=5.0).maps
    for index, k in enumerate((0, 2, 3)):
        torch.testing.assert_close(together[index], clip_cam(model, images, text, [k], scale=5.0).maps[0])


def test_a_word_without_rivals_has_no_map_and_it_is_said():
    found = clip_cam(tiny_clip(), noise(1, 3, 32, 32), words(1), [0], scale=5.0)
    assert found.is_dead.all() and not found.maps.any() and found.probabilities.tolist() == [1.0]


@pytest.mark.parametrize(
    ("model", "message"),
    [
        (siglip_like(), "pools them by attention"),
        (tiny_resnet(), "the image tower is a ResNet"),
        (timm_clip("test_convnext", pool="", proj="linear"), "is timm's ConvNeXt"),
    ],
)
def test_towers_that_the_recipe_does_not_fit_are_refused(model, message):
    with pytest.raises(ConfigError, match=message):
        check_tower(model)


def test_what_a_tower_lacks_is_refused():
    with pytest.raises(ConfigError, match=r"layers must lie in \[0, 4\] for this model, got 5"):
        clip_cam(tiny_clip(), noise(1, 3, 32, 32), words(2), [0], scale=5.0, layers=5)
    bare = timm_clip(
        "test_vit", pool="avg", img_size=64, patch_size=8, embed_dim=64, depth=2, num_heads=2, class_token=False,
        global_pool="avg",
    )  # fmt: skip
    with pytest.raises(ConfigError, match="has no class token"):
        clip_cam(bare, noise(1, 3, 64, 64), words(2), [0], scale=5.0, feature="class")
    with pytest.raises(ConfigError, match="4096 patches at most, got 65 x 64"):
        clip_cam(tiny_clip(), noise(1, 3, 520, 512), words(2), [0], scale=5.0, layers=1)


def planted(*, width=8, seed=0):
    """A tower that sees mean colours: the last block hands every token the mean of all, and words are colours."""
    model = tiny_clip(width=width, layers=1, head_width=width, seed=seed)
    visual = model.visual
    block = visual.transformer.resblocks[0]
    with torch.no_grad():
        for parameter in visual.parameters():
            parameter.zero_()
        for channel in range(3):
            visual.conv1.weight[channel, channel] = 1 / 64
            visual.conv1.weight[channel + 3, channel] = -1 / 64  # zero mean, so that norms keep the colour
        for norm in (visual.ln_pre, block.ln_1, block.ln_2, visual.ln_post):
            norm.weight.fill_(1.0)
        block.attn.in_proj_weight[2 * width :] = torch.eye(width)
        block.attn.out_proj.weight.copy_(torch.eye(width))
        visual.proj[:width] = torch.eye(width, 64)
    return model


def colour_word(red, green, blue):
    return F.normalize(torch.tensor([red, green, blue, -red, -green, -blue, *[0.0] * 58]), dim=0)


COLOURS = torch.eye(3)


def planted_picture(rng):
    """Grass, and two boxes of red and blue."""
    image = torch.tensor([0.1, 0.8, 0.1]).reshape(1, 3, 1, 1).expand(1, 3, SIDE, SIDE).clone()
    image += 0.05 * torch.from_numpy(rng.normal(size=image.shape)).float()
    boxes = np.zeros((2, 8, 8), bool)
    for index, column in enumerate((0, 4)):
        top, left = rng.integers(0, 5), column + rng.integers(0, 2)
        boxes[index, top : top + 3, left : left + 3] = True
        colour = COLOURS[2 * index].reshape(3, 1, 1)
        image[0, :, 8 * top : 8 * top + 24, 8 * left : 8 * left + 24] = colour
    return image, boxes


def test_planted_words_are_found_and_their_background_is_not():
    model, rng = planted(), np.random.default_rng(0)
    tags, grass = torch.stack([colour_word(1, 0, 0), colour_word(0, 0, 1)]), colour_word(0, 1, 0)[None]
    hits, outside = [], {False: [], True: []}
    for _ in range(20):
        image, boxes = planted_picture(rng)
        for with_grass in (False, True):
            text = torch.cat([tags, grass]) if with_grass else tags
            maps = clip_cam(model, image, text, [0, 1], scale=10.0).maps.relu().numpy()
            for plane, box in zip(maps, boxes, strict=True):
                outside[with_grass].append(plane[~boxes.any(axis=0)].mean() / plane.max())
                if with_grass:
                    hits.append(bool(box.reshape(-1)[plane.argmax()]))
                    assert (component_boxes(plane, share=0.4) & box).sum() == box.sum()
    assert np.mean(hits) >= 0.95
    assert np.mean(outside[True]) < np.mean(outside[False])


def test_a_model_that_learned_from_captions_points_at_the_shapes():
    model, text = trained(), prototypes(trained())
    images, truths, shown = pictures(np.random.default_rng(5), 24, most=2)
    hits, areas = [], []
    for image, truth, shapes in zip(images, truths, shown, strict=True):
        found = clip_cam(model, normalised(image[None]), text, shapes, scale=10.0, feature="class")
        planes = F.interpolate(found.maps[None], size=truth.shape, mode="bilinear")[0].numpy()
        for plane, shape in zip(planes, shapes, strict=True):
            region = truth == shape + 1
            hits.append(bool(region.reshape(-1)[plane.argmax()]))
            areas.append(region.mean())
    assert len(text) == len(SHAPES) and np.mean(hits) > 5 * np.mean(areas)
