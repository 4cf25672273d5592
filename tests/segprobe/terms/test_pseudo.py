import numpy as np
import pytest
import torch
from torch.nn import functional as F

from labelgen.errors import ConfigError
from segprobe.cells import cells_of
from segprobe.terms.pseudo import make_pseudo, smoothed_cross_entropy
from segprobe.terms.settings import PseudoSettings
from tests.segprobe.terms.grids import PlainRun, context_of, dots, truth_maps, view_of


def context_with(pseudo, labels=None):
    labels = labels or dots(truth_maps())
    return context_of(labels, run=PlainRun(labels, layers={"scribble": labels, "pseudo": pseudo}))


@pytest.mark.parametrize("view_index", [0, 1])
def test_equals_torch_at_the_token_of_each_pixel(view_index):
    pseudo = {sample_id: labels.copy() for sample_id, labels in truth_maps().items()}
    for labels in pseudo.values():
        labels[:10] = 255
    context = context_with(pseudo)
    view = view_of(context, view=view_index)
    loss = make_pseudo(PseudoSettings(), context)(view)
    loss.backward()
    flat = pseudo[view.image.id].reshape(-1)
    pixels = np.flatnonzero(flat != 255)
    tokens = view.logits.detach().flatten(0, 1)[cells_of(view.image.geometry, pixels)]
    columns = torch.from_numpy(context.column_of[flat[pixels]])
    expected = F.cross_entropy(tokens, columns, label_smoothing=0.1)
    torch.testing.assert_close(loss.detach(), expected)
    assert view.logits.grad.abs().sum() > 0


def test_gradcheck():
    counts = torch.tensor([[3.0, 0.0, 1.0], [0.0, 0.0, 0.0], [0.0, 2.0, 0.0]], dtype=torch.float64)
    logits = torch.randn(3, 3, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda x: smoothed_cross_entropy(x, counts, smoothing=0.1), logits)
    assert torch.equal(
        torch.autograd.grad(smoothed_cross_entropy(logits, counts, smoothing=0.1), logits)[0][1] != 0,
        torch.tensor([False] * 3),
    )


def test_no_pseudo_label_says_exactly_nothing():
    context = context_with({sample_id: np.full_like(labels, 255) for sample_id, labels in truth_maps().items()})
    view = view_of(context)
    loss = make_pseudo(PseudoSettings(), context)(view)
    loss.backward()
    assert loss.item() == 0.0 and torch.equal(view.logits.grad, torch.zeros_like(view.logits))


def test_classes_without_a_logit_do_not_count():
    truth = truth_maps()
    only_background = {sample_id: np.where(labels == 0, labels, 255) for sample_id, labels in dots(truth).items()}
    context = context_with(truth, labels=only_background)
    view = view_of(context, logits=torch.zeros(12, 16, 1, requires_grad=True))
    assert make_pseudo(PseudoSettings(), context)(view).item() == 0.0  # one logit is always right


def test_finite_for_extreme_logits():
    context = context_with(truth_maps())
    logits = (1e4 * torch.randn(12, 16, 6, generator=torch.Generator().manual_seed(0))).requires_grad_()
    loss = make_pseudo(PseudoSettings(), context)(view_of(context, logits=logits))
    loss.backward()
    assert torch.isfinite(loss) and torch.isfinite(logits.grad).all()


@pytest.mark.parametrize("run", [None, PlainRun(dots(truth_maps()))])
def test_needs_promoted_labels(run):
    with pytest.raises(ConfigError, match="term pseudo needs labels with a layer 'pseudo'") as error:
        make_pseudo(PseudoSettings(), context_of(dots(truth_maps()), run=run))
    assert "labelgen promote" in error.value.hint
