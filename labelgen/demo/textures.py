"""Texture tiles and colours of the demo scenes: periodic 64 x 64 grey tiles made once, in integer arithmetic."""

import hashlib
from functools import lru_cache

import cv2
import numpy as np
from jaxtyping import Int, UInt8

from labelgen.demo.shapes import Colour, Paint, between, pick

TILE_SIZE = 64  # a power of two: the renderer wraps texture coordinates with a bit mask
TILE_NAMES = (
    "plain", "wool", "patches", "stripes", "planks", "feathers", "bricks", "grass", "waves", "speckle", "clouds",
    "checks", "dots", "veins", "fur", "gravel",
)  # fmt: skip
TILE = {name: number for number, name in enumerate(TILE_NAMES)}

# Light and dark colour of a coat; shared by all animals, so that the coat does not tell the animal.
COATS: tuple[tuple[Colour, Colour], ...] = (
    ((238, 234, 226), (52, 46, 44)),
    ((236, 226, 208), (142, 88, 48)),
    ((226, 220, 210), (170, 164, 156)),
    ((206, 140, 78), (138, 78, 34)),
    ((122, 84, 56), (78, 50, 34)),
    ((84, 80, 82), (40, 38, 42)),
    ((166, 158, 150), (92, 88, 90)),
    ((226, 190, 140), (168, 120, 74)),
)
SKINS: tuple[Colour, ...] = ((244, 208, 178), (224, 176, 138), (186, 130, 92), (134, 88, 60), (92, 60, 44))
HAIRS: tuple[Colour, ...] = (
    (40, 32, 30),
    (86, 54, 34),
    (150, 104, 56),
    (216, 182, 108),
    (170, 76, 40),
    (190, 190, 192),
)
TYRE: Colour = (44, 44, 50)
GLASS: tuple[Colour, ...] = ((168, 206, 226), (92, 122, 148), (58, 68, 88), (204, 224, 228))


def vivid(rng: np.random.Generator, *, low: int = 90, high: int = 240) -> Colour:
    """Return a colour of any hue, from greyish to full; `low` and `high` bound its brightest channel."""
    value = int(rng.integers(low, high))
    depth = int(rng.integers(20, 200))
    sixth, within = divmod(int(rng.integers(6 * 64)), 64)
    floor = value - value * depth // 256
    rise, fall = floor + (value - floor) * within // 64, value - (value - floor) * within // 64
    return (
        (value, rise, floor),
        (fall, value, floor),
        (floor, value, rise),
        (floor, fall, value),
        (rise, floor, value),
        (value, floor, fall),
    )[sixth]


