"""The places of the demo scenes, with the unlabelled things that stand about in them.

A place is drawn in pixels: its parts use the image's own rows and columns as object units.
"""

from collections.abc import Callable

import numpy as np

from labelgen.demo.shapes import Colour, Paint, Part, between, box, cloud, ellipse, limb, pick, polygon, smooth
from labelgen.demo.textures import TILE, plain, shade, vivid

Place = Callable[[np.random.Generator, int, int, int], list[Part]]
SKIES: tuple[Colour, ...] = ((126, 178, 226), (164, 200, 226), (196, 206, 212), (236, 196, 160), (92, 122, 168))
GRASSES: tuple[Colour, ...] = ((104, 150, 66), (134, 160, 78), (86, 128, 70), (168, 164, 94))


def _varied(rng: np.random.Generator, colours: tuple[Colour, ...]) -> Colour:
    return shade(pick(rng, colours), int(rng.integers(78, 116)))


def _ground(rng: np.random.Generator, height: int, width: int, horizon: float, paint: Paint) -> Part:
    """Everything below a gently rolling line."""
    cols = np.linspace(-4, width + 4, 7)
    rows = horizon + (rng.random(7) - 0.5) * between(rng, 0, 12)
    line = np.stack([rows, cols], axis=1)
    return Part(np.concatenate([line, [(height + 4.0, width + 4.0), (height + 4.0, -4.0)]]), paint)


def _sky_part(rng: np.random.Generator, height: int, width: int) -> list[Part]:
    blue = _varied(rng, SKIES)
    pitch = int(between(rng, 45, 80))
    return [Part(box(-4, -4, height + 4, width + 4), Paint(blue, (246, 246, 248), TILE["clouds"], pitch))]


def _tree(rng: np.random.Generator, row: float, col: float, size: float) -> list[Part]:
    green = _varied(rng, ((70, 112, 60), (52, 92, 66), (128, 136, 62), (170, 110, 56)))
    crown = Paint(green, shade(green, 60), TILE["gravel" if rng.random() < 0.5 else "speckle"], 90)
    trunk = plain((104, 78, 56))
    if rng.random() < 0.4:
        top = polygon((row - size * 2, col), (row - size * 0.4, col + size * 0.6), (row - size * 0.4, col - size * 0.6))
        return [Part(limb((row - size * 0.6, col), (row, col), size * 0.2, size * 0.25), trunk), Part(top, crown)]
    round_top = cloud(row - size * 1.3, col, size * 0.7, size * 0.75, bumps=8, depth=0.15)
    return [Part(limb((row - size, col), (row, col), size * 0.2, size * 0.28), trunk), Part(round_top, crown)]


def _house(rng: np.random.Generator, row: float, col: float, size: float) -> list[Part]:
    wall = Paint(vivid(rng, low=130, high=220), (150, 140, 132), TILE[pick(rng, ("bricks", "plain", "planks"))], 100)
    high, half = size * between(rng, 0.9, 2.0), size * between(rng, 0.5, 0.9)
    parts = [Part(box(row - high, col - half, row, col + half), wall)]
    glass = plain(pick(rng, ((90, 110, 132), (236, 220, 150), (180, 200, 210))))
    for top in np.arange(row - high + 5, row - 8, 11):
        for left in np.arange(col - half + 4, col + half - 7, 11):
            parts.append(Part(box(float(top), float(left), float(top) + 6, float(left) + 5), glass))
    if rng.random() < 0.5:
        roof = plain(vivid(rng, low=80, high=170))
        parts.append(
            Part(
                polygon((row - high, col - half - 3), (row - high - size * 0.5, col), (row - high, col + half + 3)),
                roof,
            )
        )
    return parts


