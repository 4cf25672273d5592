"""The living things of the demo scenes: cow, sheep, cat, bird, person.

Each function draws one individual from `who` (what never changes: coat, build) in a posture from `how` (legs, head).
"""

import numpy as np

from labelgen.demo.shapes import (
    Paint,
    Part,
    between,
    box,
    cloud,
    ellipse,
    limb,
    moved,
    pick,
    polygon,
    ribbon,
    smooth,
)
from labelgen.demo.textures import HAIRS, SKINS, TILE, cloth, coat, plain, shade, vivid

DARK = (38, 34, 34)
PINK = (226, 164, 156)


def cow(who: np.random.Generator, how: np.random.Generator) -> list[Part]:
    """Draw a cow: barrel body, horns, broad muzzle, udder, tufted tail."""
    base, other = coat(who)
    hide = Paint(base, other, TILE["patches" if who.random() < 0.7 else "fur"], int(between(who, 50, 80)))
    far = hide._replace(base=shade(base, 72), other=shade(other, 72))
    depth, leg = between(who, 34, 42), between(who, 24, 32)
    horns, grazing = who.random() < 0.75, how.random() < 0.35
    back = -leg - depth
    stride = between(how, -7, 7)
    parts = [
        Part(limb((-leg - 8, 24), (-1, 24 + stride), 9, 6), far),
        Part(limb((-leg - 8, -28), (-1, -28 + stride), 10, 6), far),
        Part(ribbon([(back + 8, -38), (back + 14, -46), (-leg + 4, -46)], 4, 3), hide),
        Part(ellipse(-leg + 5, -46, 6, 3), plain(shade(other, 70))),
        Part(ellipse(-leg + 1, -18, 6, 8), plain(PINK)),
        Part(limb((-leg - 6, 30), (0, 30 - stride), 11, 7), hide),
        Part(limb((-leg - 6, -34), (0, -34 - stride), 12, 7), hide),
        Part(box(-4, 26 - stride, 0, 34 - stride), plain(DARK)),
        Part(box(-4, -38 - stride, 0, -30 - stride), plain(DARK)),
        Part(
            smooth((back + 3, -38), (back - 1, -10), (back, 20), (back + 3, 36), (-leg - 8, 38), (-leg, 12),
                   (-leg + 2, -16), (-leg - 6, -39)),
            hide,
        ),
    ]  # fmt: skip
    head_row, head_col = (back + 44, 54) if grazing else (back - 4 + between(how, -4, 8), 52)
    parts.append(
        Part(ribbon([(back + 12, 28), ((back + 12 + head_row) / 2 - 2, 44), (head_row, head_col)], 24, 15), hide)
    )
    turn = 55 if grazing else between(how, 5, 30)
    head = [
        (ellipse(-7, -9, 4, 7, tilt=25), far),
        (smooth((-9, -6), (-8, 4), (-5, 14), (5, 15), (8, 6), (8, -6)), hide),
        (ellipse(1, 15, 7, 6), plain(PINK)),
        (ellipse(0, 17, 1.6, 1.4), plain(DARK)),
        (ellipse(-3, 2, 2, 2), plain(DARK)),
    ]
    if horns:
        head.insert(0, (ribbon([(-8, -3), (-15, -2), (-19, 4)], 4.5, 1.5), plain((226, 214, 186))))
    return parts + [Part(moved(outline, head_row, head_col, turn=turn), paint) for outline, paint in head]


def sheep(who: np.random.Generator, how: np.random.Generator) -> list[Part]:
    """Draw a sheep: bumpy woolly body, thin legs, small bare head."""
    base, _ = coat(who)
    wool = Paint(base, shade(base, 58), TILE["wool"], int(between(who, 70, 110)))
    bare = plain(pick(who, (DARK, (70, 58, 52), (216, 196, 176), shade(base, 60))))
    far = plain(shade(bare.base, 75))
    leg, depth, fat = between(who, 16, 24), between(who, 22, 28), between(who, 32, 40)
    stride, grazing = between(how, -5, 5), how.random() < 0.4
    middle = -leg - depth + 3
    parts = [
        Part(limb((-leg - 6, 18), (0, 18 + stride), 6, 4), far),
        Part(limb((-leg - 6, -22), (0, -22 + stride), 6, 4), far),
        Part(limb((-leg - 6, 23), (0, 24 - stride), 7, 5), bare),
        Part(limb((-leg - 6, -27), (0, -27 - stride), 7, 5), bare),
        Part(ellipse(middle - 2, -fat - 2, 7, 5), wool),
        Part(cloud(middle, 0, depth, fat, bumps=int(who.integers(10, 15)), depth=0.13), wool),
    ]
    head_row, head_col = (middle + 24, fat + 8) if grazing else (middle - 14 + between(how, -5, 5), fat + 6)
    turn = 60 if grazing else between(how, 10, 35)
    head = [
        (smooth((-10, -8), (-9, 4), (-4, 14), (4, 14), (9, 4), (9, -7)), bare),
        (cloud(-6, -6, 7, 9, bumps=6, depth=0.15), wool),
        (ellipse(1, -9, 3, 8, tilt=-25), plain(shade(bare.base, 120))),
        (ellipse(-3, 5, 1.8, 1.8), plain((250, 250, 240) if sum(bare.base) < 300 else DARK)),
    ]
    return parts + [Part(moved(outline, head_row, head_col, turn=turn), paint) for outline, paint in head]


