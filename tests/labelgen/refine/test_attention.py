import dataclasses

import numpy as np
import pytest
import timm
import torch

from labelgen.data.dataset import DataSpec
from labelgen.data.sample import Sample
from labelgen.demo.scenes import draw_scene
from labelgen.errors import ConfigError
from labelgen.masks import SoftMask
from labelgen.nets.backbones import BackboneConfig, load_backbone
from labelgen.nets.dense_clip.blocks import read_block
from labelgen.refine import attention, models_of, parse_refiners, settle_refiners
from labelgen.refine.attention import AttentionConfig, attention_scores, make_attention
from labelgen.refine.attention_maps import attention_maps, patch_attention


@pytest.fixture(scope="module")
def network():
    return load_backbone(BackboneConfig("demo-ssvt", dtype="float32"))


def _note(inputs, outputs, given, result):
    inputs.append(given[0])
    outputs.append(result)


@pytest.mark.parametrize("name", ["demo-ssvt", "test_vit"])
def test_attention_times_values_is_what_the_block_computes(name):
    network = load_backbone(BackboneConfig(name, dtype="float32"), pretrained=False)
    picture, _ = network.prepare(draw_scene("attention", 0).image, scale=0.5)
    block = network.model.blocks[-1]
    inputs, outputs = [], []
    handle = block.attn.register_forward_hook(lambda m, i, o: _note(inputs, outputs, i, o))
    fused = network.model.forward_features(picture[None])
    handle.remove()
    parts = read_block(block)
    queries, keys, values = parts.queries(inputs[0]), parts.keys(inputs[0]), parts.values(inputs[0])
    heads = (queries @ keys.transpose(-2, -1) * queries.shape[-1] ** -0.5).softmax(dim=-1)
    torch.testing.assert_close(parts.project((heads @ values).transpose(1, 2).flatten(2)), outputs[0])
    found = attention_maps(network.model, picture[None], layers=2)
    torch.testing.assert_close(found[-1], heads[0].mean(dim=0), atol=1e-6, rtol=1e-4)
    torch.testing.assert_close(found.sum(dim=2), torch.ones(found.shape[:2]))
    torch.testing.assert_close(network.model.forward_features(picture[None]), fused)


def test_nothing_is_left_in_the_network(network):
    before = [(b.attn.fused_attn, len(b.attn.attn_drop._forward_pre_hooks)) for b in network.model.blocks]
    picture, _ = network.prepare(np.zeros((32, 32, 3), np.uint8), scale=0.25)
    patch_attention(network, picture, layers=3)
    with pytest.raises(RuntimeError):
        attention_maps(network.model, torch.zeros(1, 5, 32, 32), layers=3)
    after = [(b.attn.fused_attn, len(b.attn.attn_drop._forward_pre_hooks)) for b in network.model.blocks]
    assert before == after


def test_class_tokens_are_left_out():
    network = load_backbone(BackboneConfig("test_vit", dtype="float32"), pretrained=False)
    picture, geometry = network.prepare(np.zeros((32, 48, 3), np.uint8), scale=1 / 3)
    found = patch_attention(network, picture, layers=1)
    assert network.spec.prefix == 1 and found.shape[1] == geometry.grid[0] * geometry.grid[1]
    assert found.sum(dim=2).max() < 1


def test_attention_with_rotated_positions_is_read_too():
    sizes = {"img_size": 32, "patch_size": 8, "embed_dim": 32, "depth": 2, "num_heads": 2, "num_classes": 0}
    with torch.random.fork_rng(devices=[]):
        model = timm.models.Eva(**sizes, use_rot_pos_emb=True).eval()
    found = attention_maps(model, torch.zeros(1, 3, 32, 32), layers=1)
    torch.testing.assert_close(found.sum(dim=2), torch.ones(1, 17))


def test_networks_without_attention_are_refused(network):
    cnn = load_backbone(BackboneConfig("test_resnet", dtype="float32"), pretrained=False)
    picture, _ = cnn.prepare(np.zeros((32, 32, 3), np.uint8))
    with pytest.raises(ConfigError, match="test_resnet has no attention to read"):
        patch_attention(cnn, picture, layers=1)
    with pytest.raises(ConfigError, match=r"layers must lie in \[1, 6\] for demo-ssvt, got 7"):
        patch_attention(network, picture, layers=7)


