import json
from dataclasses import replace

import numpy as np
import pytest
import torch

from labelgen.errors import ConfigError, DataError, RunFolderError, ShapeError, VocabularyError
from labelgen.nets.backbones import BackboneConfig, load_backbone, parameter_hash
from labelgen.nets.training import learning_rate
from labelgen.vocab import Vocabulary
from segprobe.background import background_rule, far_pixels, token_pixels
from segprobe.batches import BatchMaker
from segprobe.closed_form import fit_ridge
from segprobe.config import FitConfig
from segprobe.evaluate import cached_predictions, score_predictions
from segprobe.features import View, build_cache
from segprobe.fit import fit, fit_head
from segprobe.heads import make_head
from segprobe.labels import ImageLabels, TruthSource, read_labels
from segprobe.probe_file import Probe, open_probe
from segprobe.training import head_threads
from tests.segprobe.toy import (
    VOCABULARY,
    Killed,
    ToyBackbone,
    ToyFeatures,
    batch_loss,
    kill_at,
    label_set,
    noisy_labels,
    sparse_labels,
    toy_dataset,
    truth_labels,
    with_ids,
)

FAST = FitConfig(epochs=25, batch_size=8, pixels=256, lr=1e-2)


@pytest.fixture(scope="module")
def train():
    dataset = toy_dataset(24)
    return dataset, ToyFeatures(dataset)


@pytest.fixture(scope="module")
def val():
    dataset = toy_dataset(12, seed=5)
    return dataset, ToyFeatures(dataset, flips=(False,))


def miou(fitted, val):
    dataset, features = val
    probe = Probe(fitted.head, "linear", fitted.class_ids, VOCABULARY, BackboneConfig(), {}, {}, None, {})
    return score_predictions(cached_predictions(probe, features, dataset, dataset.ids), VOCABULARY).miou


# learning -----------------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_learns_from_truth_scribbles_clicks_and_noise(train, val):
    dataset, features = train
    full = miou(fit_head(truth_labels(dataset), features, FAST), val)
    assert full > 0.8  # tokens of 4 pixels on objects of 12 to 28: edges cost the rest
    assert miou(fit_head(sparse_labels(dataset, 0.03), features, FAST), val) > full - 0.05
    assert miou(fit_head(noisy_labels(dataset, 0.3), features, FAST), val) > full - 0.05
    assert miou(fit_head(sparse_labels(dataset, 0.003), features, FAST), val) > full - 0.15


@pytest.mark.slow
@pytest.mark.parametrize(
    "settings",
    [
        {"head": "mlp", "hidden": 32},
        {"head": "conv,width=16"},
        {"head": "projection,dim=16"},
        {"init": "ridge"},
        {"sampling": "balanced"},
        {"feature_dropout": 0.1},
        {"reduction": "image"},
    ],
    ids=str,
)
def test_every_option_learns(train, val, settings):
    dataset, features = train
    assert miou(fit_head(truth_labels(dataset), features, replace(FAST, **settings)), val) > 0.8


def test_ridge_learns(train, val):
    dataset, features = train
    assert miou(fit_head(truth_labels(dataset), features, FitConfig(head="ridge", pixels=256)), val) > 0.8


def test_ridge_start_is_better_than_none_before_any_step(train):
    dataset, features = train
    labels = truth_labels(dataset)
    maker = BatchMaker(features, labels, FAST)
    heads = [
        make_head("linear", torch.as_tensor(features.mean), torch.as_tensor(features.std), num_classes=6)
        for _ in range(2)
    ]
    fit_ridge(heads[1], maker)
    losses = [batch_loss(head, maker.batch(0)).item() for head in heads]
    assert losses[0] == pytest.approx(np.log(6), rel=1e-5)
    assert losses[1] < 0.5 * losses[0]


def test_head_knows_only_classes_it_has_seen(train):
    dataset, features = train
    maps = {i: np.where(np.isin(dataset.truth(i), (0, 3)), dataset.truth(i), np.uint8(255)) for i in dataset.ids}
    fitted = fit_head(label_set(maps), features, replace(FAST, steps=2))
    assert fitted.class_ids == (0, 3)
    assert fitted.head.classify.out_features == 2


# resuming -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "settings",
    [{}, {"head": "mlp", "hidden": 8, "feature_dropout": 0.2}, {"init": "ridge"}, {"head": "conv,width=4"}],
)
def test_resuming_changes_no_bit(train, tmp_path, monkeypatch, settings):
    dataset, features = train
    labels = sparse_labels(dataset, 0.05)
    config = FitConfig(steps=40, batch_size=4, pixels=32, checkpoint_every=10, **settings)
    whole = fit_head(labels, features, config, folder=made(tmp_path / "whole"))

    with monkeypatch.context() as patch, pytest.raises(Killed):
        kill_at(patch, 24)
        fit_head(labels, features, config, folder=made(tmp_path / "parts"))
    resumed = fit_head(labels, features, config, folder=tmp_path / "parts")
    assert len(resumed.losses) == 20
    assert resumed.losses == whole.losses[20:]
    for name, tensor in whole.head.state_dict().items():
        assert torch.equal(tensor, resumed.head.state_dict()[name])
    metrics = [(tmp_path / name / "metrics.jsonl").read_bytes() for name in ("whole", "parts")]
    assert metrics[0] == metrics[1]


