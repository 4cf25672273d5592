import numpy as np
import pytest
import torch

from labelgen.errors import ShapeError
from segprobe.guides import Guides
from segprobe.memory import Memory
from tests.segprobe.terms.grids import padded_geometry
from tests.segprobe.toy import ToyFeatures, toy_dataset


class Counted:
    def __init__(self, image):
        self.found, self.calls = image, 0

    def image(self, sample_id):
        self.calls += 1
        return self.found


def picture(geometry, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (*geometry.size, 3), dtype=np.uint8)


def test_colours_are_means_of_cells_in_0_to_1():
    dataset = toy_dataset(1)
    features = ToyFeatures(dataset).features(dataset.ids[0], 0)
    image = dataset.image(dataset.ids[0]).astype(float) / 255
    expected = image.reshape(12, 4, 16, 4, 3).mean(axis=(1, 3))
    rgb = Guides(dataset).rgb(dataset.ids[0], features.geometry)
    np.testing.assert_allclose(rgb.numpy(), expected, atol=5e-4)  # of float16


def test_mirrored_views_are_mirrored():
    plain, mirrored = padded_geometry(), padded_geometry(flip=True)
    guides = Guides(Counted(picture(plain)))
    left, right = guides.rgb("a", plain)[:, 1:6], guides.rgb("a", mirrored)
    # the image lies at columns 5 to 25 of 32, mirrored within itself
    other = Guides(Counted(picture(plain)[:, ::-1])).rgb("a", plain)
    assert torch.equal(right, other) and not torch.equal(left, right[:, 1:6])


def test_each_view_is_decoded_once():
    geometry = padded_geometry()
    source = Counted(picture(geometry))
    guides = Guides(source)
    first = guides.rgb("a", geometry)
    assert torch.equal(first, guides.rgb("a", geometry)) and source.calls == 1
    guides.rgb("a", padded_geometry(flip=True))
    assert source.calls == 2


def test_what_was_dropped_from_memory_comes_back_the_same():
    geometry = padded_geometry()
    source = Counted(picture(geometry))
    guides = Guides(source, limit=1)
    assert torch.equal(guides.rgb("a", geometry), guides.rgb("a", geometry)) and source.calls == 2


def test_an_image_of_another_size_is_refused():
    with pytest.raises(ShapeError, match=r"size \(6, 10\) of its features, got \(5, 5\) for a"):
        Guides(Counted(np.zeros((5, 5, 3), np.uint8))).rgb("a", padded_geometry())


def test_memory_drops_what_was_not_asked_for_the_longest():
    memory = Memory(limit=3)
    made = []

    def get(key):
        return memory.get(key, lambda: made.append(key) or key, size=len)

    for key in ("a", "b", "c", "a", "d", "a", "b"):
        get(key)
    assert made == ["a", "b", "c", "d", "b"] and memory.held == 3
