import numpy as np
import pytest
import torch
from torch.nn import functional as F

from labelgen.errors import ConfigError
from segprobe.terms.grid_tree import grid_tree
from segprobe.terms.settings import TreeSettings
from segprobe.terms.tree import affinity, make_tree, tree_energy
from tests.segprobe.terms.grids import DATASET, FEATURES, context_of, dots, head_of, truth_maps, view_of
from tests.segprobe.terms.test_tree_filter import dense_filter


def dense_energy(probabilities, guides, sigmas, free):
    soft = probabilities
    for guide, sigma in zip(guides, sigmas, strict=True):
        tree = grid_tree(guide)
        soft = dense_filter(tree, tree.edge_distances(guide.reshape(-1, guide.shape[-1])) / sigma) @ soft
    return np.abs(probabilities - soft).sum(axis=1)[free].mean()


def random_case(seed=0, size=(4, 5)):
    generator = torch.Generator().manual_seed(seed)
    colours = torch.rand(*size, 3, generator=generator, dtype=torch.float64)
    features = F.normalize(torch.randn(*size, 6, generator=generator, dtype=torch.float64), dim=-1)
    probabilities = torch.randn(size[0] * size[1], 3, generator=generator, dtype=torch.float64).softmax(1)
    free = torch.rand(size[0] * size[1], generator=generator) < 0.7
    return colours, features, probabilities, free


def test_equals_two_dense_filters():
    colours, features, probabilities, free = random_case()
    found = tree_energy(
        probabilities, free, low=affinity(colours), high=affinity(features), sigma=0.02, feature_sigma=1.0
    )
    guides = colours.numpy(), features.numpy()
    expected = dense_energy(probabilities.numpy(), guides, (0.02, 1.0), free.numpy())
    assert found.item() == pytest.approx(expected, abs=1e-10)


def test_gradcheck_through_predictions_and_features():
    colours, features, probabilities, free = random_case(size=(3, 3))
    low = affinity(colours)

    def loss(p, f):
        return tree_energy(p, free, low=low, high=affinity(f), sigma=0.2, feature_sigma=1.0)

    assert torch.autograd.gradcheck(loss, (probabilities.requires_grad_(), features.requires_grad_()))


def test_predictions_that_follow_the_image_cost_least():
    colours = torch.zeros(6, 6, 3)
    colours[:, 3:] = 1
    both = affinity(colours)

    def cut(column):
        found = torch.zeros(6, 6, 2)
        found[:, :column, 0] = 1
        found[:, column:, 1] = 1
        free = torch.ones(36, dtype=torch.bool)
        return tree_energy(found.flatten(0, 1), free, low=both, high=both, sigma=0.02, feature_sigma=0.02).item()

    assert cut(3) == pytest.approx(0, abs=1e-6) and cut(2) > 0.1


def test_the_term_reads_colours_and_unit_vectors():
    context = context_of(dots(truth_maps()))
    view = view_of(context)
    loss = make_tree(TreeSettings(sigma=0.05, feature_sigma=0.5), context)(view)
    loss.backward()
    rgb = context.guides.rgb(view.image.id, view.image.geometry).numpy()
    unit = F.normalize(context.head.standardised(view.tokens), dim=-1).numpy()
    free = (context.columns(view.image.id, view.image.geometry) == -1).flatten().numpy()
    assert 0 < free.sum() < free.size
    probabilities = view.logits.detach().softmax(-1).double().flatten(0, 1).numpy()
    assert loss.item() == pytest.approx(dense_energy(probabilities, (rgb, unit), (0.05, 0.5), free), rel=1e-4)
    assert view.logits.grad.abs().sum() > 0


def test_trees_of_frozen_features_are_kept():
    context = context_of(dots(truth_maps()))
    term = make_tree(TreeSettings(), context)
    first = term(view_of(context)).item()
    moved = FEATURES.features(DATASET.ids[0], 0).tokens.flip(0)
    logits = view_of(context).logits
    assert term(view_of(context, tokens=moved, logits=logits)).item() == first  # the tree is that of the first call
    assert make_tree(TreeSettings(), context)(view_of(context, tokens=moved, logits=logits)).item() != first


def test_a_mirrored_view_has_trees_of_its_own_and_the_same_loss():
    context = context_of(dots(truth_maps()))
    term = make_tree(TreeSettings(), context)
    values = [term(view_of(context, view=view)).item() for view in (0, 1)]
    assert values[0] == pytest.approx(values[1], rel=1e-5)


def test_trained_features_get_gradients_and_a_new_tree_each_time():
    context = context_of(dots(truth_maps()), frozen=False)
    term = make_tree(TreeSettings(), context)
    tokens = FEATURES.features(DATASET.ids[0], 0).tokens.clone().requires_grad_()
    term(view_of(context, tokens=tokens, logits=torch.randn(12, 16, 6))).backward()
    assert tokens.grad.abs().sum() > 0
    logits = torch.randn(12, 16, 6, generator=torch.Generator().manual_seed(0))
    other = tokens.detach().flip(0).requires_grad_()
    values = [term(view_of(context, tokens=t, logits=logits)).item() for t in (tokens, other, tokens)]
    assert values[0] == values[2] != values[1]


def test_a_projection_is_trained():
    context = context_of(dots(truth_maps()), head=head_of("projection,dim=4"))
    term = make_tree(TreeSettings(features="projection"), context)
    term(view_of(context, logits=torch.randn(12, 16, 6))).backward()
    assert context.head.projection.weight.grad.abs().sum() > 0
    with pytest.raises(ConfigError, match="acts on projected tokens"):
        make_tree(TreeSettings(features="projection"), context_of(dots(truth_maps())))


def test_exactly_nothing_where_every_token_is_labelled():
    context = context_of({sample_id: np.zeros_like(labels) for sample_id, labels in truth_maps().items()})
    view = view_of(context)
    loss = make_tree(TreeSettings(), context)(view)
    loss.backward()
    assert loss.item() == 0.0 and torch.equal(view.logits.grad, torch.zeros_like(view.logits))


def test_finite_for_extreme_logits():
    context = context_of(dots(truth_maps()))
    logits = (1e4 * torch.randn(12, 16, 6, generator=torch.Generator().manual_seed(0))).requires_grad_()
    loss = make_tree(TreeSettings(), context)(view_of(context, logits=logits))
    loss.backward()
    assert torch.isfinite(loss) and torch.isfinite(logits.grad).all()


def test_needs_images():
    with pytest.raises(ConfigError, match="term tree looks at colours and needs images"):
        make_tree(TreeSettings(), context_of(dots(truth_maps()), images=False))
