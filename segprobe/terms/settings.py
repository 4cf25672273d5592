"""Settings of the terms and how a term is typed, `tree,weight=0.2`; light, for the command line."""

import dataclasses
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

from labelgen.errors import ConfigError
from labelgen.settings import settings_from_text, split_setting

__all__ = [
    "TERM_SETTINGS",
    "AbsentSettings",
    "DistanceEntropySettings",
    "EntropySettings",
    "GatedCrfSettings",
    "LormSettings",
    "PrototypeSettings",
    "PseudoSettings",
    "TermStep",
    "TreeSettings",
    "parse_term",
    "parse_terms",
]

Space = Literal["tokens", "projection"]


@dataclass(frozen=True)
class TreeSettings:
    """Tree energy loss; see `segprobe.terms.tree`.

    Parameters
    ----------
    weight
        Factor in the loss.
    sigma
        Of the tree of colours, on squared distances of colours in [0, 1].
    feature_sigma
        Of the tree of features, on squared distances of unit vectors, which lie in [0, 4].
    features
        What the second tree is built from: tokens, or the projection of the head projection, which then is trained
        by this term as well.
    """

    weight: float = 0.4
    sigma: float = 0.02
    feature_sigma: float = 1.0
    features: Space = "tokens"

    def __post_init__(self) -> None:
        _positive(self)


@dataclass(frozen=True)
class GatedCrfSettings:
    """Gated CRF loss; see `segprobe.terms.gated_crf`.

    Parameters
    ----------
    weight
        Factor in the loss.
    radius
        Of the window, in tokens.
    xy
        Standard deviation of the kernel over places, in tokens.
    rgb
        Over colours in [0, 1].
    features
        Over unit vectors of standardised tokens; 0 leaves features out.
    source
        Which tokens speak to their neighbours: all, or unlabelled ones only.
    """

    weight: float = 0.1
    radius: int = 5
    xy: float = 6.0
    rgb: float = 0.1
    features: float = 0.0
    source: Literal["all", "unlabelled"] = "all"

    def __post_init__(self) -> None:
        _positive(self, but=("features",))


@dataclass(frozen=True)
class DistanceEntropySettings:
    """Entropy weighted by distances; see `segprobe.terms.distance_entropy`.

    Parameters
    ----------
    weight
        Factor in the loss.
    scribble_radius
        Pixels of the original image from a foreground scribble on which the weight has fallen to 0.
    contour_radius
        Pixels from a contour of the pseudo-labels on which the weight has risen to 1.
    maps
        scribble, pseudo, both, or auto for those that the labels have.
    """

    weight: float = 1.0
    scribble_radius: float = 154.7  # 255 / sqrt(e), as in the paper
    contour_radius: float = 12.7  # 255 / sqrt(e ** 6), as in the paper
    maps: Literal["auto", "scribble", "pseudo", "both"] = "auto"

    def __post_init__(self) -> None:
        _positive(self)


@dataclass(frozen=True)
class PseudoSettings:
    """Cross-entropy on a layer of pseudo-labels; see `segprobe.terms.pseudo`.

    Parameters
    ----------
    weight
        Factor in the loss.
    smoothing
        Share of the target that is spread over all classes, in [0, 1).
    """

    weight: float = 1.0
    smoothing: float = 0.1

    def __post_init__(self) -> None:
        _positive(self, but=("smoothing",))
        if self.smoothing >= 1:
            raise ConfigError(f"smoothing must lie in [0, 1), got {self.smoothing}")


@dataclass(frozen=True)
class PrototypeSettings:
    """Agreement with class means; see `segprobe.terms.prototype`.

    Parameters
    ----------
    weight
        Factor in the loss.
    distance
        Between a token and a class mean: cosine, or mean-abs over channels.
    sigma
        Distance at which the affinity has fallen to 1/e.
    momentum
        Of the running class means with a tuned backbone; with a frozen one they are taken over all images at once.
    features
        tokens, or the projection of the head projection.
    """

    weight: float = 1.0
    distance: Literal["cosine", "mean-abs"] = "cosine"
    sigma: float = 0.5
    momentum: float = 0.99
    features: Space = "tokens"

    def __post_init__(self) -> None:
        _positive(self)
        if self.momentum >= 1:
            raise ConfigError(f"momentum must lie in (0, 1), got {self.momentum}")