def test_a_part_of_an_object_spreads_over_the_object(network):
    gains = []
    for index in range(6):
        scene = draw_scene("attention", index)
        largest = np.bincount(scene.labels[scene.labels > 0]).argmax()
        region = scene.labels == largest
        rows, cols = np.nonzero(region)
        part = np.zeros(region.shape, np.float32)
        part[rows[: len(rows) // 3], cols[: len(rows) // 3]] = 1  # the upper third
        spread = attention_scores(scene.image, part[None], network, AttentionConfig(tokens=16))[0]
        assert spread.shape == region.shape and spread.min() >= 0 and spread.max() <= 1
        rest = region & (part == 0)
        gains.append(spread[rest].mean() / spread[~region].mean())
    assert np.mean(gains) > 1.5


@pytest.fixture
def sample(rng):
    scene = draw_scene("attention", 1)
    planes = rng.random((3, *scene.labels.shape), np.float32)
    planes[1:, :60] *= 0.2
    return Sample("a", scene.labels.shape, image=scene.image), SoftMask(planes, (0, 3, 9), warnings=("odd",))


def test_the_background_is_kept_or_made_anew(monkeypatch, network, sample):
    monkeypatch.setattr(attention, "network_of", lambda config: network)
    bare, mask = sample
    kept = make_attention(AttentionConfig(tokens=8))(bare, mask)
    np.testing.assert_array_equal(kept.scores[0], mask.scores[0])
    assert np.abs(kept.scores[1:] - mask.scores[1:]).max() > 0.1
    assert kept.class_ids == mask.class_ids and kept.warnings == ("odd",)
    anew = make_attention(AttentionConfig(tokens=8, background="power:2"))(bare, mask)
    np.testing.assert_array_equal(anew.scores[1:], kept.scores[1:])
    np.testing.assert_allclose(anew.scores[0], (1 - kept.scores[1:].max(axis=0)) ** 2, atol=1e-6)
    other = make_attention(AttentionConfig(tokens=8, background_id=9))(bare, mask)
    np.testing.assert_array_equal(other.scores[2], mask.scores[2])
    only = SoftMask(mask.scores[:1], (0,))
    assert make_attention(AttentionConfig(tokens=8))(bare, only) is only


@pytest.mark.parametrize(
    "change",
    [{"layers": 1}, {"share": 0.9}, {"filter": "features"}, {"tokens": 12}, {"filter": "features", "gamma": 1.0}],
)
def test_every_setting_moves_the_scores(network, sample, change):
    bare, mask = sample
    base = AttentionConfig(tokens=8, filter="features" if "gamma" in change else "none")
    maps = mask.scores[1:] ** 4  # few strong places, so that boxes matter
    maps[:, :, 20:] *= 0.1
    before = attention_scores(bare.image, maps, network, base)
    after = attention_scores(bare.image, maps, network, dataclasses.replace(base, **change))
    assert np.abs(before - after).max() > 1e-3


def test_maps_of_nothing_stay_nothing(network):
    image = draw_scene("attention", 0).image
    assert not attention_scores(
        image, np.zeros((1, *image.shape[:2]), np.float32), network, AttentionConfig(tokens=8)
    ).any()


def test_too_many_patches_are_refused_with_a_number_that_fits(network):
    image, maps = np.zeros((64, 128, 3), np.uint8), np.zeros((1, 64, 128), np.float32)
    with pytest.raises(ConfigError, match="4096 patches at most, got 64 x 128") as caught:
        attention_scores(image, maps, network, AttentionConfig(tokens=64))
    assert caught.value.hint.startswith("tokens=45 ") and 45 * 90 <= 4096 < 46 * 92


def test_the_network_follows_from_the_data_and_is_recorded():
    (step,) = settle_refiners(parse_refiners("attention,share=.7"), DataSpec("demo"))
    assert step.config.backbone == "demo-ssvt" and step.config.share == 0.7
    (facts,) = models_of([step]).values()
    assert len(facts["sha256"]) == 64 and facts["from"] == "shipped"
    (step,) = settle_refiners(parse_refiners("attention"), DataSpec("voc", "/data"))
    assert "dinov2" in step.config.backbone
    (step,) = settle_refiners(parse_refiners("attention:vit_tiny"), DataSpec("demo"))
    assert step.config.backbone == "vit_tiny"


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"layers": -1}, "layers and background_id must be >= 0"),
        ({"share": 1.5}, r"share must lie in \[0, 1\]"),
        ({"share": float("nan")}, "share must be a finite number"),
        ({"filter": "features", "gamma": 0.0}, "gamma be > 0"),
        ({"gamma": 2.0}, "gamma has no say with none"),
        ({"tokens": 65}, r"tokens must lie in \[1, 64\]"),
        ({"background": "saliency"}, "background must be keep, power: or fixed:"),
    ],
)
def test_wrong_settings_are_refused(settings, message):
    with pytest.raises(ConfigError, match=message):
        AttentionConfig(**settings)


def test_wrong_choices_are_refused_as_they_are_typed():
    with pytest.raises(ConfigError, match="filter of refiner attention must be none or features, got 'decoder'"):
        parse_refiners("attention,filter=decoder")
