"""Random parts of a network in training, drawn for each image from a generator of its own.

torch's own dropout draws from one global stream, so that a result would depend on how a batch is cut into shapes and
shared out among processes. Here the numbers of an image depend on the seed, the step and its place in the batch alone.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn

from labelgen.errors import ConfigError

__all__ = ["ImageDropPath", "ImageDropout", "ImageNoise", "add_drop_path"]

PATHS = ("drop_path", "drop_path1", "drop_path2")
"""What timm calls the places of stochastic depth; networks without rates hold an identity there."""


class ImageNoise:
    """The generators of the images that are in the network at the moment; none outside of training."""

    def __init__(self) -> None:
        self.generators: tuple[torch.Generator, ...] = ()

    @contextmanager
    def drawn_from(self, rngs: Sequence[np.random.Generator], device: torch.device | str) -> Iterator[None]:
        """Let the images of a batch, in this order, draw from generators seeded by `rngs`."""
        made = []
        for rng in rngs:
            generator = torch.Generator(device=device)
            generator.manual_seed(int(rng.integers(2**63)))
            made.append(generator)
        self.generators = tuple(made)
        try:
            yield
        finally:
            self.generators = ()

    def keep(self, shape: torch.Size, rate: float, like: Tensor) -> Tensor:
        """A mask `(B, *shape)`: 0 with probability `rate`, else `1 / (1 - rate)`."""
        if len(like) != len(self.generators):
            raise AssertionError(f"a batch of {len(like)} images has {len(self.generators)} generators")
        draws = [torch.rand(shape, generator=generator, device=like.device) for generator in self.generators]
        return (torch.stack(draws) >= rate).to(like.dtype) / (1 - rate)


class ImageDropout(nn.Module):
    """Dropout of single values; nothing happens outside of `ImageNoise.drawn_from`."""

    def __init__(self, noise: ImageNoise, rate: float) -> None:
        super().__init__()
        self.noise, self.rate = noise, rate

    def forward(self, x: Float[Tensor, "B ..."]) -> Float[Tensor, "B ..."]:
        """Hide values of each image."""
        return x * self.noise.keep(x.shape[1:], self.rate, x) if self.noise.generators and self.rate else x


class ImageDropPath(nn.Module):
    """Stochastic depth: the branch of a block is left out for some images."""

    def __init__(self, noise: ImageNoise, rate: float) -> None:
        super().__init__()
        self.noise, self.rate = noise, rate

    def forward(self, x: Float[Tensor, "B ..."]) -> Float[Tensor, "B ..."]:
        """Hide the branch of some images."""
        if not self.noise.generators or not self.rate:
            return x
        return x * self.noise.keep(torch.Size([1] * (x.ndim - 1)), self.rate, x)


def add_drop_path(model: nn.Module, rate: float, noise: ImageNoise) -> None:
    """Leave branches out with a probability that rises linearly from 0 at the first block to `rate` at the last.

    Raises
    ------
    ConfigError
        When the network has no place for it.

    References
    ----------
    .. [1] Huang et al., "Deep Networks with Stochastic Depth", ECCV 2016, arXiv 1603.09382.
    """
    blocks = [
        (module, names)
        for module in model.modules()
        if (names := [name for name in PATHS if isinstance(getattr(module, name, None), nn.Module)])
    ]
    if not blocks:
        raise ConfigError(
            f"drop-path needs a network with residual branches that can be left out, got {type(model).__name__}",
            hint="ViTs, ConvNeXts, EfficientNets and MobileNets have them; leave --drop-path at 0",
        )
    for number, (module, names) in enumerate(blocks):
        for name in names:
            setattr(module, name, ImageDropPath(noise, rate * number / max(len(blocks) - 1, 1)))
