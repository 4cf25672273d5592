"""Learning rates that fall with the distance from the head, block by block of a ViT, stage by stage of a CNN."""

from typing import Any

import torch
from torch import nn

from labelgen.nets.training import decays

__all__ = ["backbone_groups", "layer_numbers", "matrix_groups"]


def backbone_groups(
    model: Any, *, coarse: bool, factor: float, decay: float, weight_decay: float
) -> list[dict[str, Any]]:
    """Parameter groups of a backbone: the rate is `factor * decay ** distance` times that of the head.

    Parameters
    ----------
    model
        A timm model, which knows which of its parameters belong to which layer. Parameters that ask for no gradient
        are left out.
    coarse
        Count stages instead of blocks, as for a CNN, whose many small blocks would leave the first ones no rate at all.
    factor
        Of the layers nearest to the head.
    decay
        From one layer to the one before.
    weight_decay
        Of matrices; biases, norms, tokens and positions are not decayed.

    References
    ----------
    .. [1] Clark et al., "ELECTRA", ICLR 2020, arXiv 2003.10555; Bao et al., "BEiT", ICLR 2022, arXiv 2106.08254.
    """
    numbers = layer_numbers(model, coarse=coarse)
    trained = {name: p for name, p in model.named_parameters() if p.requires_grad}
    last = max((numbers[name] for name in trained), default=0)
    groups: dict[tuple[int, bool], list[nn.Parameter]] = {}
    for name, parameter in trained.items():
        groups.setdefault((numbers[name], decays(name, parameter)), []).append(parameter)
    return [
        {
            "params": parameters,
            "factor": factor * decay ** (last - number),
            "weight_decay": weight_decay if decayed else 0.0,
        }
        for (number, decayed), parameters in groups.items()
    ]


def matrix_groups(module: nn.Module, weight_decay: float) -> list[dict[str, Any]]:
    """Parameter groups of a decoder, at the full rate: matrices and kernels are decayed, biases and norms are not."""
    trained = [p for p in module.parameters() if p.requires_grad]
    return [
        {"params": [p for p in trained if p.ndim > 1], "weight_decay": weight_decay},
        {"params": [p for p in trained if p.ndim <= 1], "weight_decay": 0.0},
    ]


def layer_numbers(model: Any, *, coarse: bool) -> dict[str, int]:
    """Layer of each parameter by timm's own account, counted from the images; a final norm goes with the last block."""
    from timm.models import group_parameters

    with torch.no_grad():
        return group_parameters(model, model.group_matcher(coarse=coarse), reverse=True)  # type: ignore[no-any-return]
