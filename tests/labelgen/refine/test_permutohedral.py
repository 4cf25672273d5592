from pathlib import Path

import numpy as np
import pytest

from labelgen.refine import permutohedral
from labelgen.refine.crf_settings import CRF_PRESETS
from labelgen.refine.crf_unary import log_probabilities
from labelgen.refine.dense_crf import dense_crf
from labelgen.refine.permutohedral import image_lattice, place_lattice

GOLDEN = Path(__file__).with_name("densecrf_golden.npz")
STEPS = {"psa": 10, "deeplab": 3, "adele": 1}


def kernel_by_the_lattice(features):
    """The matrix that splatting, blurring and slicing make, written from the paper with dictionaries, in float64.

    Vertices of the simplex around a point: the point of remainder k nearest from below, found by sorting.
    """
    count, d = features.shape
    size = d + 1
    scaled = features * [size * np.sqrt(2 / 3) / np.sqrt((i + 1) * (i + 2)) for i in range(d)]
    vertex_of, rows = {}, []
    for point in scaled:
        elevated = np.zeros(size)
        for i, value in enumerate(point):  # a basis of the plane: (1, ..., 1, -(i + 1), 0, ..., 0)
            elevated[: i + 1] += value
            elevated[i + 1] -= (i + 1) * value
        nearest = np.rint(elevated / size) * size
        excess = int(nearest.sum()) // size
        order = np.argsort(-(elevated - nearest), kind="stable")
        if excess > 0:
            nearest[order[-excess:]] -= size
        if excess < 0:
            nearest[order[:-excess]] += size
        order = np.argsort(-(elevated - nearest), kind="stable")
        rest = (elevated - nearest)[order]
        shares = [1 - (rest[0] - rest[-1]) / size, *((rest[:-1] - rest[1:]) / size)[::-1]]
        row = {}
        for remainder, share in enumerate(shares):
            vertex = nearest + remainder
            vertex[order[size - remainder :]] -= size
            row[vertex_of.setdefault(tuple(vertex.astype(int)), len(vertex_of))] = share
        rows.append(row)
    splat = np.zeros((count, len(vertex_of)))
    for i, row in enumerate(rows):
        splat[i, list(row)] = list(row.values())
    blur = np.eye(len(vertex_of))
    for axis in range(size):
        along = np.eye(len(vertex_of))
        step = np.ones(size, int)
        step[axis] -= size
        for vertex, number in vertex_of.items():
            for neighbour in (np.array(vertex) - step, np.array(vertex) + step):
                if tuple(neighbour) in vertex_of:
                    along[number, vertex_of[tuple(neighbour)]] = 0.5
        blur = along @ blur
    return splat @ blur @ splat.T / (1 + 2.0**-d), len(vertex_of)


def features_of(image, sxy, srgb=None):
    row, column = np.indices(image.shape[:2]).reshape(2, -1)
    parts = [column / sxy, row / sxy]
    return np.stack(parts if srgb is None else [*parts, *(image.reshape(-1, 3).T / srgb)], axis=1)


def test_mean_field_by_a_lattice_made_of_dictionaries(rng, monkeypatch):
    monkeypatch.setattr(permutohedral, "BAND_PIXELS", 40)  # several bands in a small image
    image = rng.integers(0, 256, (11, 13, 3), np.uint8) // 4 + np.arange(0, 130, 10, np.uint8)[:, None]
    start = rng.random((3, 11, 13), np.float32)
    settings = {"smooth_sxy": 1.37, "bilateral_sxy": 7.3, "bilateral_srgb": 17.9}
    logits = log_probabilities(start).reshape(3, -1).astype(np.float64)
    kernels = []
    for weight, features in ((3, features_of(image, 1.37)), (10, features_of(image, 7.3, 17.9))):
        kernel, _ = kernel_by_the_lattice(features)
        root = np.sqrt(kernel.sum(axis=1))
        kernels.append(weight * kernel / root / root[:, None])
    q = np.exp(logits) / np.exp(logits).sum(axis=0)
    for steps in (1, 2, 3):
        message = logits + sum(q @ kernel.T for kernel in kernels)
        q = np.exp(message) / np.exp(message).sum(axis=0)
        ours = dense_crf(image, start, steps=steps, **settings)
        np.testing.assert_allclose(ours.reshape(3, -1), q, atol=2e-5)