def cat(who: np.random.Generator, how: np.random.Generator) -> list[Part]:
    """Draw a cat, sitting or walking: pointed ears, striped coat more often than not, long curling tail."""
    base, other = coat(who)
    kind = pick(who, ("stripes", "stripes", "stripes", "patches", "fur"))
    fur = Paint(base, other if kind != "fur" else shade(base, 75), TILE[kind], int(between(who, 110, 170)))
    ringed = fur._replace(turned=True)
    belly = plain(shade(base, 118))
    if how.random() < 0.5:
        parts = _sitting_cat(fur, ringed, belly, how)
        head_row, head_col = -70, 10
    else:
        parts = _walking_cat(fur, ringed, how)
        head_row, head_col = -52 + between(how, -6, 8), 46
    eye = plain(pick(who, ((206, 200, 72), (120, 190, 96), (110, 170, 214))))
    head = [
        (polygon((-8, -17), (-29, -16), (-14, -2)), fur),
        (polygon((-8, 17), (-29, 16), (-14, 2)), fur),
        (polygon((-14, -13), (-24, -14), (-15, -6)), plain(PINK)),
        (polygon((-14, 13), (-24, 14), (-15, 6)), plain(PINK)),
        (ellipse(0, 0, 15, 18), ringed),
        (ellipse(7, 0, 6, 8), belly),
        (ellipse(-2, -7, 3.4, 3.4), eye),
        (ellipse(-2, 7, 3.4, 3.4), eye),
        (ellipse(-2, -7, 3.2, 1.2), plain(DARK)),
        (ellipse(-2, 7, 3.2, 1.2), plain(DARK)),
        (polygon((4, -3), (4, 3), (7, 0)), plain((206, 120, 116))),
    ]
    turn = between(how, -14, 14)
    return parts + [Part(moved(outline, head_row, head_col, turn=turn), paint) for outline, paint in head]


def _sitting_cat(fur: Paint, ringed: Paint, belly: Paint, how: np.random.Generator) -> list[Part]:
    swing = between(how, -12, 12)
    return [
        Part(
            ribbon([(-5, -22), (-6, -42), (-22, -50 + swing / 2), (-40, -44 + swing)], 9, 6), fur._replace(turned=True)
        ),
        Part(smooth((-60, 0), (-62, 14), (-34, 22), (-3, 24), (0, 0), (-2, -28), (-22, -32), (-44, -18)), fur),
        Part(smooth((-52, 10), (-40, 19), (-14, 18), (-12, 10)), belly),
        Part(limb((-34, 14), (0, 15), 10, 8), ringed),
        Part(limb((-34, 22), (0, 25), 9, 8), ringed),
        Part(ellipse(-3, -8, 5, 16), fur),
    ]


def _walking_cat(fur: Paint, ringed: Paint, how: np.random.Generator) -> list[Part]:
    stride, swing = between(how, -8, 8), between(how, -14, 10)
    far = ringed._replace(base=shade(ringed.base, 72), other=shade(ringed.other, 72))
    return [
        Part(limb((-26, 26), (0, 24 + stride), 9, 6), far),
        Part(limb((-26, -28), (0, -28 + stride), 10, 6), far),
        Part(ribbon([(-40, -36), (-46, -52), (-64, -54 + swing), (-80, -46 + swing)], 9, 6), ringed),
        Part(limb((-26, 32), (0, 33 - stride), 11, 8), ringed),
        Part(limb((-26, -33), (0, -34 - stride), 13, 8), ringed),
        Part(smooth((-46, -36), (-45, 0), (-46, 30), (-40, 42), (-24, 40), (-20, 6), (-22, -30), (-30, -41)), fur),
    ]


