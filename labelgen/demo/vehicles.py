"""The man-made things of the demo scenes: aeroplane, boat, bus, car, potted plant.

Each function draws one individual from `who` (what never changes: make, paint) in a state from `how`.
"""

import numpy as np

from labelgen.demo.shapes import Paint, Part, between, box, cloud, ellipse, limb, moved, pick, polygon, ribbon, smooth
from labelgen.demo.textures import GLASS, TILE, TYRE, cloth, plain, shade, vivid

LAMP = (252, 232, 150)
TAIL_LAMP = (206, 52, 46)
LEAVES = ((62, 122, 58), (96, 152, 62), (40, 92, 70), (136, 160, 82), (146, 74, 88), (120, 110, 60))


def wheel(col: float, radius: float, hub: Paint) -> list[Part]:
    """Return a wheel that stands on the ground."""
    return [
        Part(ellipse(-radius, col, radius, radius), plain(TYRE)),
        Part(ellipse(-radius, col, radius * 0.58, radius * 0.58), hub),
        Part(ellipse(-radius, col, radius * 0.2, radius * 0.2), plain(TYRE)),
    ]


def car(who: np.random.Generator, how: np.random.Generator) -> list[Part]:
    """Draw a car from the side: saloon, hatchback, estate or pick-up."""
    body, glass = plain(vivid(who)), plain(pick(who, GLASS))
    radius, sill, hub = (
        between(who, 8.5, 11),
        between(who, 24, 29),
        plain(pick(who, ((188, 190, 194), (120, 122, 128)))),
    )
    roof = sill + between(who, 14, 20)
    rear, back_glass, front_glass, hood = pick(
        who, ((-30, -18, 8, 26), (-42, -36, 6, 24), (-44, -42, 12, 27), (-8, -6, 14, 26))
    )
    shine = Paint(shade(glass.base, 125), glass.base, TILE["stripes"], 60)
    parts = [
        Part(smooth((-roof, back_glass), (-roof, front_glass), (-sill + 2, hood), (-sill + 3, rear)), body),
        Part(polygon((-roof + 4, back_glass + 3), (-roof + 4, (back_glass + front_glass) / 2 - 1),
                     (-sill, (back_glass + front_glass) / 2 - 1), (-sill, rear + 5)), shine),
        Part(polygon((-roof + 4, (back_glass + front_glass) / 2 + 2), (-roof + 4, front_glass - 2),
                     (-sill, hood - 5), (-sill, (back_glass + front_glass) / 2 + 2)), shine),
        Part(smooth((-sill, -48), (-sill - 1, 0), (-sill, 28), (-sill + 5, 46),
                    (-8, 50), (-6, 30), (-6, -30), (-8, -50)), body),
        Part(box(-10, -46, -6, 46), plain(shade(body.base, 55))),
        Part(ellipse(-radius, -29, radius + 2.5, radius + 2.5), plain(shade(body.base, 35))),
        Part(ellipse(-radius, 29, radius + 2.5, radius + 2.5), plain(shade(body.base, 35))),
        Part(box(-sill + 5, -2, -sill + 7, 5), plain(shade(body.base, 45))),
        Part(box(-sill + 4, 43, -sill + 9, 48), plain(LAMP)),
        Part(box(-sill + 3, -49, -sill + 9, -45), plain(TAIL_LAMP)),
    ]  # fmt: skip
    if how.random() < 0.25:
        parts.insert(0, Part(ellipse(-sill - 6, 6, 6, 5), plain((90, 70, 60))))
    return parts + wheel(-29, radius, hub) + wheel(29, radius, hub)


def bus(who: np.random.Generator, how: np.random.Generator) -> list[Part]:
    """Draw a bus from the side, with one deck or two: a long row of windows, doors, a coloured band."""
    body, band, glass = plain(vivid(who)), plain(vivid(who)), plain(pick(who, GLASS))
    decks, radius = 1 if who.random() < 0.65 else 2, between(who, 7.5, 9)
    height, half = (46, 56) if decks == 1 else (72, 50)
    count, hub = int(who.integers(5, 8)), plain((150, 152, 156))
    parts = [
        Part(smooth((-height, -half + 3), (-height, half - 3), (-height + 4, half), (-8, half + 1), (-6, half - 2),
                    (-6, -half + 2), (-8, -half - 1), (-height + 4, -half)), body),
        Part(box(-height + 27, -half, -height + 31, half + 1), band),
    ]  # fmt: skip
    step = (2 * half - 14) / count
    for deck in range(decks):
        top = -height + 7 + 28 * deck
        for number in range(count):
            left = -half + 3 + step * number
            parts.append(Part(box(top, left, top + 16, left + step - 2.5), glass))
        parts.append(
            Part(polygon((top - 1, half - 10), (top - 1, half - 1), (top + 18, half + 1), (top + 18, half - 10)), glass)
        )
    opening = 4 * float(how.random() < 0.3)
    parts += [
        Part(box(-30, half - 24, -7, half - 13), plain(shade(glass.base, 85))),
        Part(box(-30, half - 19 - opening, -7, half - 18 + opening), plain(shade(body.base, 40))),
        Part(box(-14, half - 6, -9, half), plain(LAMP)),
        Part(box(-14, -half, -8, -half + 3), plain(TAIL_LAMP)),
    ]
    return parts + wheel(-half + 20, radius, hub) + wheel(half - 32, radius, hub)


