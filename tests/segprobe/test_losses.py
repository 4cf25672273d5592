import pytest
import torch
from torch.nn import functional as F

from segprobe.config import LOSS_NAMES, FitConfig
from segprobe.losses import LOSSES
from segprobe.losses.masked_cross_entropy import masked_cross_entropy


@pytest.fixture
def logits():
    return torch.randn(6, 4, generator=torch.Generator().manual_seed(0), requires_grad=True)


def test_averages_over_labelled_pixels_only(logits):
    labels = torch.tensor([0, 255, 3, 255, 1, 255])
    expected = -torch.log_softmax(logits, 1)[[0, 2, 4], [0, 3, 1]].mean()
    torch.testing.assert_close(masked_cross_entropy(logits, labels), expected)


def test_equals_torch_when_everything_is_labelled(logits):
    labels = torch.tensor([0, 1, 2, 3, 0, 1])
    torch.testing.assert_close(masked_cross_entropy(logits, labels), F.cross_entropy(logits, labels))


def test_weights_are_a_weighted_mean(logits):
    labels = torch.tensor([0, 1, 2, 3, 255, 1])
    weights = torch.tensor([1.0, 2.0, 0.0, 3.0, 9.0, 4.0])
    each = F.cross_entropy(logits, labels.clamp(max=3), reduction="none")
    expected = (each * weights)[[0, 1, 3, 5]].sum() / 10
    torch.testing.assert_close(masked_cross_entropy(logits, labels, weights=weights), expected)


@pytest.mark.parametrize("weights", [None, torch.zeros(6)])
def test_nothing_labelled_is_exactly_zero_with_zero_gradient(logits, weights):
    labels = torch.full((6,), 255) if weights is None else torch.zeros(6, dtype=torch.int64)
    loss = masked_cross_entropy(logits, labels, weights=weights)
    loss.backward()
    assert loss.item() == 0.0
    assert torch.equal(logits.grad, torch.zeros(6, 4))


def test_another_ignore_id_leaves_255_a_class():
    logits = torch.zeros(2, 300)
    loss = masked_cross_entropy(logits, torch.tensor([255, -1]), ignore=-1)
    torch.testing.assert_close(loss, torch.tensor(300.0).log())


def test_gradient_is_that_of_softmax_minus_one_hot(logits):
    labels = torch.tensor([0, 255, 255, 255, 255, 2])
    masked_cross_entropy(logits, labels).backward()
    expected = torch.zeros(6, 4)
    for row, label in ((0, 0), (5, 2)):
        expected[row] = (logits[row].softmax(0) - F.one_hot(torch.tensor(label), 4)) / 2
    torch.testing.assert_close(logits.grad, expected.detach())


def test_settings_know_the_losses_by_name():
    assert tuple(LOSSES) == LOSS_NAMES
    assert LOSSES[FitConfig().loss] is masked_cross_entropy