def bird(who: np.random.Generator, how: np.random.Generator) -> list[Part]:
    """Draw a bird, flying or standing: feathered wings, pointed beak, fanned tail."""
    base, other = coat(who) if who.random() < 0.4 else (vivid(who), vivid(who))
    plume = Paint(base, other, TILE["feathers"], int(between(who, 60, 100)))
    breast = plain(other if who.random() < 0.5 else shade(base, 125))
    beak = plain(pick(who, ((236, 168, 48), (226, 110, 44), (60, 56, 56))))
    reach, neck = between(who, 38, 58), between(who, 0, 10)
    flying = how.random() < 0.6
    body_row = -20 if flying else -46
    parts = [
        Part(polygon((-3, -22), (-12, -52), (-2, -56), (9, -50), (6, -20)), plume),
        Part(smooth((-13, 4), (-15, 20), (-6, 28), (8, 20), (12, 0), (6, -24), (-6, -26)), breast),
        Part(polygon((-20 - neck, 38), (-15 - neck, 54), (-11 - neck, 37)), beak),
        Part(ellipse(-14 - neck, 28, 11, 12), plain(base)),
        Part(limb((-12 - neck, 26), (0, 16), 17, 22), breast),
        Part(ellipse(-17 - neck, 31, 2.6, 2.6), plain(DARK)),
    ]
    if flying:
        lift = between(how, -1.0, 1.0)
        tip = -reach * lift
        near = smooth((-9, 14), (tip * 0.6 - 16, 6), (tip - 14, -22), (tip - 2, -34), (tip * 0.5 + 6, -20), (4, -12))
        parts.insert(
            0, Part(near * (0.9, 0.8) + (-6, 12), plume._replace(base=shade(base, 75), other=shade(other, 75)))
        )
        parts.append(Part(near, plume))
    else:
        wing = smooth((-9, 12), (-10, -10), (2, -34), (10, -14), (8, 6))
        parts.append(Part(wing, plume._replace(base=shade(base, 82))))
        for col in (-2, 7):
            parts.insert(0, Part(limb((8, col), (-body_row, col + between(how, -2, 2)), 3.2, 2.6), beak))
            parts.insert(0, Part(limb((-body_row - 1, col - 2), (-body_row - 1, col + 9), 3, 2), beak))
    return [Part(moved(part.outline, body_row, 0), part.paint) for part in parts]


def person(who: np.random.Generator, how: np.random.Generator) -> list[Part]:
    """Draw a person, standing or walking: bare face and hands, hair, clothes of any colour."""
    skin, hair = plain(pick(who, SKINS)), plain(pick(who, HAIRS))
    shirt, trousers = cloth(who), plain(vivid(who, low=60, high=190))
    shoes, broad, skirt, long_hair = (
        plain(vivid(who, low=40, high=140)),
        between(who, 20, 27),
        who.random() < 0.3,
        who.random() < 0.4,
    )
    stride, swing = between(how, -14, 14), between(how, -70, 70)
    raised = how.random() < 0.25
    far = trousers._replace(base=shade(trousers.base, 75), other=shade(trousers.other, 75))
    far_arm = shirt._replace(base=shade(shirt.base, 75), other=shade(shirt.other, 75))
    parts = [
        *_arm(-76, -broad / 2 + 2, -swing, far_arm, skin),
        Part(limb((-46, -4), (-3, -5 - stride), 12, 8), skin if skirt else far),
        Part(ellipse(-2, -3 - stride, 3, 7), shoes),
        Part(limb((-46, 4), (-3, 5 + stride), 13, 9), skin if skirt else trousers),
        Part(ellipse(-2, 7 + stride, 3, 7), shoes),
    ]
    if skirt:
        parts.append(Part(polygon((-50, -9), (-50, 9), (-26, 17), (-26, -17)), trousers))
    if long_hair:
        parts.append(Part(smooth((-102, 0), (-98, -11), (-78, -12), (-76, 4), (-90, 10)), hair))
    parts += [
        Part(limb((-84, 0), (-76, 0), 8, 9), skin),
        Part(smooth((-80, -broad / 2), (-82, 0), (-80, broad / 2), (-60, broad / 2 - 1), (-44, 10), (-43, -10),
                    (-60, -broad / 2 + 1)), shirt),
        Part(ellipse(-92, 0, 10.5, 9), skin),
        Part(smooth((-103, 0), (-100, 9), (-96, 9), (-97, 1), (-90, -6), (-88, -10), (-98, -9)), hair),
        Part(ellipse(-92, 4, 1.5, 1.3), plain(DARK)),
    ]  # fmt: skip
    return parts + _arm(-76, broad / 2 - 2, 160 + swing / 4 if raised else swing, shirt, skin)


def _arm(row: float, col: float, angle: float, sleeve: Paint, skin: Paint) -> list[Part]:
    """Return a hanging arm turned by `angle` degrees forwards at the shoulder."""
    turn = -angle / 2 if abs(angle) < 100 else -angle
    return [
        Part(moved(limb((0, 0), (20, 0), 8, 7), row, col, turn=turn), sleeve),
        Part(moved(limb((18, 0), (32, 3), 6, 5), row, col, turn=turn), skin),
        Part(moved(ellipse(34, 3, 3.6, 3.6), row, col, turn=turn), skin),
    ]
