import dataclasses
import importlib.util

import numpy as np
import pytest

from labelgen.data.dataset import DataSpec
from labelgen.data.sample import Sample
from labelgen.errors import ConfigError, DataError, ShapeError
from labelgen.masks import SoftMask, harden
from labelgen.refine import make_refiner, parse_refiners, settle_refiners
from labelgen.refine.crf_unary import log_probabilities
from labelgen.refine.dense_crf import _check_planes, dense_crf

BACKENDS = ("exact", "labelgen", "pydensecrf")
ABSENT = importlib.util.find_spec("pydensecrf") is None
backends = pytest.mark.parametrize(
    "backend",
    [
        "exact",
        "labelgen",
        pytest.param("pydensecrf", marks=pytest.mark.skipif(ABSENT, reason="pydensecrf is not installed")),
    ],
)


def smooth_scene():
    """A disc on a background, each with a soft gradient; pixels of one look alike, those of the other do not."""
    row, column = np.indices((32, 32))
    disc = np.hypot(row - 15, column - 17) < 8.5
    image = np.stack([60 + row / 2 + 120 * disc, 80 + column / 2 + 70 * disc, 150 - row / 2 - 60 * disc], axis=-1)
    return image.astype(np.uint8), disc


def guesses(classes=3):
    """Background, a displaced disc, and ever weaker guesses of the same disc."""
    row, column = np.indices((32, 32))
    disc = np.where(np.hypot(row - 13, column - 15) < 8, 0.8, 0.15)
    planes = [np.roll(disc, 2 * c, axis=1) * 0.9 / (1 + 2 * c) for c in range(classes - 1)]
    return np.stack([1 - disc, *planes]).astype(np.float32)


def softmax_of(probabilities):
    clipped = np.clip(probabilities, 1e-5, 1)
    return clipped / clipped.sum(axis=0)


GREY = np.repeat(np.uint8([[10, 12, 200]])[..., None], 3, axis=2)


@pytest.mark.parametrize(
    ("preset", "steps", "expected"),
    [
        ("psa", 1, [0.922404, 0.917704, 0.007334]),
        ("psa", 2, [0.999939, 0.999927, 0.000037]),
        ("deeplab", 1, [0.837813, 0.784355, 0.051944]),
        ("deeplab", 2, [0.988396, 0.967453, 0.005014]),
    ],
)
def test_exact_values_of_three_pixels(preset, steps, expected):
    first = np.float32([[[0.6, 0.6, 0.3]]])
    q = dense_crf(GREY, np.concatenate([first, 1 - first]), preset=preset, steps=steps, backend="exact")
    np.testing.assert_allclose(q[0, 0], expected, rtol=1e-4, atol=5e-7)
    np.testing.assert_allclose(q.sum(axis=0), 1, atol=1e-6)


def test_exact_agrees_with_loops_over_pairs(rng):
    image = rng.integers(0, 256, (3, 4, 3), np.uint8)
    start = rng.random((2, 3, 4), np.float32)
    pixels = list(np.ndindex(3, 4))

    def gaussian(p, q, sxy, srgb):
        square = sum((a - b) ** 2 for a, b in zip(p, q)) / sxy**2
        if srgb:
            square += sum((float(a) - float(b)) ** 2 for a, b in zip(image[p], image[q])) / srgb**2
        return np.exp(-square / 2)

    logits = np.log(np.clip(start, 1e-5, 1).astype(np.float64))
    expected = logits.copy()
    for sxy, srgb, weight in ((3, None, 3), (80, 13, 10)):
        sums = {p: sum(gaussian(p, q, sxy, srgb) for q in pixels) for p in pixels}
        for p in pixels:
            for q in pixels:
                share = gaussian(p, q, sxy, srgb) / np.sqrt(sums[p] * sums[q])
                expected[:, *p] += weight * share * softmax_of(start)[:, *q]
    expected = np.exp(expected) / np.exp(expected).sum(axis=0)
    np.testing.assert_allclose(dense_crf(image, start, steps=1, backend="exact"), expected, atol=1e-6)


