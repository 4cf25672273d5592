import numpy as np
import pytest
import torch
from torch.nn import functional as F

from labelgen.errors import ConfigError
from segprobe.config import FitConfig
from segprobe.losses import LOSSES, make_loss, parse_loss
from segprobe.losses.masked_cross_entropy import masked_cross_entropy

EVERY = [*LOSSES, "gce,warmup=0", "bootstrap:hard"]


@pytest.fixture
def logits():
    return torch.randn(6, 4, generator=torch.Generator().manual_seed(0), requires_grad=True)


LABELS = torch.tensor([0, 1, 255, 3, 2, 1])


# by the letter --------------------------------------------------------------------------------------------------------


def literal(logits, labels, of_pixel):
    """Mean over labelled pixels of a function of the probabilities of a pixel and its class."""
    rows = [
        of_pixel(np.exp(row) / np.exp(row).sum(), label)
        for row, label in zip(logits.detach().double().numpy(), labels.tolist())
        if label != 255
    ]
    return sum(rows) / len(rows)


def ce(p, y):
    return -np.log(p[y])


def target_ce(p, target):
    return -sum(t * np.log(q) for t, q in zip(target, p))


def one_hot(p, y):
    return np.eye(len(p))[y]


def reverse(p, y):
    return -sum(q * (np.log(t) if t else -4.0) for t, q in zip(one_hot(p, y), p))


LITERAL = {
    "ce": ce,
    "smooth,eps=0.2": lambda p, y: target_ce(p, 0.8 * one_hot(p, y) + 0.2 / len(p)),
    "gce": lambda p, y: (1 - p[y] ** 0.7) / 0.7,
    "gce,q=0.3": lambda p, y: (1 - p[y] ** 0.3) / 0.3,
    "sce": lambda p, y: 0.1 * ce(p, y) + reverse(p, y),
    "sce,alpha=6,beta=0.5": lambda p, y: 6 * ce(p, y) + 0.5 * reverse(p, y),
    "bootstrap": lambda p, y: target_ce(p, 0.95 * one_hot(p, y) + 0.05 * p),
    "bootstrap:hard": lambda p, y: target_ce(p, 0.8 * one_hot(p, y) + 0.2 * one_hot(p, p.argmax())),
    "bootstrap:hard,beta=0.5": lambda p, y: target_ce(p, 0.5 * one_hot(p, y) + 0.5 * one_hot(p, p.argmax())),
}


@pytest.mark.parametrize("text", LITERAL)
def test_losses_are_the_formulas(logits, text):
    assert make_loss(text)(logits, LABELS).item() == pytest.approx(literal(logits, LABELS, LITERAL[text]), rel=1e-5)


@pytest.mark.parametrize(
    "text", ["gce,q=1e-6", "sce,alpha=1,beta=0", "bootstrap,beta=1", "bootstrap:hard,beta=1", "smooth,eps=0"]
)
def test_limits_are_cross_entropy(logits, text):
    torch.testing.assert_close(
        make_loss(text)(logits, LABELS), masked_cross_entropy(logits, LABELS), rtol=1e-5, atol=1e-6
    )


def test_limits_are_the_absolute_error(logits):
    wrong = 1 - logits.softmax(1)[[0, 1, 3, 4, 5], [0, 1, 3, 2, 1]].mean()
    torch.testing.assert_close(make_loss("gce,q=1")(logits, LABELS), wrong)
    torch.testing.assert_close(make_loss("sce,alpha=0,beta=1")(logits, LABELS), 4 * wrong)
    torch.testing.assert_close(make_loss("sce,alpha=0,beta=1,a=-9.21")(logits, LABELS), 9.21 * wrong)


def test_smoothing_is_that_of_torch(logits):
    expected = F.cross_entropy(logits, LABELS, ignore_index=255, label_smoothing=0.1)
    torch.testing.assert_close(make_loss("smooth")(logits, LABELS), expected)


def test_gce_begins_with_cross_entropy(logits):
    loss = make_loss("gce,warmup=0.25")
    first, then = loss(logits, LABELS, progress=0.2499), loss(logits, LABELS, progress=0.25)
    assert first.item() == masked_cross_entropy(logits, LABELS).item()
    assert then.item() == make_loss("gce,warmup=0")(logits, LABELS, progress=0.0).item() != first.item()


# what holds for all ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("text", EVERY)
def test_weights_are_a_weighted_mean(logits, text):
    loss = make_loss(text)
    weights = torch.tensor([1.0, 2.0, 9.0, 0.0, 3.0, 4.0])
    each = torch.stack([loss(logits[i : i + 1], LABELS[i : i + 1]) for i in (0, 1, 4, 5)])
    expected = (each * weights[[0, 1, 4, 5]]).sum() / 10
    torch.testing.assert_close(loss(logits, LABELS, weights=weights), expected)


@pytest.mark.parametrize("text", EVERY)
def test_unlabelled_pixels_have_exactly_no_gradient(logits, text):
    make_loss(text)(logits, LABELS).backward()
    assert torch.equal(logits.grad[2], torch.zeros(4))
    assert (logits.grad[[0, 1, 3, 4, 5]].abs().sum(1) > 0).all()


