"""Words for text models: classes written out by hand, lists of words, and the table from prompts to classes."""

import hashlib
import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from labelgen.errors import VocabularyError
from labelgen.vocab import Vocabulary

__all__ = [
    "BACKGROUND_MODES",
    "BACKGROUND_WORDS",
    "UNLABELLED",
    "BackgroundMode",
    "PromptTable",
    "parse_classes",
    "parse_word_list",
    "prompt_table",
    "split_words",
]

BackgroundMode = Literal["none", "word", "words", "threshold", "words+threshold", "saliency"]
BACKGROUND_MODES: tuple[BackgroundMode, ...] = ("none", "word", "words", "threshold", "words+threshold", "saliency")
"""Where background comes from: nowhere, the word, a list of words, low probability, both, or a saliency map."""

BACKGROUND_WORDS = (
    "sky", "wall", "tree", "wood", "grass", "road", "sea", "river", "mountain", "sands", "desk", "bed", "building",
    "cloud", "lamp", "door", "window", "wardrobe", "ceiling", "shelf", "curtain", "stair", "floor", "hill", "rail",
    "fence",
)  # fmt: skip
"""The 26 words with which SCLIP and its followers describe the background of PASCAL VOC and of COCO objects."""

UNLABELLED = -1
"""In `PromptTable.class_of`: a pixel that this prompt wins gets no label."""


@dataclass(frozen=True)
class PromptTable:
    """Prompts, and the class that each speaks for.

    Parameters
    ----------
    prompts
        Words without template; unique.
    class_of
        Vocabulary id of each prompt; `UNLABELLED` for prompts that only take pixels away.
    warnings
        What was changed in the words that were given, a sentence each.
    """

    prompts: tuple[str, ...]
    class_of: tuple[int, ...]
    warnings: tuple[str, ...] = ()

    @property
    def class_ids(self) -> tuple[int, ...]:
        """The classes that have prompts, increasing; `UNLABELLED` last where it occurs."""
        found = sorted(set(self.class_of) - {UNLABELLED})
        return (*found, UNLABELLED) if UNLABELLED in self.class_of else tuple(found)

    def prompts_of(self, class_id: int) -> tuple[int, ...]:
        """Indices of the prompts of one class.

        Examples
        --------
        >>> PromptTable(("cat", "kitten", "sky"), (8, 8, 0)).prompts_of(8)
        (0, 1)
        """
        return tuple(index for index, owner in enumerate(self.class_of) if owner == class_id)

    def digest(self) -> str:
        """Sha256 over prompts and classes."""
        return hashlib.sha256(json.dumps([self.prompts, self.class_of], ensure_ascii=False).encode()).hexdigest()

    def facts(self, vocabulary: Vocabulary, templates: Iterable[str]) -> dict[str, Any]:
        """The words of a run for its record: the prompts by the name of their class, and the sentences around them."""
        names = {UNLABELLED: "(unlabelled)", **dict(enumerate(vocabulary.classes))}
        return {
            "vocabulary_sha256": vocabulary.digest(),
            "prompts": {names[c]: [self.prompts[i] for i in self.prompts_of(c)] for c in self.class_ids},
            "prompts_sha256": self.digest(),
            "templates": list(templates),
        }


def prompt_table(
    vocabulary: Vocabulary,
    *,
    background: BackgroundMode = "none",
    background_words: Sequence[str] = (),
    negative: Sequence[str] = (),
    negative_to: Literal["background", "unlabelled"] = "background",
) -> PromptTable:
    """The prompts of a vocabulary in the order of its classes, then those of the background, then the negative ones.

    Parameters
    ----------
    background
        `word` adds the prompt "background"; `words` and `words+threshold` add a list of words; the others add none.
        In a vocabulary without a background class these prompts take pixels away instead.
    background_words
        The list; empty for that of the vocabulary, and where it has none for `BACKGROUND_WORDS`. A word that a class
        already uses, as its name or as a prompt, is left out with a warning.
    negative
        Further words for things that are in the images but are no class.
    negative_to
        Whether pixels won by a negative prompt become background or stay unlabelled.

    Raises
    ------
    VocabularyError
        When two classes use the same prompt, when a negative prompt is one of a class, or when no class is left.

    Examples
    --------
    >>> farm = Vocabulary("farm", ("background", "cow", "bed"), 0, {"cow": ("cow", "cattle")})
    >>> table = prompt_table(farm, background="words", background_words=("sky", "bed"))
    >>> table.prompts, table.class_of
    (('cow', 'cattle', 'bed', 'sky'), (1, 1, 2, 0))
    >>> table.warnings
    ('background words that are classes were left out: bed',)
    """
    pairs: list[tuple[str, int]] = []
    for class_id, name in enumerate(vocabulary.classes):
        if class_id != vocabulary.background:
            pairs += [(prompt, class_id) for prompt in vocabulary.prompts.get(name, (name,))]
    if not pairs:
        raise VocabularyError(f"vocabulary {vocabulary.name!r} must have a class besides its background")
    _refuse_shared(pairs, vocabulary)
    taken = _comparable(prompt for prompt, _ in pairs) | _comparable(vocabulary.classes[i] for _, i in pairs)
    home = UNLABELLED if vocabulary.background is None else vocabulary.background
    words = _background_prompts(vocabulary, background, background_words)
    clashing = [word for word in words if word.casefold() in taken]
    words = [word for word in words if word not in clashing]
    warnings = (f"background words that are classes were left out: {', '.join(clashing)}",) if clashing else ()
    pairs += [(word, home) for word in words]
    pairs += _negative_pairs(negative, taken, set(words), home if negative_to == "background" else UNLABELLED)
    prompts, owners = zip(*pairs, strict=True)
    return PromptTable(prompts, owners, warnings)


