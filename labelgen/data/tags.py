"""Image-level tags: which classes an image shows, from a file or derived from the truth."""

import csv
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import numpy as np

from labelgen.data.pickled import read_npy
from labelgen.errors import DataError, VocabularyError
from labelgen.masks import LabelMap
from labelgen.untrusted import parse_json, parse_xml, read_bounded
from labelgen.untrusted.limits import LARGEST_XML
from labelgen.vocab import Vocabulary

__all__ = ["TagSource", "foreground_ids", "open_tags", "tags_of_truth"]

VOC_DIGITS = 10  # of a year and a number


@runtime_checkable
class TagSource(Protocol):
    """Where tags come from."""

    def tags(self, sample_id: str) -> frozenset[int]:
        """Class ids in one image, background left out; DataError when the source does not know the image."""
        ...


def tags_of_truth(labels: LabelMap, vocabulary: Vocabulary) -> frozenset[int]:
    """Classes that occur in a label map, without background and void.

    Examples
    --------
    >>> from labelgen.vocab import load_vocabulary
    >>> sorted(tags_of_truth(np.array([[0, 15, 255, 3]], np.uint8), load_vocabulary("voc")))
    [3, 15]
    """
    present = np.flatnonzero(np.bincount(labels.reshape(-1), minlength=1))
    return frozenset(int(i) for i in present) - {vocabulary.ignore, vocabulary.background}


def open_tags(file: str, vocabulary: Vocabulary) -> TagSource | None:
    """Open a file of tags by what it is; None without a name, when tags are derived from truth.

    - `.json`: `{"id": ["dog", "person"], ...}`, by name or by class id;
    - `.csv`: `id,dog,person`, the lines of one image added up; a first line that starts with `id` is a heading;
    - `.npy`: `cls_labels.npy` of PSA, IRN and others, a pickled dictionary of one number a class without background,
      above 0 where the image shows it; read without executing anything (`labelgen.data.pickled`);
    - a folder: PASCAL VOC XML, `<id>.xml` with the class of each object (`Annotations/`).

    Raises
    ------
    DataError
        When it is none of these, malformed, or names an unknown class.
    """
    if not file:
        return None
    path = Path(file)
    if path.is_dir():
        return XmlTags(path, vocabulary)
    if path.suffix.lower() == ".npy":
        return TagTable(path, _read_vectors(path, vocabulary))
    readers = {".json": _read_json, ".csv": _read_csv}
    if path.suffix.lower() not in readers:
        raise DataError(f"tags must be a .json, .csv or .npy file or a folder of VOC XML, got {path}")
    try:
        content = read_bounded(path).decode("utf-8-sig")
        table = readers[path.suffix.lower()](content)
    except (OSError, ValueError, csv.Error) as error:
        raise DataError(f"tags cannot be read: {path} ({error})", hint='JSON: {"id": ["dog", "person"]}') from error
    return TagTable(path, {key: _class_ids(value, vocabulary, f"{path}, {key!r}") for key, value in table.items()})


def _read_json(content: str) -> dict[str, list[Any]]:
    data = parse_json(content)
    if not isinstance(data, dict) or not all(isinstance(value, list) for value in data.values()):
        raise ValueError("must be an object of id: list of class names or ids")
    return data


def _read_csv(content: str) -> dict[str, list[Any]]:
    rows = [[cell.strip() for cell in row] for row in csv.reader(content.splitlines()) if row]
    if rows and rows[0][0].lower() == "id":
        rows = rows[1:]
    table: dict[str, list[Any]] = {}
    for sample_id, *cells in rows:
        table.setdefault(sample_id, []).extend(cell for cell in cells if cell)
    return table


def foreground_ids(vocabulary: Vocabulary) -> tuple[int, ...]:
    """Vocabulary ids of classes that are numbered from 0 without background, as published code numbers them.

    Examples
    --------
    >>> foreground_ids(Vocabulary("a", ("ground", "cat", "dog"), background=0))
    (1, 2)
    """
    return tuple(i for i in range(vocabulary.num_classes) if i != vocabulary.background)


def _read_vectors(path: Path, vocabulary: Vocabulary) -> dict[str, frozenset[int]]:
    content, ids = read_npy(path), foreground_ids(vocabulary)
    hint = f"a dictionary of id: {len(ids)} numbers, as cls_labels.npy of PSA"
    if not isinstance(content, dict):
        raise DataError(f"tags must be a dictionary, got {type(content).__name__} in {path}", hint=hint)
    table = {}
    for key, value in content.items():
        vector = np.asarray(value)
        if vector.shape != (len(ids),) or vector.dtype.kind not in "fiub":
            raise DataError(
                f"tags must be one number for each of the {len(ids)} classes of {vocabulary.name!r} without "
                f"background, got {vector.dtype} of shape {vector.shape} for {key!r} in {path}",
                hint=hint,
            )
        if not np.isfinite(vector).all():
            raise DataError(f"tags must be finite, got NaN or infinity for {key!r} in {path}", hint=hint)
        table[_name_of(key)] = frozenset(ids[index] for index in np.flatnonzero(vector > 0))
    return table


def _name_of(key: Any) -> str:
    """An id; IRN writes `2007_000032` of PASCAL VOC as the number 2007000032."""
    if isinstance(key, int | np.integer):
        text = str(int(key))
        return f"{text[:4]}_{text[4:]}" if len(text) == VOC_DIGITS else text
    return str(key)


def _class_ids(values: Iterable[Any], vocabulary: Vocabulary, where: str) -> frozenset[int]:
    try:
        ids = {vocabulary.id_of(str(value)) for value in values}
    except VocabularyError as error:
        raise DataError(f"tags must be classes of {vocabulary.name!r}: {error} ({where})", hint=error.hint) from error
    return frozenset(ids - {vocabulary.background})


@dataclass(frozen=True)
class TagTable:
    """Tags read from one file."""

    path: Path
    table: Mapping[str, frozenset[int]]

    def tags(self, sample_id: str) -> frozenset[int]:
        """Class ids in one image."""
        if sample_id not in self.table:
            raise DataError(f"no tags for {sample_id!r} in {self.path}", hint="a line of its own, empty for no class")
        return self.table[sample_id]


@dataclass(frozen=True)
class XmlTags:
    """Tags from a folder of VOC XML files, read one at a time; objects marked difficult count."""

    folder: Path
    vocabulary: Vocabulary

    def tags(self, sample_id: str) -> frozenset[int]:
        """Class ids in one image."""
        path = self.folder / f"{sample_id}.xml"
        try:
            root = parse_xml(read_bounded(path, LARGEST_XML))
        except FileNotFoundError as error:
            raise DataError(f"no tags for {sample_id!r}: {path} not found") from error
        except (OSError, ValueError) as error:
            raise DataError(f"tags cannot be read: {path} ({error})", hint="a PASCAL VOC XML file") from error
        names = [name.text or "" for name in root.iterfind("object/name")]
        return _class_ids(names, self.vocabulary, str(path))
