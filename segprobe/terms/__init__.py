"""Terms of the loss that look at whole token grids. One module and one line in `TERMS` per term.

Modules of terms need torch, so they are imported when a term is made.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib import import_module
from typing import TYPE_CHECKING, Any

from segprobe.terms.settings import TERM_SETTINGS, TermStep, parse_term, parse_terms

if TYPE_CHECKING:
    from segprobe.objective import Term
    from segprobe.terms.context import TermContext

__all__ = ["TERMS", "TermRow", "TermStep", "make_terms", "parse_term", "parse_terms"]


@dataclass(frozen=True)
class TermRow:
    """One row of `TERMS`.

    Parameters
    ----------
    settings
        Frozen dataclass, each field with a default, `weight` among them.
    make
        `make(settings, context)` returns the term; an `nn.Module` where it has weights to train or means to keep.
    """

    settings: type
    make: Callable[[Any, "TermContext"], "Term"]


def _made_in(module: str, function: str) -> Callable[[Any, "TermContext"], "Term"]:
    def make(settings: Any, context: "TermContext") -> "Term":
        return getattr(import_module(f"segprobe.terms.{module}"), function)(settings, context)

    return make


TERMS: dict[str, TermRow] = {
    "tree": TermRow(TERM_SETTINGS["tree"], _made_in("tree", "make_tree")),
    "gated-crf": TermRow(TERM_SETTINGS["gated-crf"], _made_in("gated_crf", "make_gated_crf")),
    "distance-entropy": TermRow(
        TERM_SETTINGS["distance-entropy"], _made_in("distance_entropy", "make_distance_entropy")
    ),
    "pseudo": TermRow(TERM_SETTINGS["pseudo"], _made_in("pseudo", "make_pseudo")),
    "prototype": TermRow(TERM_SETTINGS["prototype"], _made_in("prototype", "make_prototype")),
    "absent": TermRow(TERM_SETTINGS["absent"], _made_in("absent", "make_absent")),
    "entropy": TermRow(TERM_SETTINGS["entropy"], _made_in("entropy", "make_entropy")),
    "lorm": TermRow(TERM_SETTINGS["lorm"], _made_in("lorm", "make_lorm")),
}


def make_terms(steps: Sequence[TermStep], context: "TermContext") -> tuple[tuple[str, float, "Term"], ...]:
    """Name, weight and function of each term, as `Objective` takes them."""
    return tuple((step.name, step.settings.weight, TERMS[step.name].make(step.settings, context)) for step in steps)
