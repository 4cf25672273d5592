import numpy as np
import pytest
import torch

from labelgen.errors import ConfigError, RunFolderError, ShapeError
from segprobe.config import FitConfig
from segprobe.head_settings import HEAD_SETTINGS
from segprobe.heads import HEADS, LinearHead, load_head_state, make_head
from segprobe.heads.knn import votes
from segprobe.ridge import NormalEquations, calibrated_scale


@pytest.fixture
def statistics():
    generator = torch.Generator().manual_seed(0)
    return torch.randn(8, generator=generator), torch.rand(8, generator=generator) + 0.5


@pytest.mark.parametrize("kind", HEADS)
def test_heads_turn_tokens_into_one_logit_per_class(kind, statistics):
    head = make_head(kind, *statistics, num_classes=5)
    assert head(torch.zeros(3, 4, 8)).shape == (3, 4, 5)


def test_folding_the_standardisation_leaves_the_logits(statistics):
    head = LinearHead(*statistics, num_classes=5)
    torch.nn.init.normal_(head.classify.weight, generator=torch.Generator().manual_seed(1))
    tokens = torch.randn(50, 8, generator=torch.Generator().manual_seed(2))
    weight, bias = head.folded()
    torch.testing.assert_close(head(tokens), tokens @ weight.T + bias, atol=1e-5, rtol=1e-5)


