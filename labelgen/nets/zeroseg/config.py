"""Sizes and training settings of the ZeroSeg student; light, free of torch."""

from dataclasses import dataclass
from typing import Literal

from labelgen.errors import ConfigError

__all__ = ["LabellingConfig", "LossConfig", "StudentConfig", "TrainingConfig"]


@dataclass(frozen=True)
class StudentConfig:
    """Sizes of the student; the defaults are those of the paper where it gives them.

    Parameters
    ----------
    image_size
        Side of the square training images in pixels, a multiple of `patch`.
    patch
        Side of a patch in pixels.
    stem
        Patches are embedded linearly, by the two convolutions of demo-ssvt, or as in CLIP's image tower: linearly
        without a bias, with a norm before the first block.
    activation
        Of the encoder.
    class_token
        Whether the encoder carries a class token, as MAE does; the heads never see it.
    width, depth, heads
        Of the encoder. The segmentation head has its width.
    decoder_width, decoder_depth, decoder_heads
        Of the pixel decoder (the paper: 8 layers; its width is MAE's).
    stages
        Learnable group tokens of each grouping stage; the last number is that of the final segments.
    stage_depth
        Transformer layers before each grouping.
    final_depth
        Transformer layers on the final segments.
    centre
        Compare group tokens with what sets a token apart from the mean of its image. Not in the paper: it spares a
        small student with few images from learning what all tokens share, which else lets one group take them all.
    joint_dim
        Width of the teacher's joint space of images and text.
    mean, std
        Normalisation of RGB in [0, 1].

    Raises
    ------
    ConfigError
        When a size is out of range, or two do not fit together.

    References
    ----------
    .. [1] Chen et al., "Exploring Open-Vocabulary Semantic Segmentation from CLIP Vision Encoder Distillation Only",
       ICCV 2023, arXiv 2306.00450.
    """

    image_size: int = 224
    patch: int = 16
    stem: Literal["linear", "convolutional", "clip"] = "linear"
    activation: Literal["gelu", "quick_gelu"] = "gelu"
    class_token: bool = True
    width: int = 768
    depth: int = 12
    heads: int = 12
    decoder_width: int = 512
    decoder_depth: int = 8
    decoder_heads: int = 16
    stages: tuple[int, ...] = (32, 8)
    stage_depth: int = 2
    final_depth: int = 1
    centre: bool = False
    joint_dim: int = 768
    mean: tuple[float, float, float] = (0.485, 0.456, 0.406)
    std: tuple[float, float, float] = (0.229, 0.224, 0.225)

    def __post_init__(self) -> None:
        if self.image_size < self.patch or self.image_size % self.patch:
            raise ConfigError(f"image_size must be a multiple of the patch {self.patch}, got {self.image_size}")
        if self.stem == "convolutional" and self.patch != 8:
            raise ConfigError(f"the convolutional stem makes patches of 8 pixels, got {self.patch}")
        if not self.stages or min(self.stages) < 1 or any(b > a for a, b in zip(self.stages, self.stages[1:])):
            raise ConfigError(f"stages must be falling numbers of groups, got {self.stages}", hint="the paper: 32, 8")
        for width, heads in ((self.width, self.heads), (self.decoder_width, self.decoder_heads)):
            if heads < 1 or width % heads or width % 4:
                raise ConfigError(f"a width must be a multiple of 4 and of its heads, got {width} and {heads} heads")
        if min(self.depth, self.decoder_depth, self.stage_depth, self.final_depth, self.joint_dim) < 1:
            raise ConfigError("depths and joint_dim must be >= 1")

    @property
    def grid(self) -> int:
        """Patches along a side of a training image."""
        return self.image_size // self.patch


@dataclass(frozen=True)
class LossConfig:
    """What of the losses the paper leaves open, as options.

    Parameters
    ----------
    reduction
        The L1 distances to the teacher's vectors are summed, as the paper's formulas say, or averaged: over the
        vectors and over their entries, which makes the terms independent of the width of the joint space.
    normalise
        Compare unit vectors: not stated, but text is compared by its cosine later.
    norm_pixels
        Reconstruct the pixels of each patch normalised by its own mean and variance, as MAE does.
    reconstruct, distill, match
        Weights of the three terms; not given, so 1.
    locate
        Weight of a fourth term that ties a segment's vector to the place of its patches. Not in the paper.
    """

    reduction: Literal["sum", "mean"] = "sum"
    normalise: bool = True
    norm_pixels: bool = True
    reconstruct: float = 1.0
    distill: float = 1.0
    match: float = 1.0
    locate: float = 0.0

    def __post_init__(self) -> None:
        if min(self.reconstruct, self.distill, self.match, self.locate) < 0:
            raise ConfigError("weights of losses must be >= 0")


