"""Whether the ids of two vocabularies mean the same, and how to translate them where only the order differs."""

import numpy as np

from labelgen.data.dataset import Dataset
from labelgen.errors import LabelgenError, VocabularyError
from labelgen.masks import LabelMap
from labelgen.vocab import Vocabulary, vocabulary_names

__all__ = ["id_lookup", "translate", "why_unscored"]

SHOWN = 4  # names in a message


def id_lookup(
    labels: Vocabulary, truth: Vocabulary, *, between: tuple[str, str] = ("labels", "truth")
) -> np.ndarray | None:
    """Table from the ids of labels to the ids of the truth, or None when they are the same.

    Classes are matched by name or alias. Both vocabularies must hold the same classes: dropping or inventing one would
    change what the mean is over.

    Parameters
    ----------
    between
        What the two belong to, for the message.

    Raises
    ------
    VocabularyError
        When a class is in one of them only; the message names such classes.

    Examples
    --------
    >>> id_lookup(Vocabulary("a", ("cat", "dog")), Vocabulary("b", ("dog", "cat")))[[0, 1, 255]]
    array([  1,   0, 255], dtype=uint16)
    """
    if labels.classes == truth.classes:
        return None
    names = [_official(name, labels, truth) for name in labels.classes]
    foreign = [name for name in names if name not in truth.classes]
    absent = [name for name in truth.classes if name not in names]
    if foreign or absent or len(set(names)) != len(names):
        sides = [f"only in the {between[0]}: {_some(foreign)}"] if foreign else []
        sides += [f"only in the {between[1]}: {_some(absent)}"] if absent else []
        known = labels.name in vocabulary_names()
        other = f"score against truth in the vocabulary of the labels (--vocab {labels.name}), or " if known else ""
        raise VocabularyError(
            f"{' and '.join(between)} must have the same classes, got {labels.name!r} with {labels.num_classes} and "
            f"{truth.name!r} with {truth.num_classes} ({'; '.join(sides) or 'two names of one class'})",
            hint=f"are both of the same data? Else {other}make the {between[0]} again with --vocab {truth.name}",
        )
    lookup = np.full(int(labels.ignore) + 1, truth.ignore, np.uint16)
    # ids that are no class pass through, so that counting can refuse them
    lookup[len(names) : labels.ignore] = np.arange(len(names), labels.ignore)
    lookup[: len(names)] = [truth.classes.index(name) for name in names]
    return lookup


def translate(labels: LabelMap, lookup: np.ndarray | None) -> LabelMap:
    """Apply a table of `id_lookup`, to all ids at once; None changes nothing.

    Examples
    --------
    >>> translate(np.array([[0, 1, 255]], np.uint8), np.array([1, 0, *range(2, 256)], np.uint16))
    array([[  1,   0, 255]], dtype=uint8)
    """
    return labels if lookup is None else lookup[labels].astype(labels.dtype)


def why_unscored(labels: Vocabulary, dataset: Dataset) -> str:
    """Why labels cannot be compared with the truth of a data set; empty when they can: looks at the first image."""
    try:
        dataset.truth(dataset.ids[0])
        id_lookup(labels, dataset.vocabulary)
    except LabelgenError as error:
        return error.message
    return ""


def _official(name: str, labels: Vocabulary, truth: Vocabulary) -> str:
    """The name that the truth has for a class of the labels, by the aliases of either side."""
    if name in truth.classes:
        return name
    spellings = [truth.aliases.get(name, name)]
    spellings += [alias for alias, official in labels.aliases.items() if official == name]
    return next((spelling for spelling in spellings if spelling in truth.classes), name)


def _some(names: list[str]) -> str:
    return ", ".join(names[:SHOWN]) + (f" and {len(names) - SHOWN} more" if len(names) > SHOWN else "")
