"""Strokes: the exact geometry behind scribbles and clicks, so that it can be shrunk, dropped and drawn again."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from jaxtyping import Float

from labelgen.errors import DataError

__all__ = ["Stroke", "strokes_from_json", "strokes_to_json"]


@dataclass(frozen=True)
class Stroke:
    """One open polyline that belongs to one class; a dot is a polyline of one vertex.

    Parameters
    ----------
    class_id
        Vocabulary id of the class.
    points
        `(N, 2)` float64 (row, col) vertices, pixel centres at integers, N >= 1: what is drawn.
    width
        Diameter of the pen in pixels.
    region
        Index of the ground-truth region that the stroke was made for; -1 when unknown.
    style
        How it was made: path, line, ..., point, human.
    full_points
        The vertices before shrinking; None when `points` are the full ones.
    dropped
        True when the stroke is kept as geometry but not drawn.
    """

    class_id: int
    points: Float[np.ndarray, "N 2"]
    width: float = 3.0
    region: int = -1
    style: str = "path"
    full_points: Float[np.ndarray, "M 2"] | None = None
    dropped: bool = False

    @property
    def full(self) -> Float[np.ndarray, "M 2"]:
        """The vertices before shrinking."""
        return self.points if self.full_points is None else self.full_points

    @property
    def length(self) -> float:
        """Arc length of what is drawn, in pixels."""
        return arc_length(self.points)

    def whole(self) -> "Stroke":
        """The stroke as it was before shrinking and dropping."""
        return replace(self, points=self.full, full_points=None, dropped=False)


def arc_length(points: Float[np.ndarray, "N 2"]) -> float:
    """Length of a polyline in pixels; 0 for a dot."""
    return float(np.hypot(*np.diff(points, axis=0).T).sum()) if len(points) > 1 else 0.0


def strokes_to_json(strokes: Sequence[Stroke], *, size: tuple[int, int]) -> dict[str, Any]:
    """Write strokes as plain JSON values, vertices as `[row, col]` with two decimals.

    Parameters
    ----------
    size
        `(H, W)` of the image in pixels.

    Examples
    --------
    >>> stroke = Stroke(15, np.array([[1.0, 2.0], [1.0, 6.0]]))
    >>> data = strokes_to_json([stroke], size=(4, 8))
    >>> data["strokes"][0]["points"], data["strokes"][0]["length"]
    ([[1.0, 2.0], [1.0, 6.0]], 4.0)
    """
    return {
        "schema": 1,
        "size": [int(size[0]), int(size[1])],
        "order": "row, col",
        "strokes": [_stroke_to_json(stroke) for stroke in strokes],
    }


def _stroke_to_json(stroke: Stroke) -> dict[str, Any]:
    entry = {
        "class_id": int(stroke.class_id),
        "region": int(stroke.region),
        "style": stroke.style,
        "width": float(stroke.width),
        "length": round(stroke.length, 2),
        "length_full": round(arc_length(stroke.full), 2),
        "dropped": bool(stroke.dropped),
        "points": _rounded(stroke.points),
    }
    if stroke.full_points is not None:
        entry["points_full"] = _rounded(stroke.full_points)
    return entry


def _rounded(points: np.ndarray) -> list[list[float]]:
    if np.array_equal(points.round(2), points):  # as synthetic strokes are
        return points.tolist()
    return [[round(row, 2), round(col, 2)] for row, col in points.tolist()]


def strokes_from_json(data: Any, *, where: str) -> tuple[Stroke, ...]:
    """Read back what `strokes_to_json` wrote.

    Raises
    ------
    DataError
        When the schema is unknown or an entry is malformed; `where` names the file.
    """
    if not isinstance(data, dict) or data.get("schema") != 1:
        raise DataError(f"strokes must have schema 1, got {_schema_of(data)!r} in {where}")
    try:
        return tuple(_stroke_from_json(entry) for entry in data["strokes"])
    except (KeyError, TypeError, ValueError, AttributeError, OverflowError) as error:
        raise DataError(
            f"strokes are malformed in {where}: {str(error)[:200]!r}", hint="labelgen verify lists damage"
        ) from error


def _schema_of(data: Any) -> Any:
    return data.get("schema") if isinstance(data, dict) else type(data).__name__


def _stroke_from_json(entry: dict[str, Any]) -> Stroke:
    full = entry.get("points_full")
    return Stroke(
        class_id=int(entry["class_id"]),
        points=_points(entry["points"]),
        width=float(entry["width"]),
        region=int(entry["region"]),
        style=str(entry["style"]),
        full_points=None if full is None else _points(full),
        dropped=bool(entry["dropped"]),
    )


def _points(value: Any) -> np.ndarray:
    points = np.asarray(value, np.float64)
    if points.ndim != 2 or points.shape[1] != 2 or not len(points) or not np.isfinite(points).all():
        raise ValueError(f"vertices must be finite (N, 2) with N >= 1, got shape {points.shape}")
    return points
