import numpy as np
import pytest
import torch

from labelgen.strokes import Stroke
from segprobe.terms.prototype import class_means, distances_to, make_prototype, prototype_loss
from segprobe.terms.settings import PrototypeSettings
from tests.segprobe.terms.grids import DATASET, FEATURES, PlainRun, context_of, dots, head_of, truth_maps, view_of


def distance(a, b, kind):
    if kind == "cosine":
        return 1 - a @ b / np.linalg.norm(a) / np.linalg.norm(b)
    return np.abs(a - b).mean()


def brute(logits, features, columns, *, kind, sigma, trained):
    """Token by token and class by class."""
    p = torch.as_tensor(logits).softmax(-1).numpy()
    present = sorted(set(columns.tolist()) - {-1})
    means = {k: features[columns == k].mean(axis=0) for k in present}
    affinity = {k: np.array([np.exp(-((distance(f, means[k], kind) / sigma) ** 2)) for f in features]) for k in present}
    agree = [
        -(g * np.log(q) + (1 - g) * np.log(1 - q + 1e-6))
        for k in present
        for g, q in zip(affinity[k], p[:, k], strict=True)
    ]
    loss = 0.5 * np.mean(agree)
    if trained:
        labelled = np.flatnonzero(columns != -1)
        fit = [
            -np.log(affinity[k][i]) if columns[i] == k else -np.log(1 - affinity[k][i] + 1e-6)
            for k in present
            for i in labelled
        ]
        pairs = [(a, b) for a in present for b in present if a < b]
        apart = [np.exp(-((distance(means[a], means[b], kind) / sigma) ** 2)) for a, b in pairs]
        loss += 0.5 * np.mean(fit) + np.mean(apart)
    return loss


def random_case(seed=0, count=12, classes=4):
    rng = np.random.default_rng(seed)
    columns = rng.integers(-1, classes - 1, count)  # the last class has no token
    return rng.normal(size=(count, classes)), rng.normal(size=(count, 5)), columns


@pytest.mark.parametrize("kind", ["cosine", "mean-abs"])
@pytest.mark.parametrize("trained", [False, True])
def test_equals_brute_force(kind, trained):
    logits, features, columns = random_case()
    rows = torch.from_numpy(features).requires_grad_(trained)
    labels = torch.from_numpy(columns)
    means, used = class_means(rows, labels, 4)
    settings = PrototypeSettings(distance=kind, sigma=0.8)
    found = prototype_loss(torch.from_numpy(logits), rows, labels, means, used, settings=settings)
    assert found.item() == pytest.approx(brute(logits, features, columns, kind=kind, sigma=0.8, trained=trained))


@pytest.mark.parametrize("kind", ["cosine", "mean-abs"])
def test_gradcheck(kind):
    logits, features, columns = (torch.from_numpy(array) for array in random_case(count=6))
    settings = PrototypeSettings(distance=kind, sigma=0.8)

    def loss(x, f):
        means, used = class_means(f, columns, 4)
        return prototype_loss(x, f, columns, means, used, settings=settings)

    assert torch.autograd.gradcheck(loss, (logits.requires_grad_(), features.requires_grad_()))


def test_distance_to_itself_is_0_and_to_the_opposite_2():
    rows = torch.tensor([[3.0, 4.0], [-3.0, -4.0]])
    torch.testing.assert_close(distances_to(rows, rows[:1], distance="cosine")[:, 0], torch.tensor([0.0, 2.0]))
    torch.testing.assert_close(distances_to(rows, rows[:1], distance="mean-abs")[:, 0], torch.tensor([0.0, 7.0]))


def test_the_term_compares_standardised_tokens_of_one_image():
    context = context_of(dots(truth_maps()))
    view = view_of(context)
    loss = make_prototype(PrototypeSettings(), context)(view)
    loss.backward()
    features = context.head.standardised(view.tokens).flatten(0, 1).double().numpy()
    columns = context.columns(view.image.id, view.image.geometry).flatten().numpy()
    logits = view.logits.detach().double().flatten(0, 1)
    expected = brute(logits, features, columns, kind="cosine", sigma=0.5, trained=False)
    assert loss.item() == pytest.approx(expected, rel=1e-4)
    assert view.logits.grad.abs().sum() > 0


