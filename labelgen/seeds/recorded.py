"""The background rule that a run says it was made with."""

from collections.abc import Mapping
from typing import Any

from labelgen.errors import ConfigError
from labelgen.seeds.backgrounds import BackgroundRule, parse_background

__all__ = ["recorded_background"]


def recorded_background(header: Mapping[str, Any]) -> BackgroundRule | None:
    """The rule that run.json names, or that of the run whose scores were refined; None where it names none.

    Examples
    --------
    >>> recorded_background({"config": {"background": "power:6"}})
    Power(alpha=6.0)
    """
    config = header["config"]
    while isinstance(config.get("source"), Mapping) and config.get("certainty") is None:  # a refined copy, of scores
        config = config["source"].get("config") or {}
    text = config.get("background")
    try:
        return parse_background(text) if isinstance(text, str) else None
    except ConfigError:
        return None
