"""Which class an object is taken for: pairs that look alike, or a file."""

import csv
import math
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float64

from labelgen.errors import ConfigError, VocabularyError
from labelgen.untrusted import parse_json, read_bounded
from labelgen.vocab import Vocabulary

__all__ = ["LOOK_ALIKES", "confusion_from_file", "look_alike_confusion"]

LOOK_ALIKES: tuple[tuple[str, str], ...] = (
    # PASCAL VOC and its context names
    ("cat", "dog"),
    ("cow", "horse"),
    ("cow", "sheep"),
    ("horse", "sheep"),
    ("chair", "sofa"),
    ("bicycle", "motorbike"),
    ("bus", "train"),
    ("bus", "car"),
    ("aeroplane", "bird"),
    ("aeroplane", "boat"),
    ("chair", "diningtable"),
    ("bottle", "pottedplant"),
    # COCO
    ("chair", "couch"),
    ("bicycle", "motorcycle"),
    ("airplane", "bird"),
    ("bus", "truck"),
    ("car", "truck"),
    ("cup", "bowl"),
    ("fork", "spoon"),
    ("tv", "laptop"),
    # streets and rooms
    ("person", "rider"),
    ("pedestrian", "bicyclist"),
    ("road", "sidewalk"),
    ("building", "wall"),
    ("building", "house"),
    ("wall", "fence"),
    ("vegetation", "terrain"),
    ("tree", "plant"),
    ("pole", "sign"),
    ("pole", "traffic light"),
    ("armchair", "chair"),
    ("armchair", "sofa"),
    ("minibike", "bicycle"),
    ("sea", "river"),
)
"""Symmetric pairs of class names; a vocabulary uses those of which it has both."""


def look_alike_confusion(vocabulary: Vocabulary) -> Float64[np.ndarray, "K K"]:
    """Probability of each wrong class for each class, equal among its look-alikes; a class without any has zeros.

    Raises
    ------
    ConfigError
        When no pair is in the vocabulary.

    Examples
    --------
    >>> pets = Vocabulary("pets", ("background", "cat", "dog"), background=0)
    >>> look_alike_confusion(pets).tolist()
    [[0.0, 0.0, 0.0], [0.0, 0.0, 1.0], [0.0, 1.0, 0.0]]
    """
    matrix = np.zeros((vocabulary.num_classes, vocabulary.num_classes))
    for first, second in LOOK_ALIKES:
        if first in vocabulary.classes and second in vocabulary.classes:
            row, column = vocabulary.classes.index(first), vocabulary.classes.index(second)
            matrix[row, column] = matrix[column, row] = 1
    if not matrix.any():
        raise ConfigError(
            f"no pair of look-alikes is known for the vocabulary {vocabulary.name!r}",
            hint="give them with --confusion FILE: JSON {class: {wrong class: weight}} or CSV class,wrong class,weight",
        )
    return _normalised(matrix)


def confusion_from_file(path: Path, vocabulary: Vocabulary) -> Float64[np.ndarray, "K K"]:
    """Read weights of wrong classes, used as they are (write both directions for a symmetric confusion).

    JSON holds `{class: {wrong class: weight}}`; any other file is CSV with the columns class, wrong class, weight,
    whose first line may name them. Classes are names, aliases or ids; weights are >= 0 and scaled to sum to 1.

    Raises
    ------
    ConfigError
        When the file cannot be read or an entry is not of this form.
    """
    try:
        text = read_bounded(path).decode("utf-8-sig")
        entries = _json_entries(text) if path.suffix.lower() == ".json" else _csv_entries(text)
        matrix = np.zeros((vocabulary.num_classes, vocabulary.num_classes))
        for true, wrong, weight in entries:
            _enter(matrix, vocabulary, true, wrong, float(weight))
    except OSError as error:
        raise ConfigError(f"confusion file cannot be read: {path} ({error.strerror})") from error
    except VocabularyError as error:
        raise ConfigError(f"{error.message}, in {path}", hint=error.hint) from error
    except (ValueError, AttributeError, TypeError, OverflowError, csv.Error) as error:
        raise ConfigError(
            f"confusion file is malformed: {path} ({error})",
            hint="JSON {class: {wrong class: weight}} or CSV with class,wrong class,weight",
        ) from error
    if not matrix.any():
        raise ConfigError(f"confusion file holds no weight above 0: {path}")
    return _normalised(matrix)


def _json_entries(text: str) -> list[tuple[str, str, Any]]:
    return [(true, wrong, weight) for true, row in parse_json(text).items() for wrong, weight in row.items()]


def _csv_entries(text: str) -> list[tuple[str, str, Any]]:
    rows = [[cell.strip() for cell in row] for row in csv.reader(text.splitlines()) if row]
    if rows and rows[0][-1].lower() == "weight":
        rows = rows[1:]
    for row in rows:
        if len(row) != 3:
            raise ValueError(f"a line must have 3 cells, got {row}")
    return [(row[0], row[1], row[2]) for row in rows]


def _enter(matrix: np.ndarray, vocabulary: Vocabulary, true: str, wrong: str, weight: float) -> None:
    row, column = vocabulary.id_of(true), vocabulary.id_of(wrong)
    if row == column or row == vocabulary.background:
        raise ValueError(f"an object must be taken for another class, got {true} -> {wrong}")
    if not (math.isfinite(weight) and weight >= 0):
        raise ValueError(f"a weight must be finite and >= 0, got {weight} for {true} -> {wrong}")
    matrix[row, column] += weight


def _normalised(matrix: np.ndarray) -> np.ndarray:
    totals = matrix.sum(axis=1, keepdims=True)
    return np.divide(matrix, totals, out=np.zeros_like(matrix), where=totals > 0)
