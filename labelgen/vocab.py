"""Vocabularies: which classes there are, what they are called and how they are coloured. Built-ins are TOML files."""

import hashlib
import json
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from importlib import resources
from pathlib import Path
from typing import Any

from labelgen.errors import VocabularyError
from labelgen.masks import IGNORE, WIDE_IGNORE
from labelgen.untrusted import parse_toml, read_bounded
from labelgen.untrusted.limits import LARGEST_TOML

__all__ = ["Colour", "Vocabulary", "colour_map", "load_vocabulary", "vocabulary_names"]

Colour = tuple[int, int, int]

LONGEST_NUMBER = 9  # digits of an id


@dataclass(frozen=True)
class Vocabulary:
    """An ordered list of classes; the id of a class is its index and is never shifted.

    Parameters
    ----------
    name
        Short name, as typed after `--vocab`.
    classes
        Class names; unique, not empty.
    background
        Id of the background class, or None when every pixel belongs to a named class.
    prompts
        For text models: words to use for a class instead of its name, by class name. Not for the background.
    background_words
        For text models: words for what lies in the background (sky, wall, ...).
    aliases
        Other spellings of a class name that files use (`plane` -> `aeroplane`), alias to class name.
    palette
        RGB colour of each class; the PASCAL VOC colour map when empty (see `colours`).
    raw_ids
        Id of each class in the data set's own files, where it differs from the index; empty when equal.
    void_ids
        Ids in the data set's own files that mean void, besides `ignore`.
    base
        The built-in vocabulary that this one says in other words: same classes, same ids, same files.

    Raises
    ------
    VocabularyError
        When names repeat, background is no class, or a table names an unknown class.

    Examples
    --------
    >>> voc = load_vocabulary("voc")
    >>> voc.num_classes, voc.classes[15], voc.background, voc.ignore
    (21, 'person', 0, 255)
    """

    name: str
    classes: tuple[str, ...]
    background: int | None = None
    prompts: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    aliases: Mapping[str, str] = field(default_factory=dict)
    palette: tuple[Colour, ...] = ()
    raw_ids: tuple[int, ...] = ()
    void_ids: tuple[int, ...] = ()
    background_words: tuple[str, ...] = ()
    base: str = ""

    def __post_init__(self) -> None:
        if not self.classes:
            raise VocabularyError(f"vocabulary {self.name!r} must have at least one class")
        if len(self.classes) > WIDE_IGNORE:
            raise VocabularyError(f"at most {WIDE_IGNORE} classes fit into a mask, got {len(self.classes)}")
        repeated = sorted(name for name, count in Counter(self.classes).items() if count > 1)
        if repeated:
            raise VocabularyError(f"class names must be unique, got {', '.join(repeated)} twice in {self.name!r}")
        if self.background is not None and not 0 <= self.background < len(self.classes):
            raise VocabularyError(f"background must be an id < {len(self.classes)}, got {self.background}")
        unknown = sorted((set(self.prompts) | set(self.aliases.values())) - set(self.classes))
        if unknown:
            raise VocabularyError(f"prompts and aliases must name known classes, got {unknown[0]!r} in {self.name!r}")
        self._check_words()
        if self.palette and len(self.palette) != len(self.classes):
            raise VocabularyError(f"palette must hold {len(self.classes)} colours, got {len(self.palette)}")
        if any(not 0 <= part <= 255 for colour in self.palette for part in colour):
            raise VocabularyError(f"colours must be red, green and blue from 0 to 255 in {self.name!r}")
        if self.raw_ids and len(set(self.raw_ids)) != len(self.classes):
            raise VocabularyError(f"raw_ids must hold {len(self.classes)} different ids, got {len(set(self.raw_ids))}")
        if any(not 0 <= i <= WIDE_IGNORE for i in (*self.raw_ids, *self.void_ids)):
            raise VocabularyError(f"raw_ids and void_ids must lie in [0, {WIDE_IGNORE}] in {self.name!r}")
        twice = sorted(set(self.void_ids) & set(self.raw_ids or range(len(self.classes))))
        if twice:
            raise VocabularyError(f"an id cannot be both a class and void, got {twice[0]} in {self.name!r}")

    def _check_words(self) -> None:
        if self.background is not None and self.classes[self.background] in self.prompts:
            raise VocabularyError(
                f"the background has no prompts, got some in {self.name!r}", hint="put them into background_words"
            )
        for name, words in (*self.prompts.items(), ("the background", self.background_words)):
            if any(word != word.strip() or not word for word in words) or (name in self.prompts and not words):
                raise VocabularyError(f"prompts must be words without space around them, got {words} for {name!r}")
            if len(set(words)) != len(words):
                raise VocabularyError(f"a prompt must be given once, got {words} for {name!r} in {self.name!r}")

    @property
    def base_name(self) -> str:
        """Name of the vocabulary whose ids and files these are: of the base, else its own."""
        return self.base or self.name

    @property
    def num_classes(self) -> int:
        """Number of classes, background included."""
        return len(self.classes)

    @property
    def ignore(self) -> int:
        """The id that means unlabelled (in labels) or void (in truth): 255, or 65535 above 255 classes."""
        return IGNORE if len(self.classes) <= IGNORE else WIDE_IGNORE

    @property
    def colours(self) -> tuple[Colour, ...]:
        """RGB of each class: the palette, else the VOC colour map (without black where there is no background)."""
        if self.palette:
            return self.palette
        first = 0 if self.background is not None else 1
        return colour_map(first + len(self.classes))[first:]

    def id_of(self, name: str) -> int:
        """Id of a class by name, alias, or decimal id.

        Raises
        ------
        VocabularyError
            When there is no such class; the hint lists the known names.
        """
        name = self.aliases.get(name, name)
        if name in self.classes:
            return self.classes.index(name)
        if name.isdecimal() and len(name) <= LONGEST_NUMBER and int(name) < len(self.classes):
            return int(name)
        known = ", ".join(self.classes[:30]) + (" ..." if len(self.classes) > 30 else "")
        raise VocabularyError(f"unknown class {name!r} in vocabulary {self.name!r}", hint=f"known classes: {known}")

    def to_json(self) -> dict[str, Any]:
        """What run.json keeps: enough to read the masks without this package."""
        return {
            "name": self.name,
            "classes": list(self.classes),
            "background": self.background,
            "ignore": self.ignore,
            "palette": [list(colour) for colour in self.colours],
        }

    def digest(self) -> str:
        """Sha256 over names, background and all words: equal vocabularies give equal text and ids."""
        prompts = {name: list(words) for name, words in sorted(self.prompts.items())}
        content = [self.classes, self.background, prompts, list(self.background_words)]
        return hashlib.sha256(json.dumps(content, ensure_ascii=False).encode()).hexdigest()


