"""Frozen backbones give the tokens they should, and nothing about them changes."""

import time

import numpy as np
import pytest
import torch

from labelgen.errors import ConfigError, ShapeError, WeightsError
from labelgen.nets.backbones import BackboneConfig, load_backbone, parameter_hash
from labelgen.nets.catalogue import CATALOGUE
from labelgen.nets.pos_embed import official_positions
from labelgen.nets.published import published_at_hand
from tests.labelgen.nets.checkpoints import save_tiny, tiny_model
from tests.labelgen.nets.reference_vit import cubic_resampled, plain_vit_tokens

PLAIN, REGISTERS, ROTARY = "vit_small_patch14_dinov2", "vit_small_patch14_reg4_dinov2", "vit_small_patch16_dinov3"


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    """Checkpoints of tiny models of three kinds, at a native size of 56 pixels (4 x 4 patches)."""
    folder = tmp_path_factory.mktemp("weights")
    files = {}
    for name in (PLAIN, REGISTERS, ROTARY):
        options = {} if name == ROTARY else {"img_size": 56}
        files[name] = str(save_tiny(folder / f"{name}.safetensors", tiny_model(name, **options), name=name))
    return files


def load(weights, name, **options):
    return load_backbone(BackboneConfig(name, weights=weights[name], **options))


