"""Read label maps from a run folder, or from a plain folder of mask PNGs."""

from functools import cached_property
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import numpy as np
from jaxtyping import Float32

from labelgen.data.dataset import DataSpec
from labelgen.errors import DataError, RunFolderError, ShapeError
from labelgen.masks import LabelMap, SoftMask, check_labels, label_dtype, read_mask
from labelgen.store.header import read_header
from labelgen.store.layout import (
    DISTANCES,
    HASHES,
    HEADER,
    LABELS,
    LAYERS,
    MANIFEST,
    SCORES,
    STROKES,
    layer_kind,
    path_of,
)
from labelgen.store.lines import Record
from labelgen.store.records import load_records
from labelgen.strokes import Stroke, strokes_from_json
from labelgen.untrusted import parse_json, read_bounded, read_npz_arrays
from labelgen.untrusted.limits import LARGEST_ARRAYS
from labelgen.vocab import Vocabulary, vocabulary_from_json


@runtime_checkable
class LabelSource(Protocol):
    """Whatever label maps can be read from."""

    name: str
    path: Path
    vocabulary: Vocabulary
    spec: DataSpec | None
    """The data that was labelled, where that is known."""

    @property
    def ids(self) -> tuple[str, ...]:
        """Sorted ids of the labelled images."""
        ...

    def labels(self, sample_id: str) -> LabelMap:
        """The label map of one image.

        Raises
        ------
        DataError
            When the image has no label or its file is damaged.
        """
        ...


class RunFolder:
    """A run folder to read from, complete or not.

    Parameters
    ----------
    path
        The folder.

    Raises
    ------
    RunFolderError
        When it is no run, or damaged, or of an unknown schema.
    """

    def __init__(self, path: Path | str) -> None:
        self.path = Path(path)
        self.name = self.path.resolve().name
        self.header = read_header(self.path)
        where = str(self.path / HEADER)
        self.vocabulary = vocabulary_from_json(self.header["vocabulary"], where=where)
        self.spec: DataSpec | None = _spec_of(self.header["data"], where=where)

    @classmethod
    def open(cls, path: Path | str) -> "RunFolder":
        """Open a run folder; see the class."""
        return cls(path)

    @property
    def complete(self) -> bool:
        """Whether every image is done or failed."""
        return self.header["state"] == "complete"

    @cached_property
    def _records(self) -> dict[str, Record]:
        records = load_records(self.path)
        if not self.complete:
            if read_header(self.path)["state"] == "complete":  # completed while we read
                records = load_records(self.path)
        elif not (self.path / MANIFEST).is_file():
            raise RunFolderError(f"a complete run must have {MANIFEST}, got none in {self.path}", hint="make it again")
        return {sample_id: records.done[sample_id] for sample_id in sorted(records.done)}

    @property
    def ids(self) -> tuple[str, ...]:
        """Sorted ids of the labelled images."""
        return tuple(self._records)

    def records(self) -> dict[str, Record]:
        """The lines of the manifest by id, sorted; of an unfinished run the lines so far."""
        return dict(self._records)

    def labels(self, sample_id: str) -> LabelMap:
        """The label map of one image.

        Raises
        ------
        DataError
            When the run has no such image or its file is missing or damaged.
        """
        return read_mask(self.label_file(sample_id))

    def label_file(self, sample_id: str) -> Path:
        """Where the label map of one image lies; DataError when the run has no such image."""
        self._need(sample_id)
        return path_of(self.path, LABELS, sample_id)

    def scores_file(self, sample_id: str) -> Path | None:
        """Where the scores of one image lie, or None when the run kept none; DataError without such an image."""
        return path_of(self.path, SCORES, sample_id) if "scores_sha256" in self._need(sample_id) else None

    def scores(self, sample_id: str) -> SoftMask | None:
        """The scores of one image (float16 precision), or None when the run kept none.

        Raises
        ------
        DataError
            When the run has no such image or the file is damaged.
        """
        path = self.scores_file(sample_id)
        if path is None:
            return None
        try:
            arrays = read_npz_arrays(read_bounded(path, LARGEST_ARRAYS), ("scores", "class_ids"))
            scores = arrays["scores"].astype(np.float32)
            class_ids = tuple(int(class_id) for class_id in arrays["class_ids"])
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise DataError(f"scores cannot be read: {path} ({error})", hint="labelgen verify lists damage") from error
        try:
            return SoftMask(scores, class_ids, self.strokes(sample_id) or ())
        except ShapeError as error:
            raise DataError(f"scores are damaged: {path} ({error})", hint="labelgen verify lists damage") from error

    def strokes(self, sample_id: str) -> tuple[Stroke, ...] | None:
        """The strokes behind one label map, or None when it was not made of strokes.

        Raises
        ------
        DataError
            When the run has no such image or the file is damaged.
        """
        if "strokes_sha256" not in self._need(sample_id):
            return None
        path = path_of(self.path, STROKES, sample_id)
        try:
            data = parse_json(read_bounded(path))
        except (OSError, ValueError) as error:
            raise DataError(f"strokes cannot be read: {path} ({error})", hint="labelgen verify lists damage") from error
        return strokes_from_json(data, where=str(path))

    @cached_property
    def layers(self) -> tuple[str, ...]:
        """Names of the label maps that the labels were put together from, sorted; empty for most methods."""
        return tuple(sorted({name for record in self._records.values() for name in record.get(LAYERS, {})}))

    def layer(self, name: str, sample_id: str) -> LabelMap:
        """One of the label maps that the labels of an image were put together from.

        Raises
        ------
        DataError
            When the run has no such image or layer, or the file is missing or damaged.
        """
        if name not in self._need(sample_id).get(LAYERS, {}):
            there = ", ".join(self.layers) or "none"
            raise DataError(f"no layer {name!r} of image {sample_id!r} in {self.path}", hint=f"its layers: {there}")
        return read_mask(path_of(self.path, layer_kind(name), sample_id))

    def distances(self, sample_id: str) -> dict[str, Float32[np.ndarray, "H W"]] | None:
        """Weights of pixels by distance, by name (float16 precision), or None when the run kept none.

        Raises
        ------
        DataError
            When the run has no such image or the file is damaged.
        """
        if HASHES["distances"] not in self._need(sample_id):
            return None
        path = path_of(self.path, DISTANCES, sample_id)
        try:
            arrays = read_npz_arrays(read_bounded(path, LARGEST_ARRAYS))
            return {name: plane.astype(np.float32) for name, plane in arrays.items()}
        except (OSError, ValueError) as error:
            raise DataError(
                f"distances cannot be read: {path} ({error})", hint="labelgen verify lists damage"
            ) from error

    def _need(self, sample_id: str) -> Record:
        try:
            return self._records[sample_id]
        except KeyError:
            raise DataError(f"no label for image {sample_id!r} in {self.path}") from None