@backends
def test_the_start_is_the_softmax_of_the_unary_and_not_made_to_sum_to_1_first(backend):
    image, start = smooth_scene()[0], guesses()
    start[:, 0, 0] = [0, 0.5, 2]
    unchanged = dense_crf(image, start, steps=0, backend=backend)
    np.testing.assert_allclose(unchanged, softmax_of(start), atol=1e-6)
    weightless = dense_crf(image, start, smooth_weight=0, bilateral_weight=0, backend=backend)
    np.testing.assert_allclose(weightless, softmax_of(start), atol=1e-6)
    halved = dense_crf(image, start / 2, backend=backend)  # a constant in the unary of a pixel has no say
    clear = start.min(axis=0) > 2e-5
    np.testing.assert_allclose(halved[:, clear], dense_crf(image, start, backend=backend)[:, clear], atol=1e-4)


@backends
def test_sums_to_1_and_follows_a_permutation_of_the_classes(backend):
    image, start = smooth_scene()[0], guesses(4)
    q = dense_crf(image, start, steps=3, backend=backend)
    np.testing.assert_allclose(q.sum(axis=0), 1, atol=2e-6)
    assert not np.allclose(q, softmax_of(start), atol=0.1)
    order = [2, 0, 3, 1]
    np.testing.assert_allclose(dense_crf(image, start[order], steps=3, backend=backend), q[order], atol=1e-5)


@backends
@pytest.mark.parametrize("classes", [1, 2, 9])
def test_a_uniform_unary_stays_uniform(backend, classes):
    image = smooth_scene()[0]
    q = dense_crf(image, np.full((classes, 32, 32), 0.3, np.float32), backend=backend)
    np.testing.assert_allclose(q, 1 / classes, atol=1e-5)


@pytest.mark.parametrize("preset", ["psa", "irn", "adele"])
@pytest.mark.parametrize("backend", BACKENDS[1:])
def test_lattices_are_close_to_the_exact_kernels_on_a_smooth_scene(preset, backend):
    # not deeplab: its 3 levels of colour are too narrow for the lattice of so few pixels, in densecrf too
    if backend == "pydensecrf":
        pytest.importorskip("pydensecrf")
    image, disc = smooth_scene()
    start = guesses()
    exact = dense_crf(image, start, preset=preset, steps=10, backend="exact")
    lattice = dense_crf(image, start, preset=preset, steps=10, backend=backend)
    assert np.abs(lattice - exact).max() < 0.02
    np.testing.assert_array_equal(lattice.argmax(axis=0), disc)
    np.testing.assert_array_equal(exact.argmax(axis=0), disc)
    assert (start.argmax(axis=0) != disc).mean() > 0.05


def test_presets_and_numbers_in_their_place():
    image, start = smooth_scene()[0], guesses()
    psa = dense_crf(image, start)
    assert not np.array_equal(psa, dense_crf(image, start, preset="deeplab"))
    numbers = {"smooth_sxy": 1, "bilateral_sxy": 67, "bilateral_srgb": 3, "bilateral_weight": 4}
    np.testing.assert_array_equal(dense_crf(image, start, **numbers), dense_crf(image, start, preset="deeplab"))
    for name, value in {**numbers, "steps": 2, "smooth_weight": 0.5}.items():
        assert not np.array_equal(psa, dense_crf(image, start, **{name: value})), name