def made(folder):
    folder.mkdir()
    return folder


def test_half_a_line_of_metrics_is_mended(train, tmp_path):
    dataset, features = train
    config = FitConfig(steps=20, batch_size=4, pixels=8, checkpoint_every=10)
    (tmp_path / "metrics.jsonl").write_text('{"step": 10, "lo', encoding="utf-8")
    fit_head(sparse_labels(dataset, 0.05), features, config, folder=tmp_path)
    lines = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text(encoding="utf-8").splitlines()]
    assert [line["step"] for line in lines] == [10, 20]


def test_damaged_checkpoint_is_refused(train, tmp_path):
    dataset, features = train
    (tmp_path / "last.pt").write_bytes(b"not a checkpoint")
    with pytest.raises(RunFolderError, match=r"checkpoint cannot be read: .*last.pt"):
        fit_head(sparse_labels(dataset, 0.05), features, FitConfig(steps=2), folder=tmp_path)


def test_batches_are_a_pure_function_of_seed_and_step(train):
    dataset, features = train
    labels = truth_labels(dataset)
    first, again = (BatchMaker(features, labels, FitConfig(pixels=16, batch_size=5)) for _ in range(2))
    for step in (7, 0, 3):
        first.batch(step)
    a, b = first.batch(7), again.batch(7)
    assert torch.equal(a.tokens, b.tokens)
    assert torch.equal(a.columns, b.columns)
    other = BatchMaker(features, labels, FitConfig(pixels=16, batch_size=5, seed=1))
    assert first.chosen(7) != other.chosen(7)


def test_every_epoch_visits_every_image_and_every_view_in_turn(train):
    dataset, features = train
    maker = BatchMaker(features, truth_labels(dataset), FitConfig(batch_size=5, epochs=2))
    assert maker.num_steps == 10
    epochs = [[choice for step in range(e * 5, e * 5 + 5) for choice in maker.chosen(step)] for e in range(2)]
    for epoch in epochs:
        assert sorted(i for i, _ in epoch) == sorted(dataset.ids)
    assert {**dict(epochs[0])} == {i: 1 - view for i, view in epochs[1]}


def test_learning_rate_rises_and_falls():
    rates = [learning_rate(step, 100, peak=2.0, warmup=0.1) for step in range(100)]
    assert rates[0] == pytest.approx(0.2)
    assert max(rates) == rates[9] == rates[10] == 2.0
    assert rates[55] == pytest.approx(1.0)
    assert rates[-1] < 0.01


def test_threads_are_given_back():
    before = torch.get_num_threads()
    with pytest.raises(ValueError, match="stop"), head_threads(1):
        assert torch.get_num_threads() == 1
        raise ValueError("stop")
    assert torch.get_num_threads() == before


# labels -------------------------------------------------------------------------------------------------------------


class Masks:
    """Label maps in memory as a source of labels."""

    name = "masks"

    def __init__(self, maps, vocabulary=VOCABULARY):
        self.maps, self.vocabulary, self.ids = maps, vocabulary, tuple(sorted(maps))

    def labels(self, sample_id):
        return self.maps[sample_id]


def test_sparse_and_dense_labels_keep_the_same_pixels():
    labels = np.full((6, 8), 255, np.uint8)
    labels[2, 3:5] = 4
    sparse = ImageLabels.of(labels)
    dense = ImageLabels((6, 8), labels.reshape(-1))
    assert sparse.pixels.tolist() == [19, 20]
    for form in (sparse, dense):
        pixels, classes = form.labelled()
        assert (pixels.tolist(), classes.tolist()) == ([19, 20], [4, 4])
        assert np.array_equal(form.map(), labels)


def test_images_without_label_are_skipped_and_counted():
    dataset = toy_dataset(3)
    maps = {i: dataset.truth(i) for i in dataset.ids}
    maps["toy_001"] = np.full_like(maps["toy_001"], 255)
    found = read_labels(Masks(maps), dataset)
    assert (found.ids, found.skipped) == (("toy_000", "toy_002"), ("toy_001",))
    assert found.coverage == pytest.approx(2 / 3)
    assert found.counts.sum() == 2 * 48 * 64


