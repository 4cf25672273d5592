"""`labelgen vocabs`: the vocabularies there are, the classes and ids of one, a check and a hash of it."""

from collections import Counter
from collections.abc import Callable, Sequence
from typing import Annotated, Any

from cyclopts import Parameter

from labelgen.commands.common import EXIT_DONE, EXIT_ERROR, JsonFlag, print_json, print_table, say_error
from labelgen.errors import ConfigError, VocabularyError
from labelgen.vocab import Vocabulary, load_vocabulary, vocabulary_names

__all__ = ["vocabs"]

FIRST_CLASSES = 5  # shown of each vocabulary in the list
SHOW, CHECK, HASH = "show", "check", "hash"


def _complete(context: Any) -> list[str]:
    from labelgen.commands.completion import vocabularies

    actions = [SHOW, CHECK, HASH] if context.index == 0 else []
    return [*actions, *vocabularies(context.incomplete)]


def vocabs(
    *words: Annotated[str, Parameter(completer=_complete)],
    as_json: JsonFlag = False,
) -> int:
    """List the vocabularies, show the classes of one, check a file of one's own, or print what identifies it.

    Without words the built-ins are listed. `show NAME`, or NAME alone, prints classes with ids, colours and the words
    that text models see. `check FILE` says what is wrong with a file, or likely to be; exit code 1 if it cannot be
    used. `hash NAME ...` prints the sha256 over names and words that runs record: equal ones give equal labels.

    Parameters
    ----------
    words
        show, check or hash; then a built-in name, a .toml file, a .txt file of one class a line, or `classes:` and a
        list such as "classes:rust, paint=painted surface; peeling paint".

    Examples
    --------
    labelgen vocabs
    labelgen vocabs show voc
    labelgen vocabs show "classes:rust, paint=painted surface; peeling paint"
    labelgen vocabs check farm.toml
    labelgen vocabs hash voc voc-ovss
    """
    action, names = (words[0], words[1:]) if words[:1] in ((SHOW,), (CHECK,), (HASH,)) else (SHOW, words)
    if not words:
        return _list(as_json=as_json)
    if not names:
        raise ConfigError(f"labelgen vocabs {action} needs a vocabulary", hint=f"labelgen vocabs {action} voc")
    if action != HASH and len(names) > 1:
        raise ConfigError(
            f"labelgen vocabs {action} takes one vocabulary, got {' '.join(names)}",
            hint="quote one that holds spaces; show, check and hash come first",
        )
    act: dict[str, Callable[..., int]] = {SHOW: _show, CHECK: _check, HASH: _hash}
    return act[action](names, as_json=as_json)


def _list(*, as_json: bool) -> int:
    every = [load_vocabulary(name) for name in vocabulary_names()]
    if as_json:
        print_json([_facts(vocabulary) for vocabulary in every])
    else:
        print_table(("vocabulary", "classes", "background", "first classes"), [_summary(v) for v in every])
    return EXIT_DONE


def _show(names: Sequence[str], *, as_json: bool) -> int:
    vocabulary = load_vocabulary(names[0])
    if as_json:
        print_json(_facts(vocabulary))
    else:
        _print_classes(vocabulary)
    return EXIT_DONE


def _hash(names: Sequence[str], *, as_json: bool) -> int:
    digests = {name: load_vocabulary(name).digest() for name in names}
    if as_json:
        print_json(digests)
    else:
        for name, digest in digests.items():
            print(f"{digest}  {name}")  # noqa: T201
    return EXIT_DONE


def _check(names: Sequence[str], *, as_json: bool) -> int:
    """What is wrong, which nothing can read, and what is likely to be, which is only said."""
    (name,) = names
    try:
        vocabulary = load_vocabulary(name)
    except VocabularyError as error:
        if as_json:
            print_json({"vocabulary": name, "sound": False, "error": error.message, "hint": error.hint, "warnings": []})
        else:
            say_error(error.message, error.hint or "mend the file; labelgen vocabs voc --json shows a whole one")
        return EXIT_ERROR
    warnings = doubts(vocabulary)
    if as_json:
        print_json({"vocabulary": name, "sound": True, "digest": vocabulary.digest(), "warnings": warnings})
        return EXIT_DONE
    background = "no background" if vocabulary.background is None else f"background {_background(vocabulary)}"
    print(f"{name} is sound: {vocabulary.num_classes} classes, {background}")  # noqa: T201
    for warning in warnings:
        print(f"warning: {warning}")  # noqa: T201
    return EXIT_DONE


def doubts(vocabulary: Vocabulary) -> list[str]:
    """What is allowed, but hardly meant.

    Examples
    --------
    >>> from labelgen.prompts import parse_classes
    >>> doubts(parse_classes("cat, dog=puppy; cat"))
    ["classes cat and dog share the word 'cat', so that a text model cannot tell them apart by it"]
    """
    found = []
    users: dict[str, list[str]] = {}
    for class_id, name in enumerate(vocabulary.classes):
        for word in _words(vocabulary, class_id):
            users.setdefault(word.lower(), []).append(name)
    for word, names in users.items():
        if len(names) > 1:
            joined = " and ".join(names)
            found.append(f"classes {joined} share the word {word!r}, so that a text model cannot tell them apart by it")
    colours = Counter(vocabulary.colours)
    for colour, count in colours.items():
        if count > 1:
            same = [n for n, c in zip(vocabulary.classes, vocabulary.colours, strict=True) if c == colour]
            found.append(f"classes {' and '.join(same)} have the same colour")
    lost = [alias for alias in vocabulary.aliases if alias in vocabulary.classes]
    found += [f"the alias {alias!r} is also the name of a class" for alias in lost]
    return found


def _background(vocabulary: Vocabulary) -> str:
    return "none" if vocabulary.background is None else vocabulary.classes[vocabulary.background]


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
    background = _background(vocabulary)
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
