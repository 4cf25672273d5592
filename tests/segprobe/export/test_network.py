import numpy as np
import pytest
import torch

from labelgen.errors import ConfigError
from labelgen.nets.backbone_config import BackboneConfig
from labelgen.nets.backbones import load_backbone
from segprobe.export.check import compare_with
from segprobe.export.network import StaticNetwork, default_size
from segprobe.heads import make_head
from segprobe.predict import Predictor
from segprobe.probe_file import Probe
from tests.segprobe.toy import VOCABULARY


def backbone_of(name="test_vit", **settings):
    return load_backbone(BackboneConfig(name, dtype="float32", **settings), pretrained=False)


def probe_on(backbone, head="linear"):
    made = make_head(head, torch.zeros(backbone.spec.dim), torch.full((backbone.spec.dim,), 0.7), num_classes=3)
    generator = torch.Generator().manual_seed(0)
    if head == "knn":
        bank = torch.nn.functional.normalize(torch.randn(50, backbone.spec.dim, generator=generator), dim=1)
        made.remember(bank, torch.rand(50, 3, generator=generator), gain=8.0)
    else:
        torch.nn.init.normal_(made.classify.weight, generator=generator)
        torch.nn.init.normal_(made.classify.bias, generator=generator)
    return Probe(made.eval(), head, (0, 2, 5), VOCABULARY, backbone.config, backbone.fingerprint(), {}, None, {})


def run_of(network):
    def run(picture):
        given = picture[None] if network.kind == "uint8" else picture.transpose(2, 0, 1)[None] / np.float32(255)
        return tuple(output[0].numpy() for output in network(torch.from_numpy(np.ascontiguousarray(given))))

    return run


BACKBONES = [
    ("test_vit", {}),
    ("test_vit", {"layers": (0, -1), "norm": False}),
    ("vit_tiny_patch16_224", {"layers": (0,), "pos_interp": "official"}),
    ("vit_wee_patch16_reg1_gap_256", {"layers": (0,), "norm": False}),  # register token, positions on patches alone
    ("vit_small_patch16_dinov3", {"layers": (0,)}),  # rotary positions
    ("mobilenetv2_100", {"layers": (-2, -1)}),
    ("demo-ssvt", {}),
]


@pytest.mark.slow
@pytest.mark.parametrize(("name", "settings"), BACKBONES)
def test_one_network_says_what_the_predictor_says(name, settings):
    backbone = backbone_of(name, policy="native", **settings)
    probe, size = probe_on(backbone), (50, 76)  # a multiple of no patch
    network = StaticNetwork(probe, backbone, size, kind="uint8", outputs="argmax")
    found = compare_with(Predictor(probe, backbone), run_of(network), size, outputs="argmax", where=name)
    assert found.difference < 1e-4


@pytest.mark.slow
@pytest.mark.parametrize(
    ("baseline", "encoder"), [("deeplabv3plus", "mobilenetv2_100"), ("deeplabv1", "vit_tiny_patch16_224")]
)
def test_a_baseline_is_a_network_like_any_other(baseline, encoder):
    pytest.importorskip("segmentation_models_pytorch")
    from segprobe.baselines.network import load_baseline

    config = BackboneConfig(encoder, policy="native", dtype="float32")
    backbone = load_baseline(baseline, config, pretrained=False)
    probe, size = probe_on(backbone), (50, 76)
    network = StaticNetwork(probe, backbone, size, kind="uint8", outputs="argmax")
    found = compare_with(Predictor(probe, backbone), run_of(network), size, outputs="argmax", where=baseline)
    assert found.difference < 1e-4
    vits = [module for module in network.model.modules() if hasattr(module, "_pos_embed")]
    assert all(hasattr(vit, "fixed_positions") for vit in vits) and len(vits) == encoder.startswith("vit")


@pytest.mark.parametrize("head", ["linear", "mlp", "conv", "projection", "prototype", "knn"])
def test_every_head_fits_into_the_network(head):
    backbone = backbone_of(policy="native")
    probe, size = probe_on(backbone, head), (20, 32)
    for kind, outputs in (("uint8", "argmax"), ("unit", "probabilities")):
        network = StaticNetwork(probe, backbone, size, kind=kind, outputs=outputs)
        found = compare_with(Predictor(probe, backbone), run_of(network), size, outputs=outputs, where=head)
        assert found.difference < 1e-4


def test_the_backbone_itself_is_left_as_it_was():
    backbone = backbone_of(policy="native")
    probe = probe_on(backbone)
    before = backbone.tokens(torch.zeros(1, 3, 48, 48))
    StaticNetwork(probe, backbone, (20, 32), kind="unit", outputs="logits")
    assert torch.equal(backbone.tokens(torch.zeros(1, 3, 48, 48)), before)


def test_images_must_come_at_the_size_at_which_the_probe_sees_them():
    backbone = backbone_of(policy="keep", size=32)
    assert default_size(backbone) == (32, 32)
    with pytest.raises(ConfigError, match="sees images of 64x96 at 32x48") as caught:
        StaticNetwork(probe_on(backbone), backbone, (64, 96), kind="unit", outputs="logits")
    assert "--size 32,48" in caught.value.hint
    with pytest.raises(ConfigError, match="images of any size"):
        default_size(backbone_of(policy="native"))
    with pytest.raises(ConfigError, match="two sides >= 1"):
        StaticNetwork(probe_on(backbone), backbone, (0, 5), kind="unit", outputs="logits")