@dataclass(frozen=True)
class AbsentSettings:
    """No probability for classes that an image does not show; see `segprobe.terms.absent`.

    Parameters
    ----------
    weight
        Factor in the loss.
    """

    weight: float = 1.0

    def __post_init__(self) -> None:
        _positive(self)


@dataclass(frozen=True)
class EntropySettings:
    """Certain predictions everywhere; see `segprobe.terms.entropy`.

    Parameters
    ----------
    weight
        Factor in the loss.
    """

    weight: float = 0.1

    def __post_init__(self) -> None:
        _positive(self)


@dataclass(frozen=True)
class LormSettings:
    """Localisation rectification module; see `segprobe.terms.lorm`.

    Parameters
    ----------
    weight
        Factor in the loss.
    temperature
        Of the softmax over cosines; 1 is the paper's, which leaves the attention nearly uniform.
    """

    weight: float = 1.0
    temperature: float = 0.1

    def __post_init__(self) -> None:
        _positive(self)


TERM_SETTINGS: dict[str, type] = {
    "tree": TreeSettings,
    "gated-crf": GatedCrfSettings,
    "distance-entropy": DistanceEntropySettings,
    "pseudo": PseudoSettings,
    "prototype": PrototypeSettings,
    "absent": AbsentSettings,
    "entropy": EntropySettings,
    "lorm": LormSettings,
}


@dataclass(frozen=True)
class TermStep:
    """A term with its settings.

    Parameters
    ----------
    name
        Key of `TERM_SETTINGS`.
    settings
        An instance of the class there.
    """

    name: str
    settings: Any

    def to_json(self) -> dict[str, Any]:
        """Plain JSON values, every setting spelled out."""
        return {"name": self.name, **dataclasses.asdict(self.settings)}


def parse_terms(texts: Sequence[str]) -> tuple[TermStep, ...]:
    """Read terms as they are typed.

    Raises
    ------
    ConfigError
        As `parse_term`, and when a term is given twice.

    Examples
    --------
    >>> [step.name for step in parse_terms(["tree", "absent,weight=0.5"])]
    ['tree', 'absent']
    """
    steps = tuple(parse_term(text) for text in texts)
    names = [step.name for step in steps]
    twice = [name for name in names if names.count(name) > 1]
    if twice:
        raise ConfigError(f"each term may be given once, got {twice[0]} {names.count(twice[0])} times")
    return steps


def parse_term(text: str) -> TermStep:
    """Read `NAME[,setting=value...]`.

    Raises
    ------
    ConfigError
        When the term or a setting is unknown (the hint lists what there is), or a value is out of range.

    Examples
    --------
    >>> parse_term("tree,weight=0.2").settings.weight
    0.2
    """
    name, *rest = (part.strip() for part in text.split(","))
    if name not in TERM_SETTINGS:
        raise ConfigError(f"unknown term {name!r}", hint=f"terms: {', '.join(TERM_SETTINGS)}")
    kind = TERM_SETTINGS[name]
    try:
        values = dict(split_setting(part) for part in rest)
        return TermStep(name, settings_from_text(kind, values, of=f"term {name}"))
    except ConfigError as error:
        settings = ", ".join(f"{field.name}={field.default}" for field in dataclasses.fields(kind))
        hint = error.hint or f"settings and their defaults: {settings}"
        raise ConfigError(error.message, hint=hint) from error


def _positive(settings: Any, *, but: tuple[str, ...] = ()) -> None:
    """Refuse numbers that are not above 0; those in `but` may be 0."""
    for field in dataclasses.fields(settings):
        value = getattr(settings, field.name)
        if isinstance(value, str):
            continue
        if not math.isfinite(value) or value < 0 or (value == 0 and field.name not in but):
            least = ">= 0" if field.name in but else "> 0"
            raise ConfigError(f"{field.name} must be a finite number {least}, got {value}")
