"""Scenes with exact truth: one to four objects of ten VOC classes in a place, drawn from a split and a number.

The same arguments give the same bytes everywhere. Places go with some classes (boats on lakes, buses in streets) but
not always; coats, clothes and paints are shared between classes, so that colour does not tell them apart, while parts
and textures do, as in photographs.
"""

import hashlib
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from jaxtyping import Int, UInt8

from labelgen.demo import animals, vehicles
from labelgen.demo.backgrounds import PLACES
from labelgen.demo.render import paint_object, placement
from labelgen.demo.shapes import Part, between, pick

Draw = Callable[[np.random.Generator, np.random.Generator], list[Part]]


@dataclass(frozen=True)
class Kind:
    """A class of objects: how to draw it, where it is at home and how large it is."""

    draw: Draw
    homes: tuple[str, ...]
    size: float  # pixels per 100 object units, relative to the other classes
    tilt: float  # largest rotation, degrees
    flies: bool = False


KINDS: dict[int, Kind] = {
    1: Kind(vehicles.aeroplane, ("sky", "sky", "meadow"), 1.0, 28, flies=True),
    3: Kind(animals.bird, ("sky", "beach", "meadow", "lake"), 0.75, 24, flies=True),
    4: Kind(vehicles.boat, ("lake", "lake", "beach"), 1.0, 8),
    6: Kind(vehicles.bus, ("street",), 1.05, 4),
    7: Kind(vehicles.car, ("street", "street", "beach"), 0.95, 5),
    8: Kind(animals.cat, ("room", "room", "meadow", "street"), 0.85, 6),
    10: Kind(animals.cow, ("meadow",), 0.95, 5),
    15: Kind(animals.person, ("street", "room", "beach", "meadow"), 0.95, 6),
    16: Kind(vehicles.pottedplant, ("room", "room", "street"), 0.85, 4),
    17: Kind(animals.sheep, ("meadow",), 0.85, 5),
}
SCENE_CLASSES: tuple[int, ...] = (0, *KINDS)  # VOC ids; 0 is the background
SPLITS: dict[str, int] = {"train": 160, "val": 80}  # scenes of each split, by default
LANDSCAPE = (128, 160)  # height, width
PORTRAIT = (160, 128)
AT_HOME = 0.75  # share of the scenes whose place suits the first object
COUNT_OF_FOUR = (0.35, 0.35, 0.2, 0.1)  # shares of scenes with one, two, three and four objects
LEAST_VISIBLE = 60  # pixels: an object nearly hidden by nearer ones is taken for background clutter nowhere, so redrawn


@dataclass(frozen=True)
class Scene:
    """A drawn image and its exact truth.

    `labels` holds VOC ids, background 0 and no void; `instances` numbers the objects from 1, far to near.
    """

    image: UInt8[np.ndarray, "H W 3"]
    labels: UInt8[np.ndarray, "H W"]
    instances: Int[np.ndarray, "H W"]