def test_no_labelled_pixel_at_all_is_refused():
    dataset = toy_dataset(2)
    maps = {i: np.full((48, 64), 255, np.uint8) for i in dataset.ids}
    with pytest.raises(DataError, match="at least one labelled pixel is needed to fit a head, got none in the 2"):
        read_labels(Masks(maps), dataset)


def test_foreign_ids_are_refused():
    dataset = toy_dataset(1)
    with pytest.raises(DataError, match="labels must be ids < 6 or 255, got 9 in toy_000 of masks"):
        read_labels(Masks({"toy_000": np.full((48, 64), 9, np.uint8)}), dataset)


def test_other_classes_are_refused_by_name():
    dataset = toy_dataset(1)
    other = Vocabulary("other", ("background", "red", "lime"), background=0)
    with pytest.raises(VocabularyError, match="id 2 is 'lime' and 'green'"):
        read_labels(Masks({"toy_000": dataset.truth("toy_000")}, other), dataset)


def test_labels_of_other_images_are_refused():
    with pytest.raises(ConfigError, match="must share images, got 1 labelled ids in masks and 2 other"):
        read_labels(Masks({"elsewhere": np.zeros((48, 64), np.uint8)}), toy_dataset(2))


def test_labels_of_another_size_are_refused(train):
    _, features = train
    labels = label_set({"toy_000": np.zeros((40, 64), np.uint8)})
    with pytest.raises(ShapeError, match=r"size \(48, 64\) of the image, got \(40, 64\) in toy_000"):
        fit_head(labels, features, FitConfig(steps=1))


def test_digest_follows_the_labels():
    dataset = toy_dataset(2)
    before = truth_labels(dataset).digest()
    maps = {i: dataset.truth(i).copy() for i in dataset.ids}
    assert label_set(maps).digest() == before
    maps["toy_001"][0, 0] = 5
    assert label_set(maps).digest() != before


# missing background -------------------------------------------------------------------------------------------------


def clicks_on_objects(dataset):
    """One pixel in the middle of each object."""
    maps = {}
    for sample_id in dataset.ids:
        truth = dataset.truth(sample_id)
        labels = np.full_like(truth, 255)
        for class_id in np.unique(truth[truth > 0]):
            rows, cols = np.nonzero(truth == class_id)
            middle = np.argmin((rows - rows.mean()) ** 2 + (cols - cols.mean()) ** 2)
            labels[rows[middle], cols[middle]] = class_id
        maps[sample_id] = labels
    return label_set(maps)


def test_rule_is_only_in_force_where_background_is_missing(train):
    dataset, _ = train
    clicks = clicks_on_objects(dataset)
    assert [background_rule(rule, clicks) for rule in ("auto", "far", "border", "none")] == [
        "far",
        "far",
        "border",
        "none",
    ]
    assert background_rule("auto", truth_labels(dataset)) == "none"
    no_background = replace(clicks, vocabulary=replace(VOCABULARY, background=None))
    assert background_rule("auto", no_background) == "none"


@pytest.mark.slow
def test_standing_in_for_background_beats_leaving_it_out(train, val, caplog):
    dataset, features = train
    clicks = clicks_on_objects(dataset)
    found = {rule: fit_head(clicks, features, replace(FAST, background=rule)) for rule in ("none", "far", "border")}
    assert "no label of toy shows the background" in caplog.text
    assert found["none"].class_ids == (1, 2, 3, 4, 5)
    scores = {rule: miou(fitted, val) for rule, fitted in found.items()}
    assert scores["far"] > scores["none"] + 0.2
    assert scores["border"] > scores["none"] + 0.2


def test_a_single_class_is_said(train, caplog):
    dataset, features = train
    labels = label_set({i: np.where(dataset.truth(i) == 1, 1, 255).astype(np.uint8) for i in dataset.ids})
    fit_head(labels, features, replace(FAST, epochs=1, background="none"))
    assert "show one class only" in caplog.text


def test_far_takes_no_labelled_pixel(train):
    from segprobe.background import add_background

    dataset, features = train
    clicks = clicks_on_objects(dataset)
    with_background = add_background(clicks, features, rule="far", share=0.3)
    for sample_id, image in clicks.images.items():
        pixels, classes = image.labelled()
        after = with_background.images[sample_id].map().reshape(-1)
        assert (after[pixels] == classes).all()
    truth = np.concatenate(
        [dataset.truth(i).reshape(-1)[_added(with_background.images[i])] for i in with_background.ids]
    )
    assert (truth == 0).mean() > 0.9


def _added(image):
    pixels, classes = image.labelled()
    return pixels[classes == 0]


def test_token_pixels_are_the_middles_of_the_patches():
    _, geometry = ToyBackbone().prepare(np.zeros((8, 12, 3), np.uint8))
    assert token_pixels(geometry).tolist() == [13, 17, 21, 61, 65, 69]
    assert far_pixels(np.array([5, 6, 7]), np.array([0.1, 0.1, -1.0]), share=0.0).tolist() == [7]


