"""A backbone with a file of weights, small enough for tests that go the whole way."""

import pytest
import torch

from labelgen.nets.backbone_config import BackboneConfig


@pytest.fixture(scope="session")
def vit(tmp_path_factory):
    """Settings of a tiny ViT with random weights."""
    import timm
    from safetensors.torch import save_file

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = timm.create_model("test_vit", pretrained=False)
    path = tmp_path_factory.mktemp("weights") / "test_vit.safetensors"
    save_file(model.state_dict(), path)
    return BackboneConfig("test_vit", weights=str(path), policy="native", dtype="float32")


@pytest.fixture
def vit_flags(vit):
    """The same, as it is typed."""
    return ["--backbone", vit.name, "--weights", vit.weights, "--policy", vit.policy, "--dtype", vit.dtype]
