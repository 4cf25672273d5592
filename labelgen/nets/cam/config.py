"""Settings of image-level classifiers and of their training; light, free of torch."""

from dataclasses import dataclass
from typing import Literal

from labelgen.errors import ConfigError
from labelgen.nets.backbone_config import DEMO_BACKBONE

__all__ = ["CLASSIFIER_FOLDERS", "METHODS", "CamMethod", "EpsConfig", "NetworkConfig", "SeamConfig", "TrainingConfig"]

CamMethod = Literal["cam", "seam", "eps"]
METHODS: tuple[CamMethod, ...] = ("cam", "seam", "eps")

CLASSIFIER_FOLDERS: dict[str, str] = {method: f"runs/{method}-classifier" for method in METHODS}
"""Where `labelgen fit-cam` writes, and where `labelgen cam` looks, unless told otherwise."""


@dataclass(frozen=True)
class NetworkConfig:
    """The network under the class maps.

    Parameters
    ----------
    backbone
        demo-ssvt, or a timm CNN or ViT.
    pretrained
        Start from the shipped (demo-ssvt) or published weights, or those of a file; else from random ones.
    output_stride
        CNNs: pixels per cell of the class maps, reached by dilation; 0 leaves the network as it is.
    freeze
        Leading stages of a CNN or blocks of a ViT that are not trained, with all that comes before them.
    freeze_norm
        Batch norms keep their statistics, scales and offsets, as in all the papers. None: if the network starts from
        pretrained weights; random ones need norms that learn.
    dropout
        Share of the channels of the features that are dropped in training.

    Raises
    ------
    ConfigError
        When a value is out of range.
    """

    backbone: str = DEMO_BACKBONE
    pretrained: bool = True
    output_stride: int = 0
    freeze: int = 0
    freeze_norm: bool | None = None
    dropout: float = 0.0

    def __post_init__(self) -> None:
        if not self.backbone:
            raise ConfigError("a classifier needs a backbone", hint=f"{DEMO_BACKBONE}, or resnet50 of timm")
        if self.output_stride not in (0, 8, 16, 32):
            raise ConfigError(f"output_stride must be 0, 8, 16 or 32, got {self.output_stride}")
        if self.freeze < 0:
            raise ConfigError(f"freeze must be a number of stages or blocks >= 0, got {self.freeze}")
        if not 0 <= self.dropout < 1:
            raise ConfigError(f"dropout must lie in [0, 1), got {self.dropout}")

    @property
    def keeps_norms(self) -> bool:
        """Whether batch norms are frozen."""
        return self.pretrained if self.freeze_norm is None else self.freeze_norm


@dataclass(frozen=True)
class SeamConfig:
    """Losses of SEAM.

    Parameters
    ----------
    scale
        Size of the second view relative to the first.
    er
        Weight of the equivariance of the class maps (ER).
    ecr
        Weight of the equivariance across the correlated maps (ECR).
    min_pool
        Weight of what pulls the smallest values of the correlated maps to 0.
    hard_share
        Share of the hardest elements that ECR counts.
    gate_correlation
        Correlate only the maps of classes that the tags name, in training. The published program lets all compete.

    References
    ----------
    .. [1] Wang et al., "Self-supervised Equivariant Attention Mechanism for Weakly Supervised Semantic Segmentation",
       CVPR 2020, arXiv 2004.04581, section 3.
    """

    scale: float = 0.3
    er: float = 1.0
    ecr: float = 1.0
    min_pool: float = 1.0
    hard_share: float = 0.2
    gate_correlation: bool = False

    def __post_init__(self) -> None:
        if not 0 < self.scale < 1:
            raise ConfigError(f"scale of the second view must lie in (0, 1), got {self.scale}", hint="SEAM: 0.3")
        if min(self.er, self.ecr, self.min_pool) < 0:
            raise ConfigError("weights of losses must be >= 0")
        if not 0 < self.hard_share <= 1:
            raise ConfigError(f"hard_share must lie in (0, 1], got {self.hard_share}", hint="SEAM: 0.2")


@dataclass(frozen=True)
class EpsConfig:
    """Losses of EPS.

    Parameters
    ----------
    tau
        A class explains the saliency if more than this share of its confident pixels is salient; else its map counts
        as background. 0.4 in all published runs.
    lam
        Weight of the foreground in the estimated saliency, the background having the rest: 0.5 on VOC, 0.9 on COCO.
    sal
        Weight of the saliency loss.

    References
    ----------
    .. [1] Lee et al., "Railroad is not a Train: Saliency as Pseudo-pixel Supervision for Weakly Supervised Semantic
       Segmentation", CVPR 2021, arXiv 2105.08965, section 3.
    """

    tau: float = 0.4
    lam: float = 0.5
    sal: float = 1.0

    def __post_init__(self) -> None:
        if not 0 <= self.tau < 1 or not 0 <= self.lam <= 1:
            raise ConfigError(f"tau must lie in [0, 1) and lam in [0, 1], got {self.tau} and {self.lam}")
        if self.sal < 0:
            raise ConfigError(f"sal must be >= 0, got {self.sal}")


