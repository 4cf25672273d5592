"""Weights of pixels in the loss: of their classes, and of the confidence of a run."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from labelgen.errors import ConfigError, DataError, ShapeError
from labelgen.masks import SoftMask
from segprobe.batches import BatchMaker
from segprobe.class_weights import balanced_weights, class_weights
from segprobe.confidence import confidence_of
from segprobe.config import FitConfig
from segprobe.fit import fit_head
from segprobe.heads import LinearHead
from segprobe.labels import ImageLabels, TruthSource, read_labels
from segprobe.sampling import sample_pixels
from tests.segprobe.toy import VOCABULARY, ToyFeatures, batch_loss, label_set, sparse_labels, toy_dataset, truth_labels


@pytest.fixture(scope="module")
def toy():
    dataset = toy_dataset(6)
    return dataset, ToyFeatures(dataset)


def head_for(features):
    head = LinearHead(torch.as_tensor(features.mean), torch.as_tensor(features.std), num_classes=6)
    torch.nn.init.normal_(head.classify.weight, std=0.2, generator=torch.Generator().manual_seed(0))
    return head


# classes --------------------------------------------------------------------------------------------------------------


def test_class_weights_are_the_formulas():
    maps = {
        "a": np.array([[0, 0, 0, 1], [255, 255, 255, 255]], np.uint8),
        "b": np.array([[0, 0, 2, 2], [0, 0, 2, 2]], np.uint8),
    }
    labels = label_set(maps)
    share = {0: 7 / 12, 1: 1 / 12, 2: 4 / 12}
    among = {0: 7 / 12, 1: 1 / 4, 2: 4 / 8}
    raw = {
        "log": {k: 1 / np.log(1.02 + v) for k, v in share.items()},
        "inverse": {k: 1 / v for k, v in share.items()},
        "median": {k: 0.5 / v for k, v in among.items()},
    }
    for rule, wanted in raw.items():
        mean = sum(wanted[k] * share[k] for k in share)
        found = class_weights(rule, labels)
        assert found == pytest.approx([*(wanted[k] / mean for k in range(3)), 0, 0, 0])
    assert class_weights("none", labels).tolist() == [1.0] * 6


@pytest.mark.parametrize("rule", ["log", "median", "inverse"])
def test_the_mean_weight_of_a_labelled_pixel_is_one(rule):
    counts = np.array([900, 0, 80, 3])
    weights = balanced_weights(rule, counts, np.array([983, 0, 500, 100]))
    assert (weights * counts).sum() / counts.sum() == pytest.approx(1)
    assert weights[3] > weights[2] > weights[0] > weights[1] == 0


@pytest.mark.parametrize("rule", ["log", "median", "inverse"])
def test_nothing_labelled_has_no_weights(rule):
    assert balanced_weights(rule, np.zeros(3, int), np.zeros(3, int)).tolist() == [0.0] * 3


@pytest.mark.parametrize("sampling", ["uniform", "balanced", "full"])
@pytest.mark.parametrize("reduction", ["batch", "image"])
def test_class_weights_reach_the_loss(toy, sampling, reduction):
    dataset, features = toy
    labels, head = sparse_labels(dataset, 0.03), head_for(features)
    config = FitConfig(sampling=sampling, pixels=10**6, class_weights="log", reduction=reduction)
    chosen = [(sample_id, 0) for sample_id in labels.ids[:3]]
    found = batch_loss(head, BatchMaker(features, labels, config).assemble(chosen, np.random.default_rng(0)))
    per_class = class_weights("log", labels)
    losses, weights = [], []
    for sample_id, _ in chosen:
        plain = replace(config, sampling="uniform", class_weights="none", reduction="batch")
        maker = BatchMaker(features, labels, plain)
        for class_id in np.unique(labels.images[sample_id].labelled()[1]):
            batch = maker.assemble([(sample_id, 0)], np.random.default_rng(0))
            of_class = torch.from_numpy(labels.images[sample_id].labelled()[1] == class_id)
            count = int(of_class.sum())
            only = replace(batch, pixel_weights=batch.pixel_weights * of_class)
            losses.append(batch_loss(head, only).item())
            weights.append((sample_id, count * per_class[class_id]))
    totals = {sample_id: sum(w for i, w in weights if i == sample_id) for sample_id, _ in chosen}
    used = np.array([w / totals[i] if reduction == "image" else w for i, w in weights])
    assert found.item() == pytest.approx((np.array(losses) * used).sum() / used.sum(), rel=1e-4)


def test_unknown_rules_are_refused():
    with pytest.raises(ConfigError, match="class-weights must be one of none, log, median, inverse, got 'sqrt'"):
        FitConfig(class_weights="sqrt")


@pytest.mark.slow
def test_class_weights_decide_where_labels_are_torn(toy):
    dataset, features = toy
    maps = {}
    for number, sample_id in enumerate(dataset.ids):
        truth = dataset.truth(sample_id)
        missed = (truth > 0) & (np.random.default_rng(number).random(truth.shape) < 0.6)
        maps[sample_id] = np.where(missed, np.uint8(0), truth)
    found = {}
    for rule in ("none", "inverse"):
        config = FitConfig(head="ridge", pixels=512, class_weights=rule)
        head = fit_head(label_set(maps), features, config).head
        hits = [
            (head(features.features(i, 0).tokens).argmax(-1).numpy() > 0)[dataset.truth(i)[2::4, 2::4] > 0]
            for i in dataset.ids
        ]
        found[rule] = np.concatenate(hits).mean()
    assert found["none"] < 0.4 < 0.9 < found["inverse"]


# confidence -----------------------------------------------------------------------------------------------------------


class Scored:
    """Labels with scores in memory, as a run has them."""

    name = "scored"
    vocabulary = VOCABULARY

    def __init__(self, masks, maps):
        self.masks, self.maps, self.ids = masks, maps, tuple(sorted(maps))

    def labels(self, sample_id):
        return self.maps[sample_id]

    def scores(self, sample_id):
        return self.masks[sample_id]


def scored(dataset):
    """Truth, believed by .9 on the left and .5 on the right."""
    maps = {sample_id: dataset.truth(sample_id) for sample_id in dataset.ids}
    masks = {}
    for sample_id, truth in maps.items():
        sure = np.where(np.arange(64) < 32, 0.9, 0.5).astype(np.float32)[None, :]
        planes = np.stack([np.where(truth == k, sure, (1 - sure) / 5) for k in range(6)]).astype(np.float32)
        masks[sample_id] = SoftMask(3 * planes, tuple(range(6)))
    return Scored(masks, maps)


def test_confidence_is_the_share_of_the_chosen_score():
    scores = np.array([[[0.5, 2.0, 0.0]], [[0.25, 6.0, 0.0]]], np.float32)
    found = confidence_of(np.array([[2, 5, 255]], np.uint8), SoftMask(scores, (2, 5)), where="a")
    assert found.tolist() == [[pytest.approx(2 / 3), 0.75, 0.0]]


def test_confidence_of_other_labels_is_refused():
    mask = SoftMask(np.ones((1, 1, 2), np.float32), (2,))
    with pytest.raises(DataError, match="got class 4 without in a"):
        confidence_of(np.array([[2, 4]], np.uint8), mask, where="a")
    with pytest.raises(ShapeError, match="scores must have the size"):
        confidence_of(np.array([[2]], np.uint8), mask, where="a")


def test_weights_are_a_power_of_confidence(toy):
    dataset, _ = toy
    labels = read_labels(scored(dataset), dataset, confidence=2.0)
    image = labels.images[labels.ids[0]]
    assert np.allclose(image.weight_map()[:, :32], 0.81, atol=1e-3)
    assert np.allclose(image.weight_map()[:, 32:], 0.25, atol=1e-3)
    assert labels.coverage == 1


def test_labels_of_little_confidence_are_left_out(toy):
    dataset, _ = toy
    labels = read_labels(scored(dataset), dataset, min_confidence=0.6)
    image = labels.images[labels.ids[0]]
    assert (image.map()[:, 32:] == 255).all()
    assert np.array_equal(image.map()[:, :32], dataset.truth(labels.ids[0])[:, :32])
    assert image.weights is None
    assert labels.coverage == 0.5


def test_labels_without_scores_are_refused(toy):
    dataset, _ = toy
    with pytest.raises(ConfigError, match="need the scores of a run, got none in truth") as caught:
        read_labels(TruthSource(dataset), dataset, confidence=1.0)
    assert "--save-scores" in caught.value.hint
    source = scored(dataset)
    source.masks = dict.fromkeys(source.ids)
    with pytest.raises(ConfigError, match="got none in scored"):
        read_labels(source, dataset, min_confidence=0.1)
    assert read_labels(source, dataset).images[source.ids[0]].weights is None


def test_digest_follows_the_weights(toy):
    dataset, _ = toy
    digests = {read_labels(scored(dataset), dataset, confidence=gamma).digest() for gamma in (0.0, 1.0, 2.0)}
    assert len(digests) == 3
    assert read_labels(scored(dataset), dataset).digest() == truth_labels(dataset).digest()


@pytest.mark.parametrize("coverage", [0.1, 0.9])
def test_weights_stay_with_their_pixels(coverage):
    rng = np.random.default_rng(0)
    labels = np.where(rng.random((20, 30)) < coverage, rng.integers(0, 5, (20, 30)), 255).astype(np.uint8)
    weights = rng.random((20, 30)).astype(np.float16)
    image = ImageLabels.of(labels, weights=weights)
    assert (image.pixels is None) == (coverage > 0.5)
    pixels, _ = image.labelled()
    assert np.array_equal(image.labelled_weights(), weights.reshape(-1)[pixels].astype(np.float32))
    assert np.array_equal(image.weight_map()[labels != 255], weights[labels != 255])
    for balanced in (False, True):
        drawn = sample_pixels(image, np.random.default_rng(1), count=25, balanced=balanced)
        plain = sample_pixels(ImageLabels.of(labels), np.random.default_rng(1), count=25, balanced=balanced)
        assert np.array_equal(drawn.pixels, plain.pixels)
        assert drawn.weights == pytest.approx(plain.weights * weights.reshape(-1)[drawn.pixels])
    free = np.flatnonzero(labels.reshape(-1) == 255)[:3]
    more = image.with_pixels(free, 4)
    assert more.weight_map().reshape(-1)[free].tolist() == [1, 1, 1]
    assert np.array_equal(more.weight_map()[labels != 255], weights[labels != 255])


@pytest.mark.parametrize("sampling", ["uniform", "full"])
def test_labels_without_weight_in_one_image_do_no_harm(toy, sampling):
    dataset, features = toy
    maps = {sample_id: dataset.truth(sample_id) for sample_id in dataset.ids}
    labels = label_set(maps)
    nothing = ImageLabels.of(maps[labels.ids[0]], weights=np.zeros((48, 64)))
    labels = replace(labels, images={**labels.images, labels.ids[0]: nothing})
    config = FitConfig(sampling=sampling, reduction="image")
    maker, head = BatchMaker(features, labels, config), head_for(features)
    both = [(labels.ids[0], 0), (labels.ids[1], 0)]
    losses = [batch_loss(head, maker.assemble(part, np.random.default_rng(0))).item() for part in (both, both[1:])]
    assert losses[0] == pytest.approx(losses[1], rel=0.1)  # other pixels are drawn
    alone = batch_loss(head, maker.assemble(both[:1], np.random.default_rng(0)))
    alone.backward()
    assert alone.item() == 0.0
    assert not head.classify.weight.grad.any()


@pytest.mark.parametrize(
    ("setting", "value", "message"),
    [("confidence", -1.0, "exponent >= 0"), ("min_confidence", 1.5, r"min-confidence must lie in \[0, 1\]")],
)
def test_values_out_of_range_are_refused(setting, value, message):
    with pytest.raises(ConfigError, match=message):
        FitConfig(**{setting: value})