def _background_prompts(vocabulary: Vocabulary, mode: BackgroundMode, given: Sequence[str]) -> list[str]:
    if mode == "word":
        return ["background"]
    if "words" not in mode:
        return []
    return list(dict.fromkeys(given or vocabulary.background_words or BACKGROUND_WORDS))


def _negative_pairs(words: Sequence[str], taken: set[str], already: set[str], owner: int) -> list[tuple[str, int]]:
    clashing = [word for word in words if word.casefold() in taken]
    if clashing:
        raise VocabularyError(
            f"a negative prompt cannot be a class as well, got {clashing[0]!r}",
            hint="leave it out of --negative, or out of the words of the class",
        )
    return [(word, owner) for word in dict.fromkeys(words) if word not in already]


def _refuse_shared(pairs: Sequence[tuple[str, int]], vocabulary: Vocabulary) -> None:
    owners: dict[str, int] = {}
    for prompt, class_id in pairs:
        other = owners.setdefault(prompt.casefold(), class_id)
        if other != class_id:
            names = f"{vocabulary.classes[other]!r} and {vocabulary.classes[class_id]!r}"
            raise VocabularyError(
                f"two classes cannot have the same prompt, got {prompt!r} for {names} in {vocabulary.name!r}",
                hint="give one of them other words",
            )


def _comparable(words: Iterable[str]) -> set[str]:
    return {word.casefold() for word in words}


def split_words(text: str) -> tuple[str, ...]:
    """Split words at `;`, or where there is none at `,`; spaces around them do not count.

    Examples
    --------
    >>> split_words("sky; brick wall"), split_words("sky, wall,"), split_words("")
    (('sky', 'brick wall'), ('sky', 'wall'), ())
    """
    parts = (part.strip() for part in text.split(";" if ";" in text else ","))
    return tuple(part for part in parts if part)


def parse_classes(text: str) -> Vocabulary:
    """Read classes written in one line.

    The grammar is `CLASS, CLASS=PROMPT; PROMPT, ...`: commas stand between classes, `=` before the prompts that a
    text model sees instead of the name, semicolons between prompts. The first class may be `background`; what
    follows its `=` are words for what lies there.

    Raises
    ------
    VocabularyError
        When a name or prompt is empty or repeated, or `background` is not the first class.

    Examples
    --------
    >>> classes = parse_classes("background=sky; wall, rust, paint=painted surface; peeling paint")
    >>> classes.classes, classes.background, classes.background_words
    (('background', 'rust', 'paint'), 0, ('sky', 'wall'))
    >>> dict(classes.prompts)
    {'paint': ('painted surface', 'peeling paint')}
    """
    lines = []
    for entry in text.split(","):
        name, equals, prompts = (part.strip() for part in entry.partition("="))
        words = tuple(prompt.strip() for prompt in prompts.split(";"))
        if not name or (equals and not all(words)) or (not equals and ";" in name):
            raise VocabularyError(
                f"classes must be written CLASS, CLASS=PROMPT; PROMPT, got {entry.strip()!r} in {text!r}",
                hint='for example "background=sky; wall, rust, paint=painted surface; peeling paint"',
            )
        lines.append((name, words if equals else ()))
    return _vocabulary_of("classes", lines)


def parse_word_list(text: str, *, where: str) -> Vocabulary:
    r"""Read a list of one class a line, as public zero-shot code keeps it.

    Words of a line stand between semicolons where the file has any, else between commas; the first one names the
    class, and all of them are its prompts. A first line that begins with `background`, or that holds only words of
    `BACKGROUND_WORDS`, is the background.

    Parameters
    ----------
    where
        Name of the file: of the vocabulary, and for messages.

    Raises
    ------
    VocabularyError
        When there is no class, a word is empty, or a class is named twice.

    Examples
    --------
    >>> words = parse_word_list("sky; wall\nperson; person in shirt\nship\n", where="list.txt")
    >>> words.classes, words.background, words.background_words, dict(words.prompts)
    (('background', 'person', 'ship'), 0, ('sky', 'wall'), {'person': ('person', 'person in shirt')})
    """
    separator = ";" if ";" in text else ","
    rows = [[word.strip() for word in line.split(separator)] for line in text.splitlines() if line.strip()]
    for number, row in enumerate(rows, start=1):
        if not all(row):
            raise VocabularyError(f"a word is empty in class {number} of {where}: {separator.join(row)!r}")
    if not rows:
        raise VocabularyError(f"a list of words must have at least one class, got none in {where}")
    lines = [(row[0], tuple(row) if len(row) > 1 else ()) for row in rows]
    first = rows[0]
    if len(first) > 1 and (first[0] == "background" or set(first) <= set(BACKGROUND_WORDS)):
        lines[0] = ("background", tuple(word for word in first if word != "background"))
    return _vocabulary_of(Path(where).stem, lines)


def _vocabulary_of(name: str, lines: Sequence[tuple[str, tuple[str, ...]]]) -> Vocabulary:
    """Put together a vocabulary of (class, prompts or nothing), the background first where there is one."""
    names = tuple(class_name for class_name, _ in lines)
    if "background" in names[1:]:
        raise VocabularyError(f"background must be the first class, got it as class {names.index('background') + 1}")
    has_background = names[0] == "background"
    return Vocabulary(
        name,
        names,
        background=0 if has_background else None,
        prompts={class_name: words for class_name, words in lines[has_background:] if words},
        background_words=lines[0][1] if has_background else (),
    )
