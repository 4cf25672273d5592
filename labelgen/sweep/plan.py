"""Which runs a sweep is made of: values as they are typed, settings that go together, names of folders."""

import hashlib
import itertools
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, get_args, get_origin, get_type_hints

from labelgen.errors import ConfigError
from labelgen.settings import settings_from_text

__all__ = ["DEFAULT_SWEEPS", "SweepPoint", "plan_sweep", "several", "split_values"]

DEFAULT_SWEEPS: Mapping[str, Mapping[str, str]] = {
    "scribble": {"shrink": "0,0.2,0.5,0.7,1"},
    "point": {"drop": "0,0.1,0.2,0.3,0.4,0.5"},
    "box": {"margin": "0,2,4,8,16"},
    "corrupt": {"level": "0.1,0.2,0.3,0.4,0.5"},
    "cam": {"background": "fixed:0.2,fixed:0.3,fixed:0.4,fixed:0.5,fixed:0.6"},
    "clip": {"method": "maskclip,sclip,clearclip,naclip"},
    "clip-es": {"background": "power:1,power:2,power:4,power:6"},
    "zeroseg": {"top_k": "1,2,3,5"},
    "affinity": {"steps": "1,2,4"},
    "attention": {"share": "0.2,0.4,0.6"},
    "band": {"rule": "psa,seam,irn,toco"},
    "crf": {"steps": "1,5,10"},
    "debias": {"clusters": "4,8,16"},
    "pamr": {"steps": "1,5,10"},
    "par": {"steps": "1,5,10"},
    "regions": {"scale": "30,100,300"},
    "walk": {"beta": "2,4,8"},
}
"""What is swept where nothing is said: for scribbles the shrink ratios of URSS (Pan et al., ICCV 2021)."""

LISTS = ("background_words", "classes", "negative", "scales", "templates")
"""Settings that are text and hold lists, so that commas in them belong to the value."""

LONGEST_NAME = 120  # characters of a folder; file systems store 255


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


def several(config: type, name: str, text: str) -> bool:
    """Whether more than one value of a setting was typed."""
    return len(split_values(text, commas=not _is_list(config, name))) > 1


def _is_list(config: type, name: str) -> bool:
    """Whether a value of a setting is a list itself."""
    hint = get_type_hints(config).get(name)
    return name in LISTS or any(get_origin(kind) is tuple for kind in (hint, *get_args(hint)))


def split_values(text: str, *, commas: bool = True) -> tuple[str, ...]:
    """Read values between commas, or between semicolons where values hold commas; numbers in their shortest form.

    A semicolon at the end says that there is one value, commas and all.

    Parameters
    ----------
    commas
        False where commas always belong to a value.

    Raises
    ------
    ConfigError
        When there is no value, or one twice.

    Examples
    --------
    >>> split_values("0,.2,.50,1"), split_values("0.5,1;1")
    (('0', '0.2', '0.5', '1'), ('0.5,1', '1'))
    >>> split_values("cat, dog", commas=False), split_values("a=1,b=2;")
    (('cat, dog',), ('a=1,b=2',))
    """
    parts = text.split(";") if ";" in text or not commas else text.split(",")
    values = tuple(map(_shortest, parts[:-1] if ";" in text and not parts[-1].strip() else parts))
    if not all(values) or len(set(values)) < len(values):
        raise ConfigError(f"a sweep needs different values between commas, got {text!r}", hint="--shrink 0,0.5,1")
    return values


def _shortest(text: str) -> str:
    text = text.strip()
    try:
        return f"{float(text):g}" if re.fullmatch(r"[+-]?(\d+\.?\d*|\.\d+)", text) else text
    except ValueError:
        return text


def plan_sweep(
    method: str, config: type, given: Mapping[str, str], *, grid: bool = False, of: str = ""
) -> list[SweepPoint]:
    """Settings of all runs of a sweep.

    Parameters
    ----------
    method
        What the names of the runs begin with.
    config
        Config class of the method.
    given
        Name of a setting to its values as typed. A single value holds for all runs; several are swept, one parameter
        after the other while the others are at their defaults.
    grid
        Sweep all combinations instead.
    of
        What the settings belong to, for messages. Default: the method.

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
    values = {name: split_values(text, commas=not _is_list(config, name)) for name, text in given.items()}
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
        built = settings_from_text(config, settings, of=of or f"method {method}")
        words = [method, *(part for name, value in settings.items() for part in (name.replace("_", "-"), value))]
        same = next((point.name for point in points if point.config == built), "")  # one run for both
        points.append(SweepPoint(same or _safe("-".join(words)), names, settings, built))
    _refuse_clashes(points)
    return points


def _safe(name: str) -> str:
    """A name that every file system can store; what is too long ends in a hash instead."""
    safe = re.sub(r"[^A-Za-z0-9.+_-]+", "_", name).rstrip(".")
    if len(safe) <= LONGEST_NAME:
        return safe
    return f"{safe[:LONGEST_NAME]}-{hashlib.sha256(name.encode()).hexdigest()[:8]}"


def _refuse_clashes(points: list[SweepPoint]) -> None:
    configs: dict[str, Any] = {}
    for point in points:
        if configs.setdefault(point.name, point.config) != point.config:
            raise ConfigError(f"two settings would have the run folder {point.name}", hint="sweep them one at a time")