class MaskFolder:
    """A plain folder of mask PNGs; the id of a mask is its relative path without `.png`.

    Raises
    ------
    RunFolderError
        When the folder does not exist or holds no PNG.
    """

    def __init__(self, path: Path | str, *, vocabulary: Vocabulary) -> None:
        self.path = Path(path)
        self.name = self.path.resolve().name
        self.vocabulary = vocabulary
        self.spec: DataSpec | None = None
        if not self.path.is_dir():
            raise RunFolderError(f"no such folder: {self.path}", hint="check the path")
        relative = [p.relative_to(self.path) for p in self.path.rglob("*") if p.suffix.lower() == ".png"]
        visible = [p for p in relative if not any(part.startswith(".") for part in p.parts)]
        self._files = {p.with_suffix("").as_posix(): self.path / p for p in sorted(visible)}
        if not self._files:
            raise RunFolderError(f"neither a run nor a folder of mask PNGs: {self.path}", hint="check the path")

    @property
    def ids(self) -> tuple[str, ...]:
        """Sorted ids of the masks."""
        return tuple(sorted(self._files))

    def labels(self, sample_id: str) -> LabelMap:
        """The label map of one image.

        Raises
        ------
        DataError
            When there is no such mask, or it is damaged, or holds an id outside the vocabulary.
        """
        path = self.label_file(sample_id)
        labels = read_mask(path)
        check_labels(labels, num_classes=self.vocabulary.num_classes, where=str(path), ignore=self.vocabulary.ignore)
        return labels.astype(label_dtype(self.vocabulary.ignore), copy=False)

    def label_file(self, sample_id: str) -> Path:
        """Where the mask of one image lies; DataError when there is none."""
        if sample_id not in self._files:
            raise DataError(f"no mask for image {sample_id!r} in {self.path}")
        return self._files[sample_id]


def _spec_of(data: dict[str, Any], *, where: str) -> DataSpec:
    fields = DataSpec.__dataclass_fields__
    missing = [name for name in fields if name not in data]
    if missing:
        raise RunFolderError(f"run.json is malformed: data lacks {missing[0]!r} in {where}", hint="make the run again")
    wrong = [name for name, field in fields.items() if type(data[name]) is not field.type]
    if wrong:
        raise RunFolderError(
            f"run.json is malformed: {wrong[0]} of data is {str(data[wrong[0]])[:60]!r} in {where}",
            hint="make the run again",
        )
    return DataSpec(**{name: data[name] for name in fields})
