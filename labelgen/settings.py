"""Settings typed as text, `name=value`, turned into the frozen dataclass that they are for."""

import dataclasses
import difflib
import math
import types
import typing
from collections.abc import Mapping
from typing import Any, TypeVar

from labelgen.errors import ConfigError

__all__ = ["check_finite", "settings_from_text", "split_setting", "values_from_text"]

Config = TypeVar("Config")

_TRUE, _FALSE = ("true", "yes", "on", "1"), ("false", "no", "off", "0")


def split_setting(text: str) -> tuple[str, str]:
    """Split `name=value`; dashes in the name are as good as underscores.

    Raises
    ------
    ConfigError
        When there is no `=`, or no name.

    Examples
    --------
    >>> split_setting("bg-thresh=0.2")
    ('bg_thresh', '0.2')
    """
    name, equals, value = text.partition("=")
    if not equals or not name.strip():
        raise ConfigError(f"a setting must be written NAME=VALUE, got {text!r}")
    return name.strip().replace("-", "_"), value.strip()


def settings_from_text(config: type[Config], values: Mapping[str, str], *, of: str) -> Config:
    """Build a config whose fields are given as text; the other fields keep their defaults.

    Parameters
    ----------
    config
        Dataclass whose fields are str, int, float, bool, Literal, or a tuple or an optional one of these. Items of
        a tuple stand between commas.
    of
        What the settings belong to: for messages.

    Raises
    ------
    ConfigError
        When a name is unknown (the hint lists the known ones), a value cannot be read, or the config refuses it.

    Examples
    --------
    >>> @dataclasses.dataclass(frozen=True)
    ... class Pen:
    ...     width: float = 1.0
    ...     colours: tuple[str, ...] = ("red",)
    >>> settings_from_text(Pen, {"width": "2", "colours": "red,blue"}, of="pen")
    Pen(width=2.0, colours=('red', 'blue'))
    """
    return config(**values_from_text(config, values, of=of))


def values_from_text(config: type, values: Mapping[str, str], *, of: str) -> dict[str, Any]:
    """Read settings given as text by the types of the fields of a config, which is not made yet.

    Raises
    ------
    ConfigError
        When a name is unknown or a value cannot be read.
    """
    hints = typing.get_type_hints(config)
    names = [field.name for field in dataclasses.fields(config) if field.init]  # type: ignore[arg-type]
    unknown = [name for name in values if name not in names]
    if unknown:
        nearest = difflib.get_close_matches(unknown[0], names, n=1)
        advice = f"did you mean {nearest[0]}? " if nearest else ""
        known = f"its settings: {', '.join(names)}" if names else "there is nothing to set"
        raise ConfigError(f"{of} has no setting {unknown[0]!r}", hint=f"{advice}{known}")
    return {name: _value(text, hints[name], f"{name} of {of}") for name, text in values.items()}


def check_finite(config: Any) -> None:
    """Refuse settings that are no finite numbers.

    Raises
    ------
    ConfigError
        Naming the setting.
    """
    for field in dataclasses.fields(config):
        value = getattr(config, field.name)
        if isinstance(value, float) and not math.isfinite(value):
            raise ConfigError(f"{field.name} must be a finite number, got {value}")


def _value(text: str, hint: Any, what: str) -> Any:
    origin, inner = typing.get_origin(hint), typing.get_args(hint)
    if origin is typing.Literal:
        return _choice(text, inner, what)
    if origin in (typing.Union, types.UnionType):
        if types.NoneType in inner and text.lower() in ("", "none"):
            return None
        return _first_that_fits(text, [kind for kind in inner if kind is not types.NoneType], what)
    if origin is tuple:
        items = [item.strip() for item in text.split(",") if item.strip()]
        kinds = [inner[0]] * len(items) if len(inner) == 2 and inner[1] is Ellipsis else list(inner)
        if len(kinds) != len(items):
            raise ConfigError(f"{what} must be {len(kinds)} values between commas, got {text!r}")
        return tuple(_value(item, kind, what) for item, kind in zip(items, kinds, strict=True))
    return _plain(text, hint, what)


def _choice(text: str, choices: tuple, what: str) -> Any:
    for choice in choices:
        if str(choice) == text:
            return choice
    raise ConfigError(f"{what} must be {' or '.join(map(str, choices))}, got {text!r}")


def _first_that_fits(text: str, kinds: list[Any], what: str) -> Any:
    for kind in kinds[:-1]:
        try:
            return _value(text, kind, what)
        except ConfigError:
            continue
    return _value(text, kinds[-1], what)


def _plain(text: str, kind: Any, what: str) -> Any:
    if kind is bool:
        if text.lower() not in (*_TRUE, *_FALSE):
            raise ConfigError(f"{what} must be true or false, got {text!r}")
        return text.lower() in _TRUE
    if kind is str:
        return text
    if kind not in (int, float):
        raise ConfigError(f"{what} cannot be given as text", hint="it has a flag of its own")
    try:
        return kind(text)
    except ValueError:
        number = "a whole number" if kind is int else "a number"
        raise ConfigError(f"{what} must be {number}, got {text!r}") from None
