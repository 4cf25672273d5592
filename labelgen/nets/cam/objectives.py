"""What each method minimises on a batch: the views that go through the network and the losses of their maps."""

from collections.abc import Callable
from dataclasses import dataclass, field

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import interpolate

from labelgen.errors import ConfigError
from labelgen.nets.cam.batches import Batch
from labelgen.nets.cam.config import TrainingConfig
from labelgen.nets.cam.losses import (
    classification_loss,
    ecr_loss,
    eps_saliency_loss,
    er_loss,
    min_pool_loss,
    minmax,
    with_rest,
)
from labelgen.nets.cam.network import CamNetwork, NetworkOutput

__all__ = ["OBJECTIVES", "Objective", "second_size"]


@dataclass(frozen=True)
class Objective:
    """Losses of one batch.

    Parameters
    ----------
    total
        What is minimised.
    terms
        Its parts by name, before their weights; without gradient.
    """

    total: Float[Tensor, ""]
    terms: dict[str, Float[Tensor, ""]] = field(default_factory=dict)


def _objective(weighted: dict[str, tuple[float, Tensor]]) -> Objective:
    total = torch.stack([weight * loss for weight, loss in weighted.values()]).sum()
    return Objective(total, {name: loss.detach() for name, (_, loss) in weighted.items()})


def cam_objective(network: CamNetwork, batch: Batch, config: TrainingConfig) -> Objective:
    """Classification alone."""
    logits = network.logits(network(batch.images).maps.float())
    return _objective({"classification": (1.0, classification_loss(logits, batch.targets))})


def eps_objective(network: CamNetwork, batch: Batch, config: TrainingConfig) -> Objective:
    """Classification, and the saliency that the maps must explain."""
    if batch.saliency is None:
        raise ConfigError("EPS learns from saliency maps, got none", hint="--saliency FOLDER, or ncut")
    maps = network(batch.images).maps.float()
    saliency = interpolate(batch.saliency[:, None], size=maps.shape[2:], mode="nearest")[:, 0]
    losses = {
        "classification": (1.0, classification_loss(network.logits(maps), batch.targets)),
        "saliency": (
            config.eps.sal,
            eps_saliency_loss(maps, saliency, batch.targets, tau=config.eps.tau, lam=config.eps.lam),
        ),
    }
    return _objective(losses)


def seam_objective(network: CamNetwork, batch: Batch, config: TrainingConfig) -> Objective:
    """Classification of two views of different size, and the agreement of their maps."""
    settings, size = config.seam, (batch.images.shape[2], batch.images.shape[3])
    small = second_size(size, settings.scale, network.reading.multiple)
    present = batch.targets if settings.gate_correlation else None
    views = batch.images, interpolate(batch.images, size=small, mode="bilinear")
    first, second = (network(view, present=present) for view in views)
    gate = torch.cat([torch.ones_like(batch.targets[:, :1]), batch.targets], dim=1)[:, :, None, None]
    maps, correlated = (
        tuple(_compared(_part(output, part), own, small) * gate for output, own in ((first, size), (second, small)))
        for part in ("maps", "correlated")
    )
    with_background = [with_rest(view[:, 1:]) for view in maps]
    crossed = [
        ecr_loss(with_background[1], correlated[0], hard_share=settings.hard_share),
        ecr_loss(with_background[0], correlated[1], hard_share=settings.hard_share),
    ]
    outputs = (first, second)
    classification = [classification_loss(network.logits(view.maps.float()), batch.targets) for view in outputs]
    smallest = [min_pool_loss(_part(view, "correlated")[:, 1:] * gate[:, 1:]) for view in outputs]
    losses = {
        "classification": (1.0, torch.stack(classification).mean()),
        "min_pool": (settings.min_pool, torch.stack(smallest).mean()),
        "er": (settings.er, er_loss(maps[0], maps[1])),
        "ecr": (settings.ecr, torch.stack(crossed).sum()),
    }
    return _objective(losses)


def second_size(size: tuple[int, int], scale: float, multiple: int) -> tuple[int, int]:
    """Size of SEAM's second view, in whole cells of the network.

    Examples
    --------
    >>> second_size((448, 448), 0.3, 8), second_size((32, 32), 0.1, 16)
    ((136, 136), (16, 16))
    """
    height, width = (max(multiple, round(length * scale / multiple) * multiple) for length in size)
    return height, width


def _part(output: NetworkOutput, part: str) -> Float[Tensor, "B C1 h w"]:
    """Maps in float32, as normalisation by maxima needs them."""
    return getattr(output, part).float()


def _compared(
    maps: Float[Tensor, "B C1 h w"], own: tuple[int, int], common: tuple[int, int]
) -> Float[Tensor, "B C1 H W"]:
    """Maps at the size of their view, normalised there, then brought to the common size."""
    normal = minmax(interpolate(maps, size=own, mode="bilinear"))
    return normal if own == common else interpolate(normal, size=common, mode="bilinear")


OBJECTIVES: dict[str, Callable[[CamNetwork, Batch, TrainingConfig], Objective]] = {
    "cam": cam_objective,
    "seam": seam_objective,
    "eps": eps_objective,
}
