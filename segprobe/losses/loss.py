"""What a loss at pixels is, and how one is typed: `gce,q=0.7`, `bootstrap:hard`."""

import dataclasses
import difflib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from labelgen.errors import ConfigError
from labelgen.settings import settings_from_text, split_setting

__all__ = ["Loss", "LossChoice", "make_loss", "parse_loss"]


@dataclass(frozen=True)
class Loss:
    """One row of `LOSSES`.

    Parameters
    ----------
    config
        Frozen dataclass of the settings, each with a default; made without torch.
    make
        `make(config)` returns the function `loss(logits, columns, *, weights, ignore, progress)`; see `masked_loss`.
    argument
        The setting that `NAME:ARGUMENT` gives.
    """

    config: type
    make: Callable[[Any], Callable[..., Any]]
    argument: str = ""


@dataclass(frozen=True)
class LossChoice:
    """A loss with its settings.

    Parameters
    ----------
    name
        Key of `LOSSES`.
    config
        An instance of its config class.
    """

    name: str
    config: Any

    def to_json(self) -> dict[str, Any]:
        """The name and every setting, as plain JSON values."""
        return {"name": self.name, **dataclasses.asdict(self.config)}


def parse_loss(text: str) -> LossChoice:
    """Read `NAME[:ARGUMENT][,setting=value...]`.

    Raises
    ------
    ConfigError
        When the loss or a setting is unknown (the hint names the nearest and lists what there is), or a value is out
        of range.

    Examples
    --------
    >>> parse_loss("gce,q=0.5").config.q
    0.5
    >>> parse_loss("bootstrap:hard").config.beta
    0.8
    """
    head, *rest = text.split(",")
    name, colon, argument = head.strip().partition(":")
    row = _row(name)
    values = dict(split_setting(part) for part in rest)
    if colon:
        if not row.argument or not argument:
            known = f"{name}:{row.argument.upper()}" if row.argument else f"{name} takes settings only"
            raise ConfigError(f"{text!r} cannot be read as a loss", hint=known)
        values = {row.argument: argument, **values}
    return LossChoice(name, settings_from_text(row.config, values, of=f"loss {name}"))


def make_loss(text: str) -> Callable[..., Any]:
    """The loss that was typed, as a function of logits and columns; torch is loaded here.

    Raises
    ------
    ConfigError
        As `parse_loss`.
    """
    choice = parse_loss(text)
    return _row(choice.name).make(choice.config)


def _row(name: str) -> Loss:
    from segprobe.losses import LOSSES

    if name not in LOSSES:
        nearest = difflib.get_close_matches(name, LOSSES, n=1)
        advice = f"did you mean {nearest[0]}? " if nearest else ""
        raise ConfigError(f"unknown loss {name!r}", hint=f"{advice}losses: {', '.join(LOSSES)}")
    return LOSSES[name]
