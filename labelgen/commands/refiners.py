"""`labelgen refiners`: the refiners there are, and the settings of one."""

import dataclasses
import inspect
import re
from typing import Annotated, Any, get_args, get_origin, get_type_hints

from cyclopts import Parameter

from labelgen.commands.common import JsonFlag, print_json, print_table
from labelgen.refine import REFINERS
from labelgen.refine.refiner import Refiner, row_of

__all__ = ["refiners"]


def _complete(_: object) -> list[str]:
    return sorted(REFINERS)


def refiners(
    name: Annotated[str, Parameter(completer=_complete)] = "",
    /,
    *,
    as_json: JsonFlag = False,
) -> None:
    """List the refiners of --refine and of labelgen refine --with, or the settings of one.

    Parameters
    ----------
    name
        A refiner; empty for the list.

    Examples
    --------
    labelgen refiners
    labelgen refiners crf
    """
    if name:
        row = row_of(name)
        rows = _settings(row)
        if as_json:
            print_json({"refiner": name, "about": _about(row), "argument": row.argument, "settings": rows})
            return
        title = f"{name}: {_about(row)} {name}:VALUE is {name},{row.argument}=VALUE." if row.argument else _about(row)
        cells = [(row["name"], row["default"], row["choices"], row["help"]) for row in rows]
        print_table(("setting", "default", "choices", ""), cells, title=title, texts=(0, 2, 3))
    elif as_json:
        print_json([{"refiner": key, "about": _about(row)} for key, row in sorted(REFINERS.items())])
    else:
        rows = [(key, _about(row)) for key, row in sorted(REFINERS.items())]
        print_table(("refiner", ""), rows, title="labelgen refiners NAME lists the settings", texts=(0, 1))


def _about(row: Refiner) -> str:
    """The first paragraph of the docstring of its settings."""
    first = (inspect.getdoc(row.config) or "").split("\n\n")[0]
    return re.sub(r" \[\d+\]_", "", " ".join(first.split()))


def _settings(row: Refiner) -> list[dict[str, Any]]:
    hints = get_type_hints(row.config, include_extras=True)
    return [_setting(field, hints[field.name]) for field in dataclasses.fields(row.config)]


def _setting(field: dataclasses.Field, hint: Any) -> dict[str, Any]:
    kind, *more = get_args(hint) if get_origin(hint) is Annotated else (hint,)
    help_text = next((extra for extra in more if isinstance(extra, str)), "")
    choices = [choice for part in (kind, *get_args(kind)) for choice in get_args(part) if isinstance(choice, str)]
    default = "" if field.default is None else str(field.default)
    return {"name": field.name, "default": default, "choices": ", ".join(filter(None, choices)), "help": help_text}