@dataclass(frozen=True)
class TrainingConfig:
    """How the student is trained.

    Parameters
    ----------
    mask
        Share of the patches that the encoder does not see.
    noise
        Factor on the Gumbel noise of the assignments; 1 as GroupViT.
    tiles
        The teacher sees the image cut into r x r tiles for each of these r.
    batch
        Images of one update.
    micro_batch
        Images that go through the network at once, at the most; gradients are added up until `batch` is full.
    epochs
        Passes over the data.
    warmup
        Share of the updates during which the learning rate rises; 20 of 80 epochs in the paper.
    lr
        Highest learning rate.
    body_rate
        Factor on the learning rate of all but the maps to the joint space and the pixel decoder, which start from
        nothing; small values keep the features and the clustering that the rest starts from.
    lr_rule
        `constant`: `lr` as it is, which is how the paper reads; `linear`: `lr` x batch / 256, which is MAE's rule.
    weight_decay, betas
        Of AdamW; not given in the paper, MAE's.
    seed
        Of weights, masks, noise and order.

    Raises
    ------
    ConfigError
        When a value is out of range.
    """

    mask: float = 0.6
    noise: float = 1.0
    tiles: tuple[int, ...] = (1, 2, 3, 4)
    batch: int = 4096
    micro_batch: int = 64
    epochs: float = 80.0
    warmup: float = 0.25
    lr: float = 1.5e-4
    body_rate: float = 1.0
    lr_rule: Literal["constant", "linear"] = "constant"
    weight_decay: float = 0.05
    betas: tuple[float, float] = (0.9, 0.95)
    seed: int = 0
    losses: LossConfig = LossConfig()

    def __post_init__(self) -> None:
        if not 0 <= self.mask < 1:
            raise ConfigError(f"mask must lie in [0, 1), got {self.mask}", hint="0.6 is the paper's")
        if len(self.tiles) < 2 or self.tiles[0] != 1 or any(b <= a for a, b in zip(self.tiles, self.tiles[1:])):
            raise ConfigError(
                f"tiles must be 1 and then larger numbers, got {self.tiles}", hint="1 2 3 4 is the paper's"
            )
        if self.batch < 1 or self.micro_batch < 1:
            raise ConfigError(f"batch and micro_batch must be >= 1, got {self.batch} and {self.micro_batch}")
        if self.epochs <= 0 or self.lr <= 0 or self.body_rate < 0 or self.weight_decay < 0 or self.seed < 0:
            raise ConfigError("epochs and lr must be > 0, body_rate, weight_decay and seed >= 0")
        if self.noise < 0:
            raise ConfigError(f"noise must be >= 0, got {self.noise}")
        if not 0 <= self.warmup < 1:
            raise ConfigError(f"warmup must be a share of the updates in [0, 1), got {self.warmup}")

    @property
    def peak_rate(self) -> float:
        """Highest learning rate after the rule.

        Examples
        --------
        >>> round(TrainingConfig(lr_rule="linear").peak_rate, 6)
        0.0024
        """
        return self.lr * self.batch / 256 if self.lr_rule == "linear" else self.lr

    def num_steps(self, images: int) -> int:
        """Updates for a data set of so many images.

        Examples
        --------
        >>> TrainingConfig(batch=32, epochs=10).num_steps(160)
        50
        """
        return max(1, round(self.epochs * images / self.batch))


@dataclass(frozen=True)
class LabellingConfig:
    """How a student labels images, unless told otherwise.

    Parameters
    ----------
    short_side
        Short side to which images are resized, pixels; 0 leaves them as they are.
    crop, stride
        Side and distance of the windows that are labelled, pixels of the resized image; crop 0 for the whole image.
    top_k
        Classes that a window may show, those nearest to it as a whole; 0 for all.
    """

    short_side: int = 448
    crop: int = 448
    stride: int = 224
    top_k: int = 5

    def __post_init__(self) -> None:
        if min(self.short_side, self.crop, self.top_k) < 0 or self.stride < 1:
            raise ConfigError(f"short_side, crop and top_k must be >= 0 and stride >= 1, got {vars(self)}")
