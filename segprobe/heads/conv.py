"""A light convolutional head: a token is classified with its neighbours."""

from jaxtyping import Float
from torch import Tensor, nn

from labelgen.errors import ShapeError
from segprobe.head_settings import ConvSettings
from segprobe.heads.head import Head

__all__ = ["ConvHead"]


class SeparableConv(nn.Module):
    """A 3x3 convolution of each channel by itself, a matrix over channels, and a shortcut around both.

    Outside the grid its border is repeated: zeros there would be features that no token has.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.depthwise = nn.Conv2d(width, width, 3, padding=1, padding_mode="replicate", groups=width)
        self.pointwise = nn.Conv2d(width, width, 1)

    def forward(self, x: Float[Tensor, "B width h w"]) -> Float[Tensor, "B width h w"]:
        """Features of the same size."""
        return x + nn.functional.gelu(self.pointwise(self.depthwise(x)))


class ConvHead(Head):
    """1x1 to `width`, two depthwise-separable 3x3, 1x1 to classes: it sees 5x5 tokens.

    It keeps the grid of the tokens and leaves up-sampling to the reader of its logits, as every head does: one geometry
    says where a pixel lies, in training and in prediction.

    Examples
    --------
    >>> import torch
    >>> head = ConvHead(torch.zeros(8), torch.ones(8), num_classes=3, settings=ConvSettings(width=4))
    >>> head(torch.zeros(5, 7, 8)).shape, head(torch.zeros(2, 5, 7, 8)).shape
    (torch.Size([5, 7, 3]), torch.Size([2, 5, 7, 3]))
    """

    needs_grid = True

    def __init__(
        self,
        mean: Float[Tensor, "D"],
        std: Float[Tensor, "D"],
        *,
        num_classes: int,
        settings: ConvSettings,
    ) -> None:
        super().__init__(mean, std, num_classes=num_classes, width=settings.width)
        self.reduce = nn.Linear(len(mean), settings.width)
        self.mix = nn.Sequential(SeparableConv(settings.width), SeparableConv(settings.width))

    def forward(self, tokens: Float[Tensor, "*T D"]) -> Float[Tensor, "*T C"]:
        """Logits of the tokens of one grid, or of several of one size.

        Raises
        ------
        ShapeError
            When the tokens are no grid.
        """
        if tokens.ndim < 3:
            raise ShapeError(f"a convolutional head needs token grids (h, w, D), got {tuple(tokens.shape)}")
        reduced = nn.functional.gelu(self.reduce(self.standardised(tokens)))
        maps = reduced.reshape(-1, *reduced.shape[-3:]).permute(0, 3, 1, 2)
        mixed = self.mix(maps).permute(0, 2, 3, 1)
        return self.classify(mixed).reshape(*tokens.shape[:-1], -1)
