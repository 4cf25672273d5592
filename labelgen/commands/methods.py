"""The commands of the rows of `METHODS`, made when they are asked for: an attribute of this module for each."""

from collections.abc import Callable

from labelgen.commands.generate import method_command
from labelgen.commands.scribble_after import AfterScribble
from labelgen.methods import METHODS

__all__ = ["AFTERWARDS"]

AFTERWARDS = {"scribble": AfterScribble}
"""What a method can do when its run is complete."""


def __getattr__(attribute: str) -> Callable[..., int]:
    """The command of a method; dashes of its name are underscores here."""
    name = attribute.replace("_", "-")
    if name not in METHODS:
        raise AttributeError(f"there is no method called {name!r}")
    return method_command(name, METHODS[name], afterwards=AFTERWARDS.get(name))