def aeroplane(who: np.random.Generator, how: np.random.Generator) -> list[Part]:
    """Draw an aeroplane: an airliner with a row of windows, or a small one with a propeller."""
    base = vivid(who) if who.random() < 0.5 else shade((236, 238, 242), int(who.integers(70, 105)))
    body, trim = plain(base), plain(vivid(who))
    wing = Paint(shade(base, 82), shade(base, 66), TILE["planks"], 60)
    deep = between(who, 8, 11)
    sweep = between(how, -6, 6)
    if who.random() < 0.65:
        parts = [
            Part(polygon((-34 - deep, -8), (-58 - deep, -26 + sweep),
                         (-58 - deep, -19 + sweep), (-34 - deep, 12)), wing),
            Part(polygon((-34, -40), (-34 - 28, -56), (-34 - 28, -46), (-34 - deep + 2, -24)), trim),
            Part(smooth((-32 - deep, -50), (-30 - deep, -10), (-30 - deep, 34), (-32, 50),
                        (-25, 52), (-21, 34), (-21, -10), (-33, -54)), body),
            Part(polygon((-35, -40), (-30, -58), (-27, -58), (-31, -36)), wing),
        ]  # fmt: skip
        for col in range(-30, 36, 7):
            parts.append(Part(box(-34, col, -30, col + 3.5), plain((62, 78, 104))))
        parts += [
            Part(polygon((-37, 40), (-36, 46), (-32, 48), (-32, 40)), plain((62, 78, 104))),
            Part(smooth((-20, 6), (-20, 20), (-12, 20), (-12, 6)), trim),
            Part(polygon((-26, 14), (-4, -26 + sweep), (-4, -34 + sweep), (-26, -12)), wing),
        ]
        return parts
    spin = between(how, -16, 16)
    return [
        Part(polygon((-34, -42), (-56, -54), (-56, -44), (-34, -30)), trim),
        Part(limb((-30, 44), (-30, 49), 5, 8), plain((70, 70, 76))),
        Part(polygon((-30 - spin, 47), (-31 - spin, 50), (-29 + spin, 51), (-28 + spin, 48)), plain((70, 70, 76))),
        Part(smooth((-40, 44), (-44, 10), (-38, -50), (-30, -54), (-24, -10), (-18, 30), (-22, 44)), body),
        Part(smooth((-41, 20), (-51, 12), (-51, -2), (-42, -10)), plain(GLASS[0])),
        Part(limb((-20, 22), (-8, 24), 3, 3), wing),
        Part(ellipse(-6, 24, 6, 6), plain(TYRE)),
        Part(polygon((-36, -42), (-33, -60), (-29, -60), (-31, -38)), wing),
        Part(polygon((-34, 16), (-16 + sweep, -4), (-16 + sweep, -18), (-34, -8)), wing),
        Part(box(-30, -30, -26, 2), trim),
    ]


