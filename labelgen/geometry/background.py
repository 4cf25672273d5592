"""Background strokes: one or two per image, however many pieces the background has."""

import numpy as np
from jaxtyping import Float

from labelgen.geometry.around_styles import draw_loop
from labelgen.geometry.hand import Hand, finish
from labelgen.geometry.interior import Interior
from labelgen.geometry.polyline import cumulative_length, cut
from labelgen.geometry.styles import STYLES

__all__ = ["background_strokes"]

LENGTH_FACTOR = (0.8, 1.8)
"""Total length over the longest path of the background: where real annotators differ most."""

LENGTH_LIMIT = (2.0, 3.5)
"""Total length over sqrt(area) has a limit in this range, whatever the factor: nobody fills the background."""

LOOP_SHARE = 0.25
"""Share of images in which the path style goes around the objects instead of along the skeleton."""

SECOND_PIECE = 0.25
"""The second stroke goes to the second piece of the background when it has this share of the first one's area."""

SHORTEST_SECOND = 0.15
"""A second stroke of less than this share of the total is not drawn."""


def background_strokes(
    pieces: list[Interior], hand: Hand, rng: np.random.Generator, *, style: str, most: int
) -> list[tuple[int, Float[np.ndarray, "N 2"]]]:
    """Draw at most `most` strokes of realistic total length into the background.

    Parameters
    ----------
    pieces
        Connected pieces of the background, the largest first; at least one.
    style
        Key of `STYLES`. The path style draws a loop around the objects now and then.
    most
        Most strokes in all.

    Returns
    -------
    list[tuple[int, Float[np.ndarray, "N 2"]]]
        Index of the piece and vertices in its coordinates.
    """
    factor, limit = float(rng.uniform(*LENGTH_FACTOR)), float(rng.uniform(*LENGTH_LIMIT))
    loop, anchors = rng.uniform() < LOOP_SHARE, rng.uniform(size=2)
    area = sum(piece.area for piece in pieces)
    paths = pieces[0].paths(branches=1, min_branch=0.2)
    target = min(factor * cumulative_length(paths[0])[-1], limit * area**0.5)
    if style != "path" or loop:
        draw = draw_loop if style == "path" else STYLES[style]
        drawn = [(0, points) for points in draw(pieces[0], hand, rng)]
    else:
        drawn = [(0, finish(path, pieces[0], hand, rng)) for path in paths]
    if len(pieces) > 1 and pieces[1].area >= SECOND_PIECE * pieces[0].area:
        path = pieces[1].paths(branches=0)[0]
        drawn.insert(1, (1, finish(path, pieces[1], hand, rng)))
    return _cut_to(drawn[:most], target, anchors)


def _cut_to(drawn: list, target: float, anchors: np.ndarray) -> list:
    """Shorten strokes in order until the total length is met; what would be a mere stub is left out."""
    kept, left = [], target
    for (piece, points), anchor in zip(drawn, np.resize(anchors, len(drawn)), strict=True):
        length = cumulative_length(points)[-1]
        if kept and min(left, length) < SHORTEST_SECOND * target:
            continue
        start = anchor * max(length - left, 0.0)
        kept.append((piece, cut(points, start, start + left) if length > left else points))
        left -= min(length, left)
    return kept
