"""`labelgen vocabs`: the vocabularies there are, and the classes and ids of one."""

from typing import Annotated, Any

from cyclopts import Parameter

from labelgen.commands.common import print_json, print_table
from labelgen.vocab import Vocabulary, load_vocabulary, vocabulary_names

__all__ = ["vocabs"]

FIRST_CLASSES = 5  # shown of each vocabulary in the list


def vocabs(name: str = "", /, *, as_json: Annotated[bool, Parameter(name="--json", negative="")] = False) -> None:
    """List the vocabularies, or the classes of one with ids, colours and the words that text models see.

    Reading a file of one's own is also the check of it: what is wrong is said, with its place.

    Parameters
    ----------
    name
        A built-in name, a .toml file, a .txt file of one class a line, or `classes:` and a list such as
        "classes:rust, paint=painted surface; peeling paint"; empty for the list of built-ins.
    as_json
        Print one JSON document on stdout, nothing else.
    """
    chosen = [load_vocabulary(name)] if name else [load_vocabulary(n) for n in vocabulary_names()]
    if as_json:
        print_json(_facts(chosen[0]) if name else [_facts(vocabulary) for vocabulary in chosen])
    elif name:
        _print_classes(chosen[0])
    else:
        rows = [_summary(vocabulary) for vocabulary in chosen]
        print_table(("vocabulary", "classes", "background", "first classes"), rows)


def _facts(vocabulary: Vocabulary) -> dict[str, Any]:
    own = {"raw_ids": list(vocabulary.raw_ids), "void_ids": list(vocabulary.void_ids)}
    words = {
        "prompts": {k: list(v) for k, v in vocabulary.prompts.items()},
        "background_words": list(vocabulary.background_words),
        "aliases": dict(vocabulary.aliases),
        "base": vocabulary.base,
        "digest": vocabulary.digest(),
    }
    return {**vocabulary.to_json(), "num_classes": vocabulary.num_classes, **own, **words}


def _summary(vocabulary: Vocabulary) -> tuple[str, int, str, str]:
    background = "none" if vocabulary.background is None else vocabulary.classes[vocabulary.background]
    first = ", ".join(vocabulary.classes[:FIRST_CLASSES]) + ", ..."
    return vocabulary.name, vocabulary.num_classes, background, first


def _print_classes(vocabulary: Vocabulary) -> None:
    """One row a class; `id in files` is what the data set's own files hold."""
    raw = vocabulary.raw_ids or range(vocabulary.num_classes)
    aliases: dict[str, list[str]] = {}
    for alias, known in vocabulary.aliases.items():
        aliases.setdefault(known, []).append(alias)
    rows = [
        (
            name,
            class_id,
            raw_id,
            "#{:02x}{:02x}{:02x}".format(*colour),
            ", ".join(aliases.get(name, ())),
            "; ".join(_words(vocabulary, class_id)),
        )
        for class_id, (name, raw_id, colour) in enumerate(zip(vocabulary.classes, raw, vocabulary.colours, strict=True))
    ]
    void = ", ".join(map(str, (*vocabulary.void_ids, vocabulary.ignore)))
    title = f"{vocabulary.name}: {vocabulary.num_classes} classes, void is {vocabulary.ignore} (in files {void})"
    title += f", sha256 of names and words {vocabulary.digest()}"
    print_table(("class", "id", "id in files", "colour", "also called", "prompts"), rows, title=title)


def _words(vocabulary: Vocabulary, class_id: int) -> tuple[str, ...]:
    """What a text model sees of a class."""
    if class_id == vocabulary.background:
        return vocabulary.background_words
    name = vocabulary.classes[class_id]
    return vocabulary.prompts.get(name, (name,))
