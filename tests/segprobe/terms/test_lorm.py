import numpy as np
import pytest
import torch

from labelgen.errors import ConfigError
from segprobe.terms.lorm import make_lorm, rectified
from segprobe.terms.settings import LormSettings
from tests.segprobe.terms.grids import PlainRun, context_of, dots, head_of, truth_maps, view_of


def projecting(maps=None, run=None):
    return context_of(maps or dots(truth_maps()), head=head_of("projection,dim=6"), run=run)


def unit(rows):
    return rows / np.linalg.norm(rows, axis=-1, keepdims=True)


def brute(projected, foreground, module, temperature):
    """Attention row by row."""
    features = unit(projected)
    query, key = (matrix.detach().double().numpy() for matrix in (module.query.weight, module.key.weight))
    keys = unit(features @ key.T)
    total = []
    for i in np.flatnonzero(foreground):
        scores = keys @ unit(query @ features[i]) / temperature
        shares = np.exp(scores - scores.max())
        found = float(module.gamma) * (shares / shares.sum()) @ features
        total.append((features[i] - found) ** 2)
    return np.mean(total)


@pytest.mark.parametrize("layered", [False, True])
def test_equals_brute_force(layered):
    maps = dots(truth_maps())
    run = PlainRun(maps, layers={"scribble": maps, "pseudo": truth_maps()}) if layered else None
    context = projecting(maps, run)
    term = make_lorm(LormSettings(temperature=0.2), context)
    with torch.no_grad():
        term.module.gamma.fill_(0.7)
    view = view_of(context)
    columns = context.columns(view.image.id, view.image.geometry, layer="pseudo" if layered else "").flatten().numpy()
    projected = context.head.project(view.tokens).detach().double().flatten(0, 1).numpy()
    with torch.no_grad():
        expected = brute(projected, columns > 0, term.module, 0.2)
        assert term(view).item() == pytest.approx(expected, rel=1e-4)


def test_trains_the_projection_and_its_own_weights():
    context = projecting()
    term = make_lorm(LormSettings(), context)
    term(view_of(context)).backward()
    trained = [*term.module.parameters(), context.head.projection.weight]
    assert len(trained) == 4 and all(parameter.grad.abs().sum() > 0 for parameter in trained)


def test_weights_depend_on_the_seed_alone():
    first, again = (make_lorm(LormSettings(), projecting()).module for _ in range(2))
    assert torch.equal(first.query.weight, again.query.weight)
    assert not torch.equal(first.query.weight, first.key.weight)
    other = projecting()
    other.seed = 1
    assert not torch.equal(first.query.weight, make_lorm(LormSettings(), other).module.query.weight)


def test_the_length_of_features_does_not_matter():
    context = projecting()
    term = make_lorm(LormSettings(), context)
    with torch.no_grad():
        before = term(view_of(context)).item()
        context.head.projection.weight.mul_(1e-3)
        context.head.projection.bias.mul_(1e-3)
        assert term(view_of(context)).item() == pytest.approx(before, rel=1e-3)


def test_a_temperature_of_1_is_nearly_uniform_and_a_low_one_is_not():
    features = torch.nn.functional.normalize(torch.randn(50, 8, generator=torch.Generator().manual_seed(0)), dim=-1)
    mean = features.mean(0)
    far = [(rectified(features, features, features, temperature=t) - mean).norm().item() for t in (1.0, 0.05)]
    assert far[1] > 3 * far[0]


def test_exactly_nothing_without_foreground():
    maps = {sample_id: np.where(labels == 0, labels, 255) for sample_id, labels in dots(truth_maps()).items()}
    context = context_of(maps, head=head_of("projection,dim=6", classes=1))
    view = view_of(context)
    loss = make_lorm(LormSettings(), context)(view)
    loss.backward()
    assert loss.item() == 0.0 and torch.equal(view.logits.grad, torch.zeros_like(view.logits))


def test_needs_a_head_that_projects():
    with pytest.raises(ConfigError, match="term lorm acts on projected tokens"):
        make_lorm(LormSettings(), context_of(dots(truth_maps())))
