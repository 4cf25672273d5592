"""What a refiner is, how it is typed (`affinity:demo-ssvt,steps=2`), and how refiners follow a labelling method."""

import dataclasses
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

import numpy as np

from labelgen.data.dataset import DataSpec
from labelgen.data.sample import Generate, Refine, Sample
from labelgen.errors import ConfigError
from labelgen.masks import SoftMask
from labelgen.settings import check_finite, settings_from_text, split_setting
from labelgen.vocab import Vocabulary

__all__ = [
    "Pairs",
    "RefineStep",
    "Refiner",
    "State",
    "background_of",
    "check_settings",
    "fit_refiners",
    "make_refiner",
    "models_of",
    "parse_refiner",
    "parse_refiners",
    "refined",
    "row_of",
    "settle_refiners",
]

Pairs = Iterable[tuple[Sample, SoftMask]]
"""Samples, without supervision, and what a method or a run says of them."""


@runtime_checkable
class State(Protocol):
    """What a refiner learned from a data set; picklable."""

    def facts(self) -> Mapping[str, Any]:
        """JSON values for run.json, the sha256 of all that has a say among them."""
        ...


@dataclass(frozen=True)
class Refiner:
    """One row of `REFINERS`.

    Parameters
    ----------
    config
        Frozen dataclass of JSON-able settings, each with a default.
    make
        `make(config)` loads what is needed once and returns the `Refine` function; `make(config, state)` where there
        is `fit`.
    argument
        The setting that `NAME:ARGUMENT` gives.
    settle
        `settle(config, data)` fills in what follows from the data, such as the default network.
    models
        `models(config)` names the networks of these settings with the sha256 of their weights.
    settle_classes
        `settle_classes(config, vocabulary)` fills in what follows from the classes, such as the id of background.
    fit
        `fit(config, pairs)` learns from the data set before the first image is refined.
    """

    config: type
    make: Callable[..., Refine]
    argument: str = ""
    settle: Callable[[Any, DataSpec], Any] | None = None
    models: Callable[[Any], Mapping[str, Any]] | None = None
    settle_classes: Callable[[Any, Vocabulary], Any] | None = None
    fit: Callable[[Any, Pairs], State] | None = None


@dataclass(frozen=True)
class RefineStep:
    """A refiner with its settings; picklable, so that worker processes can make it.

    Parameters
    ----------
    name
        Key of `REFINERS`.
    config
        An instance of the refiner's config class.
    state
        What the refiner learned from the data set, for those that do; see `fit_refiners`.
    """

    name: str
    config: Any
    state: State | None = dataclasses.field(default=None, compare=False)


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
    row = row_of(name)
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
    check_finite(config)
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
    """Load what a refiner needs and return its function.

    Raises
    ------
    ConfigError
        When the refiner has to learn from a data set first and has not.
    """
    row = row_of(step.name)
    if row.fit is None:
        return row.make(step.config)
    if step.state is None:
        raise ConfigError(
            f"refiner {step.name} has to learn from the data set before it can refine an image",
            hint=f"give the data set: labelgen refine RUN --with {step.name}, or --refine {step.name} with a method",
        )
    return row.make(step.config, step.state)


def settle_refiners(
    steps: Sequence[RefineStep], data: DataSpec | None, *, vocabulary: Vocabulary | None = None
) -> tuple[RefineStep, ...]:
    """The same refiners with all filled in that follows from the data and its classes.

    Raises
    ------
    ConfigError
        When the vocabulary lacks what a refiner needs, such as a background.
    """
    settled = []
    for step in steps:
        row, config = row_of(step.name), step.config
        config = config if row.settle is None or data is None else row.settle(config, data)
        if row.settle_classes is not None and vocabulary is not None:
            config = row.settle_classes(config, vocabulary)
        settled.append(dataclasses.replace(step, config=config))
    return tuple(settled)


def background_of(config: Any, vocabulary: Vocabulary) -> Any:
    """Set `background_id` to that of the vocabulary, unless another than 0 was given.

    Raises
    ------
    ConfigError
        When the vocabulary has no background.
    """
    if vocabulary.background is None:
        raise ConfigError(
            f"the refiner needs a background class, but vocabulary {vocabulary.name!r} has none",
            hint="take a vocabulary with background, such as voc",
        )
    return config if config.background_id else dataclasses.replace(config, background_id=vocabulary.background)


def fit_refiners(steps: Sequence[RefineStep], pairs: Callable[[], Pairs]) -> tuple[RefineStep, ...]:
    """Let those refiners learn from the data set that need to, each from what those before it make of the masks.

    Parameters
    ----------
    pairs
        Makes the masks of the data set, from the first on; called once for each refiner that learns.
    """
    fitted: list[RefineStep] = []
    for step in steps:
        fit = row_of(step.name).fit
        if fit is None or step.state is not None:
            fitted.append(step)
            continue
        before = [make_refiner(earlier) for earlier in fitted]
        fitted.append(dataclasses.replace(step, state=fit(step.config, _refined_pairs(before, pairs()))))
    return tuple(fitted)


def _refined_pairs(chain: Sequence[Refine], pairs: Pairs) -> Pairs:
    for sample, mask in pairs:
        repaired = mask
        for refine in chain:
            repaired = refine(sample, repaired)
        yield sample, repaired


def models_of(steps: Sequence[RefineStep]) -> dict[str, Any]:
    """Name of each network that the refiners use to facts about it, its sha256 among them."""
    found: dict[str, Any] = {}
    for step in steps:
        models = row_of(step.name).models
        found |= {} if models is None else models(step.config)
    return found


def row_of(name: str) -> Refiner:
    """The row of `REFINERS` of this name.

    Raises
    ------
    ConfigError
        When there is none; the hint lists what there is.
    """
    from labelgen.refine import REFINERS

    if name not in REFINERS:
        raise ConfigError(f"unknown refiner {name!r}", hint=f"refiners: {', '.join(REFINERS)}")
    return REFINERS[name]
