"""Candidates for the values of flags that only `segprobe` has, for completion by Tab; nothing is loaded before."""

from collections.abc import Callable, Iterable, Mapping

from labelgen.commands.completion import backbones, runs

__all__ = ["COMPLETERS"]


def heads(_: str) -> list[str]:
    """Heads by name."""
    from segprobe.head_settings import HEAD_SETTINGS

    return sorted(HEAD_SETTINGS)


def losses(_: str) -> list[str]:
    """Losses by name."""
    from segprobe.losses import LOSSES

    return sorted(LOSSES)


def terms(_: str) -> list[str]:
    """Terms of the loss by name."""
    from segprobe.terms.settings import TERM_SETTINGS

    return sorted(TERM_SETTINGS)


def labels(typed: str) -> list[str]:
    """What a probe is trained from: runs, or the truth."""
    return ["truth", *runs(typed)]


COMPLETERS: Mapping[str, Callable[[str], Iterable[str]]] = {
    "backbones": backbones,
    "head": heads,
    "heads": heads,
    "loss": losses,
    "run": labels,
    "runs": labels,
    "terms": terms,
}
"""Name of a parameter to candidates for what is typed of its value."""