def test_other_names_of_our_backend():
    image, start = smooth_scene()[0], guesses()
    ours = dense_crf(image, start, backend="labelgen")
    for name in ("auto", "numba"):
        np.testing.assert_array_equal(dense_crf(image, start, backend=name), ours)


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"preset": "crf"}, ConfigError, "unknown preset of the CRF 'crf'"),
        ({"backend": "torch"}, ConfigError, "unknown backend of the CRF 'torch'"),
        ({"steps": -1}, ConfigError, "steps must be >= 0, got -1"),
        ({"bilateral_srgb": 0.0}, ConfigError, "bilateral_srgb is a standard deviation and must be > 0"),
        ({"smooth_sxy": float("nan")}, ConfigError, "smooth_sxy is a standard deviation"),
        ({"smooth_weight": -3}, ConfigError, "smooth_weight must be >= 0"),
        ({"threads": -1}, ConfigError, "threads must be >= 0"),
        ({"threads": 2, "backend": "exact"}, ConfigError, "exact runs on one thread, got threads=2"),
        ({"bilateral_sxy": 1e-5, "bilateral_srgb": 1e-4}, ConfigError, "too small for an image of 32 x 32"),
    ],
)
def test_wrong_settings_are_refused(change, error, message):
    with pytest.raises(error, match=message):
        dense_crf(smooth_scene()[0], guesses(), **change)


def test_arrays_that_do_not_fit_are_refused():
    image, start = smooth_scene()[0], guesses()
    with pytest.raises(ShapeError, match=r"of the size \(32, 32\) of the image, got \(3, 31, 32\)"):
        _check_planes(start[:, :31], (32, 32))  # in tests the types of `dense_crf` refuse it before
    with pytest.raises(ShapeError, match="at least one class"):
        dense_crf(image, start[:0])
    with pytest.raises(ShapeError, match="with pixels, got"):
        dense_crf(image[:0], start[:, :0])
    start[1, 2, 3] = np.nan
    with pytest.raises(DataError, match="must be numbers, got nan"):
        dense_crf(image, start)


def test_the_exact_one_refuses_large_images():
    with pytest.raises(ShapeError, match="at most 4096 pixels, got 64 x 65"):
        dense_crf(np.zeros((64, 65, 3), np.uint8), np.ones((1, 64, 65), np.float32), backend="exact")


def test_without_pydensecrf_the_way_to_it_is_said(monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    (step,) = parse_refiners("crf:psa,backend=pydensecrf")
    for call in (lambda: make_refiner(step), lambda: dense_crf(smooth_scene()[0], guesses(), backend="pydensecrf")):
        with pytest.raises(ConfigError, match="needs the package pydensecrf2") as caught:
            call()
        assert "pip install 'labelgen[crf]'" in caught.value.hint


@pytest.fixture
def sample():
    return Sample("a", (32, 32), image=smooth_scene()[0])


def refine_with(text, sample, mask):
    (step,) = parse_refiners(text)
    return make_refiner(step)(sample, mask)


def test_the_refiner_as_typed(sample):
    mask = SoftMask(guesses(), (0, 3, 7), details={"kept": 1})
    refined = refine_with("crf", sample, mask)
    np.testing.assert_array_equal(refined.scores, dense_crf(sample.image, mask.scores))
    assert refined.class_ids == (0, 3, 7) and refined.details == {"kept": 1}
    refined = refine_with("crf:deeplab,steps=2,smooth-sxy=2.5,backend=exact", sample, mask)
    expected = dense_crf(sample.image, mask.scores, preset="deeplab", steps=2, smooth_sxy=2.5, backend="exact")
    np.testing.assert_array_equal(refined.scores, expected)


def test_runs_record_the_numbers_of_the_preset():
    data = DataSpec("demo")
    (step,) = settle_refiners(parse_refiners("crf:deeplab,steps=4"), data)
    assert dataclasses.asdict(step.config) == {
        "preset": "deeplab",
        **{"steps": 4, "smooth_sxy": 1, "smooth_weight": 3},
        **{"bilateral_sxy": 67, "bilateral_srgb": 3, "bilateral_weight": 4},
        **{"min_confidence": 0.0, "backend": "auto", "threads": 0},
    }


def test_doubtful_pixels_abstain_below_the_confidence_that_is_asked_for(sample):
    mask = SoftMask(guesses(), (0, 3, 7))
    sure, all_ = (refine_with(f"crf:deeplab,steps=2,min-confidence={c}", sample, mask).scores for c in (0.95, 0))
    doubtful = all_.max(axis=0) < np.float32(0.95)
    assert 0 < doubtful.mean() < 1
    assert not sure[:, doubtful].any()
    np.testing.assert_array_equal(sure[:, ~doubtful], all_[:, ~doubtful])


def test_pixels_that_abstain_are_filled_from_those_that_do_not(sample):
    disc = smooth_scene()[1]
    scores = np.zeros((2, 32, 32), np.float32)
    scores[1, 14, 14:20] = 0.9
    scores[0, :, 0] = scores[0, :, -1] = 0.9
    labels = harden(refine_with("crf", sample, SoftMask(scores, (0, 9))))
    np.testing.assert_array_equal(labels, np.where(disc, 9, 0))


def test_masks_without_a_class_stay_and_one_class_takes_all(sample):
    empty = SoftMask(np.zeros((0, 32, 32), np.float32), ())
    assert refine_with("crf", sample, empty) is empty
    one = refine_with("crf", sample, SoftMask(guesses()[:1], (4,)))
    np.testing.assert_allclose(one.scores, 1, atol=1e-6)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("crf,min-confidence=1.5", r"min_confidence must lie in \[0, 1\], got 1.5"),
        ("crf:irn,steps=-2", "steps must be >= 0"),
        ("crf,smooth-sxy=inf", "smooth_sxy must be a finite number"),
        ("crf,backend=gpu", "backend of refiner crf must be auto or labelgen or numba or pydensecrf or exact"),
        ("crf:wrong", "preset of refiner crf must be psa or irn or deeplab or adele, got 'wrong'"),
        ("crf,backend=exact,threads=2", "backend exact runs on one thread"),
    ],
)
def test_wrong_settings_of_the_refiner_are_refused(text, message):
    with pytest.raises(ConfigError, match=message):
        parse_refiners(text)