def dropped_run(maps, class_id):
    """Strokes of one class were dropped everywhere but in the last image; they are known to have been there."""
    shown = {i: np.where(labels == class_id, 255, labels) for i, labels in maps.items()}
    shown[DATASET.ids[-1]] = maps[DATASET.ids[-1]]
    strokes = {i: (Stroke(class_id, np.zeros((1, 2)), dropped=True),) for i in maps}
    return shown, PlainRun(shown, strokes=strokes, header={"config": {"drop": 0.5}})


def test_a_class_that_was_dropped_here_borrows_its_mean_from_the_data():
    maps = dots(truth_maps())
    class_id = next(c for c in (1, 2, 3, 4, 5) if (maps[DATASET.ids[-1]] == c).any())
    shown, run = dropped_run(maps, class_id)
    shown[DATASET.ids[0]][shown[DATASET.ids[0]] == class_id] = 255
    known, unknown = context_of(shown, run=run), context_of(shown)
    column = int(known.column_of[class_id])
    terms = [make_prototype(PrototypeSettings(), context) for context in (known, unknown)]
    last = FEATURES.features(DATASET.ids[-1], 0)
    rows = known.head.standardised(last.tokens)[known.columns(DATASET.ids[-1], last.geometry) == column]
    torch.testing.assert_close(terms[0].module.bank[column], rows.mean(0))
    gradients = []
    for term, context in zip(terms, (known, unknown), strict=True):
        view = view_of(context, logits=torch.zeros(12, 16, 6, requires_grad=True))
        term(view).backward()
        gradients.append(view.logits.grad[..., column].abs().max().item())
    assert gradients[0] != gradients[1]


def test_with_a_tuned_backbone_the_means_follow():
    context = context_of(dots(truth_maps()), frozen=False)
    term = make_prototype(PrototypeSettings(momentum=0.75), context)
    assert not term.module.seen.any()
    term(view_of(context))
    first = term.module.bank.clone()
    geometry = FEATURES.features(DATASET.ids[0], 0).geometry
    columns = context.columns(DATASET.ids[0], geometry).flatten()
    tokens = FEATURES.features(DATASET.ids[0], 0).tokens
    means, present = class_means(context.head.standardised(tokens).flatten(0, 1), columns, 6)
    torch.testing.assert_close(first[present], means[present])
    term(view_of(context, tokens=tokens + 1))
    moved, _ = class_means(context.head.standardised(tokens + 1).flatten(0, 1), columns, 6)
    torch.testing.assert_close(term.module.bank[present], 0.75 * first[present] + 0.25 * moved[present])
    assert not term.module.bank.requires_grad and term.module.seen.tolist() == present.tolist()


def test_a_projection_is_trained():
    context = context_of(dots(truth_maps()), head=head_of("projection,dim=4"))
    loss = make_prototype(PrototypeSettings(features="projection"), context)(
        view_of(context, logits=torch.zeros(12, 16, 6))
    )
    loss.backward()
    assert context.head.projection.weight.grad.abs().sum() > 0


def test_exactly_nothing_where_no_token_is_labelled():
    maps = dots(truth_maps())
    context = context_of(maps)
    term = make_prototype(PrototypeSettings(), context)
    context.columns = lambda *_: torch.full((12, 16), -1)
    view = view_of(context)
    loss = term(view)
    loss.backward()
    assert loss.item() == 0.0 and torch.equal(view.logits.grad, torch.zeros_like(view.logits))


def test_finite_for_extreme_logits():
    context = context_of(dots(truth_maps()))
    logits = (1e4 * torch.randn(12, 16, 6, generator=torch.Generator().manual_seed(0))).requires_grad_()
    loss = make_prototype(PrototypeSettings(), context)(view_of(context, logits=logits))
    loss.backward()
    assert torch.isfinite(loss) and torch.isfinite(logits.grad).all()
