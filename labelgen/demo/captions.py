"""Captions of demo scenes: what is said of a drawn picture, and texts that are true of none.

A caption knows the cast and the place, never a mask. Its `concepts` say which pictures it fits: those that show all of
them. The words of the ten VOC classes and of the backgrounds that are never drawn come only in texts without a picture.
"""

from collections.abc import Collection
from dataclasses import dataclass

import numpy as np

from labelgen.demo.shapes import pick

__all__ = [
    "BACKGROUNDS", "NAMES", "NEVER_DRAWN", "PLACE_CONCEPTS", "SENTENCES", "TEMPLATES",
    "Caption", "all_words", "caption", "concepts_of", "false_text",
]  # fmt: skip

NAMES: dict[int, tuple[str, ...]] = {
    1: ("aeroplane", "airplane", "plane"),
    3: ("bird",),
    4: ("boat", "ship"),
    6: ("bus",),
    7: ("car",),
    8: ("cat",),
    10: ("cow",),
    15: (
        "person",
        "man",
        "woman",
        "people",
        "person in shirt",
        "person in jeans",
        "person in dress",
        "person in sweater",
        "person in skirt",
        "person in jacket",
    ),
    16: ("potted plant", "pottedplant", "plant in a pot", "houseplant"),
    17: ("sheep",),
}
"""What the captions call each class that is drawn, by VOC id."""

BACKGROUNDS: dict[str, tuple[str, ...]] = {
    "sky": ("sky", "cloud", "clouds"),
    "grass": ("grass", "meadow", "field", "ground"),
    "hill": ("hill", "mountain", "fence", "rock"),
    "tree": ("tree", "trees", "wood"),
    "road": ("road", "street", "pavement"),
    "building": ("building", "house", "buildings"),
    "water": ("water", "lake", "sea", "river"),
    "sand": ("sand", "sands", "beach"),
    "wall": ("wall", "wallpaper"),
    "floor": ("floor", "room", "rug"),
    "window": ("window", "wardrobe", "cupboard"),
}
"""What the captions call the backgrounds; words of one group are taken to be true of the same pictures."""

PLACE_CONCEPTS: dict[str, tuple[str, ...]] = {
    "meadow": ("sky", "grass", "hill", "tree"),
    "street": ("sky", "road", "building", "tree"),
    "lake": ("sky", "water"),
    "sky": ("sky",),
    "room": ("wall", "floor", "window"),
    "beach": ("sky", "sand", "water"),
}
"""What may be said of each place."""

UNSURE = frozenset({"hill", "tree", "building", "window"})
"""Not in every picture of their places: captions with these words are true of most pictures only, as on the web."""

SENTENCES: tuple[str, ...] = ("a photo of {}.", "{}.", "a picture of {}", "there is {}")
PLACE_PHRASES: dict[str, tuple[str, ...]] = {
    "meadow": ("in a meadow", "on the grass", "in a field", "on grass under the sky"),
    "street": ("in a street", "on the road", "on a road before buildings"),
    "lake": ("on a lake", "on the water", "by the sea", "on a river"),
    "sky": ("in the sky", "under clouds", "against the sky"),
    "room": ("in a room", "on the floor", "before a wall"),
    "beach": ("on a beach", "on the sand", "on the sands by the sea"),
}
NEVER_DRAWN: tuple[str, ...] = (
    "bicycle", "bike", "bottle", "chair", "dining table", "diningtable", "table", "dog", "horse", "motorbike",
    "motorcycle", "sofa", "couch", "train", "tv monitor", "tvmonitor", "television monitor", "monitor", "television",
    "screen", "desk", "bed", "lamp", "door", "ceiling", "shelf", "curtain", "stair", "rail",
)  # fmt: skip
TEMPLATES: tuple[str, ...] = ("{}", "a {}.", "this is a {}.", "there is a {} in the scene.", "a photo of a {}.")
KINDS_OF_CAPTION = (0.5, 0.35, 0.15)  # shares: one word; several objects; one word of the background


@dataclass(frozen=True)
class Caption:
    """A text and the concepts that a picture must show for it to be true."""

    text: str
    concepts: frozenset[str]


def concepts_of(place: str, classes: Collection[int]) -> frozenset[str]:
    """Return everything that may be said of a picture of `classes` in `place`.

    Examples
    --------
    >>> sorted(concepts_of("lake", {4}))
    ['4', 'sky', 'water']
    """
    return frozenset({*(str(class_id) for class_id in classes), *PLACE_CONCEPTS[place]})


def caption(
    rng: np.random.Generator, place: str, classes: Collection[int], *, templates: tuple[str, ...] = TEMPLATES
) -> Caption:
    """Say something true of a picture: one object, several objects and perhaps the place, or a background.

    Parameters
    ----------
    rng
        Decides what is said and how.
    place
        A key of `PLACES`.
    classes
        VOC ids of what is shown; none for an empty place.
    templates
        Sentences with `{}`, for captions of one word.

    Examples
    --------
    >>> said = caption(np.random.default_rng(5), "lake", {4, 15})
    >>> said.text, sorted(said.concepts)
    ('a ship on the water.', ['4', 'sky', 'water'])
    """
    kind = int(np.searchsorted(np.cumsum(KINDS_OF_CAPTION), rng.random(), side="right"))
    drawn = sorted(set(classes))
    if not drawn or kind == 2:
        word = pick(rng, PLACE_CONCEPTS[place])
        return Caption(pick(rng, templates).format(pick(rng, BACKGROUNDS[word])), frozenset({word}))
    if kind == 0:
        class_id = pick(rng, tuple(drawn))
        return Caption(pick(rng, templates).format(pick(rng, NAMES[class_id])), frozenset({str(class_id)}))
    return _sentence(rng, place, drawn)


def false_text(rng: np.random.Generator, *, templates: tuple[str, ...] = TEMPLATES) -> str:
    """Return a text about something that is never drawn."""
    return pick(rng, templates).format(pick(rng, NEVER_DRAWN))


def all_words() -> tuple[str, ...]:
    """Return every name, phrase and word that occurs in a text."""
    lists = (*NAMES.values(), *BACKGROUNDS.values(), *PLACE_PHRASES.values(), NEVER_DRAWN)
    return tuple(word for words in lists for word in words)


def _sentence(rng: np.random.Generator, place: str, drawn: list[int]) -> Caption:
    """Name some or all objects in random order, sometimes with the place."""
    count = len(drawn) if rng.random() < 0.6 else int(rng.integers(1, len(drawn) + 1))
    named = [int(class_id) for class_id in rng.permutation(drawn)[:count]]
    words = [f"a {pick(rng, NAMES[class_id])}" for class_id in named]
    text = " and ".join([", ".join(words[:-1]), words[-1]] if len(words) > 1 else words)
    concepts = {str(class_id) for class_id in named}
    if rng.random() < 0.5:
        text += " " + pick(rng, PLACE_PHRASES[place])
        concepts |= set(PLACE_CONCEPTS[place]) - UNSURE
    return Caption(pick(rng, SENTENCES).format(text), frozenset(concepts))
