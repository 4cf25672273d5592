"""The grouping block: what is assigned to what, and what comes of it."""

import pytest
import torch

from labelgen.nets.zeroseg.grouping import GroupingBlock, TokenMixing, assign, gumbel_like, pool


def random(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def test_soft_assignment_is_a_softmax_over_the_groups():
    logits = torch.tensor([[[0.0, 2.0], [0.0, 1.0], [0.0, 0.0]]])
    e = torch.e
    total = e**2 + e + 1
    wanted = torch.tensor([[[1 / 3, e**2 / total], [1 / 3, e / total], [1 / 3, 1 / total]]])
    assert torch.allclose(assign(logits, hard=False), wanted, atol=1e-6)


def test_hard_assignment_is_one_hot_and_its_gradient_is_that_of_the_soft_one():
    logits = random(2, 4, 7).requires_grad_()
    weights = random(2, 4, 7, seed=1)
    hard = assign(logits)
    assert torch.equal(hard.detach().sort(dim=1).values[:, :3], torch.zeros(2, 3, 7))
    assert torch.equal(hard.detach().amax(dim=1), torch.ones(2, 7))
    assert torch.equal(hard.argmax(dim=1), logits.argmax(dim=1))
    (by_hard,) = torch.autograd.grad((hard * weights).sum(), logits)
    (by_soft,) = torch.autograd.grad((assign(logits, hard=False) * weights).sum(), logits)
    assert torch.equal(by_hard, by_soft) and float(by_hard.abs().sum()) > 0


def test_ties_go_to_the_first_group():
    assert assign(torch.zeros(1, 3, 2))[0].tolist() == [[1, 1], [0, 0], [0, 0]]


def test_noise_changes_who_gets_a_token_and_comes_from_the_generator():
    logits = torch.zeros(1, 3, 200)
    noise = [gumbel_like(logits, generator=torch.Generator().manual_seed(seed)) for seed in (0, 0, 1)]
    assert torch.equal(noise[0], noise[1]) and not torch.equal(noise[0], noise[2])
    counts = assign(logits, noise=noise[0]).sum(dim=2)[0]
    assert counts.min() > 40 and counts.sum() == 200  # equal logits: each group gets about a third


def test_gumbel_noise_has_the_moments_of_a_gumbel():
    noise = gumbel_like(torch.zeros(1, 1, 200_000), generator=torch.Generator().manual_seed(0))
    assert float(noise.mean()) == pytest.approx(0.5772, abs=0.01)
    assert float(noise.var()) == pytest.approx(torch.pi**2 / 6, abs=0.03)


def test_pooling_divides_by_what_a_segment_owns_and_one_more():
    assignment = torch.tensor([[[1.0, 1.0, 0.0], [0.0, 0.0, 1.0]]])
    values = torch.tensor([[[3.0, 0.0], [6.0, 3.0], [8.0, 2.0]]])
    assert pool(assignment, values)[0].tolist() == [[3.0, 1.0], [4.0, 1.0]]


def test_an_empty_segment_is_its_query_and_finite():
    assert pool(torch.zeros(1, 2, 3), random(1, 3, 4)).abs().sum() == 0


@pytest.mark.parametrize("noisy", [False, True])
def test_assignments_of_the_block_sum_to_one_over_the_groups(noisy):
    with torch.random.fork_rng():
        torch.manual_seed(0)
        block = GroupingBlock(8, 3)
    generator = torch.Generator().manual_seed(0) if noisy else None
    segments, hard, soft = block(random(2, 3, 8), random(2, 11, 8, seed=1), generator=generator)
    assert segments.shape == (2, 3, 8) and soft.shape == (2, 3, 11)
    assert torch.allclose(soft.sum(dim=1), torch.ones(2, 11))
    assert torch.equal(hard.detach().amax(dim=1), torch.ones(2, 11))
    assert torch.equal(hard.argmax(dim=1), soft.argmax(dim=1)) is not noisy
    assert torch.isfinite(segments).all()
    segments.sum().backward()
    assert block.query.weight.grad is not None and float(block.query.weight.grad.abs().sum()) > 0


def test_the_block_by_hand():
    """Queries that attend to nothing and MLPs that add nothing leave the formula bare."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        block = GroupingBlock(2, 2)
    for parameter in block.parameters():
        torch.nn.init.zeros_(parameter)
    for norm in (block.norm_tokens, block.norm_queries):
        torch.nn.init.ones_(norm.weight)
    # mixing the groups gives each its own bias: queries are [1, -1] * bias after the norm of two channels
    with torch.no_grad():
        block.mix.mlp[2].bias.copy_(torch.tensor([5.0, 7.0]))
        block.value.weight.copy_(torch.eye(2))
        block.out.weight.copy_(torch.eye(2))
    tokens = torch.tensor([[[2.0, 0.0], [0.0, 4.0], [9.0, 1.0]]])  # the norm makes (1, -1), (-1, 1), (1, -1) of them
    segments, hard, soft = block(torch.zeros(1, 2, 2), tokens)
    assert torch.allclose(soft, torch.full((1, 2, 3), 0.5))  # keys are 0: all tokens tie
    assert hard[0].tolist() == [[1, 1, 1], [0, 0, 0]]  # and the first group takes them
    wanted = torch.tensor([[[5 + 1 / 4, 5 - 1 / 4], [7.0, 7.0]]])
    assert torch.allclose(segments, wanted, atol=1e-4)


@pytest.mark.parametrize("centre", [True, False])
def test_what_all_tokens_share_has_no_say_when_they_are_centred(centre):
    with torch.random.fork_rng():
        torch.manual_seed(0)
        block = GroupingBlock(16, 4, centre=centre)
    block.norm_tokens = torch.nn.Identity()
    groups, tokens, shared = random(1, 4, 16), random(1, 20, 16, seed=1), 3 * random(1, 1, 16, seed=2)
    one, other = (block(groups, given)[2] for given in (tokens, tokens + shared))
    assert torch.allclose(one, other, atol=1e-4) is centre


def test_a_block_begins_as_a_step_of_clustering():
    """Tokens in three clear clusters: segments hardly mix them, whatever the random weights."""
    owners = torch.arange(3).repeat(20)
    shares = []
    for seed in range(5):
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            block = GroupingBlock(16, 8, centre=True)
        tokens = (4 * torch.eye(16)[owners] + 0.1 * random(60, 16, seed=seed))[None]
        taken = block(0.3 * random(1, 8, 16, seed=seed), tokens)[1][0].detach()
        shares.append((taken @ torch.eye(3)[owners]).amax(dim=1).sum().item() / 60)  # of tokens of the main cluster
    assert sum(shares) / len(shares) > 0.9


def test_token_order_does_not_matter_to_segments():
    with torch.random.fork_rng():
        torch.manual_seed(3)
        block = GroupingBlock(8, 3)
    groups, tokens, order = random(1, 3, 8), random(1, 6, 8, seed=1), torch.tensor([4, 0, 5, 2, 1, 3])
    segments, _, soft = block(groups, tokens)
    again, _, moved = block(groups, tokens[:, order])
    assert torch.allclose(segments, again, atol=1e-5) and torch.allclose(soft[:, :, order], moved, atol=1e-6)


def test_token_mixing_changes_the_number_of_tokens():
    assert TokenMixing(8, 32, 8)(random(2, 32, 8)).shape == (2, 8, 8)
