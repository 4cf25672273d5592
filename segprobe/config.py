"""Settings of a fit, checked where they are made; they are the flags of `segprobe fit`."""

from dataclasses import asdict, dataclass
from typing import Annotated, Any

from cyclopts import Parameter

from labelgen.errors import ConfigError
from segprobe.corrections import AdeleConfig, ConfidentConfig, parse_correction
from segprobe.head_settings import CLOSED_FORM, HeadChoice, MlpSettings, parse_head
from segprobe.losses import parse_loss
from segprobe.terms import TermStep, parse_terms

__all__ = ["FitConfig", "idle_settings"]

AMPS = ("auto", "float32", "bfloat16", "float16")
BASELINES = ("deeplabv1", "deeplabv3plus", "segformer")
TUNING_FIELDS = ("amp", "backbone_lr", "layer_decay", "drop_path")
SAMPLINGS = ("uniform", "balanced", "full")
REDUCTIONS = ("batch", "image")
MATRIX_HEADS = ("linear", "multi", "ridge")  # those that the ridge solution fits
TRAINED_ONLY = (
    *("loss", "ema", "feature_dropout", "init"),
    *("epochs", "steps", "batch_size", "lr", "weight_decay", "warmup", "checkpoint_every"),
)
INITS = ("zero", "ridge")
CLASS_WEIGHTS = ("none", "log", "median", "inverse")
BACKGROUND_RULES = ("auto", "none", "far", "border")