def test_the_projection_folds_into_one_matrix(statistics):
    head = make_head("projection,dim=4", *statistics, num_classes=5)
    torch.nn.init.normal_(head.classify.weight, generator=torch.Generator().manual_seed(1))
    tokens = torch.randn(50, 8, generator=torch.Generator().manual_seed(2))
    weight, bias = head.folded()
    torch.testing.assert_close(head(tokens), tokens @ weight.T + bias, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(head(tokens), head.classify(head.project(tokens)))
    rows = head.projection.weight
    torch.testing.assert_close(rows @ rows.T, torch.eye(4), atol=1e-6, rtol=0)


def conv_head(statistics):
    head = make_head("conv,width=6", *statistics, num_classes=5)
    torch.nn.init.normal_(head.classify.weight, generator=torch.Generator().manual_seed(1))
    return head


def test_the_convolutional_head_sees_two_tokens_far_and_no_other_image(statistics):
    head = conv_head(statistics)
    grids = torch.randn(2, 9, 8, 8, generator=torch.Generator().manual_seed(2))
    changed = grids.clone()
    changed[0, 4, 3] += 1
    moved = (head(grids) - head(changed)).abs().amax(-1) > 0
    expected = torch.zeros(2, 9, 8, dtype=torch.bool)
    expected[0, 2:7, 1:6] = True
    assert torch.equal(moved, expected)
    torch.testing.assert_close(head(grids)[1], head(grids[1]))


def test_the_convolutional_head_is_the_same_at_the_border_of_an_even_grid(statistics):
    head = conv_head(statistics)
    even = torch.randn(8, generator=torch.Generator().manual_seed(2)).expand(5, 6, 8)
    logits = head(even)
    torch.testing.assert_close(logits, logits[2, 2].expand(5, 6, 5))
    with pytest.raises(ShapeError, match="token grids"):
        head(even[0])


def test_prototypes_compare_directions_only(statistics):
    head = make_head("prototype", *statistics, num_classes=5)
    torch.nn.init.normal_(head.classify.weight, generator=torch.Generator().manual_seed(1))
    z = torch.randn(7, 8, generator=torch.Generator().manual_seed(2))
    torch.testing.assert_close(head(head.mean + head.std * z), head(head.mean + head.std * 3 * z))


def test_votes_equal_a_loop_over_all_pairs():
    rng = np.random.default_rng(0)
    queries, bank = (rng.normal(size=(n, 5)).astype(np.float32) for n in (6, 20))
    queries, bank = (x / np.linalg.norm(x, axis=1, keepdims=True) for x in (queries, bank))
    shares = rng.dirichlet(np.ones(3), 20).astype(np.float32)
    images, owners = np.arange(6) % 3, np.arange(20) % 4
    for own in (False, True):
        expected = np.zeros((6, 3))
        for q in range(6):
            allowed = [n for n in range(20) if not own or images[q] != owners[n]]
            best = sorted(allowed, key=lambda n: -(queries[q] @ bank[n]))[:4]
            weights = np.exp([queries[q] @ bank[n] / 0.1 for n in best])
            expected[q] = (weights / weights.sum()) @ shares[best]
        given = (torch.from_numpy(images), torch.from_numpy(owners)) if own else None
        found = votes(*map(torch.from_numpy, (queries, bank, shares)), count=4, temperature=0.1, owners=given)
        np.testing.assert_allclose(found, expected, atol=1e-5)


def test_the_vote_takes_queries_in_parts_without_a_difference(statistics, monkeypatch):
    head = make_head("knn,neighbours=3", *statistics, num_classes=2)
    generator = torch.Generator().manual_seed(0)
    head.remember(head.directions(torch.randn(9, 8, generator=generator)), torch.eye(2)[torch.arange(9) % 2], 4.0)
    tokens = torch.randn(5, 4, 8, generator=generator)
    whole = head(tokens)
    monkeypatch.setattr("segprobe.heads.knn.AT_ONCE", 3)
    torch.testing.assert_close(head(tokens), whole)
    assert whole.shape == (5, 4, 2)
    torch.testing.assert_close(whole.sum(-1), torch.full((5, 4), 4.0), atol=1e-2, rtol=0)


def test_a_constant_channel_stays_finite():
    head = LinearHead(torch.ones(2), torch.zeros(2), num_classes=3)
    assert torch.isfinite(head(torch.ones(4, 2))).all()


def test_weights_depend_on_the_seed_alone(statistics):
    state = torch.random.get_rng_state()
    a, b, c = (make_head("mlp", *statistics, num_classes=3, seed=seed) for seed in (1, 1, 2))
    assert torch.equal(a.hidden.weight, b.hidden.weight)
    assert not torch.equal(a.hidden.weight, c.hidden.weight)
    assert torch.equal(torch.random.get_rng_state(), state)


def test_settings_know_the_heads_by_name():
    assert set(HEADS) == set(HEAD_SETTINGS)


def test_unknown_head_is_refused(statistics):
    with pytest.raises(ConfigError, match="linear, multi, mlp"):
        make_head("tree", *statistics, num_classes=3)


def test_every_difference_of_a_saved_head_is_named(statistics):
    head = make_head("linear", *statistics, num_classes=3)
    state = dict(head.state_dict())
    state["classify.weight"] = torch.zeros(4, 8)
    state["extra"] = state.pop("std")
    with pytest.raises(RunFolderError) as caught:
        load_head_state(head, state, where="here")
    for part in ("std is missing", "extra is unknown", r"(3, 8), got (4, 8)", "here"):
        assert part in str(caught.value)


def rows_and_classes(count=200):
    rng = np.random.default_rng(0)
    classes = torch.from_numpy(rng.integers(0, 3, count))
    rows = torch.from_numpy(rng.normal(size=(count, 4))).float() + classes[:, None] * torch.tensor([1.0, -1, 0, 2])
    return rows, classes, torch.from_numpy(rng.uniform(0.5, 2, count)).float()


def test_ridge_equals_numpy_least_squares_with_penalty_rows():
    rows, classes, weights = rows_and_classes()
    equations = NormalEquations.empty(4, 3)
    equations.add_rows(rows, classes, weights)
    matrix, bias = equations.solve(penalty=0.1)
    design = np.c_[rows.double().numpy(), np.ones(len(rows))]
    root = np.sqrt(weights.double().numpy())[:, None]
    penalty = 0.1 * np.mean(np.sum(weights.double().numpy()[:, None] * design[:, :4] ** 2, axis=0))
    extra = np.sqrt(penalty) * np.eye(5)[:4]
    targets = np.eye(3)[classes.numpy()]
    expected = np.linalg.lstsq(np.r_[root * design, extra], np.r_[root * targets, np.zeros((4, 3))], rcond=None)[0]
    np.testing.assert_allclose(matrix.numpy(), expected[:4].T, atol=1e-8)
    np.testing.assert_allclose(bias.numpy(), expected[4], atol=1e-8)


def test_ridge_is_the_same_in_parts_in_any_order():
    rows, classes, weights = rows_and_classes()
    whole = NormalEquations.empty(4, 3)
    whole.add_rows(rows, classes, weights)
    parts = NormalEquations.empty(4, 3)
    for part in (slice(150, 200), slice(0, 70), slice(70, 150)):
        parts.add_rows(rows[part], classes[part], weights[part])
    a, b = whole.solve(penalty=0.01), parts.solve(penalty=0.01)
    for left, right in zip(a, b, strict=True):
        np.testing.assert_allclose(left, right, atol=1e-6)


def test_the_chosen_gain_has_the_least_cross_entropy():
    outputs, classes = torch.eye(3).repeat(4, 1) * 0.3, torch.arange(3).repeat(4)
    assert calibrated_scale(outputs, classes, torch.ones(12)) >= 64  # separable: the more the better
    noise = torch.tensor([1, 2, 0]).repeat(4)
    assert calibrated_scale(outputs, noise, torch.ones(12)) == 0.5  # always wrong: the less the better


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({"head": "tree"}, "head must be one of linear, multi, mlp, conv, .*, got 'tree'"),
        ({"sampling": "all"}, "sampling must be one of"),
        ({"background": "guess"}, "background must be one of"),
        ({"background_share": 1.0}, r"background-share must lie in \(0, 1\)"),
        ({"lr": 0.0}, "lr must be > 0"),
        ({"pixels": 0}, "pixels must be >= 1"),
        ({"warmup": 1.0}, "warmup must be a share"),
        ({"feature_dropout": 1.0}, r"feature-dropout must lie in \[0, 1\)"),
        ({"scales": (1.0, 1.0)}, "scales must be different"),
        ({"ridge_penalty": 0.0}, "ridge-penalty must be > 0"),
        ({"head": "mlp", "init": "ridge"}, "init ridge needs a linear head"),
        ({"seed": -1}, "seed must be >= 0"),
    ],
)
def test_settings_out_of_range_are_refused(settings, sentence):
    with pytest.raises(ConfigError, match=sentence):
        FitConfig(**settings)
