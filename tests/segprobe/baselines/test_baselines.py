"""DeepLabV1, DeepLabV3+ and SegFormer: built, trained with the encoder frozen and tuned, kept and opened again."""

import builtins
from dataclasses import replace

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from labelgen.errors import ConfigError, RunFolderError, WeightsError
from labelgen.nets.backbones import BackboneConfig, parameter_hash
from segprobe import training
from segprobe.baselines.decoders import DECODERS, make_decoder
from segprobe.baselines.network import load_baseline
from segprobe.config import BASELINES, FitConfig
from segprobe.evaluate import evaluate_probe
from segprobe.fit import fit
from segprobe.heads import make_head
from segprobe.labels import TruthSource
from segprobe.predict import PredictConfig, load_predictor
from segprobe.probe_file import open_probe
from segprobe.tuning.network import load_trainable, tunable
from segprobe.tuning.noise import ImageNoise
from segprobe.tuning.weights_file import TUNED
from tests.segprobe.toy import toy_dataset

SMALL = FitConfig(baseline="deeplabv1", steps=3, batch_size=4, pixels=128, amp="float32", threads=1)
ENCODER = BackboneConfig("test_resnet", size=64)


@pytest.fixture(scope="module", autouse=True)
def narrow():
    """The decoders as they are, but a tenth as wide, so that tests are fast."""
    patch = pytest.MonkeyPatch()
    patch.setattr("segprobe.baselines.decoders.FOV_WIDTH", 64)
    patch.setattr("segprobe.baselines.decoders.WIDTH", 32)
    yield
    patch.undo()


@pytest.fixture(scope="module")
def dataset():
    return toy_dataset(8)


def need(name):
    if name != "deeplabv1":
        pytest.importorskip("segmentation_models_pytorch")


def network(name, config=ENCODER, seed=0):
    need(name)
    return load_baseline(name, config, pretrained=False, seed=seed)


def fit_baseline(dataset, name, out, config=SMALL, **options):
    frozen = network(name)
    config = replace(config, baseline=name)
    return frozen, fit(
        TruthSource(dataset), dataset, backbone=frozen.config, frozen=frozen, config=config, out=out, **options
    )


# networks -----------------------------------------------------------------------------------------------------------


def test_every_baseline_that_can_be_asked_for_has_a_decoder():
    assert tuple(DECODERS) == BASELINES


@pytest.mark.parametrize(
    ("name", "encoder", "stride", "multiple"),
    [
        ("deeplabv1", "test_resnet", 8, 8),
        ("deeplabv1", "test_vit", 16, 16),
        ("deeplabv1", "demo-ssvt", 8, 8),
        ("deeplabv3plus", "test_resnet", 4, 16),
        ("segformer", "test_resnet", 4, 32),
        ("segformer", "mit_b0", 4, 32),
    ],
)
def test_features_lie_on_the_grid_of_the_decoder(name, encoder, stride, multiple):
    found = network(name, BackboneConfig(encoder, size=64))
    assert (found.spec.stride, found.spec.multiple, found.spec.family) == (stride, multiple, name)
    picture, geometry = found.prepare(np.zeros((50, 70, 3), np.uint8))
    assert found.tokens(picture[None]).shape == (1, *geometry.grid, found.spec.dim)
    assert geometry.padded == tuple(picture.shape[1:])


def test_what_a_cell_sees_lies_around_its_centre():
    """The gradient of a cell with respect to the image, which no misplaced stage would leave centred."""
    found = network("segformer")
    image = torch.randn(1, 3, 128, 128, generator=torch.Generator().manual_seed(0)).requires_grad_(True)
    found.trainable_tokens(image)[0, 16, 20].sum().backward()
    weight = image.grad.abs().sum(1)[0]
    places = torch.arange(128) + 0.5
    centre = [float((weight.sum(axis) * places).sum() / weight.sum()) for axis in (1, 0)]
    assert centre == pytest.approx([66, 82], abs=8)


