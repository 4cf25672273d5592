import numpy as np
import pytest
import torch

from segprobe.batches import BatchMaker
from segprobe.closed_form import fit_bank, fit_prototypes, token_shares
from segprobe.config import FitConfig
from segprobe.fit import fit_head
from segprobe.heads import make_head
from segprobe.sampling import bilinear_corners, sample_pixels
from tests.segprobe.toy import ToyFeatures, label_set, toy_dataset


@pytest.fixture(scope="module")
def toy():
    dataset = toy_dataset(8)
    return dataset, ToyFeatures(dataset), label_set({i: dataset.truth(i) for i in dataset.ids})


def head_for(text, features, labels):
    mean, std = torch.as_tensor(features.mean), torch.as_tensor(features.std)
    return make_head(text, mean, std, num_classes=len(labels.class_ids))


def maker_of(features, labels, **settings):
    return BatchMaker(features, labels, FitConfig(**settings))


def accuracy(head, dataset, features, labels):
    ids = np.asarray(labels.class_ids)
    right = []
    for sample_id in dataset.ids:
        found = features.features(sample_id, 0)
        truth = dataset.truth(sample_id)[2::4, 2::4]
        right.append((ids[head(found.tokens).argmax(-1).detach().numpy()] == truth).mean())
    return float(np.mean(right))


def test_prototypes_are_the_weighted_mean_directions_of_the_classes(toy):
    _, features, labels = toy
    maker = maker_of(features, labels, head="prototype", pixels=40)
    head = head_for("prototype", features, labels)
    fit_prototypes(head, maker)
    sums = np.zeros((len(labels.class_ids), features.backbone.DIM))
    for number, sample_id in enumerate(labels.ids):
        for view in range(2):
            found = features.features(sample_id, view)
            drawn = sample_pixels(labels.images[sample_id], np.random.default_rng([0, 9, number, view]), count=40)
            corners, weights = bilinear_corners(found.geometry, drawn.pixels)
            z = (found.tokens.reshape(-1, 48).numpy() - features.mean) / features.std
            z = z / np.linalg.norm(z, axis=1, keepdims=True)
            for pixel, class_id in enumerate(drawn.classes):
                read = sum(w * z[at] for at, w in zip(corners[pixel], weights[pixel], strict=True))
                sums[labels.class_ids.index(class_id)] += drawn.weights[pixel] * read
    expected = sums / np.linalg.norm(sums, axis=1, keepdims=True)
    gain = np.linalg.norm(head.classify.weight[0].detach().numpy())
    assert np.log2(gain) == pytest.approx(round(np.log2(gain)), abs=1e-4)
    np.testing.assert_allclose(head.classify.weight.detach().numpy() / gain, expected, atol=1e-5)
    assert not head.classify.bias.any()


def test_the_share_of_a_token_is_that_of_the_labelled_pixels_nearest_to_it(toy):
    _, features, labels = toy
    maker = maker_of(features, labels, head="knn", pixels=30)
    batch = maker.batch(0)
    found = token_shares(batch, 6)
    expected = np.zeros((len(batch.tokens), 6))
    nearest = set()
    for corners, shares, column, weight in zip(
        batch.corners.numpy(), batch.corner_weights.numpy(), batch.columns, batch.pixel_weights.numpy(), strict=True
    ):
        nearest.add(int(corners[shares.argmax()]))
        for corner, share in zip(corners, shares, strict=True):
            expected[corner, column] += share * weight
    expected[[t for t in range(len(expected)) if t not in nearest]] = 0
    np.testing.assert_allclose(found.numpy(), expected, rtol=1e-4, atol=1e-4)


def test_every_image_and_view_has_the_same_room_in_the_bank(toy):
    _, features, labels = toy
    head = head_for("knn,bank=100", features, labels)
    fit_bank(head, maker_of(features, labels, head="knn,bank=100"))
    assert len(head.bank) == 6 * 16  # 100 tokens for 8 images in 2 views
    np.testing.assert_allclose(head.bank.float().norm(dim=1), 1, atol=1e-3)
    np.testing.assert_allclose(head.shares.float().sum(1), 1, atol=2e-3)


def test_a_bank_smaller_than_the_number_of_views_takes_one_token_from_some(toy):
    _, features, labels = toy
    head = head_for("knn,bank=5", features, labels)
    fit_bank(head, maker_of(features, labels, head="knn,bank=5"))
    assert len(head.bank) == 5


def test_the_bank_depends_on_the_seed_alone(toy):
    _, features, labels = toy
    banks = []
    for seed in (0, 0, 1):
        head = head_for("knn,bank=64", features, labels)
        fit_bank(head, maker_of(features, labels, head="knn,bank=64", seed=seed))
        banks.append(head.bank)
    assert torch.equal(banks[0], banks[1])
    assert not torch.equal(banks[0], banks[2])


@pytest.mark.parametrize("sampling", ["uniform", "balanced", "full"])
@pytest.mark.parametrize("head", ["prototype", "knn"])
def test_heads_without_epochs_learn_the_toy_classes(toy, head, sampling):
    dataset, features, labels = toy
    fitted = fit_head(labels, features, FitConfig(head=head, sampling=sampling, pixels=200))
    assert (fitted.steps, fitted.losses) == (0, ())
    assert accuracy(fitted.head, dataset, features, labels) > 0.9


def test_a_click_an_image_is_enough_for_the_bank(toy):
    dataset, features, labels = toy
    clicks = {}
    for sample_id in dataset.ids:
        truth = dataset.truth(sample_id)
        rng = np.random.default_rng(int(sample_id[-3:]))
        keep = np.concatenate([rng.choice(np.flatnonzero(truth == c), 3) for c in np.unique(truth)])
        clicks[sample_id] = np.full(truth.shape, 255, np.uint8)
        clicks[sample_id].flat[keep] = truth.flat[keep]
    fitted = fit_head(label_set(clicks), features, FitConfig(head="knn"))
    assert 0 < len(fitted.head.bank) <= 2 * sum((m != 255).sum() for m in clicks.values())
    assert accuracy(fitted.head, dataset, features, labels) > 0.85


def test_the_gain_of_the_vote_is_chosen_without_the_votes_of_the_own_image(toy):
    dataset, features, _ = toy
    rng = np.random.default_rng(0)
    noise = label_set({i: rng.integers(0, 6, dataset.truth(i).shape).astype(np.uint8) for i in dataset.ids})
    head = head_for("knn,neighbours=1", features, noise)
    fit_bank(head, maker_of(features, noise, head="knn,neighbours=1"))
    assert head.classify.weight[0, 0] <= 2  # labels without any sense are worth no confidence


def test_a_single_image_is_a_bank_of_its_own(toy):
    dataset, features, _ = toy
    only = {dataset.ids[0]: dataset.truth(dataset.ids[0])}
    fitted = fit_head(label_set(only), features, FitConfig(head="knn"))
    found = features.features(dataset.ids[0], 0)
    ids = np.asarray(fitted.class_ids)[fitted.head(found.tokens).argmax(-1).detach().numpy()]
    assert (ids == only[dataset.ids[0]][2::4, 2::4]).mean() > 0.9
