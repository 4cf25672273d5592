"""Simple strokes: a straight line across a region, and a line with one bend."""

from typing import no_type_check

import numpy as np
from jaxtyping import Float

from labelgen.geometry.compiled import compiled
from labelgen.geometry.freehand import SPACING, clearance
from labelgen.geometry.hand import Hand, finish
from labelgen.geometry.interior import Interior
from labelgen.geometry.polyline import cumulative_length, cut

__all__ = ["draw_curve", "draw_line", "longest_chord"]

CHORDS = 24
"""Random lines through a region, of which the longest is drawn."""

BEND = (0.08, 0.3)
"""Height of a bend over the length of its chord."""

BEND_TRIES = 12
"""A bend that leaves the region is flattened by a fifth so many times, then the chord is taken straight."""

STRAIGHT_ENOUGH = 0.8
"""A region whose longest chord has this share of its longest path is crossed along the chord."""


def draw_line(interior: Interior, hand: Hand, rng: np.random.Generator) -> list[np.ndarray]:
    """Draw a straight line across the region: the longest of some random chords, short of the boundary."""
    chord = longest_chord(interior, hand, rng)
    trims = rng.uniform(0.0, 0.08, size=2) * cumulative_length(chord)[-1]
    return [cut(chord, float(trims[0]), float(cumulative_length(chord)[-1] - trims[1]))]


def draw_curve(interior: Interior, hand: Hand, rng: np.random.Generator) -> list[np.ndarray]:
    """Draw a parabola through the region: end, middle, end.

    Where a chord crosses the region it is bent to one side; in a bent region the ends and the middle are those of
    the longest path, shortened from both ends until the parabola stays inside.
    """
    chord = longest_chord(interior, hand, rng)
    bend = float(rng.uniform(*BEND)) * (1 if rng.uniform() < 0.5 else -1)
    lateral = float(rng.normal(0, 0.05))
    path = interior.paths(branches=0)[0]
    span = cumulative_length(chord)[-1]
    if span >= STRAIGHT_ENOUGH * cumulative_length(path)[-1]:
        points = _bent_chord(chord, bend, interior, hand)
    else:
        points = _bent_path(path, lateral, interior, hand)
    return [finish(points, interior, hand, rng)]


def longest_chord(
    interior: Interior, hand: Hand, rng: np.random.Generator, *, tries: int = CHORDS
) -> Float[np.ndarray, "2 2"]:
    """Longest of some straight lines through random pixels in random directions that keep clear of the boundary.

    The first goes through the middle of the largest disc. A dot (two equal ends) when there is no room at all.
    """
    room = hand.room(interior)
    pixels = np.argwhere(interior.distance >= room)
    starts = pixels[rng.integers(0, len(pixels), size=tries)].astype(np.float64)
    starts[0] = interior.centre
    angles = rng.uniform(0, np.pi, size=tries)
    directions = np.stack([np.sin(angles), np.cos(angles)], axis=1)
    return _longest(starts, directions, interior.distance, room)


@compiled
@no_type_check
def _longest(starts, directions, distance, room):
    best, ends = -1.0, np.empty((2, 2))
    for i in range(len(starts)):
        reach = np.empty(2)
        for side in range(2):
            sign, length = 1 - 2 * side, 0.0
            while True:
                row = int(np.floor(starts[i, 0] + sign * (length + 1) * directions[i, 0] + 0.5))
                col = int(np.floor(starts[i, 1] + sign * (length + 1) * directions[i, 1] + 0.5))
                if row < 0 or col < 0 or row >= distance.shape[0] or col >= distance.shape[1]:
                    break
                if distance[row, col] < room:
                    break
                length += 1.0
            reach[side] = length
        if reach[0] + reach[1] > best:
            best = reach[0] + reach[1]
            ends[0] = starts[i] - reach[1] * directions[i]
            ends[1] = starts[i] + reach[0] * directions[i]
    return ends


def _parabola(start: np.ndarray, middle: np.ndarray, end: np.ndarray) -> np.ndarray:
    """The quadratic curve through three points at t = 0, 1/2 and 1."""
    count = max(3, int(np.hypot(*(end - start)) / SPACING) + 1)
    t = np.linspace(0, 1, count)[:, None]
    control = 2 * middle - (start + end) / 2
    return (1 - t) ** 2 * start + 2 * t * (1 - t) * control + t**2 * end


def _inside(points: np.ndarray, interior: Interior, room: float) -> bool:
    return bool((clearance(points, interior.distance) >= 0.75 * room).all())


def _bent_chord(chord: np.ndarray, bend: float, interior: Interior, hand: Hand) -> np.ndarray:
    across = (chord[1] - chord[0])[::-1] * [1, -1]
    for _ in range(BEND_TRIES):
        points = _parabola(chord[0], chord.mean(axis=0) + bend * across, chord[1])
        if _inside(points, interior, hand.room(interior)):
            return points
        bend *= 0.8
    return chord


def _bent_path(path: np.ndarray, lateral: float, interior: Interior, hand: Hand) -> np.ndarray:
    length = cumulative_length(path)[-1]
    for share in np.arange(1.0, 0.35, -0.1):
        part = cut(path, (1 - share) / 2 * length, (1 + share) / 2 * length)
        middle = cut(path, length / 2, length / 2)[0]
        across = (part[-1] - part[0])[::-1] * [1, -1]
        for offset in (lateral, 0.0):
            points = _parabola(part[0], middle + offset * across, part[-1])
            if _inside(points, interior, hand.room(interior)):
                return points
    return path
