"""The loop: losses fall, groups have their rates, a killed training ends with the same bits."""

import dataclasses

import numpy as np
import pytest
import torch

from labelgen.nets.cam.batches import Batch, SaliencyMaps, StepBatches
from labelgen.nets.cam.config import NetworkConfig, SeamConfig, TrainingConfig
from labelgen.nets.cam.network import build_network
from labelgen.nets.cam.objectives import second_size
from labelgen.nets.cam.tags import read_targets
from labelgen.nets.cam.training import (
    DivergedError,
    make_optimiser,
    parameter_groups,
    rate_of_step,
    train_classifier,
    training_losses,
)
from tests.labelgen.nets.cam.tagged import TRAINING, Bright, Tagged

PAPER = TrainingConfig(crop=24, long_side=(24, 40), batch=4)
TERMS = {
    "cam": ["classification"],
    "seam": ["classification", "min_pool", "er", "ecr"],
    "eps": ["classification", "saliency"],
}


def network_of(method, name="demo-ssvt", **options):
    return build_network(NetworkConfig(name, pretrained=False, **options), method=method, num_classes=2)


def batches_of(network, config):
    data = Tagged()
    maps = SaliencyMaps(Bright(), data) if network.method == "eps" else None
    return StepBatches(data, read_targets(data), network.reading, config, saliency=maps)


@pytest.mark.slow  # some dozens of small steps
@pytest.mark.parametrize("method", list(TERMS))
def test_the_losses_fall(method):
    config = dataclasses.replace(TRAINING, epochs=10, schedule="cosine", seam=SeamConfig(scale=0.7))
    network = network_of(method)
    records = train_classifier(network, batches_of(network, config))
    first, last = (np.mean([record.total for record in part]) for part in (records[:3], records[-3:]))
    assert len(records) == 15 and last < 0.85 * first
    assert list(records[0].terms) == TERMS[method]


@pytest.mark.parametrize("method", list(TERMS))
def test_the_total_is_the_weighted_sum_of_the_terms(method):
    network = network_of(method).eval()
    config = dataclasses.replace(
        TRAINING,
        seam=SeamConfig(scale=0.7, er=2.0, ecr=3.0, min_pool=0.5),
        eps=dataclasses.replace(TRAINING.eps, sal=4.0),
    )
    batch = next(batches_of(network, config).steps(0))
    found = training_losses(network, batch, config, step=0)
    weights = {"classification": 1, "er": 2, "ecr": 3, "min_pool": 0.5, "saliency": 4}
    assert float(found.total.detach()) == pytest.approx(
        sum(weights[k] * float(v) for k, v in found.terms.items()), rel=1e-5
    )
    assert all(float(v) > 0 and not v.requires_grad for v in found.terms.values())


def test_the_trunk_of_seam_learns_nothing_through_the_correlated_maps():
    """ECR alone moves the three convolutions of the correlation, and neither the head nor the network."""
    network = network_of("seam")
    settings = SeamConfig(scale=0.7, er=0.0, min_pool=0.0)
    config = dataclasses.replace(TRAINING, seam=settings)
    batch = next(batches_of(network, config).steps(0))
    found = training_losses(network, batch, config, step=0)
    without = training_losses(
        network, batch, dataclasses.replace(config, seam=dataclasses.replace(settings, ecr=0.0)), step=0
    )
    (found.total - without.total).backward()  # what remains of classification cancels
    trunk = [p.grad for name, p in network.named_parameters() if not name.startswith("correlation")]
    assert all(grad is None or float(grad.abs().max()) < 1e-6 for grad in trunk)
    assert all(float(p.grad.abs().max()) > 0 for p in network.correlation.parameters())


def test_only_tagged_classes_move_in_seam():
    """Maps of absent classes are gated: with classification left aside their head gets no gradient."""
    network = network_of("seam")
    config = dataclasses.replace(TRAINING, seam=SeamConfig(scale=0.7))
    batch = next(batches_of(network, config).steps(0))
    one = Batch(batch.images, torch.tensor([[1.0, 0.0]]).repeat(len(batch.images), 1))
    found = training_losses(network, one, config, step=0)
    gradient = torch.autograd.grad(found.total, network.head.weight, retain_graph=True)[0]
    config = dataclasses.replace(config, seam=SeamConfig(scale=0.7, er=0.0, ecr=0.0, min_pool=0.0))
    classification = torch.autograd.grad(training_losses(network, one, config, step=0).total, network.head.weight)[0]
    difference = (gradient - classification).abs().amax(dim=(1, 2, 3))
    assert float(difference[2]) < 1e-6 < float(difference[1])


def test_the_second_view_is_whole_cells():
    assert second_size((448, 448), 0.3, 8) == (136, 136) and second_size((24, 24), 0.01, 8) == (8, 8)


def test_groups_have_the_rates_of_the_papers():
    groups = parameter_groups(network_of("seam"), PAPER)
    assert sorted(group["factor"] for group in groups) == [1, 2, 10]  # head and correlation have no biases
    assert {group["weight_decay"] for group in groups} == {5e-4}
    new = next(group for group in groups if group["factor"] == 10)
    assert len(new["params"]) == 4
    optimiser = make_optimiser(network_of("cam"), PAPER)
    assert isinstance(optimiser, torch.optim.SGD) and optimiser.defaults["momentum"] == 5e-4
    stated = make_optimiser(network_of("cam"), dataclasses.replace(PAPER, momentum_rule="stated"))
    assert stated.defaults["momentum"] == 0.9


def test_adamw_decays_matrices_only_and_frozen_parts_are_in_no_group():
    network = network_of("cam", freeze=3)
    groups = parameter_groups(network, dataclasses.replace(TRAINING, weight_decay=0.1))
    held = [parameter for group in groups for parameter in group["params"]]
    assert len(held) == sum(parameter.requires_grad for parameter in network.parameters()) < 80
    for group in groups:
        assert all((parameter.ndim >= 2) == (group["weight_decay"] > 0) for parameter in group["params"])


def test_the_rate_falls_as_the_schedule_says():
    assert rate_of_step(5, 10, PAPER) == pytest.approx(0.01 * 0.5**0.9)
    cosine = dataclasses.replace(TRAINING, schedule="cosine", warmup=0.2, lr=1.0)
    assert [round(rate_of_step(step, 10, cosine), 3) for step in (0, 1, 6)] == [0.5, 1.0, 0.5]


def test_a_loss_that_is_no_number_stops_the_training():
    network = network_of("cam")
    with torch.no_grad():
        network.head.weight.fill_(float("nan"))
    with pytest.raises(DivergedError, match="the loss is nan at step 1 of 4"):
        train_classifier(network, batches_of(network, TRAINING))


def test_dropped_channels_depend_on_seed_and_step_alone():
    network = network_of("cam", dropout=0.5)
    batch = next(batches_of(network, TRAINING).steps(0))
    torch.manual_seed(1)
    before = torch.random.get_rng_state()
    one = float(training_losses(network, batch, TRAINING, step=3).total.detach())
    assert torch.equal(torch.random.get_rng_state(), before)
    torch.manual_seed(2)
    assert float(training_losses(network, batch, TRAINING, step=3).total.detach()) == one
    assert float(training_losses(network, batch, TRAINING, step=4).total.detach()) != one
