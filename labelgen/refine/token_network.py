"""The frozen self-supervised network whose tokens tell refiners which places of an image are alike."""

import functools
from typing import TYPE_CHECKING, Any

from labelgen.data.dataset import DataSpec
from labelgen.nets.backbone_config import DEMO_BACKBONE, REAL_BACKBONE, BackboneConfig

if TYPE_CHECKING:
    from labelgen.nets.backbones import Backbone

__all__ = ["MOST_TOKENS", "backbone_for", "backbone_of", "frozen_network", "network_facts"]

MOST_TOKENS = 128
"""Along the short side: an image twice as wide has 32768 patches then, of which every pair is compared."""


def backbone_for(data: DataSpec) -> str:
    """The network to use where nobody named one: the shipped one on demo scenes, a small DINOv2 on real images.

    Examples
    --------
    >>> backbone_for(DataSpec("demo"))
    'demo-ssvt'
    """
    return DEMO_BACKBONE if data.kind == "demo" else REAL_BACKBONE


def backbone_of(name: str, weights: str) -> BackboneConfig:
    """The network of this name or checkpoint, with its last normalised tokens; demo-ssvt where both are empty."""
    return BackboneConfig(name=name or ("" if weights else DEMO_BACKBONE), weights=weights)


@functools.lru_cache(maxsize=2)
def frozen_network(config: BackboneConfig, device: str) -> "Backbone":
    """A network that serves for its hash and for its tokens, and is loaded once.

    Raises
    ------
    ConfigError, WeightsError
        As `labelgen.nets.backbones.load_backbone`.
    """
    from labelgen.nets.backbones import load_backbone

    return load_backbone(config, device=device)


def network_facts(config: BackboneConfig, device: str) -> dict[str, Any]:
    """The network with the sha256 of its weights."""
    spec = frozen_network(config, device).spec
    return {spec.name: {"sha256": spec.weights_sha256, "from": spec.weights_from}}