def image_of(height, width, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


def positions_on(backbone, grid, *, prefix):
    """timm's way: bicubic by size, antialiased."""
    table = backbone.model.pos_embed
    image = table[:, prefix:].reshape(1, 4, 4, -1).permute(0, 3, 1, 2)
    resized = torch.nn.functional.interpolate(image, size=grid, mode="bicubic", antialias=True)
    return torch.cat([table[0, :prefix], resized.permute(0, 2, 3, 1).reshape(grid[0] * grid[1], -1)])


@pytest.mark.parametrize("size", [(56, 56), (37, 511), (80, 61)])
@pytest.mark.parametrize("name", [PLAIN, REGISTERS])
def test_tokens_agree_with_a_second_implementation(weights, name, size):
    backbone = load(weights, name, policy="native")
    picture, geometry = backbone.prepare(image_of(*size))
    tokens = backbone.tokens(picture[None])[0]
    positions = positions_on(backbone, geometry.grid, prefix=1 if name == PLAIN else 0)
    wanted = plain_vit_tokens(backbone.model.state_dict(), picture, heads=2, patch=14, blocks=2, positions=positions)
    assert tuple(tokens.shape) == (*geometry.grid, 32)
    assert float((tokens.reshape(-1, 32) - wanted).abs().max()) < 1e-4


def test_normalised_pixels_are_padded_with_zeros_all_round(weights):
    backbone = load(weights, PLAIN, policy="native")
    picture, geometry = backbone.prepare(np.full((17, 28, 3), 255, np.uint8))
    assert geometry.pad == (5, 0)
    white = (1 - torch.tensor([0.485, 0.456, 0.406])) / torch.tensor([0.229, 0.224, 0.225])
    assert torch.equal(picture[:, :5], torch.zeros(3, 5, 28))
    assert torch.equal(picture[:, 22:], torch.zeros(3, 6, 28))
    assert torch.allclose(picture[:, 5:22], white[:, None, None].expand(3, 17, 28))


def test_official_positions_against_cubic_convolution():
    """Factor (n + 0.1) / M without antialiasing, separable: rows, then columns."""
    table = torch.randn(1, 1 + 16, 3, generator=torch.Generator().manual_seed(0))
    got = official_positions(table, (6, 3), prefix=1, registers=False)
    square = table[0, 1:].reshape(4, 4, 3)
    rows = cubic_resampled(square, 6, scale=6.1 / 4)
    both = cubic_resampled(rows.transpose(0, 1), 3, scale=3.1 / 4).transpose(0, 1)
    assert torch.equal(got[:, :1], table[:, :1])
    assert torch.allclose(got[0, 1:], both.reshape(-1, 3), atol=1e-5)


def test_official_and_timm_positions_differ_only_without_registers_and_off_the_native_grid(weights):
    def differ(name, size):
        picture, _ = load(weights, name, policy="native").prepare(image_of(*size))
        ways = [
            load(weights, name, policy="native", pos_interp=way).tokens(picture[None]) for way in ("timm", "official")
        ]
        return not torch.allclose(*ways, atol=1e-6)

    assert differ(PLAIN, (84, 70))
    assert not differ(PLAIN, (56, 56))
    assert not differ(REGISTERS, (84, 70))


def test_official_positions_need_learned_ones(weights):
    with pytest.raises(ConfigError, match="needs a plain ViT with learned positions"):
        load(weights, ROTARY, pos_interp="official")


def test_rotary_positions_take_any_size(weights):
    backbone = load(weights, ROTARY, policy="native")
    picture, geometry = backbone.prepare(image_of(37, 511))
    assert tuple(backbone.tokens(picture[None]).shape) == (1, 3, 32, 32)
    assert geometry.grid == (3, 32)
    assert backbone.spec.prefix == 5


def test_frozen_means_frozen(weights):
    backbone = load(weights, PLAIN)
    before = parameter_hash(backbone.model)
    tokens = backbone.tokens(backbone.prepare(image_of(40, 40))[0][None])
    assert not any(parameter.requires_grad for parameter in backbone.model.parameters())
    assert not any(module.training for module in backbone.model.modules())
    assert tokens.is_inference()
    assert parameter_hash(backbone.model) == before == backbone.spec.weights_sha256


def test_parameter_hash_sees_buffers():
    norm = torch.nn.BatchNorm1d(2)
    before = parameter_hash(norm)
    norm.running_mean.add_(1)
    assert parameter_hash(norm) != before


def test_norm_is_the_final_layer_norm(weights):
    normed, raw = load(weights, PLAIN), load(weights, PLAIN, norm=False)
    picture = normed.prepare(image_of(56, 56))[0][None]
    assert not torch.allclose(normed.tokens(picture), raw.tokens(picture), atol=0.1)
    assert torch.allclose(normed.tokens(picture), raw.model.norm(raw.tokens(picture)), atol=1e-5)
    assert normed.fingerprint() != raw.fingerprint()


def test_layers_are_concatenated_in_order_of_depth(weights):
    both = load(weights, PLAIN, layers=(-1, 0))
    picture = both.prepare(image_of(56, 70))[0][None]
    single = [load(weights, PLAIN, layers=(layer,)).tokens(picture) for layer in (0, 1)]
    assert both.spec.dim == 64
    assert torch.equal(both.tokens(picture), torch.cat(single, dim=-1))
    assert both.fingerprint()["layers"] == [0, 1]


@pytest.mark.parametrize(("layers", "message"), [((2,), "has layers 0 to 1"), ((1, -1), "can be used once")])
def test_wrong_layers(weights, layers, message):
    with pytest.raises(ConfigError, match=message):
        load(weights, PLAIN, layers=layers)


def test_policies_and_scales(weights):
    def resized(policy, shape, *, scale=1.0, **options):
        return load(weights, PLAIN, policy=policy, **options).prepare(image_of(*shape), scale=scale)[1].resized

    assert resized("keep", (30, 60)) == (56, 112)
    assert resized("keep", (30, 300)) == (11, 112)
    assert resized("keep", (30, 60), size=28, max_size=42) == (21, 42)
    assert resized("keep", (30, 60), scale=1.5) == (84, 168)
    assert resized("square", (30, 60)) == (56, 56)
    assert resized("native", (30, 60)) == (30, 60)


def test_a_mirrored_view_is_the_view_of_the_mirrored_image(weights):
    backbone = load(weights, PLAIN)
    image = image_of(56, 84)
    mirrored, geometry = backbone.prepare(image, flip=True)
    assert torch.equal(mirrored, backbone.prepare(image[:, ::-1].copy())[0])
    assert geometry.flip


def test_values_barely_depend_on_the_batch(weights):
    backbone = load(weights, PLAIN)
    pictures = torch.stack([backbone.prepare(image_of(56, 56, seed))[0] for seed in range(5)])
    together, alone = backbone.tokens(pictures)[3], backbone.tokens(pictures[3:4])[0]
    assert torch.allclose(together, alone, atol=1e-5)


def test_stages_of_a_cnn_meet_on_the_finest_grid():
    backbone = load_backbone(BackboneConfig("test_resnet", layers=(-2, -1), policy="native"), pretrained=False)
    picture, geometry = backbone.prepare(image_of(37, 120))
    maps = backbone.model.forward_intermediates(picture[None].contiguous(), intermediates_only=True)[-2:]
    tokens = backbone.tokens(picture[None])
    assert backbone.spec.family == "cnn"
    assert geometry.padded == (64, 128)
    assert (backbone.spec.stride, backbone.spec.multiple, geometry.grid) == (16, 32, (4, 8))
    assert backbone.spec.dim == maps[0].shape[1] + maps[1].shape[1]
    first = maps[0].shape[1]
    assert torch.allclose(tokens[0, ..., :first], maps[0][0].permute(1, 2, 0), atol=1e-5)
    doubled = torch.nn.functional.interpolate(maps[1], size=(4, 8), mode="bilinear")
    assert torch.allclose(tokens[0, ..., first:], doubled[0].permute(1, 2, 0), atol=1e-5)


def test_norm_of_a_cnn_is_what_its_classifier_pools():
    options = {"policy": "native"}
    pooled = load_backbone(BackboneConfig("test_efficientnet", **options), pretrained=False)
    last = load_backbone(BackboneConfig("test_efficientnet", norm=False, **options), pretrained=False)
    picture = pooled.prepare(image_of(64, 64))[0][None]
    wanted = pooled.model.forward_features(picture)
    assert pooled.spec.dim == wanted.shape[1] != last.spec.dim
    assert torch.allclose(pooled.tokens(picture), wanted.permute(0, 2, 3, 1), atol=1e-5)


def test_output_stride_makes_the_grid_finer():
    backbone = load_backbone(BackboneConfig("test_efficientnet", output_stride=8), pretrained=False)
    assert backbone.spec.stride == 8


def test_random_weights_follow_from_the_seed():
    specs = [load_backbone(BackboneConfig("test_vit"), pretrained=False, seed=seed).spec for seed in (1, 1, 2)]
    assert specs[0] == specs[1]
    assert specs[0].weights_sha256 != specs[2].weights_sha256
    assert specs[0].weights_from == "random:seed1"


def test_weights_that_are_not_at_hand_are_named_at_once(monkeypatch, tmp_path):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    start = time.perf_counter()
    with pytest.raises(
        WeightsError, match=r"vit_small_patch16_224.dino are not on this machine and huggingface.co/timm"
    ):
        load_backbone(BackboneConfig("vit_small_patch16_224.dino"))
    assert time.perf_counter() - start < 5


def test_published_weights_are_read_from_the_cache_of_the_hub(monkeypatch, tmp_path):
    import timm
    from safetensors.torch import save_file

    name, revision = "test_vit.r160_in1k", "0" * 40
    model = timm.create_model(name)  # with its classifier, as published
    folder = tmp_path / f"models--timm--{name}"
    (folder / "refs").mkdir(parents=True)
    (folder / "refs" / "main").write_text(revision, encoding="utf-8")
    (folder / "snapshots" / revision).mkdir(parents=True)
    save_file(model.state_dict(), folder / "snapshots" / revision / "model.safetensors")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    assert published_at_hand(name)
    assert published_at_hand("vit_small_patch16_224.dino") is None
    backbone = load_backbone(BackboneConfig(name))
    model.reset_classifier(0)
    assert backbone.spec.weights_sha256 == parameter_hash(model)
    assert (backbone.spec.weights_from, backbone.spec.licence) == ("published", "apache-2.0")


def test_names_that_do_not_exist():
    with pytest.raises(ConfigError, match="timm knows no model called 'vit_enormous'"):
        load_backbone(BackboneConfig("vit_enormous"))
    with pytest.raises(WeightsError, match="no published weights"):
        load_backbone(BackboneConfig("vit_small_patch14_dinov2.none"))
    with pytest.raises(ConfigError, match="does not take images of any size"):
        load_backbone(BackboneConfig("swin_tiny_patch4_window7_224"), pretrained=False)
    with pytest.raises(ConfigError, match="has no final norm"):
        load_backbone(BackboneConfig("test_vit2"), pretrained=False)
    with pytest.raises(ConfigError, match="output_stride is for CNNs"):
        load_backbone(BackboneConfig("test_vit", output_stride=8), pretrained=False)
    with pytest.raises(ConfigError, match="output_stride is for CNNs"):
        load_backbone(BackboneConfig(output_stride=8), pretrained=False)


def test_images_must_be_rgb_bytes(weights):
    backbone = load(weights, PLAIN)
    for wrong in (np.zeros((4, 4), np.uint8), np.zeros((4, 4, 3), np.float32), np.zeros((0, 4, 3), np.uint8)):
        with pytest.raises((ShapeError, TypeError)):  # the shape annotation speaks first under the test hook
            backbone.prepare(wrong)
    with pytest.raises(ShapeError, match="multiples of 14"):
        backbone.tokens(torch.zeros(1, 3, 15, 28))


@pytest.mark.parametrize(
    "wrong", [{"layers": ()}, {"layers": (1, 1)}, {"size": -1}, {"size": 100, "max_size": 50}, {"output_stride": 5}]
)
def test_settings_out_of_range(wrong):
    with pytest.raises(ConfigError):
        BackboneConfig(**wrong)


def test_precision(weights):
    exact, rough = load(weights, PLAIN), load(weights, PLAIN, dtype="bfloat16")
    picture = exact.prepare(image_of(56, 56))[0][None]
    cosine = torch.nn.functional.cosine_similarity(exact.tokens(picture), rough.tokens(picture), dim=-1)
    assert exact.dtype == torch.float32  # auto: too small to gain anything
    assert rough.tokens(picture).dtype == torch.float32
    assert 0.99 < float(cosine.mean()) < 1.0
    assert rough.fingerprint()["dtype"] == "bfloat16"
    with pytest.raises(ConfigError, match="float16 needs a GPU"):
        load(weights, PLAIN, dtype="float16")


@pytest.mark.parametrize("options", [{}, {"policy": "square", "size": 28}, {"policy": "native", "max_size": 90}])
def test_the_resolved_settings_give_the_same_fingerprint(weights, options):
    backbone = load(weights, PLAIN, layers=(-1, -2), **options)
    assert load_backbone(backbone.config).fingerprint() == backbone.fingerprint()


def test_tuning_lets_gradients_through(weights):
    backbone = load(weights, PLAIN, pos_interp="official")
    backbone.model.requires_grad_(True)
    picture = backbone.prepare(image_of(56, 84))[0][None]
    backbone.trainable_tokens(picture).sum().backward()
    assert backbone.model.pos_embed.grad is not None
    assert float(backbone.model.patch_embed.proj.weight.grad.abs().sum()) > 0


@pytest.mark.slow
def test_the_catalogue_says_what_timm_says():
    import timm

    for known in CATALOGUE:
        if known.source == "shipped" or known.parameters > 50:  # big ones take seconds each
            continue
        with torch.device("meta"):
            model = timm.create_model(known.name, num_classes=0)
        millions = sum(parameter.numel() for parameter in model.parameters()) / 1e6
        assert abs(millions - known.parameters) < 0.06, known.name
        assert model.num_features == known.dim, known.name
        if known.source == "published":
            assert (
                model.pretrained_cfg["license"].split("-")[0].lower() == known.licence.split("-")[0].split()[0].lower()
            )


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device here")
def test_a_gpu_gives_the_same_tokens(weights):
    config = BackboneConfig(PLAIN, weights=weights[PLAIN], dtype="float32")
    here, there = load_backbone(config), load_backbone(config, device="cuda")
    picture = here.prepare(image_of(56, 84))[0][None]
    assert there.device.type == "cuda"
    assert torch.allclose(here.tokens(picture), there.tokens(picture).cpu(), atol=1e-3)
    assert here.fingerprint() == there.fingerprint()


def test_the_demo_backbone_sees_scenes_at_their_own_size():
    backbone = load_backbone(BackboneConfig(), pretrained=False)
    picture, geometry = backbone.prepare(image_of(128, 160))
    tokens = backbone.tokens(picture[None])
    assert geometry.resized == (128, 160)
    assert tuple(tokens.shape) == (1, *geometry.grid, backbone.spec.dim)
    assert backbone.spec.weights_from == "random:seed0"