@pytest.mark.parametrize("text", EVERY)
@pytest.mark.parametrize("weights", [None, torch.zeros(6)])
def test_nothing_labelled_is_exactly_zero_with_zero_gradient(logits, text, weights):
    labels = torch.full((6,), 255) if weights is None else torch.zeros(6, dtype=torch.int64)
    loss = make_loss(text)(logits, labels, weights=weights)
    loss.backward()
    assert loss.item() == 0.0
    assert torch.equal(logits.grad, torch.zeros(6, 4))


@pytest.mark.parametrize("text", EVERY)
def test_extreme_logits_are_finite(text):
    rows = [[1e4, -1e4, 0.0], [-1e4, 1e4, 0.0], [1e30, -1e30, 0.0], [-88.0, 88.0, 87.0], [0.0, 0.0, 0.0]]
    logits = torch.tensor(rows, requires_grad=True)
    for label in range(3):
        loss = make_loss(text)(logits, torch.full((5,), label))
        (gradient,) = torch.autograd.grad(loss, logits)
        assert torch.isfinite(loss)
        assert torch.isfinite(gradient).all()


@pytest.mark.parametrize("text", EVERY)
def test_gradients(text):
    logits = torch.randn(6, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(2), requires_grad=True)
    weights = torch.tensor([1.0, 0.5, 3.0, 2.0, 0.0, 1.0], dtype=torch.float64)
    loss = make_loss(text)
    assert torch.autograd.gradcheck(lambda values: loss(values, LABELS, weights=weights), logits)


def test_a_confident_wrong_label_pulls_less_than_in_cross_entropy():
    logits = torch.tensor([[6.0, 0.0, 0.0]], requires_grad=True)
    pulls = {}
    for text in ("ce", "gce", "sce", "bootstrap:hard", "smooth"):
        (gradient,) = torch.autograd.grad(make_loss(text)(logits, torch.tensor([1])), logits)
        pulls[text] = gradient.abs().sum().item()
    assert pulls["gce"] < 0.05 * pulls["ce"]
    assert pulls["sce"] < 0.15 * pulls["ce"]
    assert pulls["bootstrap:hard"] == pytest.approx(0.8 * pulls["ce"], rel=0.01)
    assert pulls["smooth"] == pytest.approx((1 - 0.1 / 3) * pulls["ce"], rel=0.01)


def test_cross_entropy_equals_torch_when_everything_is_labelled(logits):
    labels = torch.tensor([0, 1, 2, 3, 0, 1])
    torch.testing.assert_close(masked_cross_entropy(logits, labels), F.cross_entropy(logits, labels))


def test_another_ignore_id_leaves_255_a_class():
    logits = torch.zeros(2, 300)
    loss = masked_cross_entropy(logits, torch.tensor([255, -1]), ignore=-1)
    torch.testing.assert_close(loss, torch.tensor(300.0).log())


def test_gradient_of_cross_entropy_is_that_of_softmax_minus_one_hot(logits):
    labels = torch.tensor([0, 255, 255, 255, 255, 2])
    masked_cross_entropy(logits, labels).backward()
    expected = torch.zeros(6, 4)
    for row, label in ((0, 0), (5, 2)):
        expected[row] = (logits[row].softmax(0) - F.one_hot(torch.tensor(label), 4)) / 2
    torch.testing.assert_close(logits.grad, expected.detach())


# as they are typed ----------------------------------------------------------------------------------------------------


def test_defaults_are_those_of_the_papers():
    assert parse_loss("gce").config.q == 0.7
    assert parse_loss("smooth").config.eps == 0.1
    assert vars(parse_loss("sce").config) == {"alpha": 0.1, "beta": 1.0, "a": -4.0}
    assert [parse_loss(f"bootstrap:{kind}").config.beta for kind in ("soft", "hard")] == [0.95, 0.8]
    assert make_loss(FitConfig().loss) is masked_cross_entropy


@pytest.mark.parametrize(
    ("text", "message", "hint"),
    [
        ("gcee", "unknown loss 'gcee'", "did you mean gce"),
        ("gce,qq=0.5", "loss gce has no setting 'qq'", "did you mean q?"),
        ("gce,q=2", r"q must lie in \(0, 1\], got 2.0", "0.7"),
        ("gce,warmup=1", "warmup of gce must be a share", ""),
        ("smooth,eps=1", "eps must lie in", ""),
        ("smooth,eps=nan", "eps must be a finite number", ""),
        ("sce,a=4", "must be < 0, got 4.0", ""),
        ("sce,alpha=0,beta=0", "not both 0", ""),
        ("bootstrap:firm", "kind of loss bootstrap must be soft or hard, got 'firm'", ""),
        ("bootstrap,beta=0", "beta must lie in", ""),
        ("ce:3", "'ce:3' cannot be read as a loss", "settings only"),
        ("gce,0.7", "a setting must be written NAME=VALUE", ""),
    ],
)
def test_what_cannot_be_meant_is_refused_by_the_settings_of_a_fit(text, message, hint):
    with pytest.raises(ConfigError, match=message) as caught:
        FitConfig(loss=text)
    assert hint in caught.value.hint