def vocabulary_from_json(data: Any, *, where: str) -> Vocabulary:
    """Rebuild the vocabulary of a run from what `Vocabulary.to_json` wrote.

    Raises
    ------
    VocabularyError
        When a field is missing or malformed; `where` names the file.
    """
    try:
        return Vocabulary(
            name=str(data["name"]),
            classes=tuple(str(c) for c in data["classes"]),
            background=None if data["background"] is None else int(data["background"]),
            palette=tuple((int(r), int(g), int(b)) for r, g, b in data["palette"]),
        )
    except (KeyError, TypeError, ValueError, OverflowError) as error:
        if isinstance(error, VocabularyError):
            raise
        raise VocabularyError(f"vocabulary is malformed in {where}: {error!r}", hint="make the run again") from error


def vocabulary_names() -> tuple[str, ...]:
    """Names of the built-in vocabularies, sorted."""
    folder = resources.files("labelgen") / "vocabularies"
    return tuple(sorted(p.name.removesuffix(".toml") for p in folder.iterdir() if p.name.endswith(".toml")))


def load_vocabulary(name: str) -> Vocabulary:
    """Load a built-in vocabulary by name, one from a file, or one that is written out.

    Parameters
    ----------
    name
        A name out of `vocabulary_names`; a `.toml` file (see `parse_vocabulary`); a `.txt` file of one class a line
        (see `labelgen.prompts.parse_word_list`); or `classes:` and a list (see `labelgen.prompts.parse_classes`).

    Raises
    ------
    VocabularyError
        When there is no such vocabulary (the hint lists the built-ins) or the file is malformed.
    """
    from labelgen.prompts import parse_classes, parse_word_list

    if name in vocabulary_names():
        text = (resources.files("labelgen") / "vocabularies" / f"{name}.toml").read_text(encoding="utf-8")
        return parse_vocabulary(text, where=name)
    if name.startswith("classes:"):
        return parse_classes(name.removeprefix("classes:"))
    if not name.endswith((".toml", ".txt")):
        known = ", ".join(vocabulary_names())
        raise VocabularyError(f"unknown vocabulary {name!r}", hint=f"built-ins: {known}; or give a .toml or .txt file")
    try:
        text = read_bounded(Path(name), LARGEST_TOML).decode("utf-8-sig")
    except (OSError, ValueError) as error:
        raise VocabularyError(f"vocabulary file cannot be read: {name} ({error})") from error
    return (parse_vocabulary if name.endswith(".toml") else parse_word_list)(text, where=name)


