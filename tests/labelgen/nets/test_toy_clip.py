"""What dense kernels must gain on a model that learned from captions alone."""

import functools

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from labelgen.nets.dense_clip.dense import patch_embeddings
from labelgen.quality.confusion import confusion_matrix, scores_from_confusion
from tests.labelgen.nets import toy_clip

MODIFIED = ("maskclip", "maskclip-v", "sclip", "clearclip", "naclip")
pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def scenes():
    images, truths, _ = toy_clip.pictures(np.random.default_rng(1), 100, most=3)
    return toy_clip.normalised(images), truths


@pytest.fixture(scope="module")
def models():
    return {"trained": toy_clip.trained(), "untrained": toy_clip.untrained(seed=5).eval()}


@pytest.fixture(scope="module")
def prototypes(models):
    """Vectors of the six names by every model."""
    return {name: toy_clip.prototypes(model) for name, model in models.items()}


@pytest.fixture(scope="module")
def look(models, prototypes, scenes):
    """f(model, method): the highest cosine (B, 64, 64) of every pixel with the six names, and that shape, 1 to 6."""

    @functools.cache
    def look(name, method):
        with torch.inference_mode():
            patches = F.normalize(patch_embeddings(models[name], scenes[0], method=method), dim=-1)
            maps = (patches @ prototypes[name].T).permute(0, 3, 1, 2)
            maps = F.interpolate(maps, size=(64, 64), mode="bilinear", align_corners=False)
            best, shape = maps.max(dim=1)
        return best.numpy(), shape.numpy().astype(np.uint8) + 1

    return look


def scores(truths, labels):
    """Of all pictures (B, 64, 64) laid under one another."""
    return scores_from_confusion(confusion_matrix(np.vstack(truths), np.vstack(labels), num_classes=7))


def foreground_miou(truths, shape):
    """mIoU of the six shapes on their own pixels: the ground is left out."""
    found = scores(np.where(truths == 0, 255, truths).astype(np.uint8), shape)
    return float(np.nanmean(found.iou[1:]))


def best_threshold_miou(truths, best, shape):
    """mIoU with the ground, which is where no cosine exceeds the best one of 12 thresholds."""
    limits = np.quantile(best, np.linspace(0.02, 0.98, 12))
    return max(scores(truths, np.where(best > limit, shape, 0).astype(np.uint8)).miou for limit in limits)


def test_the_image_vector_names_the_shape(models, prototypes):
    images, _, shown = toy_clip.pictures(np.random.default_rng(2), 100, most=1)
    accuracy = {}
    for name, model in models.items():
        with torch.inference_mode():
            vectors = model.encode_image(toy_clip.normalised(images), normalize=True)
        guesses = (vectors @ prototypes[name].T).argmax(dim=1).tolist()
        accuracy[name] = np.mean([guess == shapes[0] for guess, shapes in zip(guesses, shown, strict=True)])
    assert accuracy["trained"] >= 0.95
    assert accuracy["untrained"] < 0.5


def test_every_modified_kernel_beats_the_plain_one(look, scenes):
    def found(name, method):
        return foreground_miou(scenes[1], look(name, method)[1])

    plain = found("trained", "clip")
    for method in MODIFIED:
        assert found("trained", method) >= plain + 0.02, method
        assert found("trained", method) >= 3 * found("untrained", method), method


def test_so_it_is_with_background_by_threshold(look, scenes):
    plain = best_threshold_miou(scenes[1], *look("trained", "clip"))
    for method in ("clearclip", "naclip", "maskclip-v"):
        assert best_threshold_miou(scenes[1], *look("trained", method)) > plain, method


def test_the_recipe_of_the_fixture_learns():
    losses = toy_clip.train(toy_clip.untrained(), steps=12, batch=24)
    assert np.mean(losses[-3:]) < np.mean(losses[:3])
