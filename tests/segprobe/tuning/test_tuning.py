"""The backbone trained with the head: what learns, what stays, what a probe keeps, and what resuming changes."""

from dataclasses import dataclass, replace

import numpy as np
import pytest
import torch

from labelgen.errors import ConfigError, RunFolderError, ShapeError, WeightsError
from labelgen.nets.backbones import Backbone, BackboneConfig, load_backbone, parameter_hash
from segprobe import training
from segprobe.batches import BatchMaker
from segprobe.config import FitConfig
from segprobe.evaluate import evaluate_probe
from segprobe.fit import fit, picture_features, views_of
from segprobe.heads import make_head
from segprobe.labels import TruthSource
from segprobe.predict import Predictor, load_predictor
from segprobe.probe_file import open_probe
from segprobe.tuning.batches import TuningBatches
from segprobe.tuning.features import check_picture_sizes
from segprobe.tuning.groups import backbone_groups
from segprobe.tuning.network import load_for_tuning, tunable
from segprobe.tuning.weights_file import TUNED
from tests.segprobe.toy import ToyDataset, ToyTokens, label_set, sparse_labels, toy_dataset, truth_labels

VIT = BackboneConfig("test_vit", size=96, dtype="float32")
CNN = BackboneConfig("test_resnet", size=64, dtype="float32")
TUNE = FitConfig(tune=True, steps=4, batch_size=4, pixels=128, lr=1e-2, backbone_lr=0.3, amp="float32", threads=1)


@pytest.fixture(scope="module")
def dataset():
    return toy_dataset(8)


@pytest.fixture
def vit():
    return load_backbone(VIT, pretrained=False)


@pytest.fixture
def cnn():
    return load_backbone(CNN, pretrained=False)


def ready(dataset, backbone, config=TUNE, labels=None):
    """Batches and a head that is not zero, so that gradients go through it."""
    features = picture_features(dataset, dataset.ids, backbone, config)
    labels = labels or truth_labels(dataset)
    maker = TuningBatches(features, labels, config)
    mean, std = torch.as_tensor(features.mean), torch.as_tensor(features.std)
    head = make_head(config.head_choice, mean, std, num_classes=len(labels.class_ids))
    torch.nn.init.normal_(head.classify.weight, std=0.1, generator=torch.Generator().manual_seed(0))
    return features, maker, head


def fit_probe(dataset, backbone, out, config=TUNE, **options):
    return fit(
        TruthSource(dataset), dataset, backbone=backbone.config, frozen=backbone, config=config, out=out, **options
    )


@dataclass(frozen=True)
class FrozenFeatures:
    """What a cache would hold, in float32."""

    dataset: ToyDataset
    backbone: Backbone
    views: tuple
    mean: np.ndarray
    std: np.ndarray

    def features(self, sample_id, view_index):
        picture, geometry = self.backbone.prepare(self.dataset.image(sample_id), flip=self.views[view_index].flip)
        return ToyTokens(self.backbone.tokens(picture[None])[0].clone(), geometry)


# batches ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("sampling", ["uniform", "full"])
def test_batches_are_those_of_the_frozen_probe(dataset, vit, sampling):
    config = replace(TUNE, sampling=sampling)
    features, maker, _ = ready(dataset, load_for_tuning(VIT, device="cpu", given=vit), config)

    frozen = BatchMaker(
        FrozenFeatures(dataset, vit, views_of(config), features.mean, features.std), truth_labels(dataset), config
    )
    for step in range(3):
        ours, theirs = maker.batch(step), frozen.batch(step)
        assert ours.images == theirs.images
        for name in ("owners", "corners", "corner_weights", "columns", "pixel_weights"):
            assert torch.equal(getattr(ours, name), getattr(theirs, name))
        assert torch.allclose(ours.tokens, theirs.tokens, atol=1e-5)
        assert ours.tokens.requires_grad


def test_parts_of_a_batch_make_the_whole(dataset, vit):
    config = replace(TUNE, drop_path=0.3)
    _, maker, _ = ready(dataset, vit, config)
    whole = maker.batch(1)
    parts = [maker.batch(1, part=(rank, 2)) for rank in range(2)]
    for number, image in enumerate(whole.images):
        mine, place = parts[number % 2], number // 2
        assert mine.images[place].id == image.id
        assert torch.allclose(mine.tokens[mine.owners == place], whole.tokens[whole.owners == number], atol=1e-5)


