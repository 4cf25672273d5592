"""The frozen self-supervised network whose tokens tell refiners which places of an image are alike."""

import dataclasses
import functools
from typing import TYPE_CHECKING, Any, Protocol, TypeVar, runtime_checkable

from labelgen.data.dataset import DataSpec
from labelgen.nets.backbone_config import DEMO_BACKBONE, REAL_BACKBONE, BackboneConfig

if TYPE_CHECKING:
    from labelgen.nets.backbones import Backbone

__all__ = ["MOST_TOKENS", "TokenSettings", "network_facts", "network_of", "settle_network"]

MOST_TOKENS = 128
"""Along the short side: an image twice as wide has 32768 patches then, of which every pair is compared."""


@runtime_checkable
class TokenSettings(Protocol):
    """Settings of a refiner that name a network by `backbone` or by `weights`, and where it runs; a dataclass."""

    @property
    def backbone(self) -> str:
        """Its name; may be empty."""
        ...

    @property
    def weights(self) -> str:
        """Its checkpoint file; may be empty."""
        ...

    @property
    def device(self) -> str:
        """Its torch device."""
        ...


Settings = TypeVar("Settings", bound=TokenSettings)


def settle_network(config: Settings, data: DataSpec) -> Settings:
    """Choose the network that nobody named: the shipped one on demo scenes, a small DINOv2 on real images."""
    if config.backbone or config.weights:
        return config
    chosen = DEMO_BACKBONE if data.kind == "demo" else REAL_BACKBONE
    return dataclasses.replace(config, backbone=chosen)  # pyright: ignore[reportArgumentType]


def network_of(config: TokenSettings) -> "Backbone":
    """The network with its last normalised tokens, loaded once; demo-ssvt where nothing names another.

    Raises
    ------
    ConfigError, WeightsError
        As `labelgen.nets.backbones.load_backbone`.
    """
    name = config.backbone or ("" if config.weights else DEMO_BACKBONE)
    return _frozen_network(BackboneConfig(name=name, weights=config.weights), config.device)


@functools.lru_cache(maxsize=2)
def _frozen_network(config: BackboneConfig, device: str) -> "Backbone":
    from labelgen.nets.backbones import load_backbone

    return load_backbone(config, device=device)


def network_facts(config: TokenSettings) -> dict[str, Any]:
    """The network with the sha256 of its weights."""
    spec = network_of(config).spec
    return {spec.name: {"sha256": spec.weights_sha256, "from": spec.weights_from}}