def _boulder(rng: np.random.Generator, row: float, col: float, size: float) -> list[Part]:
    grey = shade((176, 172, 166), int(rng.integers(50, 120)))
    rock = Paint(grey, shade(grey, 60), TILE[pick(rng, ("gravel", "speckle", "plain"))], 100)
    outline = smooth((row, col - size), (row - size * 0.8, col - size * 0.6), (row - size, col + size * 0.3),
                     (row - size * 0.4, col + size), (row, col + size * 0.9))  # fmt: skip
    return [Part(outline, rock)]


def _fence(rng: np.random.Generator, row: float, width: int) -> list[Part]:
    wood = plain(pick(rng, ((150, 118, 84), (226, 222, 214), (96, 82, 74))))
    rails = [Part(box(row - 10, -4, row - 8, width + 4), wood), Part(box(row - 5, -4, row - 3, width + 4), wood)]
    return rails + [Part(box(row - 13, float(c), row, float(c) + 2.5), wood) for c in range(3, width, 13)]


def _scatter(rng: np.random.Generator, horizon: float, width: int, things: tuple, most: int) -> list[Part]:
    parts: list[Part] = []
    for _ in range(int(rng.integers(most + 1))):
        row, col = horizon + between(rng, 0, 14), between(rng, 0, width)
        parts += pick(rng, things)(rng, row, col, between(rng, 9, 26))
    return parts


def meadow(rng: np.random.Generator, height: int, width: int, horizon: int) -> list[Part]:
    """Grass under a sky, with hills, trees, rocks or a fence."""
    green = _varied(rng, GRASSES)
    hill = shade(green, int(rng.integers(65, 95)))
    parts = _sky_part(rng, height, width)
    if rng.random() < 0.6:
        far = smooth(
            (horizon + 20, -40), (horizon - between(rng, 5, 26), between(rng, 0, width)), (horizon + 20, width + 40)
        )
        parts.append(Part(far, Paint(hill, shade(hill, 80), TILE["speckle"], 60)))
    parts.append(
        _ground(rng, height, width, horizon, Paint(green, shade(green, 62), TILE["grass"], int(between(rng, 60, 110))))
    )
    parts += _scatter(rng, horizon, width, (_tree, _tree, _boulder), 3)
    return parts + (_fence(rng, horizon + 8, width) if rng.random() < 0.25 else [])


def street(rng: np.random.Generator, height: int, width: int, horizon: int) -> list[Part]:
    """A road with markings before houses and trees."""
    grey = shade((128, 128, 132), int(rng.integers(60, 125)))
    parts = _sky_part(rng, height, width)
    parts += _scatter(rng, horizon, width, (_house, _house, _tree), 5)
    pavement = shade((186, 178, 168), int(rng.integers(70, 112)))
    parts.append(
        Part(box(horizon, -4, horizon + 10, width + 4), Paint(pavement, shade(pavement, 80), TILE["bricks"], 80))
    )
    parts.append(Part(box(horizon + 9, -4, height + 4, width + 4), Paint(grey, shade(grey, 70), TILE["speckle"], 100)))
    start, row = between(rng, 0, 30), horizon + (height - horizon) * between(rng, 0.45, 0.8)
    for left in np.arange(start - 40, width, 36):
        parts.append(Part(box(row, float(left), row + 3, float(left) + 18), plain((228, 222, 200))))
    return parts


def lake(rng: np.random.Generator, height: int, width: int, horizon: int) -> list[Part]:
    """Water with waves under a sky, perhaps with a far shore and rocks."""
    blue = _varied(rng, ((72, 128, 168), (60, 104, 120), (92, 140, 186), (110, 120, 130), (64, 142, 148)))
    parts = _sky_part(rng, height, width)
    if rng.random() < 0.6:
        shore = smooth(
            (horizon + 8, -30), (horizon - between(rng, 4, 18), between(rng, 0, width)), (horizon + 8, width + 30)
        )
        parts.append(Part(shore, plain(_varied(rng, GRASSES))))
    water = Paint(blue, shade(blue, int(rng.integers(125, 165))), TILE["waves"], int(between(rng, 55, 100)))
    parts.append(Part(box(horizon, -4, height + 4, width + 4), water))
    return parts + _scatter(rng, horizon + 10, width, (_boulder,), 2)


