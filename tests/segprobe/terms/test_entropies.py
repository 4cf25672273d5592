import numpy as np
import pytest
import torch

from labelgen.errors import ConfigError
from segprobe.layers import Layers
from segprobe.terms.distance_entropy import check_distance_entropy, distance_entropy, make_distance_entropy
from segprobe.terms.entropy import make_entropy, token_entropy
from segprobe.terms.settings import DistanceEntropySettings, EntropySettings
from tests.segprobe.terms.grids import DATASET, PlainRun, context_of, dots, truth_maps, view_of
from tests.segprobe.toy import label_set


def entropy_of(logits):
    p = logits.detach().double().softmax(-1).numpy()
    return -(p * np.log(p)).sum(-1)


def nearest(mask):
    """Distance of each pixel to the nearest pixel of a mask, by trying all."""
    rows, cols = np.nonzero(mask)
    grid = np.stack(np.mgrid[: mask.shape[0], : mask.shape[1]], axis=-1)
    return np.sqrt(((grid[:, :, None] - np.stack([rows, cols], axis=1)) ** 2).sum(-1).min(-1))


def cells(values):
    return values.reshape(12, 4, 16, 4).mean(axis=(1, 3))


# plain --------------------------------------------------------------------------------------------------------------


def test_entropy_is_the_mean_over_tokens():
    context = context_of(truth_maps())
    view = view_of(context)
    loss = make_entropy(EntropySettings(), context)(view)
    loss.backward()
    assert loss.item() == pytest.approx(entropy_of(view.logits).mean(), rel=1e-5)
    assert view.logits.grad.abs().sum() > 0


def test_entropy_is_finite_for_extreme_logits_and_passes_gradcheck():
    logits = torch.tensor([[1e4, -1e4, 0.0], [5e3, 5e3, -5e3]], requires_grad=True)
    value = token_entropy(logits).sum()
    value.backward()
    assert value.item() == pytest.approx(np.log(2), rel=1e-5) and torch.isfinite(logits.grad).all()
    assert torch.autograd.gradcheck(token_entropy, torch.randn(4, 3, dtype=torch.float64, requires_grad=True))


# by distance --------------------------------------------------------------------------------------------------------


def test_weighted_entropy_divides_by_the_tokens_with_weight():
    logits = torch.randn(5, 3, generator=torch.Generator().manual_seed(0))
    weights = torch.tensor([1.0, 0.0, 0.25, 0.0, 0.5])
    expected = (entropy_of(logits) * weights.numpy()).sum() / 3
    assert distance_entropy(logits, weights).item() == pytest.approx(expected, rel=1e-5)


def test_nothing_has_weight():
    logits = torch.randn(5, 3, requires_grad=True)
    loss = distance_entropy(logits, torch.zeros(5))
    loss.backward()
    assert loss.item() == 0.0 and torch.equal(logits.grad, torch.zeros(5, 3))


def test_plain_scribbles_give_distances_of_foreground_strokes():
    maps = dots(truth_maps(), every=9)
    context = context_of(maps, run=PlainRun(maps))
    view = view_of(context)
    loss = make_distance_entropy(DistanceEntropySettings(scribble_radius=20.0), context)(view)
    labels = maps[view.image.id]
    foreground = (labels != 255) & (labels != 0)
    weights = cells(np.maximum(0, 1 - nearest(foreground) / 20))
    expected = (weights * entropy_of(view.logits)).sum() / (weights > 0).sum()
    assert loss.item() == pytest.approx(expected, rel=2e-3)  # weights are kept as float16


def test_layers_give_both_distances():
    truth = truth_maps()
    strokes = dots(truth, every=9)
    context = context_of(truth, run=PlainRun(truth, layers={"scribble": strokes, "pseudo": truth}))
    view = view_of(context)
    both, scribble, pseudo = (
        make_distance_entropy(DistanceEntropySettings(maps=maps, contour_radius=5.0), context)(view).item()
        for maps in ("auto", "scribble", "pseudo")
    )
    assert both == pytest.approx(scribble + pseudo, rel=1e-5)
    labels = truth[view.image.id].astype(int)
    contour = np.zeros(labels.shape, bool)
    for axis in (0, 1):
        for step in (1, -1):
            other = np.roll(labels, step, axis)
            edge = [0, -1][step < 0]
            differs = labels != other
            differs[(edge, slice(None))[:: 1 if axis == 0 else -1]] = False
            contour |= differs
    weights = cells(np.minimum(1, nearest(contour) / 5))
    expected = (weights * entropy_of(view.logits)).sum() / (weights > 0).sum()
    assert pseudo == pytest.approx(expected, rel=2e-3)


def test_an_image_without_foreground_says_nothing():
    maps = {sample_id: np.zeros_like(labels) for sample_id, labels in truth_maps().items()}
    context = context_of(maps, run=PlainRun(maps, layers={"scribble": maps, "pseudo": maps}))
    view = view_of(context, logits=torch.randn(12, 16, 2, requires_grad=True))
    loss = make_distance_entropy(DistanceEntropySettings(), context)(view)
    loss.backward()
    assert loss.item() == 0.0 and torch.equal(view.logits.grad, torch.zeros(12, 16, 2))


def test_dense_labels_without_layers_are_refused():
    with pytest.raises(ConfigError, match=r"needs scribbles, got dense labels \(100 %") as error:
        make_distance_entropy(DistanceEntropySettings(), context_of(truth_maps()))
    assert "labelgen promote" in error.value.hint


@pytest.mark.parametrize("run", [None, PlainRun(dots(truth_maps()))])
def test_contours_need_pseudo_labels(run):
    with pytest.raises(ConfigError, match="term distance-entropy needs labels with a layer 'pseudo'") as error:
        make_distance_entropy(DistanceEntropySettings(maps="both"), context_of(dots(truth_maps()), run=run))
    assert "labelgen promote" in error.value.hint


def test_weights_follow_a_mirrored_view():
    maps = dots(truth_maps(), every=9)
    context = context_of(maps)
    term = make_distance_entropy(DistanceEntropySettings(scribble_radius=20.0), context)
    values = [term(view_of(context, DATASET.ids[1], view=view)).item() for view in (0, 1)]
    assert values[0] == pytest.approx(values[1], rel=1e-4)


def test_labels_that_were_corrected_to_dense_ones_leave_the_scribbles_as_they_came():
    maps = dots(truth_maps(), every=9)
    plain = context_of(maps, run=PlainRun(maps))
    corrected = context_of(truth_maps(), run=PlainRun(maps))
    logits = torch.randn(12, 16, 6, generator=torch.Generator().manual_seed(0))
    values = [
        make_distance_entropy(DistanceEntropySettings(scribble_radius=20.0), context)(view_of(context, logits=logits))
        for context in (plain, corrected)
    ]
    assert values[0].item() == values[1].item() > 0


def test_dense_labels_are_refused_as_they_come():
    truth = truth_maps()
    run = Layers(PlainRun(truth))
    with pytest.raises(ConfigError, match="needs scribbles, got dense labels"):
        check_distance_entropy(DistanceEntropySettings(), label_set(truth), run)
    promoted = Layers(PlainRun(truth, layers={"scribble": dots(truth), "pseudo": truth}))
    check_distance_entropy(DistanceEntropySettings(), label_set(truth), promoted)
