"""`labelgen vocabs`: the vocabularies there are, and the classes and ids of one."""

import sys
from json import dumps
from typing import TYPE_CHECKING, Any

from labelgen.vocab import Vocabulary, load_vocabulary, vocabulary_names

if TYPE_CHECKING:
    from rich.table import Table

__all__ = ["vocabs"]

FIRST_CLASSES = 3  # shown of each vocabulary in the list


def vocabs(name: str = "", /, *, json: bool = False) -> None:
    """List the vocabularies, or the classes of one with their ids and colours.

    Parameters
    ----------
    name
        A built-in name or a .toml file; empty for the list.
    json
        Print one JSON document instead of a table.
    """
    chosen = [load_vocabulary(name)] if name else [load_vocabulary(n) for n in vocabulary_names()]
    if json:
        document = _facts(chosen[0]) if name else [_facts(vocabulary) for vocabulary in chosen]
        sys.stdout.write(dumps(document, indent=2, ensure_ascii=False) + "\n")
        return
    from rich.console import Console

    Console(file=sys.stdout).print(_class_table(chosen[0]) if name else _list_table(chosen))


def _facts(vocabulary: Vocabulary) -> dict[str, Any]:
    own = {"raw_ids": list(vocabulary.raw_ids), "void_ids": list(vocabulary.void_ids)}
    words = {"prompts": {k: list(v) for k, v in vocabulary.prompts.items()}, "aliases": dict(vocabulary.aliases)}
    return {**vocabulary.to_json(), "num_classes": vocabulary.num_classes, **own, **words}


def _list_table(vocabularies: list[Vocabulary]) -> "Table":
    from rich.table import Table

    table = Table("vocabulary", "classes", "background", "first classes")
    for vocabulary in vocabularies:
        background = "none" if vocabulary.background is None else vocabulary.classes[vocabulary.background]
        first = ", ".join(vocabulary.classes[:FIRST_CLASSES]) + ", ..."
        table.add_row(vocabulary.name, str(vocabulary.num_classes), background, first)
    return table


def _class_table(vocabulary: Vocabulary) -> "Table":
    """One row a class; the id in the data set's own files only where it differs."""
    from rich.table import Table
    from rich.text import Text

    aliases: dict[str, list[str]] = {}
    for alias, known in vocabulary.aliases.items():
        aliases.setdefault(known, []).append(alias)
    raw = vocabulary.raw_ids or range(vocabulary.num_classes)
    caption = f"{vocabulary.num_classes} classes; {vocabulary.ignore} = void"
    if vocabulary.void_ids:
        caption += f"; void in files: {', '.join(map(str, vocabulary.void_ids))}"
    table = Table("id", "class", "id in files", "colour", "aliases", title=vocabulary.name, caption=caption)
    for class_id, (name, raw_id, colour) in enumerate(zip(vocabulary.classes, raw, vocabulary.colours, strict=True)):
        swatch = Text("    ", style=f"on rgb({colour[0]},{colour[1]},{colour[2]})") + Text(" {} {} {}".format(*colour))
        table.add_row(str(class_id), name, str(raw_id), swatch, ", ".join(aliases.get(name, ())))
    return table