@dataclass(frozen=True)
class TrainingConfig:
    """How a classifier is trained.

    Parameters
    ----------
    batch
        Images of one update.
    epochs
        Passes over the data.
    iterations
        Updates; 0 to count `epochs` instead.
    optimiser
        SGD, as in all the papers, or AdamW.
    lr
        Highest learning rate.
    new_rate
        Factor on the rate of what starts from nothing: head and correlation.
    bias_rate
        Factor on the rate of biases.
    weight_decay
        Of SGD or AdamW.
    momentum
        What the papers say the momentum of SGD is.
    momentum_rule
        `released`: the programs of PSA, SEAM, EPS and IRN hand the weight decay to SGD in the place of the momentum,
        and 0.9 to the schedule as its power, so the published figures were made with a momentum of 5e-4 (IRN: 1e-4),
        which is none. `stated`: `momentum`.
    schedule
        `poly`: the rate falls as (1 - step / steps) ** power; `cosine`: it rises over `warmup` and falls as a cosine.
    power
        Of the poly schedule.
    warmup
        Share of the updates during which the rate of the cosine schedule rises.
    crop
        Side of the square training images in pixels; what an image does not fill is zero after normalisation.
    long_side
        Range from which the long side of the resized image is drawn, pixels.
    flip
        Mirror every other image.
    jitter
        Strength of the change of colours: brightness, contrast and saturation by up to 30 % of it, hue by up to 10 %.
    seed
        Of weights, order, crops and dropout.

    Raises
    ------
    ConfigError
        When a value is out of range.
    """

    batch: int = 8
    epochs: float = 8.0
    iterations: int = 0
    optimiser: Literal["sgd", "adamw"] = "sgd"
    lr: float = 0.01
    new_rate: float = 10.0
    bias_rate: float = 2.0
    weight_decay: float = 5e-4
    momentum: float = 0.9
    momentum_rule: Literal["released", "stated"] = "released"
    schedule: Literal["poly", "cosine"] = "poly"
    power: float = 0.9
    warmup: float = 0.0
    crop: int = 448
    long_side: tuple[int, int] = (448, 768)
    flip: bool = True
    jitter: float = 1.0
    seed: int = 0
    seam: SeamConfig = SeamConfig()
    eps: EpsConfig = EpsConfig()

    def __post_init__(self) -> None:
        least = {"batch": 1, "iterations": 0, "weight_decay": 0, "seed": 0}
        above = ("epochs", "lr", "new_rate", "bias_rate", "power")
        for name in (*least, *above):
            value = getattr(self, name)
            fits = value >= least[name] if name in least else value > 0
            if not (fits and value < float("inf")):  # NaN fits nothing
                must = f">= {least[name]}" if name in least else "> 0"
                raise ConfigError(f"{name} must be a number {must}, got {value}")
        if not 0 <= self.momentum < 1 or not 0 <= self.warmup < 1:
            raise ConfigError(f"momentum and warmup must lie in [0, 1), got {self.momentum} and {self.warmup}")
        if len(self.long_side) != 2 or not 1 <= self.long_side[0] <= self.long_side[1]:
            raise ConfigError(f"long_side must be two rising sizes in pixels, got {self.long_side}", hint="448 768")
        if self.crop < 16:
            raise ConfigError(f"crop must be >= 16 pixels, got {self.crop}")
        if not 0 <= self.jitter <= 1:
            raise ConfigError(f"jitter must lie in [0, 1], got {self.jitter}")
        if self.optimiser == "adamw" and self.momentum_rule == "stated":
            raise ConfigError("momentum_rule is about SGD, got adamw", hint="leave it at released")

    @property
    def sgd_momentum(self) -> float:
        """The momentum that SGD gets by the rule.

        Examples
        --------
        >>> TrainingConfig().sgd_momentum, TrainingConfig(momentum_rule="stated").sgd_momentum
        (0.0005, 0.9)
        """
        return self.momentum if self.momentum_rule == "stated" else self.weight_decay

    def num_steps(self, images: int) -> int:
        """Updates for a data set of so many images.

        Examples
        --------
        >>> TrainingConfig(batch=32, epochs=10).num_steps(160), TrainingConfig(iterations=7).num_steps(160)
        (50, 7)
        """
        return self.iterations or max(1, round(self.epochs * images / self.batch))