@dataclass(frozen=True)
class FitConfig:
    """How a head is trained on frozen features.

    Parameters
    ----------
    head
        linear (standardised tokens, one matrix), multi (the same on the last four layers), mlp (one hidden layer), conv
        (light convolutions), projection (a trained projection below the matrix), or one without epochs: ridge (closed
        form), prototype (class means), knn (nearest labelled tokens); these take no settings of training, such as lr.
        The settings of a head follow it, as conv,width=64.
    hidden
        Width of the hidden layer of the mlp.
    layer
        Layer of the labels that the loss at pixels reads, scribble or pseudo, where they are those of `labelgen
        promote`; all of them together where none is named.
    loss
        Loss at labelled pixels, with its settings: ce, smooth, gce, sce or bootstrap, as in `gce,q=0.7` or
        `bootstrap:hard`.
    terms
        Added to the loss, each over whole token grids, with its settings, as `tree,weight=0.4`; give the flag once for
        each: tree, gated-crf, entropy, distance-entropy, prototype, absent; pseudo, on labels of `labelgen promote`;
        lorm, on head projection.
    sampling
        Which labelled pixels of an image the loss reads: uniform (each equally likely), balanced (half of them shared
        out evenly over the classes, with importance weights), or full (all, on up-sampled logits: the reference).
    pixels
        Labelled pixels read per image and step.
    reduction
        batch averages over the labelled pixels of a batch, image over its images first.
    class_weights
        Weight of a labelled pixel by its class: none, log (1 / log(1.02 + share)), median (median frequency) or inverse
        (1 / share); their mean over the labelled pixels is 1.
    confidence
        Weigh each label by its confidence to this power, read from the scores of the run: the score of its class over
        the sum of the scores. 0 for no weights.
    min_confidence
        Leave out labels of less confidence, in [0, 1]; .3 to .5 where it is used.
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
        Threads that train on a CPU; 0 for as many as torch likes, -1 for one, or 0 where a network is trained.
        A head is so small that sharing it out costs more than it gains, and on a busy machine much more; and one thread
        adds up in one order everywhere.
    tune
        Train the backbone as well, from the images instead of cached features; the probe then holds its weights. Batch
        normalisations keep their statistics.
    baseline
        Train a decoder above the backbone's stages instead of a head on its tokens: deeplabv1, deeplabv3plus or
        segformer. The backbone is its encoder, frozen unless `tune` is on.
    amp
        With `tune` or `baseline`, arithmetic of the network: float32, or bfloat16 or float16 with float32 parameters;
        auto takes what the device computes fast.
    backbone_lr
        With `tune`, factor on the learning rate for the last layer of the backbone.
    layer_decay
        With `tune`, factor on the learning rate from one block of a ViT, or stage of a CNN, to the one before.
    drop_path
        With `tune`, probability that the last residual branch is left out for an image; it rises from 0 at the first.
    rounds
        How often labels are corrected by what the head has learned from them: after whole trainings, one more each time
        (confident), or after epochs, at most so often (adele). 0 for never.
    correct
        How: `confident` labels what the head is sure of, with the settings confidence, pixels (unlabelled or all), tags
        and start (scratch or continue); `adele` waits until a class begins to be memorised, with confidence and ratio.
    memorisation
        Log after each epoch how many of the wrong labels the head has learned, judged by the truth of the data. It
        changes the log alone.
    seed
        Of the order of images, the views, the pixels and the weights.
    """

    head: str = "linear"
    hidden: int = 256
    layer: str = ""
    loss: str = "ce"
    terms: Annotated[tuple[str, ...], Parameter(name="--term", negative="")] = ()
    sampling: str = "uniform"
    pixels: int = 1024
    reduction: str = "batch"
    class_weights: str = "none"
    confidence: float = 0.0
    min_confidence: float = 0.0
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
    threads: int = -1
    tune: bool = False
    baseline: str = ""
    amp: str = "auto"
    backbone_lr: float = 0.1
    layer_decay: float = 0.75
    drop_path: float = 0.0
    rounds: int = 0
    correct: str = "confident"
    memorisation: bool = False
    seed: int = 0

    def __post_init__(self) -> None:
        self._settle_head()
        parse_loss(self.loss)
        _one_of("sampling", self.sampling, SAMPLINGS)
        _one_of("reduction", self.reduction, REDUCTIONS)
        _one_of("class-weights", self.class_weights, CLASS_WEIGHTS)
        _one_of("background", self.background, BACKGROUND_RULES)
        _one_of("init", self.init, INITS)
        for name in ("hidden", "pixels", "batch_size", "checkpoint_every", "epochs"):
            _at_least(name, getattr(self, name), 1)
        for name in ("steps", "weight_decay", "seed", "rounds"):
            _at_least(name, getattr(self, name), 0)
        _at_least("threads", self.threads, -1)
        if not self.lr > 0:
            raise ConfigError(f"lr must be > 0, got {self.lr}")
        if not self.ridge_penalty > 0:
            raise ConfigError(f"ridge-penalty must be > 0, got {self.ridge_penalty}")
        if not 0 <= self.confidence < float("inf"):
            raise ConfigError(f"confidence must be an exponent >= 0, got {self.confidence}", hint="0 for no weights")
        if not 0 <= self.min_confidence <= 1:
            raise ConfigError(f"min-confidence must lie in [0, 1], got {self.min_confidence}")
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
        if self.init == "ridge" and self.head not in MATRIX_HEADS:
            raise ConfigError(
                f"init ridge needs a linear head, got head {self.head}", hint="drop --init or use --head linear"
            )
        _check_tuning(self)
        _check_rounds(self)
        _check_terms(self)
        _check_solved(self)

    @property
    def term_steps(self) -> tuple[TermStep, ...]:
        """The terms with all of their settings."""
        return parse_terms(self.terms)

    @property
    def correction(self) -> ConfidentConfig | AdeleConfig | None:
        """How labels are corrected; None when they are not."""
        return parse_correction(self.correct) if self.rounds else None

    @property
    def thread_count(self) -> int:
        """Threads to train with on a CPU; 0 for as many as torch likes."""
        return self.threads if self.threads >= 0 else int(not self.trains_network)

    @property
    def trains_network(self) -> bool:
        """Whether more than a head on frozen features is trained."""
        return self.tune or bool(self.baseline)

    def _settle_head(self) -> None:
        """Write the head in one way, however it was typed, and the width of an mlp as `hidden`."""
        choice, usual = parse_head(self.head), MlpSettings().hidden
        if choice.name == "mlp":
            typed = choice.settings.hidden
            if typed != usual and self.hidden not in (usual, typed):
                raise ConfigError(f"hidden was given twice, as {typed} and {self.hidden}", hint="leave --hidden out")
            object.__setattr__(self, "hidden", typed if typed != usual else self.hidden)
            choice = choice.with_hidden(usual)
        elif self.hidden != usual:
            raise ConfigError(f"hidden has no say with head {choice.name}, got {self.hidden}: it is of mlp")
        object.__setattr__(self, "head", choice.text)

    @property
    def head_choice(self) -> HeadChoice:
        """The head with all of its settings."""
        return parse_head(self.head).with_hidden(self.hidden)

    def to_json(self) -> dict[str, Any]:
        """Plain JSON values."""
        return {**asdict(self), "scales": list(self.scales), "terms": list(self.terms)}

    def decisive(self) -> dict[str, Any]:
        """The settings that the result depends on, as plain JSON values: checkpoints change no bit of it."""
        return {name: value for name, value in self.to_json().items() if name != "checkpoint_every"}


