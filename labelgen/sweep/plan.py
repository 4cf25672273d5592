"""Which runs a sweep is made of: values as they are typed, settings that go together, names of folders."""

import itertools
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from labelgen.errors import ConfigError
from labelgen.settings import settings_from_text

__all__ = ["DEFAULT_SWEEPS", "SweepPoint", "plan_sweep", "split_values"]

DEFAULT_SWEEPS: Mapping[str, Mapping[str, str]] = {
    "scribble": {"shrink": "0,0.2,0.5,0.7,1"},
    "point": {"drop": "0,0.1,0.2,0.3,0.4,0.5"},
    "box": {"margin": "0,2,4,8,16"},
    "corrupt": {"level": "0.1,0.2,0.3,0.4,0.5"},
    "cam": {"background": "fixed:0.2,fixed:0.3,fixed:0.4,fixed:0.5,fixed:0.6"},
}
"""What is swept where nothing is said: for scribbles the shrink ratios of URSS (Pan et al., ICCV 2021)."""


@dataclass(frozen=True)
class SweepPoint:
    """One setting of a sweep; with each seed it is a run.

    Parameters
    ----------
    name
        Of the run folder, without the seed.
    sweeps
        The parameters whose values are swept here.
    values
        All parameters that were given, with their value as text.
    config
        The settings of the method.
    """

    name: str
    sweeps: tuple[str, ...]
    values: Mapping[str, str]
    config: Any

    def folder(self, seed: int | str) -> str:
        """Name of the run folder with a seed; `{seed}` stands for any in the names of several.

        Examples
        --------
        >>> point = SweepPoint("scribble-shrink-0.5", ("shrink",), {"shrink": "0.5"}, None)
        >>> point.folder(0), point.folder(2)
        ('scribble-shrink-0.5-seed0', 'scribble-shrink-0.5-seed2')
        """
        return f"{self.name}-seed{seed}"


def split_values(text: str) -> tuple[str, ...]:
    """Read values between commas, or between semicolons where values hold commas; numbers in their shortest form.

    Raises
    ------
    ConfigError
        When there is no value, or one twice.

    Examples
    --------
    >>> split_values("0,.2,.50,1"), split_values("0.5,1;1")
    (('0', '0.2', '0.5', '1'), ('0.5,1', '1'))
    """
    values = tuple(map(_shortest, text.split(";" if ";" in text else ",")))
    if not all(values) or len(set(values)) < len(values):
        raise ConfigError(f"a sweep needs different values between commas, got {text!r}", hint="--shrink 0,0.5,1")
    return values


def _shortest(text: str) -> str:
    text = text.strip()
    try:
        return f"{float(text):g}" if re.fullmatch(r"[+-]?(\d+\.?\d*|\.\d+)", text) else text
    except ValueError:
        return text


def plan_sweep(method: str, config: type, given: Mapping[str, str], *, grid: bool = False) -> list[SweepPoint]:
    """Settings of all runs of a sweep.

    Parameters
    ----------
    config
        Config class of the method.
    given
        Name of a setting to its values as typed. A single value holds for all runs; several are swept, one parameter
        after the other while the others are at their defaults.
    grid
        Sweep all combinations instead.

    Raises
    ------
    ConfigError
        When a setting is unknown, a value out of range, or nothing is swept.

    Examples
    --------
    >>> from labelgen.methods.scribble import ScribbleConfig
    >>> [point.name for point in plan_sweep("scribble", ScribbleConfig, {"shrink": "0,1", "drop": "0.5"})]
    ['scribble-drop-0.5-shrink-0', 'scribble-drop-0.5-shrink-1']
    """
    values = {name: split_values(text) for name, text in given.items()}
    fixed = {name: found[0] for name, found in values.items() if len(found) == 1}
    swept = {name: found for name, found in values.items() if len(found) > 1}
    if not swept:
        raise ConfigError(
            f"nothing is swept: no setting of {method} has several values", hint="--shrink 0,0.5,1 gives values"
        )
    if grid:
        combinations = [(tuple(swept), combination) for combination in itertools.product(*swept.values())]
    else:
        combinations = [((name,), (value,)) for name, found in swept.items() for value in found]
    points: list[SweepPoint] = []
    for names, chosen in combinations:
        settings = {**fixed, **dict(zip(names, chosen, strict=True))}
        built = settings_from_text(config, settings, of=f"method {method}")
        words = [method, *(part for name, value in settings.items() for part in (name.replace("_", "-"), value))]
        same = next((point.name for point in points if point.config == built), "")  # one run for both
        points.append(SweepPoint(same or _safe("-".join(words)), names, settings, built))
    _refuse_clashes(points)
    return points


def _safe(name: str) -> str:
    """A name that every file system can store."""
    return re.sub(r"[^A-Za-z0-9.+_-]+", "_", name).rstrip(".")


def _refuse_clashes(points: list[SweepPoint]) -> None:
    configs: dict[str, Any] = {}
    for point in points:
        if configs.setdefault(point.name, point.config) != point.config:
            raise ConfigError(f"two settings would have the run folder {point.name}", hint="sweep them one at a time")