def parse_vocabulary(text: str, *, where: str) -> Vocabulary:
    r"""Read a vocabulary from TOML: the fields of `Vocabulary`, of which only `classes` or `base` must be there.

    With `base`, what the file does not say is as in that built-in vocabulary, and classes cannot be given.

    Examples
    --------
    >>> animals = parse_vocabulary('base = "voc"\nprompts = {cow = ["cow", "cattle"]}', where="farm.toml")
    >>> animals.name, animals.num_classes, dict(animals.prompts)
    ('farm', 21, {'cow': ('cow', 'cattle')})
    """
    try:
        table = parse_toml(text)
    except ValueError as error:
        raise VocabularyError(f"vocabulary is not valid TOML: {where} ({error})") from error
    known = {field.name for field in fields(Vocabulary)}
    foreign = sorted(set(table) - known)
    if foreign:
        raise VocabularyError(f"unknown key {foreign[0]!r} in {where}", hint=f"known keys: {', '.join(sorted(known))}")
    if not {"classes", "base"} & set(table):
        raise VocabularyError(
            f"a vocabulary must have classes, or a base to take them from, got neither in {where}",
            hint='classes = ["background", "cat", "dog"], or base = "voc"',
        )
    background = table.get("background")
    if background is not None and (not isinstance(background, int) or isinstance(background, bool)):
        raise VocabularyError(
            f"background must be the id of a class, got {background!r} in {where}",
            hint="ids count the classes from 0: background = 0 is the first",
        )
    try:
        given = {key: _read_field(key, value) for key, value in table.items()}
        if "base" in given:
            return _variant(given, where)
        return Vocabulary(**{"name": Path(where).stem, "classes": table["classes"]} | given)
    except (KeyError, TypeError, ValueError, AttributeError, OverflowError) as error:
        if isinstance(error, VocabularyError):
            raise
        raise VocabularyError(f"vocabulary is malformed in {where}: {error}") from error


def _read_field(key: str, value: Any) -> Any:
    if key in ("classes", "background_words"):
        return _strings(value)
    if key == "prompts":
        return {str(name): _strings(words) for name, words in value.items()}
    if key == "aliases":
        return {str(alias): str(name) for alias, name in value.items()}
    if key == "palette":
        return tuple((int(r), int(g), int(b)) for r, g, b in value)
    if key in ("raw_ids", "void_ids"):
        return tuple(int(i) for i in value)
    return value if key == "background" else str(value)


def _strings(values: Any) -> tuple[str, ...]:
    if isinstance(values, str):
        raise TypeError(f"a list of words is needed, got {values!r}")
    return tuple(map(str, values))


def _variant(given: dict[str, Any], where: str) -> Vocabulary:
    if given["base"] not in vocabulary_names():
        raise VocabularyError(f"base must be a built-in vocabulary, got {given['base']!r} in {where}")
    fixed = sorted({"classes", "background", "raw_ids", "void_ids"} & set(given))
    if fixed:
        raise VocabularyError(f"{fixed[0]} comes from the base and cannot be given beside it, in {where}")
    base = load_vocabulary(given["base"])
    return replace(base, **{"name": Path(where).stem} | given | {"base": base.base_name})


def colour_map(count: int) -> tuple[Colour, ...]:
    """Colours of the PASCAL VOC devkit: bits 0, 3, 6... of the id give red, 1, 4, 7... green, 2, 5, 8... blue.

    Examples
    --------
    >>> colour_map(3)
    ((0, 0, 0), (128, 0, 0), (0, 128, 0))
    """
    return tuple(_devkit_colour(index) for index in range(count))


def _devkit_colour(index: int) -> Colour:
    channels = [0, 0, 0]
    for bit in range(8):
        for channel in range(3):
            channels[channel] |= (index >> (3 * bit + channel) & 1) << (7 - bit)
    return channels[0], channels[1], channels[2]