def _check_terms(config: FitConfig) -> None:
    steps = parse_terms(config.terms)
    if steps and config.head_choice.name in CLOSED_FORM:
        raise ConfigError(
            f"terms act by gradients, and head {config.head_choice.name} has none", hint="use --head linear"
        )
    projected = [
        step for step in steps if step.name == "lorm" or getattr(step.settings, "features", "") == "projection"
    ]
    if projected and config.head_choice.name != "projection":
        raise ConfigError(
            f"term {projected[0].name} acts on projected tokens, got head {config.head_choice.name}",
            hint="use --head projection",
        )


def idle_settings(head: str) -> tuple[str, ...]:
    """Settings that a head in closed form does not read, however it is typed; none for heads that are trained.

    Examples
    --------
    >>> idle_settings("conv,width=64"), "lr" in idle_settings("ridge"), "pixels" in idle_settings("ridge")
    ((), True, False)
    """
    name = parse_head(head).name
    if name not in CLOSED_FORM:
        return ()
    return TRAINED_ONLY if name == "ridge" else (*TRAINED_ONLY, "ridge_penalty")


def _check_solved(config: FitConfig) -> None:
    """Refuse what a head without epochs would pass over in silence."""
    asked = [name for name in idle_settings(config.head) if getattr(config, name) != getattr(FitConfig, name)]
    if asked:
        reason = "is no ridge regression" if asked == ["ridge_penalty"] else "has no epochs"
        raise ConfigError(
            f"{', '.join(asked).replace('_', '-')} has no say with head {config.head_choice.name}, which {reason}",
            hint="leave it out, or use --head linear",
        )


def _check_rounds(config: FitConfig) -> None:
    if config.memorisation and config.head_choice.name in CLOSED_FORM:
        raise ConfigError(f"memorisation is logged by epoch, and head {config.head} has none", hint="use --head linear")
    settings = parse_correction(config.correct)
    if not config.rounds:
        if settings != ConfidentConfig():
            raise ConfigError(f"correct {config.correct} changes nothing without rounds", hint="add --rounds 1")
        return
    if config.trains_network:
        raise ConfigError(
            "labels are corrected from cached features, which --tune and --baseline have not", hint="drop --rounds"
        )
    solved = config.head_choice.name in CLOSED_FORM
    if isinstance(settings, AdeleConfig) and solved:
        raise ConfigError(f"adele watches epochs, and head {config.head} has none", hint="--correct confident")
    if isinstance(settings, ConfidentConfig) and settings.start == "continue" and (solved or config.init == "ridge"):
        raise ConfigError("a solved head begins anew, so that start=continue has no say", hint="use start=scratch")


def _check_tuning(config: FitConfig) -> None:
    _one_of("amp", config.amp, AMPS)
    if not config.backbone_lr > 0:
        raise ConfigError(f"backbone-lr must be > 0, got {config.backbone_lr}", hint="without --tune nothing is tuned")
    if not 0 < config.layer_decay <= 1:
        raise ConfigError(f"layer-decay must lie in (0, 1], got {config.layer_decay}")
    if not 0 <= config.drop_path < 1:
        raise ConfigError(f"drop-path must lie in [0, 1), got {config.drop_path}")
    if config.baseline:
        _one_of("baseline", config.baseline, BASELINES)
        if config.head_choice.name != "linear":
            raise ConfigError(f"a baseline ends in a linear head of its own, got head {config.head}")
        if config.init != "zero":
            raise ConfigError(f"a baseline begins with a random decoder, got init {config.init}")
    if config.tune and config.head_choice.name in CLOSED_FORM:
        raise ConfigError(
            f"a backbone is tuned by gradients, and head {config.head_choice.name} has none",
            hint="use --head linear, with --init ridge to begin where ridge ends",
        )
    asked = [name for name in TUNING_FIELDS if getattr(config, name) != getattr(FitConfig, name)]
    idle = [name for name in asked if not (config.tune or (name == "amp" and config.baseline))]
    if idle:
        names = ", ".join(name.replace("_", "-") for name in idle)
        raise ConfigError(f"{names} changes nothing while the backbone is frozen", hint="add --tune")


def _one_of(name: str, value: str, known: tuple[str, ...]) -> None:
    if value not in known:
        raise ConfigError(f"{name} must be one of {', '.join(known)}, got {value!r}")


def _at_least(name: str, value: int | float, least: int) -> None:
    if value < least:
        raise ConfigError(f"{name.replace('_', '-')} must be >= {least}, got {value}")
