import tracemalloc

import numpy as np
import pytest

from labelgen.data.sample import Sample
from labelgen.errors import ConfigError, DataError, ShapeError
from labelgen.masks import SoftMask
from labelgen.refine.neighbours import average_neighbours, dilated_ring
from labelgen.refine.pamr import DILATIONS, PamrConfig, check_scores, make_pamr, pamr
from labelgen.refine.par import ParConfig, make_par, near_weights, par


def grey(rows):
    return np.repeat(np.array(rows, np.uint8)[:, :, None], 3, axis=2)


def smooth_image(rng, height=30, width=42):
    coarse = rng.integers(0, 255, (height // 6, width // 6, 3), np.uint8)
    return coarse.repeat(6, axis=0).repeat(6, axis=1) // 2 + rng.integers(0, 60, (height, width, 3), np.uint8)


def by_loops(image, scores, dilations, steps, kind):
    """Pixel by pixel in double precision, from the formulas."""
    height, width = image.shape[:2]
    image = image.astype(float)
    ring = [(r * d, c * d) for d in dilations for r in (-1, 0, 1) for c in (-1, 0, 1)]
    neighbours = [offset for offset in ring if offset != (0, 0)]

    def at(array, row, col):
        return array[..., min(max(row, 0), height - 1), min(max(col, 0), width - 1)]

    planes = np.moveaxis(image, 2, 0)
    result = scores.astype(float)
    for _ in range(steps):
        averaged = np.zeros_like(result)
        for row in range(height):
            for col in range(width):
                samples = ring if kind == "pamr" else neighbours
                std = np.std([at(planes, row + r, col + c) for r, c in samples], axis=0, ddof=1)
                k = []
                for r, c in neighbours:
                    difference = np.abs(planes[:, row, col] - at(planes, row + r, col + c))
                    if kind == "pamr":
                        k.append(-np.mean(difference / (1e-8 + 0.1 * std)))
                    else:
                        k.append(-np.mean((difference / (1e-8 + 0.3 * std)) ** 2))
                weights = np.exp(k) / np.sum(np.exp(k))
                if kind == "par":
                    d = np.array([np.hypot(r, c) for r, c in neighbours])
                    near = np.exp(-((d / (0.3 * d.std(ddof=1))) ** 2))
                    weights = weights + 0.01 * near / near.sum()
                for weight, (r, c) in zip(weights, neighbours, strict=True):
                    averaged[:, row, col] += weight * at(result, row + r, col + c)
        result = averaged
    return result


@pytest.mark.parametrize("kind", ["pamr", "par"])
def test_it_is_the_formula_pixel_by_pixel(rng, kind):
    image, scores = rng.integers(0, 255, (4, 6, 3), np.uint8), rng.random((3, 4, 6), np.float32)
    wanted = by_loops(image, scores, (1, 2, 4), 2, kind)
    ours = pamr(image, scores, dilations=(1, 2, 4), steps=2) if kind == "pamr" else None
    ours = par(image, scores, dilations=(1, 2, 4), steps=2, legacy=True) if ours is None else ours
    assert ours.dtype == np.float32
    np.testing.assert_allclose(ours, wanted, atol=2e-6)


def test_a_step_edge_worked_out_by_hand():
    # Across the edge no weight is left, so that each pixel becomes the mean of its neighbours of the same colour.
    image = grey([[0, 0, 1], [0, 0, 1], [0, 1, 1]])
    mask = np.array([[[1, 1, 1], [1, 1, 0], [1, 0, 0]]], np.float32)
    wanted = [[[1, 1, 0.6], [1, 1, 1 / 3], [1, 0, 0]]]
    np.testing.assert_allclose(pamr(image, mask, dilations=[1], steps=1), wanted, atol=1e-6)


@pytest.mark.parametrize("refine", [pamr, par])
def test_constants_stay_and_results_lie_between_the_scores(rng, refine):
    image, scores = smooth_image(rng), rng.random((2, 30, 42), np.float32)
    np.testing.assert_allclose(refine(image, np.full((1, 30, 42), 0.3, np.float32)), 0.3, atol=1e-6)
    result = refine(image, scores)
    for before, after in zip(scores, result, strict=True):
        assert before.min() - 1e-6 <= after.min() and after.max() <= before.max() + 1e-6
    flat = refine(np.full((30, 42, 3), 7, np.uint8), scores)
    assert np.isfinite(flat).all() and flat.std() < scores.std()


@pytest.mark.parametrize("refine", [pamr, par])
def test_mirrored_images_give_mirrored_scores(rng, refine):
    image, scores = smooth_image(rng), rng.random((2, 30, 42), np.float32)
    for axis in (0, 1):
        mirrored = refine(np.flip(image, axis), np.flip(scores, axis + 1))
        np.testing.assert_allclose(np.flip(mirrored, axis + 1), refine(image, scores), atol=1e-5)


@pytest.mark.parametrize("refine", [pamr, par])
def test_contrast_and_brightness_of_the_image_do_not_matter(rng, refine):
    image, scores = smooth_image(rng) // 4, rng.random((2, 30, 42), np.float32)
    np.testing.assert_allclose(refine(image * 3 + 20, scores), refine(image, scores), atol=1e-5)


@pytest.mark.parametrize("refine", [pamr, par])
def test_each_class_is_averaged_by_itself(rng, refine):
    image, scores = smooth_image(rng), rng.random((19, 30, 42), np.float32)  # more planes than are handled at once
    together = refine(image, scores, steps=2)
    alone = np.concatenate([refine(image, plane[None], steps=2) for plane in scores])
    np.testing.assert_array_equal(together, alone)


def test_a_noisy_edge_draws_a_displaced_mask_to_itself(rng):
    image = np.full((48, 64, 3), 60.0)
    image[:, 28:] = 170
    image = (image + rng.normal(0, 10, image.shape)).clip(0, 255).astype(np.uint8)
    truth, mask = np.zeros((48, 64), bool), np.zeros((48, 64), np.float32)
    truth[:, :28], mask[:, :24] = True, 1

    def iou(labels):
        return (labels & truth).sum() / (labels | truth).sum()

    assert iou(mask > 0.5) == pytest.approx(0.857, abs=1e-3)
    assert iou(pamr(image, mask[None])[0] > 0.5) >= 0.98


def test_weights_of_par_sum_to_one_or_as_published():
    image, ones = grey([[1, 5], [9, 2]]), np.ones((1, 2, 2), np.float32)
    assert near_weights(DILATIONS).sum() == pytest.approx(0.01)
    for steps in (1, 10):
        np.testing.assert_allclose(par(image, ones, steps=steps), 1, atol=1e-6)
        np.testing.assert_allclose(par(image, ones, steps=steps, legacy=True), 1.01**steps, rtol=1e-6)


def test_near_neighbours_weigh_more_and_diagonals_less():
    weights = near_weights((1, 2)).reshape(2, 8)
    corner, side = [0, 2, 5, 7], [1, 3, 4, 6]
    for ring in weights:
        assert np.ptp(ring[corner]) < 1e-12 and np.ptp(ring[side]) < 1e-12 and ring[0] < ring[1]
    assert weights[1, 1] < weights[0, 0]


def test_neighbours_beyond_the_edge_are_the_nearest_inside():
    planes = np.arange(6, dtype=np.float32).reshape(1, 2, 3)
    offsets = np.array([[1, -2]])
    moved = average_neighbours(planes, np.ones((2, 1, 3), np.float32), offsets, steps=1)
    assert moved.tolist() == [[[3, 3, 3], [3, 3, 3]]]
    moved = average_neighbours(planes, np.ones((2, 1, 3), np.float32), np.array([[0, 1]]), steps=2)
    assert moved.tolist() == [[[2, 2, 2], [5, 5, 5]]]
    assert dilated_ring([1, 2]).shape == (16, 2) and not (dilated_ring([1, 2]) == 0).all(axis=1).any()


@pytest.mark.parametrize("make", [lambda: make_pamr(PamrConfig(steps=4)), lambda: make_par(ParConfig(steps=4))])
def test_abstaining_pixels_have_no_vote_and_follow_it(make):
    sample = Sample("a", (6, 160), image=np.full((6, 160, 3), 9, np.uint8))
    scores = np.zeros((2, 6, 160), np.float32)
    scores[0, :, 2], scores[1, :, 5] = 0.8, 0.4
    mask = SoftMask(scores, (1, 3), warnings=("odd",), details={"n": 1})
    repaired = make()(sample, mask)
    assert repaired.class_ids == (1, 3) and repaired.warnings == ("odd",) and repaired.details == {"n": 1}
    reached = repaired.scores.max(axis=0) > 0
    assert reached[:, :40].all() and not reached[:, 102:].any()  # four steps of at most 24 pixels from column 5
    shares = repaired.scores[0] / 0.8 + repaired.scores[1] / 0.4
    np.testing.assert_allclose(shares[reached], 1, atol=1e-5)  # means of those that vote, not thinned by the others
    silent = make()(sample, SoftMask(np.zeros((1, 6, 160), np.float32), (3,)))
    assert not silent.scores.any()
    nothing = SoftMask(np.zeros((0, 6, 160), np.float32), ())
    assert make()(sample, nothing).class_ids == ()


def test_refiners_are_the_functions_where_all_pixels_vote(rng):
    image, scores = smooth_image(rng), rng.random((2, 30, 42), np.float32) + np.float32(0.1)
    sample, mask = Sample("a", (30, 42), image=image), SoftMask(scores, (0, 3))
    refined = make_pamr(PamrConfig(steps=3, dilations="1/5"))(sample, mask).scores
    np.testing.assert_array_equal(refined, pamr(image, scores, steps=3, dilations=(1, 5)))
    refined = make_par(ParConfig(steps=3, legacy=True))(sample, mask).scores
    np.testing.assert_allclose(refined, par(image, scores, steps=3, legacy=True), rtol=1e-5)
    with pytest.raises(DataError, match="needs the image of b"):
        make_pamr(PamrConfig())(Sample("b", (30, 42)), mask)


@pytest.mark.slow
@pytest.mark.parametrize("refine", [pamr, par])
def test_memory_is_bounded_at_the_size_of_voc(rng, refine):
    image, scores = rng.integers(0, 255, (375, 500, 3), np.uint8), rng.random((21, 375, 500), np.float32)
    refine(image[:9, :9], scores[:, :9, :9], steps=1)  # compiled before anything is measured
    tracemalloc.start()
    refine(image, scores, steps=1)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 150e6


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"steps": 0}, "steps must be >= 1, got 0"),
        ({"dilations": "0/2"}, r"dilations must be different whole numbers >= 1, got \(0, 2\)"),
        ({"dilations": "2/2"}, r"different whole numbers >= 1, got \(2, 2\)"),
        ({"dilations": "1 2"}, "whole numbers with slashes between, got '1 2'"),
    ],
)
def test_wrong_settings_are_refused(settings, message):
    for config in (PamrConfig, ParConfig):
        with pytest.raises(ConfigError, match=message):
            config(**settings)


def test_functions_refuse_what_the_settings_do():
    image, scores = np.zeros((2, 2, 3), np.uint8), np.zeros((1, 2, 2), np.float32)
    for refine in (pamr, par):
        with pytest.raises(ConfigError, match=r"dilations must be different whole numbers >= 1, got \(\)"):
            refine(image, scores, dilations=())
        with pytest.raises(ConfigError, match="steps must be >= 1, got -1"):
            refine(image, scores, steps=-1)


def test_scores_of_another_size_than_the_image_are_refused():
    with pytest.raises(ShapeError, match=r"of the size \(2, 3\) of the image, got \(1, 3, 2\)"):
        check_scores(np.zeros((2, 3, 3), np.uint8), np.zeros((1, 3, 2), np.float32))
    with pytest.raises(ShapeError, match=r"an image must be \(H, W, 3\) uint8, got \(2, 3, 3\) float64"):
        check_scores(np.zeros((2, 3, 3)), np.zeros((1, 2, 3), np.float32))
