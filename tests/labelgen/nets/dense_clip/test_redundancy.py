"""Feature surgery against its definition with an array of patches by classes by channels."""

import pytest
import torch
from torch.nn import functional as F

from labelgen.errors import ShapeError
from labelgen.nets.dense_clip import feature_surgery, feature_surgery_alone
from tests.labelgen.nets.dense_clip.towers import noise

PATCHES, IMAGE, TEXT = noise(3, 4, 8), noise(8, seed=1), F.normalize(noise(5, 8, seed=2), dim=-1)


def by_definition(patches, image, text, shared=None):
    weights = torch.softmax(2 * text @ (image / image.norm()), dim=0)
    weights = weights / weights.mean()
    features = torch.zeros(len(patches), len(text), patches.shape[-1])
    for i, patch in enumerate(patches):
        for k, vector in enumerate(text):
            features[i, k] = patch / patch.norm() * vector * weights[k]
    if shared is not None:
        features = features + shared
    return (features - features.mean(dim=1, keepdim=True)).sum(dim=-1)


def test_it_is_the_definition():
    found = feature_surgery(PATCHES, IMAGE, TEXT)
    expected = by_definition(PATCHES.flatten(0, 1), IMAGE, TEXT).reshape(3, 4, 5)
    torch.testing.assert_close(found, expected, atol=1e-6, rtol=0)


def test_what_all_classes_share_does_not_matter():
    plain = by_definition(PATCHES.flatten(0, 1), IMAGE, TEXT)
    torch.testing.assert_close(by_definition(PATCHES.flatten(0, 1), IMAGE, TEXT, shared=noise(8, seed=3)), plain)
    torch.testing.assert_close(feature_surgery(PATCHES, IMAGE, TEXT).flatten(0, 1), plain, atol=1e-6, rtol=0)


def test_lengths_of_embeddings_do_not_matter():
    torch.testing.assert_close(feature_surgery(7 * PATCHES, 3 * IMAGE, TEXT), feature_surgery(PATCHES, IMAGE, TEXT))


def test_a_single_class_is_refused_and_has_its_own_rule():
    with pytest.raises(ShapeError, match="at least 2 classes, got 1"):
        feature_surgery(PATCHES, IMAGE, TEXT[:1])
    found = feature_surgery_alone(PATCHES, TEXT[0], TEXT[1])
    unit = F.normalize(PATCHES, dim=-1)
    torch.testing.assert_close(found, (unit * TEXT[0]).sum(-1) - (unit * TEXT[1]).sum(-1))
