"""Settings of a fit, checked where they are made; they are the flags of `segprobe fit`."""

from dataclasses import asdict, dataclass
from typing import Any

from labelgen.errors import ConfigError
from segprobe.losses import parse_loss

__all__ = ["BACKGROUND_RULES", "HEAD_NAMES", "INITS", "REDUCTIONS", "SAMPLINGS", "FitConfig"]

SAMPLINGS = ("uniform", "balanced", "full")
REDUCTIONS = ("batch", "image")
HEAD_NAMES = ("linear", "mlp", "ridge")
INITS = ("zero", "ridge")
BACKGROUND_RULES = ("auto", "none", "far", "border")


@dataclass(frozen=True)
class FitConfig:
    """How a head is trained on frozen features.

    Parameters
    ----------
    head
        linear (standardised tokens, one matrix), mlp (one hidden layer) or ridge (closed form, no epochs).
    hidden
        Width of the hidden layer of the mlp.
    loss
        Loss at labelled pixels, with its settings: ce, smooth, gce, sce or bootstrap, as in `gce,q=0.7` or
        `bootstrap:hard`.
    sampling
        Which labelled pixels of an image the loss reads: uniform (each equally likely), balanced (half of them shared
        out evenly over the classes, with importance weights), or full (all, on up-sampled logits: the reference).
    pixels
        Labelled pixels read per image and step.
    reduction
        batch averages over the labelled pixels of a batch, image over its images first.
    background
        When the vocabulary has a background but no label shows it, as with clicks on objects: far (pixels least like
        the labelled ones stand in for it), border (those along the edge of the image), none, or auto (far).
    background_share
        Share of the tokens of an image that stand in for missing background, in (0, 1).
    epochs
        Passes over the images.
    steps
        Updates; overrides `epochs` when above 0.
    batch_size
        Images per update.
    lr
        Learning rate of AdamW at its peak.
    weight_decay
        Of AdamW, on the matrices and not on the biases.
    warmup
        Share of the steps in which the learning rate rises from 0; a cosine brings it back to 0.
    flip
        Also train on the features of the mirrored images.
    scales
        Sizes at which the features are taken, as factors; each makes its own cached view.
    feature_dropout
        Probability that a feature channel of an image is hidden for a step.
    ema
        Decay of a running average of the weights, which then is the result; 0 for none, .99 or .999 where it is used.
    init
        Where training starts: zero, or the ridge solution.
    ridge_penalty
        Of ridge, relative to the mean of the diagonal of the Gram matrix.
    checkpoint_every
        Steps between two checkpoints.
    threads
        Threads that train the head on a CPU; 0 for as many as torch likes. A head is so small that sharing it out
        costs more than it gains, and on a busy machine much more; and one thread adds up in one order everywhere.
    seed
        Of the order of images, the views, the pixels and the weights.
    """

    head: str = "linear"
    hidden: int = 256
    loss: str = "ce"
    sampling: str = "uniform"
    pixels: int = 1024
    reduction: str = "batch"
    background: str = "auto"
    background_share: float = 0.5
    epochs: int = 40
    steps: int = 0
    batch_size: int = 16
    lr: float = 1e-3
    weight_decay: float = 1e-4
    warmup: float = 0.04
    flip: bool = True
    scales: tuple[float, ...] = (1.0,)
    feature_dropout: float = 0.0
    ema: float = 0.0
    init: str = "zero"
    ridge_penalty: float = 1e-2
    checkpoint_every: int = 200
    threads: int = 1
    seed: int = 0

    def __post_init__(self) -> None:
        _one_of("head", self.head, HEAD_NAMES)
        parse_loss(self.loss)
        _one_of("sampling", self.sampling, SAMPLINGS)
        _one_of("reduction", self.reduction, REDUCTIONS)
        _one_of("background", self.background, BACKGROUND_RULES)
        _one_of("init", self.init, INITS)
        for name in ("hidden", "pixels", "batch_size", "checkpoint_every", "epochs"):
            _at_least(name, getattr(self, name), 1)
        for name in ("steps", "weight_decay", "seed", "threads"):
            _at_least(name, getattr(self, name), 0)
        if not self.lr > 0:
            raise ConfigError(f"lr must be > 0, got {self.lr}")
        if not self.ridge_penalty > 0:
            raise ConfigError(f"ridge-penalty must be > 0, got {self.ridge_penalty}")
        if not 0 < self.background_share < 1:
            raise ConfigError(f"background-share must lie in (0, 1), got {self.background_share}")
        if not 0 <= self.warmup < 1:
            raise ConfigError(f"warmup must be a share of the steps in [0, 1), got {self.warmup}")
        if not 0 <= self.ema < 1:
            raise ConfigError(f"ema must be a decay in [0, 1), got {self.ema}")
        if not 0 <= self.feature_dropout < 1:
            raise ConfigError(f"feature-dropout must lie in [0, 1), got {self.feature_dropout}")
        if not self.scales or min(self.scales) <= 0 or len(set(self.scales)) != len(self.scales):
            raise ConfigError(f"scales must be different factors > 0, got {self.scales}")
        if self.init == "ridge" and self.head == "mlp":
            raise ConfigError("init ridge needs a linear head, got head mlp", hint="drop --init or use --head linear")

    def to_json(self) -> dict[str, Any]:
        """Plain JSON values."""
        return {**asdict(self), "scales": list(self.scales)}


def _one_of(name: str, value: str, known: tuple[str, ...]) -> None:
    if value not in known:
        raise ConfigError(f"{name} must be one of {', '.join(known)}, got {value!r}")


def _at_least(name: str, value: int | float, least: int) -> None:
    if value < least:
        raise ConfigError(f"{name.replace('_', '-')} must be >= {least}, got {value}")
