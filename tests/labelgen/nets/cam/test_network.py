"""The network: maps whose mean is the logit, grids, frozen parts, what is refused."""

import pytest
import torch

from labelgen.errors import ConfigError, ShapeError, WeightsError
from labelgen.nets.cam.config import NetworkConfig
from labelgen.nets.cam.network import build_network, last_norm, layers_of
from labelgen.nets.cam.presets import preset
from tests.labelgen.nets.cam.small_classifier import TINY_CNN, small_classifier, small_network

TINY_VIT = "test_vit.r160_in1k"


def draw(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def build(name=TINY_CNN, method="cam", *, num_classes=3, **options):
    return build_network(NetworkConfig(name, pretrained=False, **options), method=method, num_classes=num_classes)


@pytest.mark.parametrize("method", ["cam", "seam", "eps"])
@pytest.mark.parametrize("name", [TINY_CNN, TINY_VIT, "demo-ssvt"])
def test_the_mean_of_a_raw_map_is_the_logit_of_its_class(method, name):
    network = small_network(method, backbone=name)
    classifier = small_classifier(method, backbone=name)
    images = draw(2, 3, 64, 96)
    output = network(images)
    assert output.maps.shape[1] == 3 + (method != "cam")
    weights = network.head.weight[network.foreground, :, 0, 0]
    pooled = output.features.mean(dim=(2, 3)) @ weights.T
    assert torch.allclose(network.logits(output.maps), pooled, atol=1e-5)
    assert torch.allclose(classifier.logits_of_features(classifier.features(images)), pooled, atol=1e-5)


@pytest.mark.parametrize("name", [TINY_CNN, "demo-ssvt"])
def test_permuted_class_weights_permute_the_maps(name):
    network = build(name).eval()
    images = draw(1, 3, 64, 64)
    before = network(images).maps
    with torch.no_grad():
        network.head.weight.copy_(network.head.weight[[2, 0, 1]])
    assert torch.allclose(network(images).maps, before[:, [2, 0, 1]], atol=1e-6)


def test_the_background_is_the_first_channel_of_seam_and_the_last_of_eps():
    images = draw(1, 3, 32, 32)
    seam, eps = small_classifier("seam"), small_classifier("eps")
    correlated = seam.network(images).correlated
    assert torch.equal(seam.maps(images).background, correlated[:, :1])
    assert torch.equal(seam.maps(images).foreground, correlated[:, 1:])
    probabilities = eps.network(images).maps.softmax(dim=1)
    assert torch.allclose(eps.maps(images).background, probabilities[:, 3:])
    assert torch.allclose(eps.maps(images).foreground, probabilities[:, :3])
    assert small_classifier("cam").maps(images).background is None


@pytest.mark.parametrize("stride", [8, 16])
def test_cnns_reach_an_output_stride_by_dilation(stride):
    network = build("resnet10t", output_stride=stride)
    assert network.reading.stride == stride
    assert tuple(network(draw(1, 3, 64, 96)).maps.shape) == (1, 3, 64 // stride, 96 // stride)
    assert build("resnet10t").reading.stride == 32


@pytest.mark.parametrize(
    ("name", "stride", "message"),
    [
        ("densenet121", 8, "does not take the output stride 8"),
        ("vgg11", 16, r"does not take the output stride 16 \(refused by timm\)"),
        ("demo-ssvt", 8, "output_stride is for CNNs"),
        ("no_such_model", 0, "timm knows no model"),
    ],
)
def test_a_network_that_cannot_says_so(name, stride, message):
    with pytest.raises(ConfigError, match=message) as caught:
        build(name, output_stride=stride)
    assert caught.value.hint


def test_sides_must_be_whole_cells():
    with pytest.raises(ShapeError, match=r"multiples of 8 for demo-ssvt, got \(20, 24\)"):
        build("demo-ssvt")(draw(1, 3, 20, 24))


def test_a_vit_takes_any_grid_and_its_tokens_are_normed():
    network = build("demo-ssvt").eval()
    *middle, features = network.layers(draw(1, 3, 24, 40))
    assert [tuple(layer.shape) for layer in (*middle, features)] == [(1, 160, 3, 5)] * 3
    tokens = network.body.forward_features(draw(1, 3, 24, 40))
    assert torch.allclose(features.flatten(2).transpose(1, 2), tokens, atol=1e-5)
    assert last_norm(network.body) is network.body.norm


def test_frozen_blocks_and_all_before_them_get_no_gradient():
    network = build("demo-ssvt", freeze=2)
    network(draw(1, 3, 16, 16)).maps.sum().backward()
    trained = {name for name, parameter in network.named_parameters() if parameter.grad is not None}
    assert not any(
        name.startswith(("body.patch_embed", "body.pos_embed", "body.blocks.0.", "body.blocks.1.")) for name in trained
    )
    assert {"body.blocks.2.attn.qkv.weight", "body.norm.weight", "head.weight"} <= trained
    with pytest.raises(ConfigError, match="leave something of demo-ssvt to train, got 6 of 6"):
        build("demo-ssvt", freeze=6)


def test_frozen_stages_of_a_cnn():
    network = build("resnet10t", freeze=2)
    frozen = {name.split(".")[1] for name, p in network.body.named_parameters(prefix="body") if not p.requires_grad}
    trained = {name.split(".")[1] for name, p in network.body.named_parameters(prefix="body") if p.requires_grad}
    assert frozen == {"conv1", "bn1", "layer1"} and trained == {"layer2", "layer3", "layer4"}


def test_batch_norms_are_frozen_when_asked_and_by_default_learn_from_random_weights():
    def statistics_move(network):
        norm = next(m for m in network.body.modules() if isinstance(m, torch.nn.BatchNorm2d))
        before = norm.running_mean.clone()
        network.train()(draw(2, 3, 64, 64))
        return not torch.equal(before, norm.running_mean), norm.weight.requires_grad

    assert statistics_move(build()) == (True, True)
    assert statistics_move(build(freeze_norm=True)) == (False, False)
    assert NetworkConfig(pretrained=True).keeps_norms and not NetworkConfig(pretrained=False).keeps_norms


def test_channels_are_dropped_in_training_only():
    network = build("demo-ssvt", dropout=0.5)
    images = draw(1, 3, 16, 16)
    torch.manual_seed(0)
    assert not torch.equal(network.train()(images).maps, network(images).maps)
    assert torch.equal(network.eval()(images).maps, network(images).maps)


def test_the_seed_decides_all_that_is_random():
    one, same, other = (small_network("seam", seed=seed) if seed else build(method="seam") for seed in (0, 0, 1))
    states = [network.state_dict() for network in (one, same, other)]
    assert all(torch.equal(states[0][name], states[1][name]) for name in states[0])
    changed = {name for name in states[0] if not torch.equal(states[0][name], states[2][name])}
    assert {"head.weight", "correlation.joint.weight", "correlation.first.weight", "body.conv1.0.weight"} <= changed


def test_a_checkpoint_is_read_strictly(tmp_path):
    import safetensors.torch

    backbone = build("demo-ssvt").body
    state = {name: tensor + 0.25 for name, tensor in backbone.state_dict().items()}
    safetensors.torch.save_file(state, tmp_path / "all.safetensors")
    config = NetworkConfig("demo-ssvt")
    network = build_network(config, method="cam", num_classes=2, weights=str(tmp_path / "all.safetensors"))
    assert torch.equal(network.body.norm.bias, state["norm.bias"]) and "all.safetensors" in network.reading.weights_from
    del state["norm.bias"]
    safetensors.torch.save_file(state, tmp_path / "less.safetensors")
    with pytest.raises(WeightsError, match=r"1 missing: norm.bias"):
        build_network(config, method="cam", num_classes=2, weights=str(tmp_path / "less.safetensors"))
    with pytest.raises(ConfigError, match="are not random ones"):
        build_network(
            NetworkConfig(pretrained=False), method="cam", num_classes=2, weights=str(tmp_path / "all.safetensors")
        )


def test_layers_are_two_inner_ones_and_the_last():
    assert layers_of(6, vit=True) == (2, 3, 5) and layers_of(4, vit=False) == (1, 2, 3)
    with pytest.raises(ConfigError, match="three layers of its backbone, got one of 2"):
        layers_of(2, vit=False)


# settings


def test_every_preset_fits_every_method():
    for name in ("psa", "irn", "seam", "eps", "demo", "paper"):
        for method in ("cam", "seam", "eps"):
            assert preset(name, method).training.crop % 8 == 0
    assert preset("paper", "cam") == preset("irn", "cam") and preset("paper", "eps") == preset("eps", "eps")


def test_published_schedules_have_next_to_no_momentum_unless_it_is_asked_for():
    assert preset("seam", "seam").training.sgd_momentum == 5e-4
    assert preset("irn", "cam").training.sgd_momentum == 1e-4
    assert preset("seam", "seam", momentum_rule="stated").training.sgd_momentum == 0.9
    assert preset("seam", "seam", momentum_rule="stated", momentum=0.5).training.sgd_momentum == 0.5


@pytest.mark.parametrize("name", ["lr", "epochs", "new_rate", "bias_rate", "weight_decay"])
def test_what_is_no_number_is_refused_by_name(name):
    for value in (float("nan"), float("inf"), -1.0):
        with pytest.raises(ConfigError, match=f"{name} must be a number >=? 0, got"):
            preset("seam", "seam", **{name: value})


@pytest.mark.parametrize(
    ("name", "changes"),
    [
        ("seam", {"momentum": 0.5}),
        ("demo", {"momentum_rule": "released"}),
        ("demo", {"power": 2.0}),
        ("seam", {"warmup": 0.1}),
        ("eps", {"epochs": 3.0}),
        ("demo", {"epochs": 3.0, "iterations": 7}),
    ],
)
def test_settings_without_a_say_are_refused(name, changes):
    with pytest.raises(ConfigError, match=f"{next(iter(changes))} has no say beside the other settings"):
        preset(name, "cam", **changes)


@pytest.mark.parametrize(
    ("method", "changes", "message"),
    [
        ("seam", {"tau": 0.5}, "tau is a setting of eps, but the method is seam"),
        ("cam", {"scale": 0.5}, "scale is a setting of seam"),
        ("cam", {"colour": 1}, "no setting called 'colour'"),
        ("seam", {"scale": 1.5}, r"scale of the second view must lie in \(0, 1\)"),
        ("eps", {"lam": 2.0}, r"lam in \[0, 1\]"),
        ("cam", {"crop": 8}, "crop must be >= 16"),
        ("cam", {"long_side": (90, 40)}, "two rising sizes"),
        ("cam", {"dropout": 1.0}, r"dropout must lie in \[0, 1\)"),
        ("cam", {"output_stride": 12}, "0, 8, 16 or 32"),
        ("dog", {}, "unknown method 'dog'"),
    ],
)
def test_settings_that_make_no_sense_are_refused(method, changes, message):
    with pytest.raises(ConfigError, match=message):
        preset("demo", method, **changes)
