import cv2
import numpy as np

from labelgen.geometry.distance import distance_to_zero


def brute_force(mask):
    """Squared distance to the nearest zero, pixel by pixel."""
    zeros = np.argwhere(mask == 0)
    pixels = np.argwhere(np.ones_like(mask))
    return ((pixels[:, None] - zeros[None]) ** 2).sum(2).min(1).reshape(mask.shape)


def test_distances_are_the_roots_of_whole_numbers(rng):
    mask = (rng.random((40, 61)) > 0.01).astype(np.uint8)
    np.testing.assert_array_equal(distance_to_zero(mask), np.sqrt(brute_force(mask)).astype(np.float32))


def test_distances_have_the_same_bits_for_any_number_of_threads_and_alignment(rng):
    mask = (rng.random((311, 257)) > 0.001).astype(np.uint8)
    before, results = cv2.getNumThreads(), set()
    try:
        for threads in (1, 2):
            cv2.setNumThreads(threads)
            for offset in range(4):
                buffer = np.empty(mask.size + offset, np.uint8)
                shifted = buffer[offset:].reshape(mask.shape)
                shifted[:] = mask
                results.add(distance_to_zero(shifted).tobytes())
    finally:
        cv2.setNumThreads(before)
    assert len(results) == 1


def test_without_a_zero_the_distance_is_finite():
    np.testing.assert_array_equal(distance_to_zero(np.ones((2, 3), np.uint8)), np.full((2, 3), 5, np.float32))
