"""Presets of settings that lie in several dataclasses, some of their fields changed; light, free of torch."""

from dataclasses import fields, replace
from typing import Any

from labelgen.errors import ConfigError

__all__ = ["refuse_rest", "take_fields"]


def take_fields(config: Any, changes: dict[str, Any]) -> Any:
    """Take the fields of a dataclass out of `changes` and put them in."""
    mine = {field.name: changes.pop(field.name) for field in fields(config) if field.name in changes}
    return replace(config, **mine)


def refuse_rest(changes: dict[str, Any]) -> None:
    """Refuse what no dataclass has taken.

    Raises
    ------
    ConfigError
        Naming one of them.
    """
    if changes:
        raise ConfigError(f"there is no setting called {next(iter(changes))!r}")
