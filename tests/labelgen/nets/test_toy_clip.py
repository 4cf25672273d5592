"""What dense kernels must gain on a model that learned from captions alone."""

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
    images, truths, _ = toy_clip.pictures(np.random.default_rng(1), 200, most=3)
    return toy_clip.normalised(images), truths


@pytest.fixture(scope="module")
def models():
    return {"trained": toy_clip.trained(), "untrained": toy_clip.untrained(seed=5).eval()}


def similarity(model, pixels, method):
    """Cosines (B, 6, 64, 64) of every pixel with the six names."""
    with torch.inference_mode():
        patches = F.normalize(patch_embeddings(model, pixels, method=method), dim=-1)
        maps = (patches @ toy_clip.prototypes(model).T).permute(0, 3, 1, 2)
        return F.interpolate(maps, size=(64, 64), mode="bilinear", align_corners=False)


def miou(truths, labels):
    matrix = sum(confusion_matrix(t, p, num_classes=7) for t, p in zip(truths, labels, strict=True))
    return scores_from_confusion(matrix)


def foreground_miou(model, scenes, method):
    """mIoU of the six shapes on their own pixels: the ground is left out."""
    pixels, truths = scenes
    labels = similarity(model, pixels, method).argmax(dim=1).numpy().astype(np.uint8) + 1
    found = miou(np.where(truths == 0, 255, truths).astype(np.uint8), labels)
    return float(np.nanmean(found.iou[1:]))


def best_threshold_miou(model, scenes, method):
    """mIoU with the ground, which is where no cosine exceeds the best one of 12 thresholds."""
    pixels, truths = scenes
    best, shape = similarity(model, pixels, method).max(dim=1)
    shape = shape.numpy().astype(np.uint8) + 1
    limits = np.quantile(best.numpy(), np.linspace(0.02, 0.98, 12))
    return max(miou(truths, np.where(best.numpy() > limit, shape, 0).astype(np.uint8)).miou for limit in limits)


def test_the_image_vector_names_the_shape(models):
    images, _, shown = toy_clip.pictures(np.random.default_rng(2), 200, most=1)
    accuracy = {}
    for name, model in models.items():
        with torch.inference_mode():
            vectors = model.encode_image(toy_clip.normalised(images), normalize=True)
        guesses = (vectors @ toy_clip.prototypes(model).T).argmax(dim=1).tolist()
        accuracy[name] = np.mean([guess == shapes[0] for guess, shapes in zip(guesses, shown, strict=True)])
    assert accuracy["trained"] >= 0.95
    assert accuracy["untrained"] < 0.5


def test_every_modified_kernel_beats_the_plain_one(models, scenes):
    plain = foreground_miou(models["trained"], scenes, "clip")
    for method in MODIFIED:
        found = foreground_miou(models["trained"], scenes, method)
        assert found >= plain + 0.02, method
        assert found >= 3 * foreground_miou(models["untrained"], scenes, method), method


def test_so_it_is_with_background_by_threshold(models, scenes):
    plain = best_threshold_miou(models["trained"], scenes, "clip")
    for method in ("clearclip", "naclip", "maskclip-v"):
        assert best_threshold_miou(models["trained"], scenes, method) > plain, method


def test_the_recipe_of_the_fixture_learns():
    losses = toy_clip.train(toy_clip.untrained(), steps=12, batch=24)
    assert np.mean(losses[-3:]) < np.mean(losses[:3])