def test_images_of_several_shapes_share_a_batch(dataset, vit):
    config = replace(TUNE, scales=(1.0, 1.5), flip=False, batch_size=8)
    features, maker, _ = ready(dataset, vit, config)
    batch = maker.batch(0)
    assert len({image.geometry.grid for image in batch.images}) == 2
    for number, image in enumerate(batch.images):
        alone = features.features(image.id, image.view).tokens.reshape(-1, 64)
        rows = batch.tokens[batch.owners == number]
        assert all((alone - row).abs().max(1).values.min() < 1e-5 for row in rows[:: max(1, len(rows) // 4)])


def test_statistics_are_those_of_the_untuned_tokens(dataset, vit):
    features, _, _ = ready(dataset, vit)
    rows = np.concatenate(
        [vit.tokens(vit.prepare(dataset.image(i))[0][None])[0].reshape(-1, 64).numpy() for i in dataset.ids]
    )
    assert np.allclose(features.mean, rows.mean(0), atol=1e-4)
    assert np.allclose(features.std, rows.std(0), atol=1e-4)


def test_labels_of_another_size_are_refused_without_running_the_network(dataset, vit):
    features, _, _ = ready(dataset, vit)
    features.network.backbone.model.forward_intermediates = None
    check_picture_sizes(truth_labels(dataset), features)
    with pytest.raises(ShapeError, match="got \\(9, 9\\) in toy_000"):
        check_picture_sizes(label_set({"toy_000": np.zeros((9, 9), np.uint8)}), features)


# gradients and rates ------------------------------------------------------------------------------------------------


def test_gradients_reach_every_parameter_that_tokens_depend_on(dataset):
    backbone = load_backbone(replace(VIT, layers=(1,), norm=False), pretrained=False)
    depth = len(backbone.model.blocks)
    _, maker, head = ready(dataset, backbone)
    training._gradients(head, maker, _cross_entropy(), 0, training.ALONE)
    with_gradient = {name for name, p in backbone.model.named_parameters() if p.grad is not None and p.grad.any()}
    assert depth > 2
    assert {
        "patch_embed.proj.weight",
        "pos_embed",
        "blocks.0.attn.qkv.weight",
        "blocks.1.mlp.fc2.bias",
    } <= with_gradient
    later = [p for name, p in backbone.model.named_parameters() if name.startswith(("blocks.2.", "norm."))]
    assert later
    assert not any(p.requires_grad for p in later)


def _cross_entropy():
    from segprobe.losses.masked_cross_entropy import masked_cross_entropy
    from segprobe.objective import Objective

    return Objective(
        lambda logits, columns, weights, ignore, **more: masked_cross_entropy(
            logits, columns, weights=weights, ignore=ignore
        )
    )


def test_rates_fall_block_by_block_and_stage_by_stage(vit, cnn):
    for backbone, coarse, near, far, distance in (
        (vit, False, "norm.weight", "blocks.0.norm1.weight", len(vit.model.blocks) - 1),
        (cnn, True, "layer4.0.conv1.weight", "layer1.0.conv1.weight", 3),
    ):
        model = backbone.model.requires_grad_(True)
        groups = backbone_groups(model, coarse=coarse, factor=0.1, decay=0.5, weight_decay=0.01)
        found = {id(p): group for group in groups for p in group["params"]}
        named = dict(model.named_parameters())
        assert len(found) == len(named)
        assert found[id(named[near])]["factor"] == pytest.approx(0.1)
        assert found[id(named[far])]["factor"] == pytest.approx(0.1 * 0.5**distance)
        assert {found[id(p)]["weight_decay"] for p in named.values() if p.ndim < 2} == {0.0}
        assert found[id(named["blocks.0.attn.qkv.weight" if backbone is vit else far])]["weight_decay"] == 0.01


def test_a_rate_of_almost_nothing_leaves_the_backbone_where_it_was(dataset, vit, tmp_path):
    untuned = {name: p.clone() for name, p in vit.model.named_parameters()}
    fit_probe(dataset, vit, tmp_path / "still", replace(TUNE, backbone_lr=1e-12, weight_decay=0.0))
    fit_probe(dataset, vit, tmp_path / "moved", TUNE)
    still, moved = (load_predictor(tmp_path / name).backbone.model for name in ("still", "moved"))
    drift = [max(float((p - untuned[n]).abs().max()) for n, p in m.named_parameters()) for m in (still, moved)]
    assert drift[0] < 1e-8
    assert drift[1] > 1e-4


# what stays ---------------------------------------------------------------------------------------------------------


def test_batch_normalisation_keeps_its_statistics_and_trains_its_scale(dataset, cnn, tmp_path):
    before = {name: value.clone() for name, value in cnn.model.state_dict().items()}
    fit_probe(dataset, cnn, tmp_path / "p")
    after = load_predictor(tmp_path / "p").backbone.model.state_dict()
    running = [name for name in before if "running" in name or "num_batches" in name]
    assert running
    assert all(torch.equal(before[name], after[name]) for name in running)
    assert not torch.equal(before["layer4.0.bn1.weight"], after["layer4.0.bn1.weight"])


def test_the_backbone_that_was_given_stays_as_it_was(dataset, vit, tmp_path):
    before = parameter_hash(vit.model)
    fit_probe(dataset, vit, tmp_path / "p")
    assert parameter_hash(vit.model) == before
    assert not any(p.requires_grad for p in vit.model.parameters())


# the probe ----------------------------------------------------------------------------------------------------------


def test_a_probe_brings_its_weights(dataset, vit, tmp_path):
    fit_probe(dataset, vit, tmp_path / "p")
    probe = open_probe(tmp_path / "p")
    assert probe.backbone.weights == str((tmp_path / "p" / TUNED).resolve())
    assert probe.tuned["from"] == vit.spec.weights_sha256 != probe.fingerprint["weights_sha256"]
    predictor = load_predictor(tmp_path / "p")
    assert parameter_hash(predictor.backbone.model) == probe.fingerprint["weights_sha256"]
    moved = tmp_path / "elsewhere"
    (tmp_path / "p").rename(moved)
    again = load_predictor(moved)
    image = dataset.image(dataset.ids[0])
    assert np.array_equal(predictor.probabilities(image), again.probabilities(image))
    with pytest.raises(WeightsError, match="needs test_vit with weights"):
        Predictor(probe, vit)


def test_damaged_and_missing_weights_are_refused(dataset, vit, tmp_path):
    fit_probe(dataset, vit, tmp_path / "p", replace(TUNE, steps=1))
    path = tmp_path / "p" / TUNED
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    with pytest.raises(RunFolderError, match="must be the file that probe"):
        open_probe(tmp_path / "p")
    path.unlink()
    with pytest.raises(RunFolderError, match="there are none"):
        open_probe(tmp_path / "p")


@pytest.mark.parametrize("ema", [0.0, 0.9])
def test_resuming_changes_no_bit(dataset, vit, tmp_path, monkeypatch, ema):
    config = replace(TUNE, ema=ema, drop_path=0.2, checkpoint_every=2)
    fit_probe(dataset, vit, tmp_path / "whole", config)
    step = training._gradients

    def killed(head, maker, objective, number, *more):
        if number == 3:
            raise KeyboardInterrupt
        return step(head, maker, objective, number, *more)

    monkeypatch.setattr(training, "_gradients", killed)
    with pytest.raises(KeyboardInterrupt):
        fit_probe(dataset, vit, tmp_path / "cut", config)
    monkeypatch.undo()
    report = fit_probe(dataset, vit, tmp_path / "cut", config)
    assert report.first_step == 2
    for name in (TUNED, "probe.safetensors", "metrics.jsonl"):
        assert (tmp_path / "cut" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()


def test_overwriting_with_a_frozen_fit_removes_the_tuned_weights(dataset, vit, tmp_path):
    fit_probe(dataset, vit, tmp_path / "p", replace(TUNE, steps=1))
    frozen = FitConfig(steps=1, batch_size=4)
    fit_probe(dataset, vit, tmp_path / "p", frozen, cache=tmp_path / "cache", overwrite=True)
    assert not (tmp_path / "p" / TUNED).exists()
    assert not open_probe(tmp_path / "p").tuned


# learning -----------------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_tuning_learns_more_than_a_head_on_random_features(tmp_path):
    train, val = toy_dataset(16), toy_dataset(8, seed=5)
    settings = {"epochs": 30, "batch_size": 8, "pixels": 256, "lr": 1e-2}
    backbone = load_backbone(replace(CNN, size=96, layers=(0,)), pretrained=False)
    found = {}
    for name, config in (
        ("frozen", FitConfig(**settings)),
        ("tuned", FitConfig(**settings, tune=True, backbone_lr=1.0, layer_decay=1.0, threads=1)),
    ):
        fit_probe(train, backbone, tmp_path / name, config, cache=tmp_path / "cache")
        probe = open_probe(tmp_path / name)
        predictor = load_predictor(tmp_path / name) if config.tune else Predictor(probe, backbone)
        found[name] = evaluate_probe(predictor, val).miou
    assert found["tuned"] > found["frozen"] + 0.1


# settings -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"amp": "half"}, "amp must be one of"),
        ({"tune": True, "backbone_lr": 0.0}, "backbone-lr must be > 0"),
        ({"tune": True, "layer_decay": 1.5}, "layer-decay must lie in"),
        ({"tune": True, "drop_path": 1.0}, "drop-path must lie in"),
        ({"tune": True, "head": "ridge"}, "tuned by gradients, and head ridge has none"),
        ({"drop_path": 0.1, "amp": "float32"}, "amp, drop-path changes nothing"),
        ({"threads": -2}, "threads must be >= -1"),
    ],
)
def test_settings_that_make_no_sense_are_refused(settings, message):
    with pytest.raises(ConfigError, match=message):
        FitConfig(**settings)


def test_threads_follow_what_is_trained():
    assert FitConfig().thread_count == 1
    assert FitConfig(tune=True).thread_count == 0
    assert FitConfig(tune=True, threads=3).thread_count == 3


def test_a_tuned_backbone_has_float32_parameters():
    with pytest.raises(ConfigError, match="float32, got dtype bfloat16"):
        load_for_tuning(replace(VIT, dtype="bfloat16"), device="cpu")


def test_drop_path_needs_a_place(cnn):
    for module in cnn.model.modules():
        module.__dict__.pop("drop_path", None)
        module._modules.pop("drop_path", None)
    with pytest.raises(ConfigError, match="drop-path needs a network"):
        tunable(cnn, replace(TUNE, drop_path=0.1))


def test_ridge_start_reads_the_untuned_network(dataset, vit, tmp_path):
    report = fit_probe(dataset, vit, tmp_path / "p", replace(TUNE, init="ridge", steps=1))
    zero = fit_probe(dataset, vit, tmp_path / "q", replace(TUNE, steps=1))
    assert report.loss < zero.loss


def test_missing_background_is_found_with_the_untuned_network(dataset, vit, tmp_path):
    sparse = sparse_labels(dataset, 0.05)
    maps = {i: np.where(image.map() == 0, np.uint8(255), image.map()) for i, image in sparse.images.items()}

    class Source:
        name, path, vocabulary, ids = "clicks", None, dataset.vocabulary, dataset.ids

        def labels(self, sample_id):
            return maps[sample_id]

    report = fit(Source(), dataset, backbone=vit.config, frozen=vit, config=replace(TUNE, steps=1), out=tmp_path / "p")
    assert report.background == "far"


def test_other_arithmetic_is_loaded_anew(vit, monkeypatch):
    asked = []
    monkeypatch.setattr(
        "segprobe.tuning.network.load_backbone", lambda config, device: asked.append(config.dtype) or vit
    )
    given = Backbone.__new__(Backbone)
    given.dtype, given.config = torch.bfloat16, replace(VIT, dtype="bfloat16")
    assert load_for_tuning(VIT, device="cpu", given=given) is vit
    assert asked == ["float32"]