def test_number_of_vertices_and_of_bands(rng, monkeypatch):
    image = rng.integers(0, 256, (9, 10, 3), np.uint8)
    expected = kernel_by_the_lattice(features_of(image, 3.7, 41.3))[1]
    whole = image_lattice(image, sxy=3.7, srgb=41.3)
    assert len(whole.bands) == 1 and whole.num_vertices == expected == len(whole.vertex_of)
    monkeypatch.setattr(permutohedral, "BAND_PIXELS", 30)
    parts = image_lattice(image, sxy=3.7, srgb=41.3)
    assert [(band.first_row, band.last_row) for band in parts.bands] == [(0, 3), (3, 6), (6, 9)]
    assert parts.num_vertices == expected < len(parts.vertex_of)
    np.testing.assert_allclose(parts.weights, whole.weights, rtol=1e-5)


def test_places_alone_do_not_depend_on_the_image():
    assert place_lattice(20, 30, sxy=3.0) is place_lattice(20, 30, sxy=3.0)
    assert (
        place_lattice(20, 30, sxy=3.0).num_vertices == kernel_by_the_lattice(features_of(np.zeros((20, 30, 3)), 3.0))[1]
    )


def test_many_vertices_make_the_table_grow(rng):
    image = rng.integers(0, 256, (120, 160, 3), np.uint8)
    lattice = image_lattice(image, sxy=1.0, srgb=1.0)
    assert lattice.num_vertices > 80_000  # noise: hardly two pixels share a vertex
    q = dense_crf(image, rng.random((2, 120, 160), np.float32), bilateral_sxy=1, bilateral_srgb=1, steps=1)
    np.testing.assert_allclose(q.sum(axis=0), 1, atol=1e-6)


@pytest.mark.parametrize("name", STEPS)
def test_values_of_densecrf(name):
    with np.load(GOLDEN) as golden:
        start = golden["percent"] / np.float32(100)
        q = dense_crf(golden["image"], start, preset=name, steps=STEPS[name])
        expected = golden[name] / np.float32(65535)
    assert np.abs(q - expected).max() < 1e-4
    assert (expected.argmax(axis=0) != start.argmax(axis=0)).mean() > 0.02


@pytest.mark.parametrize("preset", CRF_PRESETS)
@pytest.mark.parametrize("classes", [2, 4, 21])
def test_the_same_as_pydensecrf(preset, classes, rng):
    pytest.importorskip("pydensecrf")
    image = np.kron(rng.integers(0, 256, (4, 5, 3), np.uint8), np.ones((12, 12, 1), np.uint8))
    image = image // 2 + rng.integers(0, 25, image.shape, np.uint8) + np.arange(60, dtype=np.uint8)[:, None]
    start = np.kron(rng.random((classes, 6, 5), np.float32) ** 4, np.ones((8, 12), np.float32))
    ours, theirs = (dense_crf(image, start, preset=preset, backend=backend) for backend in ("labelgen", "pydensecrf"))
    assert np.abs(ours - theirs).max() < 1e-3
    assert (ours.argmax(axis=0) == theirs.argmax(axis=0)).mean() >= 0.9999


@pytest.mark.slow
@pytest.mark.realdata
@pytest.mark.parametrize(("classes", "photographs"), [(3, slice(0, 2)), (21, slice(2, 3))])
def test_the_same_as_pydensecrf_on_photographs(classes, photographs, rng, shared_data):
    pytest.importorskip("pydensecrf")
    from PIL import Image

    folder = shared_data / "voc2012-animals" / "JPEGImages"
    for path in sorted(folder.iterdir())[photographs]:
        image = np.array(Image.open(path).convert("RGB"))
        height, width = image.shape[:2]
        blocks = rng.random((classes, height // 40 + 1, width // 40 + 1), np.float32) ** 4
        start = np.kron(blocks, np.ones((40, 40), np.float32))[:, :height, :width].copy()
        ours, theirs = (dense_crf(image, start, backend=backend) for backend in ("labelgen", "pydensecrf"))
        assert np.abs(ours - theirs).max() < 1e-3
        assert (ours.argmax(axis=0) == theirs.argmax(axis=0)).mean() >= 0.9999