def test_the_unary_is_clipped_below_and_above():
    logs = log_probabilities(np.float32([[[0, 1e-6, 0.5, 1, 7]]]))
    np.testing.assert_allclose(logs[0, 0], np.log([1e-5, 1e-5, 0.5, 1, 1]), rtol=1e-6)


@pytest.mark.parametrize("size", [(1, 1), (1, 9), (7, 1), (3, 2)])
def test_tiny_images(size, rng):
    image = np.full((*size, 3), 9, np.uint8)
    start = rng.random((4, *size), np.float32)
    # flat and tiny: every pixel is as near as every other, for the lattice too
    flat = {"smooth_sxy": 3000, "bilateral_sxy": 8000, "steps": 2, "bilateral_weight": 1, "smooth_weight": 1}
    exact = dense_crf(image, start, backend="exact", **flat)
    np.testing.assert_allclose(dense_crf(image, start, **flat), exact, atol=1e-3)


def test_strided_arrays_are_as_good(rng):
    image = rng.integers(0, 256, (20, 30, 3), np.uint8)
    start = rng.random((3, 20, 30), np.float32)
    view = dense_crf(image[::2, ::-1], start[:, ::2, ::-1], steps=2)
    copy = dense_crf(image[::2, ::-1].copy(), start[:, ::2, ::-1].copy(), steps=2)
    np.testing.assert_array_equal(view, copy)


def test_the_number_of_threads_changes_nothing(rng):
    image = np.kron(rng.integers(0, 256, (20, 25, 3), np.uint8), np.ones((10, 10, 1), np.uint8))
    image += rng.integers(0, 20, image.shape, np.uint8)
    start = np.kron(rng.random((5, 8, 10), np.float32), np.ones((25, 25), np.float32))
    one, two, five = (dense_crf(image, start, steps=2, threads=threads) for threads in (1, 2, 5))
    np.testing.assert_array_equal(one, two)
    np.testing.assert_array_equal(one, five)
