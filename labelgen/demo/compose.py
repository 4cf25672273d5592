"""A cast of objects, and a picture of it: who takes part stays, the pose, the place and the light change."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from jaxtyping import Int, UInt8

from labelgen.demo import animals, vehicles
from labelgen.demo.backgrounds import PLACES
from labelgen.demo.render import paint_object, paint_shadow, placement
from labelgen.demo.shapes import Part, between, pick

Draw = Callable[[np.random.Generator, np.random.Generator], list[Part]]
Picture = tuple[UInt8[np.ndarray, "H W 3"], UInt8[np.ndarray, "H W"], Int[np.ndarray, "H W"]]


@dataclass(frozen=True)
class Kind:
    """A class of objects: how to draw it, where it is at home and how large it is."""

    draw: Draw
    homes: tuple[str, ...]
    size: float  # relative to the other classes
    tilt: float  # largest rotation, degrees
    flies: bool = False


@dataclass(frozen=True)
class Actor:
    """One object of a cast: its class and the seed of everything about it that never changes."""

    class_id: int
    who: int


KINDS: dict[int, Kind] = {
    1: Kind(vehicles.aeroplane, ("sky", "sky", "meadow"), 1.0, 28, flies=True),
    3: Kind(animals.bird, ("sky", "beach", "meadow", "lake"), 0.8, 20, flies=True),
    4: Kind(vehicles.boat, ("lake", "lake", "beach"), 0.95, 8),
    6: Kind(vehicles.bus, ("street",), 1.05, 4),
    7: Kind(vehicles.car, ("street", "street", "beach"), 1.0, 5),
    8: Kind(animals.cat, ("room", "room", "meadow", "street"), 0.9, 6),
    10: Kind(animals.cow, ("meadow",), 0.95, 5),
    15: Kind(animals.person, ("street", "room", "beach", "meadow"), 0.9, 6),
    16: Kind(vehicles.pottedplant, ("room", "room", "street"), 0.9, 4),
    17: Kind(animals.sheep, ("meadow",), 0.95, 5),
}
AT_HOME = 0.75  # share of the scenes whose place suits the first object
TOGETHER = 0.6  # share of the further objects that suit the same place
SHARES = (0.35, 0.35, 0.2, 0.1)  # of scenes with one, two, three and four objects
NEAR_SIZE = (1.35, 1.2, 1.05, 0.95)  # pixels per object unit at the front, by the number of objects


def draw_cast(rng: np.random.Generator, *, shares: tuple[float, ...] = SHARES) -> tuple[str, tuple[Actor, ...]]:
    """Return a place and one to four objects for it; every class comes first equally often."""
    count = 1 + int(np.searchsorted(np.cumsum(shares), rng.random() * sum(shares), side="right"))
    classes = tuple(KINDS)
    first = pick(rng, classes)
    place = pick(rng, KINDS[first].homes) if rng.random() < AT_HOME else pick(rng, tuple(PLACES))
    suited = tuple(class_id for class_id in classes if place in KINDS[class_id].homes)
    others = [pick(rng, suited if rng.random() < TOGETHER else classes) for _ in range(count - 1)]
    return place, tuple(Actor(class_id, int(rng.integers(2**62))) for class_id in (first, *others))


def picture(rng: np.random.Generator, place: str, cast: tuple[Actor, ...], *, size: tuple[int, int]) -> Picture:
    """Draw the cast in a place, each object in a new pose.

    Parameters
    ----------
    rng
        Decides all but the identity of the objects.
    place
        A key of `PLACES`.
    cast
        One to four objects.
    size
        Height and width of the picture, pixels.

    Returns
    -------
    Picture
        The image, the class of each pixel (0 background), and the number of its object, counted from 1 far to near.
    """
    height, width = size
    horizon = height - 14 if place == "sky" else int(height * between(rng, 0.32, 0.6))
    image = np.zeros((height, width, 3), dtype=np.uint8)
    labels = np.zeros((height, width), dtype=np.uint8)
    instances = np.zeros((height, width), dtype=np.int32)
    unit = np.array([[1.0, 0.0, 0.0], [0.0, 1.0, 0.0]])
    paint_object(image, PLACES[place](rng, height, width, horizon), unit, offset=int(rng.integers(64)))
    spots = _spots(rng, cast, horizon, size)
    for number, (row, col, actor) in enumerate(sorted(spots, key=lambda spot: spot[0]), start=1):
        owned = _perform(rng, image, actor, row, col, horizon=horizon, count=len(cast))
        labels[owned] = actor.class_id
        instances[owned] = number
    return _light(rng, image), labels, instances


def _spots(
    rng: np.random.Generator, cast: tuple[Actor, ...], horizon: int, size: tuple[int, int]
) -> list[tuple[float, float, Actor]]:
    """Origin (row, col) of each object: side by side with much play, on the ground unless it flies."""
    height, width = size
    slot = width / len(cast)
    spots = []
    for number, place in enumerate(rng.permutation(len(cast))):
        col = (float(place) + 0.5) * slot + between(rng, -0.4, 0.4) * slot
        flying = KINDS[cast[number].class_id].flies and rng.random() < 0.8
        low = height * 0.45 if flying else min(horizon + 8, height - 8)
        row = between(rng, low, height * (0.9 if flying else 1.03))
        spots.append((row, col, cast[number]))
    return spots


def _perform(
    rng: np.random.Generator,
    image: UInt8[np.ndarray, "H W 3"],
    actor: Actor,
    row: float,
    col: float,
    *,
    horizon: int,
    count: int,
) -> np.ndarray:
    """Paint one object with its shadow; returns its pixels."""
    kind = KINDS[actor.class_id]
    depth = min(max((row - horizon) / (image.shape[0] - horizon), 0.0), 1.0)
    near = between(rng, 0.5, 1.0) if kind.flies else 0.58 + 0.42 * depth
    scale = NEAR_SIZE[count - 1] * kind.size * near * between(rng, 0.75, 1.15)
    matrix = placement(
        row, col, scale=scale, flip=bool(rng.random() < 0.5), tilt=between(rng, -kind.tilt, kind.tilt),
        shear=between(rng, -0.15, 0.15), stretch=between(rng, 0.82, 1.12),
    )  # fmt: skip
    if not kind.flies:
        paint_shadow(image, row, col, half_height=5 * scale, half_width=42 * scale)
    parts = kind.draw(np.random.default_rng(actor.who), rng)
    return paint_object(image, parts, matrix, offset=actor.who % 64)


def _light(rng: np.random.Generator, image: UInt8[np.ndarray, "H W 3"]) -> UInt8[np.ndarray, "H W 3"]:
    """Tint, side light and sensor noise, in 1/256."""
    height, width = image.shape[:2]
    gain = rng.integers(190, 276) + rng.integers(-18, 19, size=3)
    side = int(rng.integers(-36, 37))
    ramp = side * (2 * np.arange(width) - width) // width
    lit = image.astype(np.int32) * (gain + ramp[:, None]) >> 8
    level = int(rng.integers(2, 9))
    noise = rng.integers(-level, level + 1, size=(height, width, 1), dtype=np.int8)
    return np.clip(lit + noise, 0, 255).astype(np.uint8)
