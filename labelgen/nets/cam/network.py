"""Class maps on a timm network: a bias-free 1 x 1 convolution whose spatial mean is the image-level logit."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.functional import dropout2d

from labelgen.errors import ConfigError, ShapeError
from labelgen.nets.architectures import Architecture, describe_stages, describe_vit, read_stages, read_vit
from labelgen.nets.backbone_config import BackboneConfig
from labelgen.nets.cam.config import CamMethod, NetworkConfig
from labelgen.nets.cam.pcm import PixelCorrelation
from labelgen.nets.construction import build_architecture, checkpoint_options

__all__ = ["CamNetwork", "NetworkOutput", "Reading", "build_network", "layers_of"]

NORMS = (nn.modules.batchnorm._BatchNorm,)


@dataclass(frozen=True)
class NetworkOutput:
    """What the network gives for a batch.

    Parameters
    ----------
    features
        What the head reads.
    maps
        Raw class maps. SEAM: background first. EPS: background last.
    correlated
        SEAM only: the maps after pixel correlation, background first, >= 0.
    """

    features: Float[Tensor, "B K h w"]
    maps: Float[Tensor, "B C1 h w"]
    correlated: Float[Tensor, "B C1 h w"] | None = None


@dataclass(frozen=True)
class Reading:
    """How the grid of features is read from the network, and how images are shown to it.

    Parameters
    ----------
    layers
        Two inner layers and the last one.
    stride
        Pixels per cell of the maps.
    multiple
        Sides of images must be multiples of it.
    options
        What else the network was built with; `build_network` takes it to build the same again.
    """

    backbone: str
    family: str
    layers: tuple[int, ...]
    dims: tuple[int, ...]
    stride: int
    multiple: int
    mean: tuple[float, ...]
    std: tuple[float, ...]
    weights_from: str
    options: Mapping[str, Any]


class CamNetwork(nn.Module):
    """A network, the head over its last features, and for SEAM the pixel correlation.

    Parameters
    ----------
    architecture
        The network with a reading of three layers.
    reading
        What of it is kept with the weights.
    method
        cam has a channel for each class; seam a background before, eps one behind them.
    num_classes
        Without the background.
    """

    def __init__(
        self,
        architecture: Architecture,
        reading: Reading,
        *,
        method: CamMethod,
        num_classes: int,
        config: NetworkConfig,
    ) -> None:
        super().__init__()
        self.body = architecture.model
        self.reading = reading
        self.method = method
        self.num_classes = num_classes
        self.config = config
        self.head = nn.Conv2d(reading.dims[-1], num_classes + (method != "cam"), 1, bias=False)
        middle = (reading.dims[0], reading.dims[1])
        self.correlation = PixelCorrelation(middle) if method == "seam" else None
        self._freeze(config.freeze)

    @property
    def foreground(self) -> slice:
        """The channels of the classes."""
        return {"cam": slice(None), "seam": slice(1, None), "eps": slice(None, -1)}[self.method]

    def layers(self, images: Float[Tensor, "B 3 H W"]) -> list[Float[Tensor, "B _k _h _w"]]:
        """The two inner layers, for CNNs on grids of their own, and the features that the head reads.

        Raises
        ------
        ShapeError
            When a side is not a multiple of `reading.multiple`.
        """
        height, width = images.shape[2:]
        reading = self.reading
        if height % reading.multiple or width % reading.multiple:
            raise ShapeError(
                f"sides of images must be multiples of {reading.multiple} for {reading.backbone}, got {height, width}"
            )
        if reading.family != "vit":
            return read_stages(self.body, images, reading.layers, norm=True)
        grid = height // reading.stride, width // reading.stride
        tokens = read_vit(self.body, images, reading.layers, norm=False)
        tokens[-1] = last_norm(self.body)(tokens[-1])
        return [layer.transpose(1, 2).unflatten(2, grid) for layer in tokens]

    def forward(
        self, images: Float[Tensor, "B 3 H W"], *, present: Float[Tensor, "B C"] | None = None
    ) -> NetworkOutput:
        """Maps of normalised images; in training mode channels are dropped by the global generator.

        Parameters
        ----------
        present
            SEAM: 1 for the classes whose maps are correlated, 0 for those left out; all without it.
        """
        *middle, features = self.layers(images)
        dropped = dropout2d(features, self.config.dropout, self.training) if self.config.dropout else features
        maps = self.head(dropped)
        correlated = (
            None if self.correlation is None else self.correlation(images, (middle[0], middle[1]), maps, present)
        )
        return NetworkOutput(features, maps, correlated)

    def logits(self, maps: Float[Tensor, "B C1 h w"]) -> Float[Tensor, "B C"]:
        """Image-level logits of the classes: the spatial means of their raw maps."""
        return maps[:, self.foreground].mean(dim=(2, 3))

    def train(self, mode: bool = True) -> "CamNetwork":
        """Set the mode; frozen batch norms stay in eval mode."""
        super().train(mode)
        if self.config.keeps_norms:
            for module in self.body.modules():
                if isinstance(module, NORMS):
                    module.eval()
        return self

    def new_parameters(self) -> list[nn.Parameter]:
        """Those that start from nothing."""
        parts = [self.head] if self.correlation is None else [self.head, self.correlation]
        return [parameter for part in parts for parameter in part.parameters()]

    def _freeze(self, leading: int) -> None:
        for name in leading_parameters(self.body, leading, name=self.reading.backbone):
            self.body.get_parameter(name).requires_grad_(False)
        if self.config.keeps_norms:
            for module in self.body.modules():
                if isinstance(module, NORMS):
                    module.requires_grad_(False)


def build_network(
    config: NetworkConfig,
    *,
    method: CamMethod,
    num_classes: int,
    weights: str = "",
    seed: int = 0,
    options: Mapping[str, Any] | None = None,
) -> CamNetwork:
    """Build the network on the CPU.

    Parameters
    ----------
    weights
        Checkpoint file of the backbone, in the place of the shipped or published weights.
    seed
        Of everything that starts from random weights.
    options
        `Reading.options` of a network that is to be built again.

    Raises
    ------
    ConfigError
        When the backbone is unknown, does not take the output stride, or has too few layers.
    WeightsError
        When weights are missing or do not fit.

    Examples
    --------
    >>> network = build_network(NetworkConfig(pretrained=False), method="eps", num_classes=3).eval()
    >>> network.reading.layers, tuple(network(torch.zeros(1, 3, 32, 48)).maps.shape)
    ((2, 3, 5), (1, 4, 4, 6))
    """
    if num_classes < 1:
        raise ConfigError(f"a classifier needs at least one class, got {num_classes}")
    if weights and not config.pretrained:
        raise ConfigError(f"weights from {weights} are not random ones", hint="leave out --weights or --no-pretrained")
    more = dict(options if options is not None else checkpoint_options(Path(weights)) if weights else {})
    architecture = _architecture(config, weights, seed, more)
    reading = Reading(
        backbone=architecture.name,
        family=architecture.family,
        layers=architecture.layers,
        dims=architecture.dims,
        stride=architecture.strides[-1],
        multiple=architecture.multiple,
        mean=tuple(architecture.mean),
        std=tuple(architecture.std),
        weights_from=architecture.weights_from,
        options=more,
    )
    network = CamNetwork(architecture, reading, method=method, num_classes=num_classes, config=config)
    generator = torch.Generator().manual_seed(seed)
    nn.init.xavier_uniform_(network.head.weight, generator=generator)
    if network.correlation is not None:
        network.correlation.initialise(generator)
    return network


def layers_of(depth: int, *, vit: bool) -> tuple[int, int, int]:
    """Two inner layers and the last: blocks at a half and three quarters of a ViT, the two stages before the last.

    Examples
    --------
    >>> layers_of(12, vit=True), layers_of(5, vit=False)
    ((5, 8, 11), (2, 3, 4))
    """
    inner = (depth // 2 - 1, 3 * depth // 4 - 1) if vit else (depth - 3, depth - 2)
    if not 0 <= inner[0] < inner[1] < depth - 1:
        raise ConfigError(f"a classifier reads three layers of its backbone, got one of {depth} layers")
    return *inner, depth - 1


def last_norm(model: Any) -> nn.Module:
    """The final norm of a ViT; where timm puts it behind the pooling, it is applied to each token instead."""
    return model.fc_norm if isinstance(model.norm, nn.Identity) else model.norm


def leading_parameters(model: Any, count: int, *, name: str) -> list[str]:
    """Names of the parameters of the first so many blocks or stages and of all that comes before them."""
    if not count:
        return []
    stages = [info["module"] for info in model.feature_info]
    if not 0 < count < len(stages):
        raise ConfigError(f"freeze must leave something of {name} to train, got {count} of {len(stages)} layers")
    names = [found for found, _ in model.named_modules()]
    last = max(number for number, found in enumerate(names) if (found + ".").startswith(stages[count - 1] + "."))
    frozen = set(names[1 : last + 1])
    # what lies in the network itself, such as positions and class token, comes before the first block
    return [key for key, _ in model.named_parameters() if "." not in key or key.rpartition(".")[0] in frozen]


def _architecture(config: NetworkConfig, weights: str, seed: int, options: Mapping[str, Any]) -> Architecture:
    """The network with a reading of its three layers."""
    backbone = BackboneConfig(config.backbone, weights=weights, norm=False, output_stride=config.output_stride)
    found = build_architecture(backbone, pretrained=config.pretrained, seed=seed, options=options)
    vit = found.family == "vit"
    backbone = replace(backbone, layers=layers_of(found.depth, vit=vit), norm=not vit)
    about = {key: getattr(found, key) for key in ("mean", "std", "licence", "weights_from")}
    found = (describe_vit if vit else describe_stages)(found.model, found.name, backbone, about)
    stride = found.strides[-1]
    if config.output_stride and stride != config.output_stride:
        raise ConfigError(
            f"{found.name} keeps the stride {stride}, whatever the output stride, got {config.output_stride}",
            hint=f"--output-stride 0 accepts {stride}; ResNets take 8, 16 and 32",
        )
    return found
