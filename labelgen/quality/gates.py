"""Thresholds that a run must reach: `--fail-under miou=0.6,coverage=0.02`."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from labelgen.errors import ConfigError

__all__ = ["GATES", "Gate", "failed_gates", "parse_gates"]

GATES: dict[str, Callable[[Mapping[str, Any]], float | None]] = {
    "miou": lambda document: document["miou"],
    "miou_labelled": lambda document: document["miou_labelled"],
    "miou_background": lambda document: document["miou_background"],
    "coverage": lambda document: document["coverage"],
    "pixel_accuracy": lambda document: document["pixel_accuracy"],
    "mean_accuracy": lambda document: document["mean_accuracy"],
    "frequency_weighted_iou": lambda document: document["frequency_weighted_iou"],
    "accuracy_labelled": lambda document: document["accuracy_labelled"],
    "foreground_iou": lambda document: (document["foreground"] or {}).get("foreground_iou"),
    "mean_image_miou": lambda document: document["sparse"]["mean_image_miou"],
    "boundary_miou": lambda document: (document["boundary"] or {}).get("miou"),
    "boundary_f1": lambda document: (document["boundary_f1"] or {}).get("f1"),
    "pq": lambda document: (document["panoptic"] or {}).get("pq"),
}
"""What can be demanded, and where it stands in the document of a run. For each, more is better."""


@dataclass(frozen=True)
class Gate:
    """One demand.

    Parameters
    ----------
    name
        One of `GATES`.
    threshold
        Smallest value that passes; a fraction.
    """

    name: str
    threshold: float


def parse_gates(texts: Sequence[str]) -> tuple[Gate, ...]:
    """Read `name=threshold`, several separated by commas.

    Raises
    ------
    ConfigError
        When a name is unknown or a threshold is no fraction.

    Examples
    --------
    >>> parse_gates(["miou=0.6,coverage=.02"])
    (Gate(name='miou', threshold=0.6), Gate(name='coverage', threshold=0.02))
    """
    return tuple(_parse_gate(part.strip()) for text in texts for part in text.split(","))


def _parse_gate(text: str) -> Gate:
    name, equals, value = (part.strip() for part in text.partition("="))
    if not equals:
        raise ConfigError(f"--fail-under must be NAME=VALUE, got {text!r}", hint="--fail-under miou=0.6")
    if name not in GATES:
        raise ConfigError(f"--fail-under does not know {name!r}", hint=f"it knows {', '.join(GATES)}")
    try:
        threshold = float(value)
    except ValueError:
        threshold = float("nan")
    if not 0 <= threshold <= 1:
        raise ConfigError(
            f"--fail-under {name} must be a fraction in [0, 1], got {value!r}",
            hint="all figures are fractions: write 0.6, not 60",
        )
    return Gate(name, threshold)


def failed_gates(gates: Sequence[Gate], document: Mapping[str, Any]) -> list[str]:
    """One sentence for each gate that a run does not pass; a figure without a value does not pass.

    Examples
    --------
    >>> failed_gates([Gate("miou", 0.6), Gate("coverage", 0.5)], {"run": "a", "miou": 0.41, "coverage": 0.5})
    ['a: miou is 0.4100, below 0.6']
    """
    sentences = []
    for gate in gates:
        value = GATES[gate.name](document)
        if value is None:
            sentences.append(f"{document['run']}: {gate.name} has no value, so it does not reach {gate.threshold:g}")
        elif value < gate.threshold:
            sentences.append(f"{document['run']}: {gate.name} is {value:.4f}, below {gate.threshold:g}")
    return sentences