@pytest.mark.parametrize("name", BASELINES)
def test_images_do_not_depend_on_each_other(name):
    found = network(name)
    assert not any(isinstance(module, nn.BatchNorm2d | nn.Dropout) for module in found.model.decoder.modules())
    batch = torch.randn(3, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    together, alone = found.tokens(batch), found.tokens(batch[1:2])
    assert torch.allclose(together[1], alone[0], atol=1e-4)


def test_seeds_decide_the_decoder():
    hashes = [parameter_hash(network("deeplabv1", seed=seed).model.decoder) for seed in (0, 0, 1)]
    assert hashes[0] == hashes[1] != hashes[2]


def test_dropout_of_deeplabv1_hides_half_in_training_only():
    noise = ImageNoise()
    decoder = make_decoder("deeplabv1", [4], output_stride=8, noise=noise, seed=0)
    nn.init.zeros_(decoder.deep.weight)
    nn.init.ones_(decoder.deep.bias)
    maps = [torch.ones(2, 4, 5, 5)]
    assert torch.equal(decoder(maps), torch.ones(2, 64, 5, 5))
    with noise.drawn_from([np.random.default_rng(0), np.random.default_rng(1)], "cpu"):
        found = decoder(maps)
    assert set(found.unique().tolist()) == {0.0, 2.0}
    assert float((found == 0).float().mean()) == pytest.approx(0.5, abs=0.05)


@pytest.mark.parametrize(
    ("name", "config", "message"),
    [
        ("segformer", BackboneConfig("demo-ssvt"), "needs an encoder with stages"),
        ("deeplabv3plus", BackboneConfig("test_vit"), "needs an encoder with stages"),
        ("deeplabv3plus", BackboneConfig("mit_b0"), "output stride 16, but that of mit_b0 is 32"),
        ("deeplabv3plus", replace(ENCODER, output_stride=32), "output stride of deeplabv3plus must be one of 8, 16"),
        ("segformer", BackboneConfig("mit_b0", output_stride=32, dtype="bfloat16"), "float32, got dtype bfloat16"),
    ],
)
def test_what_does_not_fit_is_refused(name, config, message):
    with pytest.raises(ConfigError, match=message):
        network(name, config)


def test_without_the_package_the_command_to_install_it_is_named(monkeypatch):
    real = builtins.__import__

    def missing(name, *rest):
        if name.startswith("segmentation_models_pytorch"):
            raise ModuleNotFoundError(name)
        return real(name, *rest)

    monkeypatch.setattr(builtins, "__import__", missing)
    with pytest.raises(ConfigError, match="could not be imported") as caught:
        load_baseline("segformer", ENCODER, pretrained=False)
    assert caught.value.hint == 'pip install "labelgen[baselines]"'


def test_encoders_from_a_file(tmp_path):
    """The same checkpoint serves the probe and every baseline; nothing of it may be missing."""
    made = network("deeplabv1")
    path = tmp_path / "encoder.safetensors"
    save_file({name: value.contiguous() for name, value in made.model.encoder.state_dict().items()}, path)
    found = load_baseline("segformer", replace(ENCODER, weights=str(path)), seed=5)
    assert parameter_hash(found.model.encoder) == parameter_hash(made.model.encoder)
    save_file({"stem.weight": torch.ones(2)}, path)
    with pytest.raises(WeightsError, match="must fit the model exactly"):
        load_baseline("segformer", replace(ENCODER, weights=str(path)))


def test_a_mix_transformer_from_a_file_and_its_layers(tmp_path):
    made = network("segformer", BackboneConfig("mit_b0", size=64))
    path = tmp_path / "mit_b0.pth"
    torch.save({**made.model.encoder.state_dict(), "head.weight": torch.ones(2, 2), "head.bias": torch.ones(2)}, path)
    found = load_baseline("segformer", BackboneConfig("mit_b0", weights=str(path), size=64), seed=5)
    assert parameter_hash(found.model.encoder) == parameter_hash(made.model.encoder)
    tuned = tunable(found, FitConfig(tune=True, baseline="segformer", layer_decay=0.5, backbone_lr=0.1))
    named = {id(p): name for name, p in found.model.encoder.named_parameters()}
    factors = {
        named[id(p)].split(".")[0]: group["factor"]
        for group in tuned.groups(make_head(FitConfig().head_choice, torch.zeros(32), torch.ones(32), num_classes=2))
        for p in group["params"]
        if id(p) in named
    }
    assert [factors[f"block{stage}"] for stage in (4, 3, 2, 1)] == pytest.approx([0.1, 0.05, 0.025, 0.0125])
    assert factors["patch_embed1"] == factors["norm1"] == factors["block1"]


# training -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", BASELINES)
def test_a_frozen_encoder_stays_and_the_decoder_learns(dataset, tmp_path, name):
    made, report = fit_baseline(dataset, name, tmp_path / "p")
    predictor = load_predictor(tmp_path / "p")
    assert parameter_hash(predictor.backbone.model.encoder) == parameter_hash(made.model.encoder)
    assert parameter_hash(predictor.backbone.model.decoder) != parameter_hash(made.model.decoder)
    assert report.steps == 3


def test_an_encoder_that_changed_is_noticed(dataset, tmp_path, monkeypatch):
    update = training._update

    def spoil(optimiser, scaler):
        next(spoilt[0].model.encoder.parameters()).data.add_(1)
        update(optimiser, scaler)

    spoilt = []
    load = load_trainable
    monkeypatch.setattr("segprobe.fit.load_trainable", lambda *a, **k: spoilt.append(load(*a, **k)) or spoilt[0])
    monkeypatch.setattr(training, "_update", spoil)
    with pytest.raises(RuntimeError, match="should have been frozen"):
        fit_baseline(dataset, "deeplabv1", tmp_path / "p")


def test_tuning_moves_the_encoder_too(dataset, tmp_path):
    made, _ = fit_baseline(dataset, "deeplabv1", tmp_path / "p", replace(SMALL, tune=True))
    after = load_predictor(tmp_path / "p").backbone.model.encoder
    assert parameter_hash(after) != parameter_hash(made.model.encoder)


@pytest.mark.parametrize("name", BASELINES)
def test_a_probe_comes_back_with_its_network(dataset, tmp_path, name):
    made, _ = fit_baseline(dataset, name, tmp_path / "p")
    probe = open_probe(tmp_path / "p")
    assert probe.config["baseline"] == name
    assert probe.tuned["from"] == made.spec.weights_sha256
    predictor = load_predictor(tmp_path / "p", PredictConfig(flip=True))
    scores = predictor.probabilities(dataset.image("toy_000"))
    assert scores.shape == (6, 48, 64)
    assert np.allclose(scores.sum(0), 1, atol=1e-5)
    (tmp_path / "p" / TUNED).unlink()
    with pytest.raises(RunFolderError, match="there are none"):
        open_probe(tmp_path / "p")


def test_resuming_changes_no_bit(dataset, tmp_path, monkeypatch):
    config = replace(SMALL, checkpoint_every=2, tune=True)
    fit_baseline(dataset, "deeplabv1", tmp_path / "whole", config)
    update, done = training._update, []

    def killed(*arguments):
        done.append(1)
        if len(done) == 3:
            raise KeyboardInterrupt
        update(*arguments)

    monkeypatch.setattr(training, "_update", killed)
    with pytest.raises(KeyboardInterrupt):
        fit_baseline(dataset, "deeplabv1", tmp_path / "cut", config)
    monkeypatch.undo()
    monkeypatch.setattr("segprobe.baselines.decoders.FOV_WIDTH", 64)
    _, report = fit_baseline(dataset, "deeplabv1", tmp_path / "cut", config)
    assert report.first_step == 2
    for name in (TUNED, "probe.safetensors"):
        assert (tmp_path / "cut" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "least", "lr", "steps"),
    [("deeplabv1", 0.4, 3e-3, 50), ("deeplabv3plus", 0.2, 1e-2, 40), ("segformer", 0.5, 3e-3, 50)],
)
def test_learns_the_toy_data(tmp_path, monkeypatch, name, least, lr, steps):
    """Background alone is 0.13; the stride of 16 of DeepLabV3+ leaves 4 x 6 cells of these images."""
    monkeypatch.setattr("segprobe.baselines.decoders.WIDTH", 256)  # as published
    monkeypatch.setattr("segprobe.baselines.decoders.FOV_WIDTH", 256)
    train, val = toy_dataset(16), toy_dataset(8, seed=5)
    made = network(name)
    calibrate(made, train)
    config = replace(SMALL, baseline=name, steps=steps, lr=lr, tune=True, backbone_lr=1.0, layer_decay=1.0)
    fit(TruthSource(train), train, backbone=made.config, frozen=made, config=config, out=tmp_path / "p")
    assert evaluate_probe(load_predictor(tmp_path / "p"), val).miou > least


def calibrate(made, dataset):
    """Give the batch normalisations of a random encoder the statistics that pre-training would have left."""
    pictures = torch.stack([made.prepare(dataset.image(sample_id))[0] for sample_id in dataset.ids])
    encoder = made.model.encoder.train()
    for module in encoder.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.momentum = None
    with torch.no_grad():
        encoder.forward_features(pictures)
    encoder.eval()


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"baseline": "unet"}, "baseline must be one of deeplabv1, deeplabv3plus, segformer"),
        ({"baseline": "deeplabv1", "head": "mlp"}, "a linear head of its own"),
        ({"baseline": "deeplabv1", "init": "ridge"}, "begins with a random decoder"),
        ({"baseline": "deeplabv1", "drop_path": 0.1}, "drop-path changes nothing while the backbone is frozen"),
    ],
)
def test_settings_that_make_no_sense_are_refused(settings, message):
    with pytest.raises(ConfigError, match=message):
        FitConfig(**settings)