def shade(colour: Colour, percent: int) -> Colour:
    """Return the colour made darker (percent < 100) or lighter (> 100).

    Examples
    --------
    >>> shade((100, 200, 50), 150)
    (150, 255, 75)
    """
    red, green, blue = (min(255, channel * percent // 100) for channel in colour)
    return red, green, blue


def plain(colour: Colour) -> Paint:
    """Return a paint of one colour, barely mottled."""
    return Paint(colour, shade(colour, 93), TILE["plain"], 64)


def coat(rng: np.random.Generator) -> tuple[Colour, Colour]:
    """Return the two colours of an animal, in either order."""
    light, dark = pick(rng, COATS)
    light, dark = shade(light, int(rng.integers(80, 108))), shade(dark, int(rng.integers(75, 125)))
    return (light, dark) if rng.random() < 0.6 else (dark, light)


def cloth(rng: np.random.Generator) -> Paint:
    """Return the paint of a garment, a sail or a pot: plain or patterned, in any colours."""
    base = vivid(rng)
    if rng.random() < 0.5:
        return plain(base)
    tile = TILE[pick(rng, ("stripes", "checks", "dots"))]
    return Paint(base, vivid(rng), tile, int(between(rng, 90, 220)), bool(rng.random() < 0.5))


@lru_cache(maxsize=1)
def tiles() -> UInt8[np.ndarray, "K 64 64"]:
    """Return all tiles in the order of `TILE_NAMES`: 0 is the base colour, 255 the other."""
    seed = int.from_bytes(hashlib.sha256(b"labelgen demo tiles 1").digest()[:8], "little")
    rng = np.random.default_rng(seed)
    rows, cols = np.mgrid[0:TILE_SIZE, 0:TILE_SIZE].astype(np.int64)
    return np.stack([_draw_tile(name, rng, rows, cols) for name in TILE_NAMES])


def _noise(rng: np.random.Generator, cells_down: int, cells_across: int) -> Int[np.ndarray, "64 64"]:
    """Periodic value noise of mean about 128, from a random grid enlarged bit-exactly."""
    grid = rng.integers(0, 256, size=(cells_down, cells_across), dtype=np.uint8)
    size = (3 * TILE_SIZE, 3 * TILE_SIZE)
    large = cv2.resize(np.tile(grid, (3, 3)), size, interpolation=cv2.INTER_LINEAR_EXACT)
    return np.asarray(large[TILE_SIZE : 2 * TILE_SIZE, TILE_SIZE : 2 * TILE_SIZE], dtype=np.int64)


def _bumps(rng: np.random.Generator, count: int, radius: int) -> Int[np.ndarray, "64 64"]:
    """Overlapping round bumps, bright below and dark at the rim: wool, gravel."""
    tile = np.full((TILE_SIZE, TILE_SIZE), 230, dtype=np.int64)
    offsets = [(r, c) for r in range(-radius, radius + 1) for c in range(-radius, radius + 1)]
    for _ in range(count):
        centre = rng.integers(0, TILE_SIZE, size=2)
        for row, col in offsets:
            reach = row * row + col * col
            if reach <= radius * radius:
                value = 230 if reach > (radius - 1) ** 2 and row > 0 else 40 + 12 * (row + radius)
                tile[(centre[0] + row) % TILE_SIZE, (centre[1] + col) % TILE_SIZE] = value
    return tile


def _strokes(rng: np.random.Generator, count: int, length: int, slant: int) -> Int[np.ndarray, "64 64"]:
    """Short upright strokes of random grey: grass, fur."""
    tile = _noise(rng, 8, 8) // 3
    for _ in range(count):
        row, col, value = (int(number) for number in rng.integers(0, (TILE_SIZE, TILE_SIZE, 256)))
        lean = int(rng.integers(-slant, slant + 1))
        for step in range(length):
            tile[(row + step) % TILE_SIZE, (col + lean * step // length) % TILE_SIZE] = value
    return tile


def _feathers(rows: np.ndarray, cols: np.ndarray) -> np.ndarray:
    """Rows of scallops, every second row shifted by half a scallop."""
    across = (cols + 4 * ((rows // 8) % 2)) % 8 - 4
    edge = (rows % 8) - (across * across) // 3
    return np.where((edge >= 2) & (edge <= 3), 255, np.where(edge > 3, 90, 30))


def _draw_tile(name: str, rng: np.random.Generator, rows: np.ndarray, cols: np.ndarray) -> UInt8[np.ndarray, "64 64"]:
    wobble = _noise(rng, 5, 5) // 24
    drawn = {
        "plain": lambda: _noise(rng, 16, 16),
        "wool": lambda: _bumps(rng, 260, 4),
        "patches": lambda: np.where(_noise(rng, 6, 6) * 2 + _noise(rng, 14, 14) > 400, 255, 0),
        "stripes": lambda: np.where((cols + wobble) % 16 < 6, 255, 0),
        "planks": lambda: np.where(rows % 10 < 2, 255, _noise(rng, 6, 3) // 3),
        "feathers": lambda: _feathers(rows, cols),
        "bricks": lambda: np.where(
            (rows % 8 == 0) | ((cols + 8 * ((rows // 8) % 2)) % 16 == 0), 255, _noise(rng, 8, 4) // 2
        ),
        "grass": lambda: _strokes(rng, 420, 6, 2),
        "waves": lambda: np.where((rows + _noise(rng, 4, 8) // 20) % 9 < 2, 255, _noise(rng, 16, 5) // 2),
        "speckle": lambda: rng.integers(0, 256, size=rows.shape),
        "clouds": lambda: np.clip(_noise(rng, 4, 3) * 2 + _noise(rng, 9, 7) - 320, 0, 255),
        "checks": lambda: 127 * ((rows // 8) % 2) + 127 * ((cols // 8) % 2),
        "dots": lambda: np.where((rows % 16 - 8) ** 2 + ((cols + 8 * ((rows // 16) % 2)) % 16 - 8) ** 2 < 20, 255, 0),
        "veins": lambda: np.where((cols % 32 == 16) | ((rows + np.abs(cols % 32 - 16)) % 7 == 0), 255, 40),
        "fur": lambda: _strokes(rng, 700, 4, 1),
        "gravel": lambda: _bumps(rng, 120, 5),
    }[name]()
    return np.clip(drawn, 0, 255).astype(np.uint8)