# the whole function, with a real backbone ----------------------------------------------------------------------------


@pytest.mark.slow
def test_fit_writes_a_probe_and_leaves_the_backbone_alone(vit, tmp_path):
    dataset = with_ids(toy_dataset(), [f"toy_{i:03}" for i in range(4)])
    frozen = load_backbone(vit)
    before = parameter_hash(frozen.model)
    config = FitConfig(steps=6, pixels=32)
    arguments = {"backbone": vit, "config": config, "cache": tmp_path / "cache", "device": "cpu"}
    report = fit(TruthSource(dataset), dataset, out=tmp_path / "probe", frozen=frozen, **arguments)
    assert parameter_hash(frozen.model) == before
    assert all(p.grad is None and not p.requires_grad for p in frozen.model.parameters())
    assert (report.images, report.steps, report.background) == (4, 6, "none")
    probe = open_probe(tmp_path / "probe")
    assert probe.fingerprint["weights_sha256"] == frozen.spec.weights_sha256
    assert probe.labels["coverage"] == 1.0
    assert sorted(p.name for p in (tmp_path / "probe").iterdir()) == [
        "fit.json",
        "metrics.jsonl",
        "probe.json",
        "probe.safetensors",
    ]
    content = (tmp_path / "probe" / "probe.safetensors").read_bytes()
    again = fit(TruthSource(dataset), dataset, out=tmp_path / "probe", frozen=frozen, **arguments)
    assert again.already
    assert (tmp_path / "probe" / "probe.safetensors").read_bytes() == content
    arguments["config"] = replace(config, lr=0.5, checkpoint_every=7)
    with pytest.raises(RunFolderError, match=r"holds a fit with other settings: config.lr is 0.001 there, 0.5 now$"):
        fit(TruthSource(dataset), dataset, out=tmp_path / "probe", frozen=frozen, **arguments)
    replaced = fit(TruthSource(dataset), dataset, out=tmp_path / "probe", frozen=frozen, overwrite=True, **arguments)
    assert not replaced.already
    assert (tmp_path / "probe" / "probe.safetensors").read_bytes() != content


@pytest.mark.slow
def test_cached_features_give_the_loss_of_fresh_ones(vit, tmp_path):
    dataset = toy_dataset(4)
    backbone = load_backbone(vit)
    views = (View(), View(flip=True), View(scale=1.5))
    cache = build_cache(dataset, dataset.ids, backbone, tmp_path / "cache", views=views)

    class Fresh:
        ids, mean, std = cache.ids, cache.mean, cache.std

        def __init__(self):
            self.views = views

        def features(self, sample_id, view_index=0):
            view = views[view_index]
            picture, geometry = backbone.prepare(dataset.image(sample_id), scale=view.scale, flip=view.flip)
            return type("Tokens", (), {"tokens": backbone.tokens(picture[None])[0], "geometry": geometry})()

    labels = truth_labels(dataset)
    head = make_head("mlp", torch.as_tensor(cache.mean), torch.as_tensor(cache.std), num_classes=6, seed=1)
    torch.nn.init.normal_(head.classify.weight, std=0.2, generator=torch.Generator().manual_seed(0))
    losses = []
    for source in (cache, Fresh()):
        maker = BatchMaker(source, labels, FitConfig(pixels=200, batch_size=4))
        with torch.no_grad():
            losses.append([float(batch_loss(head, maker.batch(step))) for step in range(3)])
    assert losses[0] == pytest.approx(losses[1], rel=1e-3)


def test_a_folder_with_something_else_in_it_is_refused(tmp_path):
    from segprobe.fit_folder import begin_fit

    (tmp_path / "thesis.tex").write_text("years of work", encoding="utf-8")
    with pytest.raises(RunFolderError, match="is not empty and holds no fit"):
        begin_fit(tmp_path, {}, overwrite=True)
    assert (tmp_path / "thesis.tex").exists()


@pytest.mark.parametrize("content", [b"{", b"[]", b'{"state": "running"}', b'{"state": "running", "schema": 99}'])
def test_a_damaged_or_foreign_fit_is_refused(tmp_path, content):
    from segprobe.fit_folder import begin_fit

    (tmp_path / "fit.json").write_bytes(content)
    with pytest.raises(RunFolderError, match=r"fit\.json"):
        begin_fit(tmp_path, {}, overwrite=False)


def test_a_complete_fit_without_its_probe_is_refused(tmp_path):
    from segprobe.fit_folder import begin_fit, finish_fit

    finish_fit(tmp_path, {})
    with pytest.raises(RunFolderError, match="is complete, but its probe cannot be used") as refused:
        begin_fit(tmp_path, {})
    assert refused.value.hint == "--overwrite fits it again"
    assert not begin_fit(tmp_path, {}, overwrite=True)
