import dataclasses

import numpy as np
import pytest
import torch

from labelgen.errors import ConfigError
from labelgen.nets.cam.multiscale import Views
from labelgen.nets.cam.seeds import class_probabilities, gap_look, gradient_look, look_of, raw_maps
from tests.labelgen.nets.cam.small_classifier import TINY_CNN, small_classifier

BACKBONES = (TINY_CNN, "demo-ssvt")


def picture(size=(40, 56), seed=0):
    return np.random.default_rng(seed).integers(0, 256, (*size, 3), np.uint8)


def batch(classifier, count=2, seed=0):
    sides = (2 * classifier.multiple, 3 * classifier.multiple)
    return torch.randn(count, 3, *sides, generator=torch.Generator().manual_seed(seed))


@pytest.fixture(params=BACKBONES)
def backbone(request):
    return request.param


def test_the_mean_of_the_raw_map_is_the_logit(backbone):
    classifier = small_classifier(backbone=backbone)
    images = batch(classifier)
    maps = gap_look(classifier, [0, 1, 2])(images).foreground
    logits = classifier.logits_of_features(classifier.features(images))
    torch.testing.assert_close(maps.mean(dim=(2, 3)), logits, rtol=1e-5, atol=1e-5)
    assert maps.min() < 0, "raw maps keep their sign"


def test_a_mirrored_image_has_mirrored_maps(backbone):
    classifier, views = small_classifier(backbone=backbone), Views(scales=(0.5, 1.0))
    image = picture()
    straight = raw_maps(classifier, image, [0, 1, 2], views).foreground
    mirrored = raw_maps(classifier, image[:, ::-1].copy(), [0, 1, 2], views).foreground
    torch.testing.assert_close(mirrored, straight.flip(-1), rtol=1e-5, atol=1e-5)


def test_only_the_wanted_classes_come_in_the_wanted_order(backbone):
    classifier, views, image = small_classifier(backbone=backbone), Views(scales=(1.0,)), picture()
    everything = raw_maps(classifier, image, [0, 1, 2], views).foreground
    torch.testing.assert_close(raw_maps(classifier, image, [2, 0], views).foreground, everything[[2, 0]])
    assert raw_maps(classifier, image, [], views).foreground.shape == (0, 40, 56)


@pytest.mark.parametrize("method", ["cam", "eps"])
def test_gradients_at_the_last_features_give_the_map_of_the_logits(method, backbone):
    classifier = small_classifier(method, backbone=backbone)
    images = batch(classifier)
    found = gradient_look(classifier, [2, 0], how="gradcam")(images).foreground
    with torch.inference_mode():
        logit_maps = classifier.network(images).maps[:, classifier.network.foreground]
    torch.testing.assert_close(found, logit_maps[:, [2, 0]].clone(), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(("backbone", "layer"), [(TINY_CNN, "layer2"), ("demo-ssvt", "blocks.2")])
@pytest.mark.parametrize("how", ["gradcam", "layercam"])
def test_gradients_at_an_inner_layer_are_those_of_autograd(backbone, layer, how):
    classifier = small_classifier(backbone=backbone)
    images, kept = batch(classifier, 1), []
    module = classifier.network.body.get_submodule(layer)

    def keep(module, given, output):
        kept.append(output.detach().requires_grad_())
        return kept[-1]

    handle = module.register_forward_hook(keep)
    classifier.logits_of_features(classifier.features(images))[0, 1].backward()
    handle.remove()
    activation, gradient = kept[0].detach(), kept[0].grad
    if activation.ndim == 3:
        grid = (2, 3)
        cut = activation.shape[1] - grid[0] * grid[1]
        activation, gradient = (t[:, cut:].transpose(1, 2).unflatten(2, grid) for t in (activation, gradient))
    weights = gradient.mean(dim=(2, 3), keepdim=True) if how == "gradcam" else gradient.relu()
    expected = (weights * activation).sum(dim=1) * activation.shape[2] * activation.shape[3]
    found = look_of(classifier, [1], kind=how, layer=layer)(images).foreground[:, 0]
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-7)
    assert found.abs().max() > 0
    assert not module._forward_hooks


@pytest.mark.parametrize("how", ["gradcam", "hirescam"])
def test_each_scale_weighs_the_same_in_the_sum_as_with_the_maps_of_the_classifier(how, backbone):
    classifier, views = small_classifier(backbone=backbone), Views()
    usual = raw_maps(classifier, picture(), [0, 1], views).foreground
    found = raw_maps(classifier, picture(), [0, 1], views, kind=how).foreground
    torch.testing.assert_close(found, usual, rtol=1e-3, atol=1e-4)


def test_softmax_comes_before_the_sum_for_eps():
    classifier, image = small_classifier("eps"), picture()
    views = Views(scales=(0.5, 1.0))
    found = raw_maps(classifier, image, [0, 1, 2], views)
    assert found.foreground.min() >= 0
    torch.testing.assert_close(found.foreground.sum(dim=0) / 4 + found.background, torch.ones(40, 56))


def test_seam_gives_its_correlated_maps_and_background():
    classifier = small_classifier("seam")
    found = raw_maps(classifier, picture(), [0, 1, 2], Views(scales=(1.0,), flip=False))
    assert found.foreground.min() >= 0
    assert found.background.min() >= 0 and found.background.max() <= 1 + 1e-6


def test_a_seam_classifier_trained_on_the_maps_of_present_classes_alone_correlates_those():
    usual = small_classifier("seam", backbone="demo-ssvt")
    gated = dataclasses.replace(usual, about={"training": {"seam": {"gate_correlation": True}}})
    images, present = batch(usual), torch.tensor([[0.0, 0.0, 1.0]] * 2)
    found = gap_look(gated, [2])(images).foreground
    torch.testing.assert_close(found, usual.maps(images, present=present).foreground[:, [2]])
    assert (found - gap_look(usual, [2])(images).foreground).abs().max() > 1e-3


def test_probabilities_are_those_of_both_ways_round(backbone):
    classifier, image = small_classifier(backbone=backbone), picture((32, 64))
    found = class_probabilities(classifier, image)
    assert found.shape == (3,) and found.dtype == np.float32
    np.testing.assert_allclose(found, class_probabilities(classifier, image[:, ::-1].copy()), atol=1e-6)
    mean, std = torch.tensor(classifier.mean), torch.tensor(classifier.std)
    pixels = ((torch.from_numpy(image).float() / 255 - mean) / std).permute(2, 0, 1)
    both = torch.stack([pixels, pixels.flip(-1)])
    with torch.inference_mode():
        logits = classifier.network.logits(classifier.network(both).maps)
    np.testing.assert_allclose(found, logits.mean(dim=0).sigmoid().numpy(), atol=1e-6)


def test_what_cannot_be_is_refused():
    classifier = small_classifier()
    with pytest.raises(ConfigError, match="unknown kind of map 'scorecam'"):
        look_of(classifier, [0], kind="scorecam")
    with pytest.raises(ConfigError, match="layer has no say with maps gap"):
        look_of(classifier, [0], kind="gap", layer="layer2")
    with pytest.raises(ConfigError, match="no layer 'layer9'") as caught:
        raw_maps(classifier, picture(), [0], Views(scales=(1.0,)), kind="gradcam", layer="layer9")
    assert "layer2" in caught.value.hint