def boat(who: np.random.Generator, how: np.random.Generator) -> list[Part]:
    """Draw a boat: sailing boat or motor boat, with a planked hull."""
    base = vivid(who)
    hull = Paint(base, shade(base, 60), TILE["planks"], int(between(who, 100, 160)))
    deck, long = plain(vivid(who)), between(who, 42, 54)
    parts = [
        Part(
            smooth(
                (-22, -long), (-18, 0), (-24, long + 6), (-10, long - 6), (0, long - 20), (0, -long + 10), (-8, -long)
            ),
            hull,
        ),
        Part(polygon((-22, -long), (-18, 0), (-24, long + 6), (-20, long + 2), (-14, 0), (-18, -long + 1)), deck),
    ]
    if who.random() < 0.6:
        sail, jib, tall = cloth(who), cloth(who), between(who, 70, 88)
        belly = between(how, -8, 8)
        rig = [
            Part(box(-tall - 4, -1.5, -14, 1.5), plain((104, 72, 48))),
            Part(smooth((-tall, -3), (-tall + 6, -6), (-50, -26 - belly), (-28, -38), (-26, -3)), sail),
            Part(polygon((-tall + 2, 3), (-28, 36 + belly / 2), (-28, 3)), jib),
            Part(polygon((-tall - 4, 0), (-tall - 8, -12), (-tall - 12, 0)), deck),
        ]
        return rig + parts
    cabin = plain(vivid(who, low=170))
    rig = [
        Part(box(-58, -26, -36, -14), plain(shade(deck.base, 80))),
        Part(box(-54, -26, -49, -14), plain((230, 226, 218))),
        Part(polygon((-38, -30), (-38, 14), (-16, 24), (-16, -32)), cabin),
        Part(box(-40, -33, -36, 17), plain(shade(cabin.base, 70))),
    ]
    for col in (-24, -12, 0):
        rig.append(Part(ellipse(-28, col, 4, 4), plain(GLASS[1])))
    rig.append(Part(limb((-24, long), (-44, long - 2 + between(how, -2, 2)), 2, 2), plain((230, 226, 218))))
    return rig + parts


def pottedplant(who: np.random.Generator, how: np.random.Generator) -> list[Part]:
    """Draw a potted plant: fanned leaves, a bush, a cactus or flowers, in a pot of any colour."""
    pot, kind = cloth(who), pick(who, ("fan", "fan", "bush", "cactus", "flowers"))
    green = shade(pick(who, LEAVES), int(who.integers(80, 125)))
    leaf = Paint(green, shade(green, 60), TILE["veins"], 110)
    wide, count, sway = between(who, 17, 23), int(who.integers(6, 10)), between(how, -8, 8)
    parts: list[Part] = []
    if kind == "cactus":
        spiny = Paint(green, shade(green, 165), TILE["stripes"], 200)
        tall, arm = between(who, 64, 84), between(who, 48, 58)
        parts += [
            Part(ribbon([(-arm + 8, 0), (-arm + 6, 20), (-arm - 14, 21)], 11, 10), spiny),
            Part(ribbon([(-arm, 0), (-arm - 3, -19), (-arm - 20, -20)], 11, 9), spiny),
            Part(smooth((-tall, 0), (-tall + 6, 9), (-34, 10), (-26, 0), (-34, -10), (-tall + 6, -9)), spiny),
        ]
    elif kind == "bush":
        bushy = Paint(green, shade(green, 55), TILE["veins"], 190)
        parts.append(Part(cloud(-60, sway / 2, 28, 27, bumps=int(who.integers(9, 13)), depth=0.16), bushy))
    else:
        for number in range(count):
            angle = (number - (count - 1) / 2) * 150 / count + float(who.integers(-8, 9)) + sway
            parts += _frond(angle, between(who, 42, 60), leaf, who if kind == "flowers" else None)
    return [
        *parts,
        Part(polygon((-30, -wide + 2), (-30, wide - 2), (0, wide - 7), (0, -wide + 7)), pot),
        Part(box(-36, -wide, -28, wide), pot._replace(base=shade(pot.base, 80), other=shade(pot.other, 80))),
    ]


def _frond(angle: float, length: float, leaf: Paint, flower: np.random.Generator | None) -> list[Part]:
    """Return a leaf, or a stalk with a flower, that rises from the pot at `angle` degrees from the upright."""
    if flower is None:
        return [
            Part(
                moved(
                    smooth((0, -2), (-length * 0.5, -8), (-length, 0), (-length * 0.5, 8), (0, 2)), -32, 0, turn=angle
                ),
                leaf,
            )
        ]
    petal = plain(vivid(flower, low=180))
    tip = moved(polygon((-length, 0)), -32, 0, turn=angle)[0]
    return [
        Part(moved(limb((0, 0), (-length, 0), 3.5, 3), -32, 0, turn=angle), leaf),
        Part(moved(ellipse(-length * 0.5, 5, 4, 8, tilt=30), -32, 0, turn=angle), leaf),
        Part(cloud(float(tip[0]), float(tip[1]), 7, 7, bumps=5, depth=0.5), petal),
        Part(ellipse(float(tip[0]), float(tip[1]), 3, 3), plain((240, 196, 60))),
    ]