def sky(rng: np.random.Generator, height: int, width: int, horizon: int) -> list[Part]:
    """Sky nearly everywhere; ground, if any, far below."""
    parts = _sky_part(rng, height, width)
    for _ in range(int(rng.integers(3))):
        row, col = between(rng, 10, height - 20), between(rng, 0, width)
        puff = cloud(row, col, between(rng, 5, 10), between(rng, 14, 28), bumps=9, depth=0.25)
        parts.append(Part(puff, Paint((250, 250, 250), (216, 222, 230), TILE["plain"], 60)))
    if rng.random() < 0.4:
        green = _varied(rng, GRASSES)
        parts.append(_ground(rng, height, width, height - 14, Paint(green, shade(green, 66), TILE["speckle"], 80)))
    return parts


def room(rng: np.random.Generator, height: int, width: int, horizon: int) -> list[Part]:
    """A wall and a floor, with a window, a picture, a carpet or a cupboard."""
    wall, floor = vivid(rng, low=150, high=235), vivid(rng, low=100, high=210)
    paper = Paint(
        wall,
        shade(wall, 86),
        TILE[pick(rng, ("plain", "stripes", "dots", "bricks", "checks"))],
        int(between(rng, 50, 90)),
    )
    tiling = Paint(
        floor, shade(floor, 72), TILE[pick(rng, ("planks", "checks", "plain", "fur"))], int(between(rng, 40, 80))
    )
    parts = [Part(box(-4, -4, height + 4, width + 4), paper), Part(box(horizon, -4, height + 4, width + 4), tiling)]
    parts.append(Part(box(horizon - 4, -4, horizon, width + 4), plain(shade(wall, 70))))
    left = between(rng, 5, width - 50)
    if rng.random() < 0.4:
        parts.append(Part(box(8, left, horizon * 0.7, left + 36), plain((232, 230, 226))))
        parts.append(
            Part(
                box(11, left + 3, horizon * 0.7 - 3, left + 33),
                Paint((150, 196, 232), (244, 246, 250), TILE["clouds"], 90),
            )
        )
        parts.append(Part(box(8, left + 17, horizon * 0.7, left + 19), plain((232, 230, 226))))
    elif rng.random() < 0.5:
        wood = Paint((150, 106, 68), (110, 76, 48), TILE["planks"], 100, True)
        parts.append(Part(box(horizon * 0.35, left, horizon + 6, left + 40), wood))
        parts.append(Part(box(horizon * 0.35 + 6, left + 6, horizon, left + 34), plain((170, 126, 84))))
    if rng.random() < 0.4:
        rug = Paint(vivid(rng), vivid(rng), TILE[pick(rng, ("stripes", "dots", "checks"))], 70)
        parts.append(Part(ellipse(height - 16, between(rng, 30, width - 30), 14, 50), rug))
    return parts


def beach(rng: np.random.Generator, height: int, width: int, horizon: int) -> list[Part]:
    """Sand before the sea."""
    sand = _varied(rng, ((226, 202, 152), (206, 180, 138), (196, 190, 176)))
    blue = _varied(rng, ((72, 138, 176), (80, 150, 150), (116, 130, 146)))
    parts = _sky_part(rng, height, width)
    parts.append(Part(box(horizon - 16, -4, height + 4, width + 4), Paint(blue, shade(blue, 140), TILE["waves"], 80)))
    parts.append(_ground(rng, height, width, horizon, Paint(sand, shade(sand, 76), TILE["speckle"], 90)))
    return parts + _scatter(rng, horizon + 6, width, (_boulder,), 3)


PLACES: dict[str, Place] = {
    "meadow": meadow, "street": street, "lake": lake, "sky": sky, "room": room, "beach": beach,
}  # fmt: skip
