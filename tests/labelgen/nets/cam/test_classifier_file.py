"""The file of a classifier: read as written, for any network, and named when it is damaged."""

import dataclasses

import pytest
import torch

from labelgen.errors import WeightsError
from labelgen.nets.cam.classifier_file import FOLDER, load_classifier
from labelgen.nets.cam.config import NetworkConfig
from labelgen.nets.cam.network import build_network
from labelgen.nets.training_folder import config_json
from tests.labelgen.nets.cam.small_classifier import TINY_CNN, small_folder, small_network


@pytest.mark.parametrize("method", ["cam", "seam", "eps"])
@pytest.mark.parametrize("backbone", [TINY_CNN, "demo-ssvt"])
def test_maps_are_the_same_after_writing_and_reading(tmp_path, method, backbone):
    folder = small_folder(tmp_path, method, backbone=backbone)
    images = torch.randn(1, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    classifier = load_classifier(folder)
    expected = small_network(method, backbone=backbone, seed=6)(images)
    found = classifier.network(images)
    assert torch.equal(found.maps, expected.maps)
    assert classifier.class_names == ("cat", "dog", "person") and classifier.class_ids == (8, 12, 15)
    assert not classifier.network.training and not any(p.requires_grad for p in classifier.network.parameters())
    again = load_classifier(folder / "weights.safetensors")
    assert len(classifier.sha256) == 64 and again.sha256 == classifier.sha256
    reading = small_network(method, backbone=backbone).reading
    assert (classifier.mean, classifier.std, classifier.multiple) == (reading.mean, reading.std, reading.multiple)


def test_a_network_with_the_grid_of_a_checkpoint_is_built_again_without_it(tmp_path):
    """The learned positions of the file fit a grid of 4 x 4, which the model of that name does not have by itself."""
    import safetensors.torch
    import timm

    name = "test_vit.r160_in1k"
    small = timm.create_model(name, pretrained=False, num_classes=0, img_size=64)
    safetensors.torch.save_file(small.state_dict(), tmp_path / "small.safetensors")
    config = NetworkConfig(name)
    network = build_network(config, method="cam", num_classes=2, weights=str(tmp_path / "small.safetensors"))
    reading = network.reading
    settings = {
        "method": "cam",
        "classes": {"vocabulary": "voc", "ids": [3, 15], "names": ["bird", "person"]},
        "network": config_json(config),
        "start": {
            "options": dict(reading.options), "mean": reading.mean, "std": reading.std,
            "weights_from": reading.weights_from, "sha256": "",
        },
    }  # fmt: skip
    FOLDER.finish(tmp_path / "out", network, settings, figures={}, versions={})
    (tmp_path / "small.safetensors").unlink()
    found = load_classifier(tmp_path / "out")
    assert torch.equal(found.network.body.pos_embed, small.pos_embed)
    assert found.network.reading.weights_from == reading.weights_from


def test_files_that_cannot_be_read_are_named(tmp_path):
    with pytest.raises(WeightsError, match="no image-level classifier at") as caught:
        load_classifier(tmp_path / "nowhere")
    assert caught.value.hint == "labelgen fit-cam trains one"
    small_folder(tmp_path / "other")
    with pytest.raises(WeightsError) as caught:
        load_classifier(tmp_path / "nowhere")
    assert caught.value.hint.endswith(f"--weights takes one of these: {(tmp_path / 'other').as_posix()}")
    folder = small_folder(tmp_path / "one")
    (folder / "weights.safetensors").write_bytes(b"nothing")
    with pytest.raises(WeightsError, match="does not hold an image-level classifier of this version"):
        load_classifier(folder)


def test_a_file_of_another_kind_is_refused(tmp_path):
    other = dataclasses.replace(FOLDER, format="labelgen-zeroseg")
    other.finish(tmp_path, small_network(), {}, figures={}, versions={})
    with pytest.raises(WeightsError, match="format labelgen-zeroseg"):
        load_classifier(tmp_path)
