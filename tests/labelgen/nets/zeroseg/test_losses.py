"""The losses against figures worked out by hand."""

import numpy as np
import pytest
import torch

from labelgen.nets.zeroseg.config import LossConfig
from labelgen.nets.zeroseg.losses import (
    distill_loss,
    locate_loss,
    match_loss,
    patches_of,
    reconstruction_loss,
    total_loss,
)

# unit vectors: the whole image, then three tiles
TEACHER = torch.tensor([[[1.0, 0.0], [0.6, 0.8], [0.0, 1.0], [-1.0, 0.0]]])


@pytest.mark.parametrize(
    ("reduction", "wanted"),
    # |z - v| for z = (0, 1): 2, 0.6 + 0.2, 0, 2 -> 4.8; mean over 4 vectors and 2 entries: 0.6
    [("sum", 4.8), ("mean", 0.6)],
)
def test_distillation_by_hand(reduction, wanted):
    z = torch.tensor([[0.0, 3.0]])
    assert float(distill_loss(z, TEACHER, reduction=reduction)) == pytest.approx(wanted)


def test_distillation_without_unit_length():
    # z = (0, 3): 1 + 3, 0.6 + 2.2, 0 + 2, 1 + 3
    z = torch.tensor([[0.0, 3.0]])
    assert float(distill_loss(z, TEACHER, normalise=False)) == pytest.approx(4 + 2.8 + 2 + 4)


@pytest.mark.parametrize(("reduction", "wanted"), [("sum", 0.8 + 1.2), ("mean", (0.8 + 1.2) / 4)])
def test_matching_leaves_the_whole_image_out(reduction, wanted):
    # (0, 1) would be met exactly by tile 3; here that is (0.6, 0.8)'s neighbour: g1 = (1, 0) is nearest to (0.6, 0.8)
    # at 0.4 + 0.8, although the whole image is (1, 0) itself; g2 = (0, 1) without its tile is nearest to it at 0.8
    teacher = TEACHER[:, [0, 1, 3]]
    segments = torch.tensor([[[2.0, 0.0], [0.0, 1.0]]])
    assert float(match_loss(segments, teacher, reduction=reduction)) == pytest.approx(wanted)


def test_matching_against_a_brute_force():
    rng = np.random.default_rng(0)
    segments, teacher = rng.normal(size=(3, 4, 5)), rng.normal(size=(3, 6, 5))
    wanted = 0.0
    for g, v in zip(segments, teacher, strict=True):
        for one in g:
            wanted += min(np.abs(one - tile).sum() for tile in v[1:]) / 3
    assert float(match_loss(torch.tensor(segments), torch.tensor(teacher), normalise=False)) == pytest.approx(wanted)


def test_a_batch_is_averaged():
    z = torch.tensor([[0.0, 1.0], [1.0, 0.0]])
    both = distill_loss(z, TEACHER.expand(2, -1, -1))
    each = [distill_loss(z[i : i + 1], TEACHER) for i in (0, 1)]
    assert float(both) == pytest.approx(float(sum(each)) / 2)


def test_patches_lie_row_by_row():
    image = torch.arange(3 * 4 * 4.0).reshape(1, 3, 4, 4)
    patches = patches_of(image, 2)
    assert patches.shape == (1, 4, 12)
    assert patches[0, 1].tolist() == [2, 18, 34, 3, 19, 35, 6, 22, 38, 7, 23, 39]  # top right: row, column, channel


def test_reconstruction_counts_hidden_patches_only():
    image = torch.zeros(1, 3, 2, 4)
    image[..., 2:] = 1.0
    predicted = torch.zeros(1, 2, 12)
    for hidden, wanted in (([True, False], 0.0), ([False, True], 1.0), ([True, True], 0.5), ([False, False], 0.0)):
        loss = reconstruction_loss(predicted, image, torch.tensor([hidden]), patch=2, norm_pixels=False)
        assert float(loss) == wanted


def test_reconstruction_of_normalised_patches():
    image = torch.tensor([[[0.0, 2.0], [0.0, 2.0]]]).expand(1, 3, 2, 2)
    # mean 1, variance (unbiased, 12 values) 12 / 11: targets are -+ sqrt(11 / 12)
    loss = reconstruction_loss(torch.zeros(1, 1, 12), image, torch.tensor([[True]]), patch=2)
    assert float(loss) == pytest.approx(11 / 12, rel=1e-4)
    flat = reconstruction_loss(torch.zeros(1, 1, 12), torch.full((1, 3, 2, 2), 0.3), torch.tensor([[True]]), patch=2)
    assert float(flat) == pytest.approx(0, abs=1e-6)


# patches 0 and 1 belong to segment 0, patch 2 to segment 1; tiles hold all, {0, 1}, {1, 2}, none of them
TAKEN = torch.tensor([[[1.0, 1.0, 0.0], [0.0, 0.0, 1.0]]])
INSIDE = torch.tensor([[[True, True, True], [True, True, False], [False, True, True], [False, False, False]]])


@pytest.mark.parametrize(("reduction", "wanted"), [("sum", 2.2), ("mean", 2.2 / 4)])
def test_locating_by_hand(reduction, wanted):
    # the second tile holds segment 0 alone, (1, 0), and should be (0.6, 0.8): 0.4 + 0.8; the third holds both in equal
    # parts, (r, r) with r = 1 / sqrt(2), and should be (0, 1): r + 1 - r; the fourth holds no visible patch
    loss = locate_loss(torch.eye(2)[None], TAKEN, INSIDE, TEACHER, reduction=reduction)
    assert float(loss) == pytest.approx(wanted)


def test_locating_teaches_vectors_and_places():
    segments, taken = torch.eye(2)[None].requires_grad_(), TAKEN.clone().requires_grad_()
    locate_loss(segments, taken, INSIDE, TEACHER).backward()
    assert float(segments.grad.abs().sum()) > 0 and float(taken.grad.abs().sum()) > 0


def test_total_has_its_weights_and_no_gradient_reaches_the_teacher():
    z, g = torch.tensor([[0.0, 1.0]], requires_grad=True), torch.tensor([[[1.0, 0.0]]], requires_grad=True)
    teacher = TEACHER.clone().requires_grad_()
    rec = torch.tensor(0.25, requires_grad=True)
    taken, inside = torch.ones(1, 1, 1), torch.tensor([[[True], [True], [False], [False]]])
    weights = LossConfig(reconstruct=4.0, distill=0.5, match=2.0, locate=3.0)
    losses = total_loss(rec, z, g, taken, inside, teacher, weights)
    assert losses.distill.item() == pytest.approx(4.8) and losses.match.item() == pytest.approx(1.2)
    assert losses.locate.item() == pytest.approx(1.2)  # one tile is seen, (0.6, 0.8), and the segment is (1, 0)
    assert losses.total.item() == pytest.approx(4 * 0.25 + 0.5 * 4.8 + 2 * 1.2 + 3 * 1.2)
    losses.total.backward()
    assert teacher.grad is None
    assert all(float(leaf.grad.abs().sum()) > 0 for leaf in (z, g, rec))
