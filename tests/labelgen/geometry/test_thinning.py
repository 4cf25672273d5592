import cv2
import numpy as np
import pytest

from labelgen.geometry.thinning import thin


def reference_thin(region):
    """Zhang and Suen by scanning the whole image in each half-step, in plain Python."""
    pixels = np.pad(region.astype(int), 1)
    while True:
        before = pixels.copy()
        for half in (0, 1):
            gone = []
            for row, col in np.argwhere(pixels):
                n, ne, e, se, s, sw, w, nw = (
                    pixels[row - 1, col], pixels[row - 1, col + 1], pixels[row, col + 1], pixels[row + 1, col + 1],
                    pixels[row + 1, col], pixels[row + 1, col - 1], pixels[row, col - 1], pixels[row - 1, col - 1],
                )  # fmt: skip
                ring = [n, ne, e, se, s, sw, w, nw]
                runs = sum(a == 0 and b == 1 for a, b in zip(ring, [*ring[1:], ring[0]], strict=True))
                ends = n * e * s == 0 and e * s * w == 0 if half == 0 else n * e * w == 0 and n * s * w == 0
                if 2 <= sum(ring) <= 6 and runs == 1 and ends:
                    gone.append((row, col))
            for row, col in gone:
                pixels[row, col] = 0
        if np.array_equal(pixels, before):
            return pixels[1:-1, 1:-1].astype(bool)


def blobs(seed):
    """Random smooth shapes."""
    noise = np.random.default_rng(seed).normal(size=(40, 50)).astype(np.float32)
    return cv2.GaussianBlur(noise, (0, 0), 3) > 0.03


@pytest.mark.parametrize("seed", range(4))
def test_equals_the_textbook_version(seed):
    region = blobs(seed)
    ours, textbook = thin(region), reference_thin(region)
    # ours keeps one pixel of each 2 x 2 block, which the textbook erases
    assert np.array_equal(ours & textbook, textbook)
    assert (ours & ~textbook).sum() <= cv2.connectedComponents(region.astype(np.uint8))[0]


@pytest.mark.parametrize("seed", range(4))
def test_keeps_the_pieces_and_the_region(seed):
    region = blobs(seed)
    skeleton = thin(region)
    assert not (skeleton & ~region).any()
    count = [cv2.connectedComponents(m.astype(np.uint8), connectivity=8)[0] for m in (region, skeleton)]
    assert count[0] == count[1]


def test_small_shapes_do_not_vanish():
    for shape in ((1, 1), (2, 2), (1, 5), (2, 5)):
        assert thin(np.ones(shape, bool)).any()
    assert not thin(np.zeros((4, 4), bool)).any()


def test_a_ring_stays_a_ring():
    region = np.zeros((20, 20), bool)
    region[3:17, 3:17] = True
    region[8:12, 8:12] = False
    skeleton = thin(region)
    outside = cv2.connectedComponents((~skeleton).astype(np.uint8), connectivity=4)[0] - 1
    assert outside == 2
