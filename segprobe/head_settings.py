"""Settings of each head and how a head is typed, `conv,width=128`; light, so that the command line reads it at once."""

from dataclasses import asdict, dataclass, fields, replace
from typing import Any

from labelgen.errors import ConfigError
from labelgen.settings import settings_from_text, split_setting

__all__ = [
    "CLOSED_FORM",
    "HEAD_SETTINGS",
    "ConvSettings",
    "HeadChoice",
    "KnnSettings",
    "LinearSettings",
    "MlpSettings",
    "ProjectionSettings",
    "PrototypeSettings",
    "default_layers",
    "parse_head",
]

LAST_BLOCK = (-1,)
LAST_FOUR = (-4, -3, -2, -1)  # the `ms` head of DINOv2, Oquab et al. 2023, section 7.4


@dataclass(frozen=True)
class LinearSettings:
    """One matrix has no settings."""


@dataclass(frozen=True)
class MlpSettings:
    """One hidden layer.

    Parameters
    ----------
    hidden
        Its width.
    """

    hidden: int = 256

    def __post_init__(self) -> None:
        _at_least_one(self, "hidden")


@dataclass(frozen=True)
class ConvSettings:
    """Two depthwise-separable convolutions between two matrices.

    Parameters
    ----------
    width
        Channels between the matrices.
    """

    width: int = 128

    def __post_init__(self) -> None:
        _at_least_one(self, "width")


@dataclass(frozen=True)
class PrototypeSettings:
    """Class means have no settings."""


@dataclass(frozen=True)
class KnnSettings:
    """Nearest neighbours in a bank of labelled tokens; the defaults are those of Hummingbird.

    Parameters
    ----------
    neighbours
        Tokens of the bank that vote.
    temperature
        Of the softmax over their cosines, > 0.
    bank
        Labelled tokens kept at most, shared out evenly over images and views.

    References
    ----------
    .. [1] Balazevic et al., "Towards In-context Scene Understanding", NeurIPS 2023, arXiv 2306.01667, appendix.
    """

    neighbours: int = 30
    temperature: float = 0.02
    bank: int = 16384

    def __post_init__(self) -> None:
        _at_least_one(self, "neighbours", "bank")
        if not self.temperature > 0:
            raise ConfigError(f"temperature must be > 0, got {self.temperature}")


@dataclass(frozen=True)
class ProjectionSettings:
    """A trained projection below the last matrix, for terms that compare tokens.

    Parameters
    ----------
    dim
        Channels of the projection.
    """

    dim: int = 128

    def __post_init__(self) -> None:
        _at_least_one(self, "dim")


HEAD_SETTINGS: dict[str, type] = {
    "linear": LinearSettings,
    "multi": LinearSettings,
    "mlp": MlpSettings,
    "conv": ConvSettings,
    "projection": ProjectionSettings,
    "ridge": LinearSettings,
    "prototype": PrototypeSettings,
    "knn": KnnSettings,
}
"""Heads by name."""

CLOSED_FORM = ("ridge", "prototype", "knn")
"""Heads that are computed at once, without epochs, losses and terms; `closed_form.SOLVERS` says how."""


@dataclass(frozen=True)
class HeadChoice:
    """A head and its settings.

    Parameters
    ----------
    name
        Key of `HEAD_SETTINGS`.
    settings
        An instance of the class there.
    """

    name: str
    settings: Any

    @property
    def text(self) -> str:
        """As it is typed, with the settings that differ from their defaults."""
        values = ((field, getattr(self.settings, field.name)) for field in fields(self.settings))
        return ",".join([self.name, *(f"{field.name}={value}" for field, value in values if value != field.default)])

    def to_json(self) -> dict[str, Any]:
        """The settings as plain JSON values."""
        return asdict(self.settings)

    def with_hidden(self, hidden: int) -> "HeadChoice":
        """The same choice with the width of the mlp, where it is one."""
        if self.name != "mlp":
            return self
        return replace(self, settings=MlpSettings(hidden))


def parse_head(text: str) -> HeadChoice:
    """Read `NAME[,setting=value...]`.

    Raises
    ------
    ConfigError
        When the head or a setting is unknown, or a value is out of range.

    Examples
    --------
    >>> parse_head("conv,width=64").settings.width
    64
    >>> parse_head("knn,bank=16384,neighbours=5").text
    'knn,neighbours=5'
    """
    name, *rest = (part.strip() for part in text.split(","))
    if name not in HEAD_SETTINGS:
        raise ConfigError(f"head must be one of {', '.join(HEAD_SETTINGS)}, got {name!r}")
    values = dict(split_setting(part) for part in rest)
    kind = HEAD_SETTINGS[name]
    if values and not fields(kind):
        raise ConfigError(f"head {name} has no settings, got {rest[0]!r}", hint=f"write --head {name}")
    return HeadChoice(name, settings_from_text(kind, values, of=f"head {name}"))


def default_layers(head: str) -> tuple[int, ...]:
    """Layers of the backbone that a head, as typed, reads where none were named: four for multi, else the last.

    Examples
    --------
    >>> default_layers("multi"), default_layers("conv,width=64")
    ((-4, -3, -2, -1), (-1,))
    """
    return LAST_FOUR if parse_head(head).name == "multi" else LAST_BLOCK


def _at_least_one(settings: Any, *names: str) -> None:
    for name in names:
        if getattr(settings, name) < 1:
            raise ConfigError(f"{name} must be >= 1, got {getattr(settings, name)}")
