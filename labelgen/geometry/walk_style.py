"""A persistent random walk: the scribble of somebody who fills a region without a plan."""

from typing import no_type_check

import numpy as np

from labelgen.geometry.compiled import compiled
from labelgen.geometry.freehand import wobble
from labelgen.geometry.hand import Hand, smooth
from labelgen.geometry.interior import Interior

__all__ = ["draw_walk"]

STEP = 2.0
"""Pixels a step."""

SWING = 0.12
"""Radius of a typical bend over sqrt(area), and the length over which bends come and go."""

LENGTH = (2.0, 3.5)
"""Length of the walk over sqrt(area)."""

SIGMA = 4.0
"""Smoothing in pixels, enough to round the places where the walk turned away from the boundary."""


def draw_walk(interior: Interior, hand: Hand, rng: np.random.Generator) -> list[np.ndarray]:
    """Walk through the region with a slowly changing heading, turning away where the boundary comes near."""
    room, scale = hand.room(interior), max(SWING * interior.area**0.5, 2 * STEP)
    steps = max(2, round(float(rng.uniform(*LENGTH)) * interior.area**0.5 / STEP))
    memory = float(np.exp(-STEP / scale))
    turns = rng.standard_normal(steps) * STEP / scale * (1 - memory**2) ** 0.5
    pixels = np.argwhere(interior.distance >= max(room, 0.4 * interior.widest))
    start = pixels[int(rng.integers(len(pixels)))].astype(np.float64)
    points = _walk(start, float(rng.uniform(0, 2 * np.pi)), turns, memory, interior.distance, room)
    points = smooth(points, interior, hand, sigma=SIGMA)
    return [wobble(points, interior.distance, amount=hand.jitter, keep_clear=room, rng=rng)]


@compiled
@no_type_check
def _walk(start, heading, turns, memory, distance, room):
    """Vertices of the walk; it ends early where every direction is barred."""
    points = np.empty((len(turns) + 1, 2))
    points[0] = start
    curvature = 0.0
    for i in range(len(turns)):
        curvature = memory * curvature + turns[i]
        side = 1.0 if curvature >= 0 else -1.0
        placed = False
        # straight on first, then ever sharper turns to the side of the swing, then to the other
        for attempt in range(24):
            off = side * (attempt // 2) * np.pi / 12
            if attempt % 2:
                off = -off
            angle = heading + curvature + off
            # look ahead, so that the walk turns in time and not at the wall
            row, col = points[i, 0] + STEP * np.sin(angle), points[i, 1] + STEP * np.cos(angle)
            far_row, far_col = points[i, 0] + 3 * STEP * np.sin(angle), points[i, 1] + 3 * STEP * np.cos(angle)
            if _free(row, col, distance, room) and (attempt >= 12 or _free(far_row, far_col, distance, room)):
                heading, placed = angle, True
                if off != 0.0:
                    curvature = 0.1 * off
                points[i + 1, 0], points[i + 1, 1] = row, col
                break
        if not placed:
            return points[: i + 1].copy()
    return points


@compiled
@no_type_check
def _free(row, col, distance, room):
    r, c = int(np.floor(row + 0.5)), int(np.floor(col + 0.5))
    return 0 <= r < distance.shape[0] and 0 <= c < distance.shape[1] and distance[r, c] >= room
