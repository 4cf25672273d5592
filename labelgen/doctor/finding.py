"""One thing that was looked at: how it is, and what to do where it is not in order."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

__all__ = ["OK", "PROBLEM", "STATES", "WARNING", "Finding", "worst"]

OK, WARNING, PROBLEM = "ok", "warning", "problem"
STATES = (OK, WARNING, PROBLEM)
"""From good to bad. A warning may cost time or results; with a problem some command cannot work."""


@dataclass(frozen=True)
class Finding:
    """What was found.

    Parameters
    ----------
    name
        What was looked at, such as `torch`.
    state
        Out of `STATES`.
    found
        A sentence about how it is.
    advice
        What to do; empty where all is in order.
    facts
        The same for programs, as JSON values.
    """

    name: str
    state: str
    found: str
    advice: str = ""
    facts: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.state not in STATES:
            raise ValueError(f"state must be one of {', '.join(STATES)}, got {self.state!r}")
        if (self.state == OK) == bool(self.advice):
            raise ValueError(f"what is not ok needs advice, and only that: {self.name} is {self.state}")

    def to_json(self) -> dict[str, Any]:
        """Plain JSON values."""
        return {**vars(self), "facts": dict(self.facts)}


def worst(findings: Iterable[Finding]) -> str:
    """The worst state of all.

    Examples
    --------
    >>> worst([Finding("a", OK, ""), Finding("b", WARNING, "", "do this")])
    'warning'
    """
    return max((finding.state for finding in findings), key=STATES.index, default=OK)
