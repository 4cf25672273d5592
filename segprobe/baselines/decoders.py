"""Decoders: maps of an encoder's stages in, one map of features out, which a 1x1 convolution classifies."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from labelgen.errors import ConfigError
from segprobe.tuning.noise import ImageDropout, ImageNoise

__all__ = ["DECODERS", "DecoderKind", "LargeFieldOfView", "make_decoder"]

GROUP = 8  # channels that are normalised together: 32 groups of 256, as Wu & He 2018
WIDTH = 256  # channels of DeepLabV3+ and SegFormer
FOV_WIDTH, FOV_RATE, FOV_DROPOUT = 1024, 12, 0.5  # DeepLab-LargeFOV, Chen et al. 2018, section 3.1
ATROUS = {8: (12, 24, 36), 16: (6, 12, 18)}  # by output stride; Chen et al. 2017, section 4
ASPP_DROPOUT = 0.5

Maps = list[Float[Tensor, "_ _ _ _"]]


class LargeFieldOfView(nn.Module):
    """DeepLabV1's classifier as convolutions: 3x3 with dilation 12, then 1x1, each with ReLU and dropout.

    References
    ----------
    .. [1] Chen et al., "DeepLab", TPAMI 2018, arXiv 1606.00915; the variant LargeFOV.

    Examples
    --------
    >>> LargeFieldOfView(8, ImageNoise())([torch.zeros(1, 8, 5, 7)]).shape
    torch.Size([1, 1024, 5, 7])
    """

    def __init__(self, channels: int, noise: ImageNoise) -> None:
        super().__init__()
        self.wide = nn.Conv2d(channels, FOV_WIDTH, kernel_size=3, padding=FOV_RATE, dilation=FOV_RATE)
        self.deep = nn.Conv2d(FOV_WIDTH, FOV_WIDTH, kernel_size=1)
        self.drop_wide, self.drop_deep = ImageDropout(noise, FOV_DROPOUT), ImageDropout(noise, FOV_DROPOUT)

    def forward(self, maps: Maps) -> Float[Tensor, "B C h w"]:
        """Features on the grid of the last stage."""
        wide = self.drop_wide(torch.relu(self.wide(maps[-1])))
        return self.drop_deep(torch.relu(self.deep(wide)))


class AtrousPyramid(nn.Module):
    """The decoder of DeepLabV3+ from `segmentation_models_pytorch`: atrous pyramid, then joined with fine features.

    References
    ----------
    .. [1] Chen et al., "Encoder-Decoder with Atrous Separable Convolution", ECCV 2018, arXiv 1802.02611.
    """

    def __init__(self, fine: int, coarse: int, *, output_stride: int) -> None:
        super().__init__()
        self.decoder = need_smp().decoders.deeplabv3.decoder.DeepLabV3PlusDecoder(
            encoder_channels=[0, 0, fine, coarse],
            encoder_depth=4 if output_stride == 16 else 3,  # by which it chooses to enlarge by 4 or by 2
            out_channels=WIDTH,
            atrous_rates=ATROUS[output_stride],
            output_stride=output_stride,
            aspp_separable=True,
            aspp_dropout=ASPP_DROPOUT,
        )

    def forward(self, maps: Maps) -> Float[Tensor, "B C h w"]:
        """Features at stride 4."""
        fine, coarse = maps
        return self.decoder([coarse, coarse, fine, coarse])


class AllMlp(nn.Module):
    """The decoder of SegFormer from `segmentation_models_pytorch`: stages brought to one width, joined at stride 4.

    References
    ----------
    .. [1] Xie et al., "SegFormer", NeurIPS 2021, arXiv 2105.15203.
    """

    def __init__(self, channels: list[int]) -> None:
        super().__init__()
        self.decoder = need_smp().decoders.segformer.decoder.SegformerDecoder(
            encoder_channels=[3, *channels], encoder_depth=len(channels) + 1, segmentation_channels=WIDTH
        )

    def forward(self, maps: Maps) -> Float[Tensor, "B C h w"]:
        """Features at stride 4."""
        height, width = maps[0].shape[2:]
        image = maps[0].new_empty(1, 0, 4 * height, 4 * width)  # of which it reads the size
        return self.decoder([image, *maps])


@dataclass(frozen=True)
class DecoderKind:
    """What a baseline asks of its encoder.

    Parameters
    ----------
    strides
        Pixels per cell of the stages it reads, finest first; 0 stands for the last stage, whatever its stride.
    output_stride
        Of the encoder, where strides are replaced by dilation; 0 leaves them.
    output_strides
        Those that may be asked for.
    make
        From channels of the stages, output stride and noise to the module.
    """

    strides: tuple[int, ...]
    output_stride: int
    output_strides: tuple[int, ...]
    make: Callable[[list[int], int, ImageNoise], nn.Module]


DECODERS: dict[str, DecoderKind] = {
    "deeplabv1": DecoderKind((0,), 8, (8, 16, 32), lambda c, stride, noise: LargeFieldOfView(c[0], noise)),
    "deeplabv3plus": DecoderKind((4, 0), 16, (8, 16), lambda c, stride, noise: AtrousPyramid(*c, output_stride=stride)),
    "segformer": DecoderKind((4, 8, 16, 32), 0, (0, 32), lambda c, stride, noise: AllMlp(c)),
}


def make_decoder(name: str, channels: list[int], *, output_stride: int, noise: ImageNoise, seed: int) -> nn.Module:
    """Build a decoder with random weights; only `seed` decides them."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        decoder = DECODERS[name].make(channels, output_stride, noise)
        initialise(decoder)
    use_image_layers(decoder, noise)
    return decoder


def initialise(decoder: nn.Module) -> None:
    """Weights by He for what ReLUs follow, as `segmentation_models_pytorch` begins; biases 0."""
    for module in decoder.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_uniform_(module.weight, mode="fan_in", nonlinearity="relu")
        elif isinstance(module, nn.Linear):
            nn.init.xavier_uniform_(module.weight)
        if isinstance(module, nn.Conv2d | nn.Linear) and module.bias is not None:
            nn.init.zeros_(module.bias)


def use_image_layers(module: nn.Module, noise: ImageNoise) -> None:
    """Put layers in the place of those that would make images depend on each other: norms by group, own dropout."""
    for name, child in list(module.named_children()):
        if isinstance(child, nn.BatchNorm2d):
            groups = child.num_features // GROUP if child.num_features % GROUP == 0 else 1
            setattr(module, name, nn.GroupNorm(groups, child.num_features))
        elif isinstance(child, nn.Dropout | nn.Dropout2d):
            setattr(module, name, ImageDropout(noise, child.p))
        else:
            use_image_layers(child, noise)


def need_smp() -> Any:
    """The package `segmentation_models_pytorch`.

    Raises
    ------
    ConfigError
        When it is not installed.
    """
    try:
        import segmentation_models_pytorch
        import segmentation_models_pytorch.decoders.deeplabv3.decoder
        import segmentation_models_pytorch.decoders.segformer.decoder
    except ImportError as error:
        raise ConfigError(
            f"this needs the package segmentation_models_pytorch, which could not be imported ({error})",
            hint='pip install "labelgen[baselines]"',
        ) from error
    return segmentation_models_pytorch
