"""Where the names of points stand in a plot, so that none covers another and each is read as that of its point."""

import math
from collections.abc import Sequence

__all__ = ["LETTER", "placed_names"]

LETTER = 7.2  # pixels of a letter of the text of a plot, about
LINE = 13  # pixels of a line of it
DOT = 5  # pixels around a point that no name covers
AWAY = (26, 60, 100, 140)  # pixels from a point to a name that has no room beside it

Box = tuple[float, float, float, float]  # left, top, right, bottom in pixels
Leader = tuple[float, float, float, float]  # from a point to its name


def placed_names(
    names: Sequence[str], places: Sequence[tuple[float, float]], frame: Box
) -> dict[int, tuple[Box, Leader | None]]:
    """A box for the name of each point that has room, and the line between them where it stands apart.

    No box covers a point, another box or a line; no lines cross; a name without a line is nearest to its own point.

    Parameters
    ----------
    places
        Points in pixels, x and y.
    frame
        In which names must stay.

    Examples
    --------
    >>> placed_names(["a", "b"], [(50, 50), (50, 50)], (0, 0, 100, 100))
    {0: ((57, 43.5, 64.2, 56.5), None), 1: ((35.8, 43.5, 43.0, 56.5), None)}
    """
    found: dict[int, tuple[Box, Leader | None]] = {}
    for number, name in enumerate(names):
        for box in _boxes_beside(name, *places[number]):
            leader = _leader(box, *places[number])
            if _contained(box, frame) and _is_clear(box, leader, places[number], places, list(found.values())):
                found[number] = (box, leader)
                break
    return found


def _leader(box: Box, col: float, row: float) -> Leader | None:
    """The line from a point to a name that stands apart from it."""
    if _distance(box, col, row) < AWAY[0]:
        return None
    return (col, row, box[2] + 2 if box[2] < col else box[0] - 2, (box[1] + box[3]) / 2)


def _is_clear(
    box: Box,
    leader: Leader | None,
    own: tuple[float, float],
    places: Sequence[tuple[float, float]],
    placed: Sequence[tuple[Box, Leader | None]],
) -> bool:
    """Whether a name and its line touch nothing, and the name is not read as that of another point."""
    boxes, lines = [other for other, _ in placed], [line for _, line in placed if line]
    dots = {place: (place[0] - DOT, place[1] - DOT, place[0] + DOT, place[1] + DOT) for place in places}
    if any(_overlap(box, other) for other in [*boxes, *dots.values()]) or any(_crosses(line, box) for line in lines):
        return False
    if leader is None:
        return all(_distance(box, *other) >= _distance(box, *own) for other in places)
    in_way = [*boxes, *(dot for place, dot in dots.items() if place != own)]
    from_others = [line for line in lines if line[:2] != own]
    return not (any(_crosses(leader, other) for other in in_way) or any(_meet(leader, line) for line in from_others))


def _contained(box: Box, frame: Box) -> bool:
    return box[0] >= frame[0] and box[1] >= frame[1] and box[2] <= frame[2] and box[3] <= frame[3]


def _boxes_beside(name: str, col: float, row: float) -> list[Box]:
    """Where a name may stand, the best first."""
    width, half = LETTER * len(name), LINE / 2
    corners = [
        (col + 7, row - half),
        (col - 7 - width, row - half),
        (col - width / 2, row - 7 - LINE),
        (col - width / 2, row + 7),
        (col + 5, row - 5 - LINE),
        (col - 5 - width, row + 5),
    ]
    for away in AWAY:  # farther off, with a line to the point
        for down in (0, -LINE, LINE, -2 * LINE, 2 * LINE, -4 * LINE, 4 * LINE):
            corners += [(col - away - width, row - half + down), (col + away, row - half + down)]
    return [(left, top, left + width, top + LINE) for left, top in corners]


def _distance(box: Box, col: float, row: float) -> float:
    """From a point to a box, 0 inside it."""
    return math.hypot(max(box[0] - col, col - box[2], 0), max(box[1] - row, row - box[3], 0))


def _overlap(a: Box, b: Box) -> bool:
    return a[0] < b[2] and b[0] < a[2] and a[1] < b[3] and b[1] < a[3]


def _crosses(line: Box, box: Box) -> bool:
    """Whether a line from `line[:2]` to `line[2:]` touches a box."""
    left, top, right, bottom = box
    if any(left <= col <= right and top <= row <= bottom for col, row in (line[:2], line[2:])):
        return True
    return _meet(line, (left, top, right, bottom)) or _meet(line, (left, bottom, right, top))


def _meet(a: Box, b: Box) -> bool:
    """Whether two lines cross.

    Examples
    --------
    >>> _meet((0, 0, 2, 2), (0, 2, 2, 0)), _meet((0, 0, 2, 2), (3, 0, 5, 2))
    (True, False)
    """

    def side(line: Box, col: float, row: float) -> float:
        return (line[2] - line[0]) * (row - line[1]) - (line[3] - line[1]) * (col - line[0])

    return side(a, *b[:2]) * side(a, *b[2:]) <= 0 and side(b, *a[:2]) * side(b, *a[2:]) <= 0
