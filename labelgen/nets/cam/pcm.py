"""The pixel correlation module of SEAM: pixels borrow class scores from pixels that look alike."""

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.functional import interpolate

__all__ = ["PixelCorrelation", "competing_maps", "correlate"]

EPS = 1e-5  # SEAM's, in every division
WIDTH = 192  # channels in which pixels are compared
MIDDLE_WIDTHS = (64, 128)  # channels that the two inner layers are reduced to


def correlate(features: Float[Tensor, "B K N"], maps: Float[Tensor, "B C N"]) -> Float[Tensor, "B C N"]:
    """Average maps over the pixels of an image, weighted by the cosine of their features where it is positive.

    Parameters
    ----------
    features
        Of N pixels; their length does not matter.
    maps
        Scores of the same pixels.

    References
    ----------
    .. [1] Wang et al., CVPR 2020, arXiv 2004.04581, equation 8.

    Examples
    --------
    >>> features = torch.tensor([[[1.0, 1.0, 0.0], [0.0, 0.0, 1.0]]])
    >>> [round(v, 3) for v in correlate(features, torch.tensor([[[1.0, 0.0, 0.2]]]))[0, 0].tolist()]
    [0.5, 0.5, 0.2]
    """
    unit = features / (features.norm(dim=1, keepdim=True) + EPS)
    weights = (unit.transpose(1, 2) @ unit).relu()
    return maps @ (weights / (weights.sum(dim=1, keepdim=True) + EPS))


def competing_maps(
    maps: Float[Tensor, "B C1 H W"], present: Float[Tensor, "B C"] | None = None
) -> Float[Tensor, "B C1 H W"]:
    """Raw maps, background first, as the correlation takes them: each class over its maximum, the best of a pixel only.

    Parameters
    ----------
    maps
        Raw; the background, which is first, is replaced by what the best class leaves of 1. A class that is nowhere
        positive stays 0.
    present
        1 for the classes that take part, 0 for the others; all without it, as in the published program.
    """
    foreground = maps[:, 1:].relu()
    if present is not None:
        foreground = foreground * present[:, :, None, None]
    foreground = foreground / (foreground.amax(dim=(2, 3), keepdim=True) + EPS)
    best = foreground.amax(dim=1, keepdim=True)
    return torch.cat([1 - best, foreground.where(foreground >= best, 0)], dim=1)


class PixelCorrelation(nn.Module):
    """Three 1 x 1 convolutions that make features to compare pixels by; nothing else learns from it.

    Parameters
    ----------
    dims
        Channels of the two inner layers of the network that are looked at.

    References
    ----------
    .. [1] Wang et al., CVPR 2020, arXiv 2004.04581, section 3.4: the image and two inner layers are compared, a single
       head with ReLU in the place of a softmax, and no residual.
    """

    def __init__(self, dims: tuple[int, int]) -> None:
        super().__init__()
        self.first = nn.Conv2d(dims[0], MIDDLE_WIDTHS[0], 1, bias=False)
        self.second = nn.Conv2d(dims[1], MIDDLE_WIDTHS[1], 1, bias=False)
        self.joint = nn.Conv2d(3 + sum(MIDDLE_WIDTHS), WIDTH, 1, bias=False)

    def initialise(self, generator: torch.Generator) -> None:
        """Draw the weights."""
        for layer in (self.first, self.second):
            nn.init.kaiming_normal_(layer.weight, generator=generator)
        nn.init.xavier_uniform_(self.joint.weight, generator=generator)

    def features(
        self,
        images: Float[Tensor, "B 3 H W"],
        middle: tuple[Float[Tensor, "B K1 h1 w1"], Float[Tensor, "B K2 h2 w2"]],
        size: tuple[int, int],
    ) -> Float[Tensor, "B K h w"]:
        """What pixels are compared by, on a grid of `size`; no gradient goes to images or inner layers."""
        low, high = (_resized(layer.detach(), size) for layer in middle)
        parts = [_resized(images.detach(), size), self.first(low).relu(), self.second(high).relu()]
        return self.joint(torch.cat(parts, dim=1))

    def forward(
        self,
        images: Float[Tensor, "B 3 H W"],
        middle: tuple[Float[Tensor, "B K1 h1 w1"], Float[Tensor, "B K2 h2 w2"]],
        maps: Float[Tensor, "B C1 h w"],
        present: Float[Tensor, "B C"] | None = None,
    ) -> Float[Tensor, "B C1 h w"]:
        """Correlated maps, background first, >= 0; `maps` are raw and get no gradient. `present`: `competing_maps`."""
        size = (maps.shape[2], maps.shape[3])
        features = self.features(images, middle, size)
        return correlate(features.flatten(2), competing_maps(maps.detach(), present).flatten(2)).unflatten(2, size)


def _resized(maps: Tensor, size: tuple[int, int]) -> Tensor:
    if tuple(maps.shape[2:]) == size:
        return maps
    # as large inputs shrink by the stride of the network, each cell is the mean of its pixels
    smaller = maps.shape[2] >= size[0] and maps.shape[3] >= size[1]
    if smaller:
        return nn.functional.adaptive_avg_pool2d(maps, size)
    return interpolate(maps, size=size, mode="bilinear")
