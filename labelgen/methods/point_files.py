"""Files of clicks in the form of the What's-the-Point release: `{id: [{x, y, cls, rank}]}`."""

import hashlib
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from labelgen.errors import ConfigError, DataError, VocabularyError
from labelgen.strokes import Stroke
from labelgen.untrusted import parse_json, read_bounded
from labelgen.vocab import Vocabulary

__all__ = ["Click", "ClickFile", "clicks_to_strokes", "read_clicks"]

FARTHEST = 10  # pixels outside the image; the clicks of the release go out by 7 at the most


@dataclass(frozen=True)
class Click:
    """One human click: class and (row, col) in pixels, pixel centres at integers."""

    class_id: int
    row: float
    col: float


@dataclass(frozen=True)
class ClickFile:
    """The clicks of one file by image id, in the order of their rank, with the hash of the file."""

    path: Path
    sha256: str
    clicks: Mapping[str, tuple[Click, ...]] = field(repr=False)

    @property
    def name(self) -> str:
        """Of the file, without its folder."""
        return self.path.name


def read_clicks(path: Path, vocabulary: Vocabulary) -> ClickFile:
    """Read a file of clicks; `cls` is a vocabulary id (in VOC 1 = aeroplane, 20 = tvmonitor) or a class name.

    Raises
    ------
    ConfigError
        When the file is missing or not JSON.
    DataError
        When an entry has no finite x and y, or its class is unknown.

    References
    ----------
    .. [1] Bearman, Russakovsky, Ferrari, Fei-Fei, "What's the Point", ECCV 2016, arXiv 1506.02106.
    """
    try:
        content = read_bounded(path)
        table = parse_json(content)
    except OSError as error:
        raise ConfigError(f"click file cannot be read: {path} ({error.strerror})", hint="check --from-json") from error
    except ValueError as error:
        raise ConfigError(f"click file is not valid JSON: {path} ({error})", hint="check --from-json") from error
    if not isinstance(table, dict) or not all(isinstance(entries, list) for entries in table.values()):
        raise DataError(f"clicks must be {{id: [{{x, y, cls, rank}}, ...]}}, got something else in {path}")
    clicks = {
        sample_id: _parse_clicks(entries, vocabulary, where=f"{sample_id} of {path}")
        for sample_id, entries in table.items()
    }
    return ClickFile(path, hashlib.sha256(content).hexdigest(), clicks)


def _parse_clicks(entries: list[Any], vocabulary: Vocabulary, *, where: str) -> tuple[Click, ...]:
    try:
        ranked = sorted(entries, key=lambda entry: entry.get("rank", 0))
        clicks = tuple(Click(_class_of(e["cls"], vocabulary), float(e["y"]), float(e["x"])) for e in ranked)
    except VocabularyError as error:
        raise DataError(f"{error.message}, for a click of {where}", hint=error.hint) from error
    except (AttributeError, KeyError, TypeError, ValueError, OverflowError) as error:
        raise DataError(f"a click must have numbers x, y and a class cls, got {error!r} in {where}") from error
    if not all(math.isfinite(click.row) and math.isfinite(click.col) for click in clicks):
        raise DataError(f"x and y of a click must be finite, got nan or infinity in {where}")
    return clicks


def _class_of(value: int | str, vocabulary: Vocabulary) -> int:
    if isinstance(value, str):
        return vocabulary.id_of(value)
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value < vocabulary.num_classes:
        raise VocabularyError(
            f"cls must be an id < {vocabulary.num_classes}, got {value!r}",
            hint="is this the right --vocab for these clicks?",
        )
    return value


def clicks_to_strokes(
    clicks: Iterable[Click], *, size: tuple[int, int], width: float
) -> tuple[tuple[Stroke, ...], int]:
    """Turn clicks into one-vertex strokes: halves are rounded up, then the click is moved into the image.

    Real files hold clicks a few pixels beyond the edge; farther ones belong to another image or another scale.

    Returns
    -------
    tuple
        The strokes in the order of the clicks, and how many of them lay outside the image.

    Raises
    ------
    DataError
        When a click lies more than `FARTHEST` pixels outside the image.

    Examples
    --------
    >>> strokes, outside = clicks_to_strokes([Click(3, 1.5, 9.0)], size=(4, 6), width=1.0)
    >>> strokes[0].points.tolist(), outside
    ([[2.0, 5.0]], 1)
    """
    strokes = []
    outside = 0
    for click in clicks:
        row, col = math.floor(click.row + 0.5), math.floor(click.col + 0.5)
        inside = min(max(row, 0), size[0] - 1), min(max(col, 0), size[1] - 1)
        outside += inside != (row, col)
        if max(abs(row - inside[0]), abs(col - inside[1])) > FARTHEST:
            raise DataError(
                f"clicks must lie in the image of {size[0]} x {size[1]} pixels, got row {row}, column {col}",
                hint="are these the clicks of this image, at its size? In the file x is the column and y the row",
            )
        strokes.append(Stroke(click.class_id, np.array([inside], np.float64), width=width, style="human"))
    return tuple(strokes), outside
