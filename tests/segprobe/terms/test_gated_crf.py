import itertools

import numpy as np
import pytest
import torch

from segprobe.terms.gated_crf import gated_crf, half_window, make_gated_crf, pair_kernel
from segprobe.terms.settings import GatedCrfSettings
from tests.segprobe.terms.grids import FEATURES, context_of, dots, truth_maps, view_of


def brute(probabilities, features, source, *, radius, xy):
    """Every token i, every j in its window, term by term."""
    height, width, _ = probabilities.shape
    total = 0.0
    for i, j in itertools.product(range(height), range(width)):
        for k, m in itertools.product(range(height), range(width)):
            if (i, j) == (k, m) or max(abs(i - k), abs(j - m)) > radius or not source[k, m]:
                continue
            kernel = np.exp(
                -0.5 * (((i - k) ** 2 + (j - m) ** 2) / xy**2 + ((features[i, j] - features[k, m]) ** 2).sum())
            )
            total += kernel * (1 - probabilities[i, j] @ probabilities[k, m])
    return total / (height * width)


def random_case(size=(6, 6), classes=3, seed=0):
    rng = np.random.default_rng(seed)
    return rng.dirichlet(np.ones(classes), size), rng.random((*size, 3)), rng.random(size) < 0.6


@pytest.mark.parametrize(("size", "radius"), [((6, 6), 2), ((4, 7), 5), ((1, 5), 1), ((1, 1), 3)])
def test_equals_brute_force(size, radius):
    probabilities, features, source = random_case(size)
    kernels = pair_kernel(torch.from_numpy(features), torch.from_numpy(source), radius=radius, xy=3.0)
    found = gated_crf(torch.from_numpy(probabilities), kernels)
    assert float(found) == pytest.approx(brute(probabilities, features, source, radius=radius, xy=3.0), abs=1e-12)


def test_gradcheck():
    probabilities, features, source = random_case()
    kernels = pair_kernel(torch.from_numpy(features), torch.from_numpy(source), radius=3, xy=3.0)
    assert torch.autograd.gradcheck(lambda p: gated_crf(p, kernels), torch.from_numpy(probabilities).requires_grad_())


def test_half_a_window_and_its_opposites_are_the_window_without_its_centre():
    half = half_window(3)
    whole = {*half, *((-down, -right) for down, right in half)}
    assert len(whole) == 2 * len(half) == 48 and (0, 0) not in whole


def test_certain_constants_cost_nothing_and_uncertain_ones_something():
    kernels = pair_kernel(torch.rand(6, 6, 3), torch.ones(6, 6, dtype=torch.bool), radius=5, xy=6.0)
    certain = torch.zeros(6, 6, 3)
    certain[..., 1] = 1
    assert gated_crf(certain, kernels).item() == pytest.approx(0, abs=1e-5)
    even = torch.full((6, 6, 3), 1 / 3)
    total = 2 * sum(float(weights.sum()) / 2 for _, weights in kernels) / 36
    assert gated_crf(even, kernels).item() == pytest.approx(total * (1 - 1 / 3), rel=1e-5)


def test_a_segmentation_along_the_edge_costs_less():
    colours = torch.zeros(8, 8, 3)
    colours[:, 4:] = 1
    kernels = pair_kernel(colours / 0.1, torch.ones(8, 8, dtype=torch.bool), radius=5, xy=6.0)

    def cut(column):
        found = torch.zeros(8, 8, 2)
        found[:, :column, 0] = 1
        found[:, column:, 1] = 1
        return float(gated_crf(found, kernels))

    assert 0 <= cut(4) < 1e-4 < cut(3) < cut(2)


def test_the_term_is_the_energy_of_colours_and_probabilities():
    context = context_of(dots(truth_maps()))
    view = view_of(context)
    loss = make_gated_crf(GatedCrfSettings(radius=2), context)(view)
    loss.backward()
    rgb = context.guides.rgb(view.image.id, view.image.geometry).double().numpy()
    probabilities = view.logits.detach().softmax(-1).double().numpy()
    expected = brute(probabilities, rgb / 0.1, np.ones(rgb.shape[:2], bool), radius=2, xy=6.0)
    assert loss.item() == pytest.approx(expected, rel=1e-4)
    assert view.logits.grad.abs().sum() > 0


def test_features_and_gate_change_the_kernel():
    context = context_of(dots(truth_maps()))
    values = [
        make_gated_crf(GatedCrfSettings(**settings), context)(view_of(context)).item()
        for settings in ({}, {"features": 0.5}, {"source": "unlabelled"})
    ]
    assert values[1] < values[0] and values[2] < values[0]


def test_with_every_token_labelled_the_gate_of_unlabelled_ones_leaves_exactly_nothing():
    maps = {sample_id: np.zeros_like(labels) for sample_id, labels in truth_maps().items()}
    context = context_of(maps)
    view = view_of(context)
    loss = make_gated_crf(GatedCrfSettings(source="unlabelled"), context)(view)
    loss.backward()
    assert loss.item() == 0.0 and torch.equal(view.logits.grad, torch.zeros_like(view.logits))


def test_finite_for_extreme_logits():
    context = context_of(dots(truth_maps()))
    shape = (*FEATURES.features("toy_000").tokens.shape[:2], 6)
    logits = (1e4 * torch.randn(shape, generator=torch.Generator().manual_seed(0))).requires_grad_()
    loss = make_gated_crf(GatedCrfSettings(), context)(view_of(context, logits=logits))
    loss.backward()
    assert torch.isfinite(loss) and torch.isfinite(logits.grad).all()
