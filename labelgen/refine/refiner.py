"""What a refiner is, how it is typed (`affinity:demo-ssvt,steps=2`), and how refiners follow a labelling method."""

import dataclasses
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from labelgen.data.dataset import DataSpec
from labelgen.data.sample import Generate, Refine, Sample
from labelgen.errors import ConfigError
from labelgen.masks import SoftMask
from labelgen.settings import settings_from_text, split_setting

__all__ = [
    "RefineStep",
    "Refiner",
    "check_settings",
    "make_refiner",
    "models_of",
    "parse_refiner",
    "parse_refiners",
    "refined",
    "settle_refiners",
]


@dataclass(frozen=True)
class Refiner:
    """One row of `REFINERS`.

    Parameters
    ----------
    config
        Frozen dataclass of JSON-able settings, each with a default.
    make
        `make(config)` loads what is needed once and returns the `Refine` function.
    argument
        The setting that `NAME:ARGUMENT` gives.
    settle
        `settle(config, data)` fills in what follows from the data, such as the default network.
    models
        `models(config)` names the networks of these settings with the sha256 of their weights.
    """

    config: type
    make: Callable[[Any], Refine]
    argument: str = ""
    settle: Callable[[Any, DataSpec], Any] | None = None
    models: Callable[[Any], Mapping[str, Any]] | None = None


@dataclass(frozen=True)
class RefineStep:
    """A refiner with its settings; picklable, so that worker processes can make it.

    Parameters
    ----------
    name
        Key of `REFINERS`.
    config
        An instance of the refiner's config class.
    """

    name: str
    config: Any


def parse_refiners(*texts: str) -> tuple[RefineStep, ...]:
    """Read refiners as they are typed, in the order in which they follow each other.

    Raises
    ------
    ConfigError
        As `parse_refiner`.

    Examples
    --------
    >>> [step.name for step in parse_refiners("affinity:demo-ssvt", "regions:slic")]
    ['affinity', 'regions']
    """
    return tuple(parse_refiner(text) for text in texts)


def parse_refiner(text: str) -> RefineStep:
    """Read `NAME[:ARGUMENT][,setting=value...]`.

    Raises
    ------
    ConfigError
        When the refiner or a setting is unknown (the hint lists what there is), or a value is out of range.

    Examples
    --------
    >>> step = parse_refiner("regions:slic,segments=50")
    >>> step.config.source, step.config.segments
    ('slic', 50)
    """
    head, *rest = text.split(",")
    name, colon, argument = head.strip().partition(":")
    row = _row(name)
    values = dict(split_setting(part) for part in rest)
    if colon and not argument:
        raise ConfigError(f"{text!r} ends before the {row.argument}", hint=f"write {name}:{row.argument.upper()}")
    if colon:
        values = {row.argument: argument, **values}
    try:
        return RefineStep(name, settings_from_text(row.config, values, of=f"refiner {name}"))
    except ConfigError as error:
        raise ConfigError(error.message, hint=error.hint or _settings_of(row)) from error


def check_settings(config: Any, *, of_choice: Mapping[str, Sequence[str]], choice: str) -> None:
    """Refuse numbers that are none, and settings that have no say with what was chosen.

    Parameters
    ----------
    of_choice
        Settings that belong to one choice alone, by the choice.
    choice
        The one that was made.

    Raises
    ------
    ConfigError
        Naming the setting.
    """
    for field in dataclasses.fields(config):
        value = getattr(config, field.name)
        if isinstance(value, float) and not math.isfinite(value):
            raise ConfigError(f"{field.name} must be a finite number, got {value}")
    for owner, names in of_choice.items():
        given = [f.name for f in dataclasses.fields(config) if f.name in names and getattr(config, f.name) != f.default]
        if owner != choice and given:
            raise ConfigError(f"{given[0]} has no say with {choice}, got {getattr(config, given[0])}: it is of {owner}")


def _settings_of(row: Refiner) -> str:
    settings = [f"{field.name}={field.default}" for field in dataclasses.fields(row.config)]
    return f"settings and their defaults: {', '.join(settings)}"


def refined(generate: Generate, refiners: Iterable[Refine]) -> Generate:
    """A method followed by refiners.

    Refiners see the id and the image of a sample and nothing of its supervision. Strokes, warnings and details of the
    method's scores are kept.

    Examples
    --------
    >>> def nothing(sample, rng):
    ...     return SoftMask(np.zeros((1, 1, 1), np.float32), (3,))
    >>> def doubt(sample, mask):
    ...     return dataclasses.replace(mask, scores=mask.scores + np.float32(0.5))
    >>> repaired = refined(nothing, [doubt])(Sample("a", (1, 1)), np.random.default_rng(0))
    >>> float(repaired.scores[0, 0, 0])
    0.5
    """
    chain = tuple(refiners)

    def generate_refined(sample: Sample, rng: np.random.Generator) -> SoftMask:
        mask = generate(sample, rng)
        bare = sample.only(frozenset())
        for refine in chain:
            mask = refine(bare, mask)
        return mask

    return generate_refined


def make_refiner(step: RefineStep) -> Refine:
    """Load what a refiner needs and return its function."""
    return _row(step.name).make(step.config)


def settle_refiners(steps: Sequence[RefineStep], data: DataSpec) -> tuple[RefineStep, ...]:
    """The same refiners with all filled in that follows from the data, such as the network that suits them."""
    rows = [_row(step.name) for step in steps]
    return tuple(
        step if row.settle is None else dataclasses.replace(step, config=row.settle(step.config, data))
        for step, row in zip(steps, rows, strict=True)
    )


def models_of(steps: Sequence[RefineStep]) -> dict[str, Any]:
    """Name of each network that the refiners use to facts about it, its sha256 among them."""
    found: dict[str, Any] = {}
    for step in steps:
        models = _row(step.name).models
        found |= {} if models is None else models(step.config)
    return found


def _row(name: str) -> Refiner:
    from labelgen.refine import REFINERS

    if name not in REFINERS:
        raise ConfigError(f"unknown refiner {name!r}", hint=f"refiners: {', '.join(REFINERS)}")
    return REFINERS[name]
