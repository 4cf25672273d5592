"""Terms of the loss that look at whole token grids. One module and one line in `TERMS` per term.

Modules of terms need torch, so they are imported when a term is made.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib import import_module
from typing import TYPE_CHECKING, Any

from segprobe.terms.settings import TERM_SETTINGS, TermStep, parse_term, parse_terms

if TYPE_CHECKING:
    from segprobe.labels import LabelSet
    from segprobe.layers import Layers
    from segprobe.objective import Term
    from segprobe.terms.context import TermContext

__all__ = ["TERMS", "TermRow", "TermStep", "check_terms", "make_terms", "parse_term", "parse_terms"]


@dataclass(frozen=True)
class TermRow:
    """One row of `TERMS`.

    Parameters
    ----------
    settings
        Frozen dataclass, each field with a default, `weight` among them.
    make
        `make(settings, context)` returns the term; weights to train and means to keep are its attribute `module`.
    check
        `check(settings, labels, layers)` refuses labels that lack what the term needs, before features are computed.
    """

    settings: type
    make: Callable[[Any, "TermContext"], "Term"]
    check: Callable[[Any, "LabelSet", "Layers | None"], object] | None = None


def _of(module: str, function: str) -> Callable[..., Any]:
    """A function of a module that is imported when it is called."""

    def call(*arguments: Any) -> Any:
        return getattr(import_module(f"segprobe.terms.{module}"), function)(*arguments)

    return call


TERMS: dict[str, TermRow] = {
    "tree": TermRow(TERM_SETTINGS["tree"], _of("tree", "make_tree")),
    "gated-crf": TermRow(TERM_SETTINGS["gated-crf"], _of("gated_crf", "make_gated_crf")),
    "distance-entropy": TermRow(
        TERM_SETTINGS["distance-entropy"],
        _of("distance_entropy", "make_distance_entropy"),
        check=_of("distance_entropy", "check_distance_entropy"),
    ),
    "pseudo": TermRow(TERM_SETTINGS["pseudo"], _of("pseudo", "make_pseudo"), check=_of("pseudo", "check_pseudo")),
    "prototype": TermRow(TERM_SETTINGS["prototype"], _of("prototype", "make_prototype")),
    "absent": TermRow(TERM_SETTINGS["absent"], _of("absent", "make_absent")),
    "entropy": TermRow(TERM_SETTINGS["entropy"], _of("entropy", "make_entropy")),
    "lorm": TermRow(TERM_SETTINGS["lorm"], _of("lorm", "make_lorm")),
}


def check_terms(steps: Sequence[TermStep], labels: "LabelSet", layers: "Layers | None") -> None:
    """Refuse labels that lack what a term needs.

    Raises
    ------
    ConfigError
        Naming the term.
    """
    for step in steps:
        check = TERMS[step.name].check
        if check is not None:
            check(step.settings, labels, layers)


def make_terms(steps: Sequence[TermStep], context: "TermContext") -> tuple[tuple[str, float, "Term"], ...]:
    """Name, weight and function of each term, as `Objective` takes them."""
    return tuple((step.name, step.settings.weight, TERMS[step.name].make(step.settings, context)) for step in steps)
