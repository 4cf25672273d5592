"""Annotations of Label Studio read back: brush masks and polygons, later ones above earlier ones."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

import numpy as np

from labelgen.data.readers.coco_instances import decode_segmentation
from labelgen.errors import DataError
from labelgen.formats.brush import decode_brush
from labelgen.formats.class_names import ClassNames
from labelgen.formats.format import ReadOptions
from labelgen.formats.instances import Instance, paint, rest_of
from labelgen.formats.json_files import field_of, image_id_of, read_json
from labelgen.masks import SoftMask
from labelgen.vocab import Vocabulary

__all__ = ["LabelStudioMasks", "open_label_studio"]

KINDS = ("brushlabels", "polygonlabels")
OTHERS = ("rectanglelabels", "ellipselabels", "keypointlabels")  # regions, but of no mask


@dataclass(frozen=True)
class LabelStudioMasks:
    """The regions of each image; where several overlap, the later one was drawn on top."""

    path: Path
    regions: Mapping[str, Sequence[tuple[int, Mapping[str, Any]]]]
    vocabulary: Vocabulary
    options: ReadOptions

    @property
    def ids(self) -> frozenset[str]:
        """Ids of the images with an annotation or prediction."""
        return frozenset(self.regions)

    def mask(self, sample_id: str, size: tuple[int, int]) -> SoftMask:
        """All regions of an image, painted."""
        if sample_id not in self.regions:
            raise DataError(
                f"no annotation of image {sample_id!r} in {self.path}", hint="leave the image out with --ids"
            )
        where = f"{self.path}, {sample_id!r}"
        found = [
            Instance(class_id, 1.0, -number, _Pixels(result, size, where))
            for number, (class_id, result) in enumerate(self.regions[sample_id])
        ]
        return paint(found, size, self.vocabulary, self.options)


@dataclass(frozen=True)
class _Pixels:
    """Gives the mask of a region."""

    result: Mapping[str, Any]
    size: tuple[int, int]
    where: str

    def __call__(self) -> np.ndarray:
        result, size = self.result, self.size
        stated = (result.get("original_height"), result.get("original_width"))
        if stated != size or result.get("image_rotation", 0):
            raise DataError(
                f"a region must be of the size {size} of its image and not rotated, got {stated}, "
                f"rotated by {result.get('image_rotation', 0)}, in {self.where}"
            )
        value = result["value"]
        if result["type"] == "brushlabels":
            if value.get("format") != "rle":
                raise DataError(f"a brush mask must have the format rle, got {value.get('format')!r} in {self.where}")
            return decode_brush(field_of(value, "rle", list, where=self.where), size, where=self.where)
        points = field_of(value, "points", list, where=self.where)
        try:
            flat = [
                float(share) / 100 * side for point in points for share, side in zip(point, size[::-1], strict=True)
            ]
        except (TypeError, ValueError, OverflowError) as error:
            raise DataError(f"a polygon must be a list of [x, y] in percent in {self.where}") from error
        return decode_segmentation([flat], size, self.where).astype(bool)


def open_label_studio(path: Path, names: ClassNames, options: ReadOptions) -> LabelStudioMasks:
    """Open a JSON export of Label Studio, or a folder with `tasks.json`.

    Of each task the last annotation that was not cancelled is read, else its last prediction. The id of an image is
    `image_id` among the data of its task, else the name of its file, without the prefix of uploaded files.

    Raises
    ------
    DataError
        When it is malformed, or holds regions that are no masks.
    VocabularyError
        When a label is no class.
    """
    file = path / "tasks.json" if path.is_dir() else path
    where = str(file)
    tasks = read_json(file)
    if not isinstance(tasks, list):
        raise DataError(f"tasks must be a list, got {type(tasks).__name__} in {where}", hint="Export > JSON, not MIN")
    rest_of(names.vocabulary, options.rest)
    found: dict[str, list[tuple[str, Mapping[str, Any]]]] = {}
    for task in tasks:
        sample_id = _id_of(field_of(task, "data", dict, where=where), where)
        if sample_id in found:
            raise DataError(f"two tasks are of image {sample_id!r} in {where}", hint="keep one of them")
        results = _chosen(task, where)
        if results is not None:
            found[sample_id] = list(_labelled(results, where))
    classes = names.ids_of(dict.fromkeys(label for regions in found.values() for label, _ in regions), where=where)
    regions = {i: [(classes[label], result) for label, result in entries] for i, entries in found.items()}
    return LabelStudioMasks(file, regions, names.vocabulary, options)


def _chosen(task: Mapping[str, Any], where: str) -> list[Any] | None:
    """Results of the annotation, or else the prediction, to read; None for a task without either."""
    given = {key: task.get(key) or [] for key in ("annotations", "predictions")}
    if not all(isinstance(entries, list) for entries in given.values()):
        raise DataError(f"annotations and predictions must be lists in {where}", hint="Export > JSON, not MIN")
    annotations = [a for a in given["annotations"] if isinstance(a, dict) and not a.get("was_cancelled")]
    entries = annotations or [p for p in given["predictions"] if isinstance(p, dict)]
    return field_of(entries[-1], "result", list, where=where) if entries else None


def _labelled(results: Sequence[Any], where: str) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Label and content of each region."""
    for result in results:
        kind = field_of(result, "type", str, where=where)
        if kind in OTHERS:
            raise DataError(f"regions must be {' or '.join(KINDS)}, got {kind} in {where}", hint="boxes are no masks")
        if kind in KINDS:  # the rest are choices, texts and relations
            labels = field_of(field_of(result, "value", dict, where=where), kind, list, where=where)
            if len(labels) != 1 or not isinstance(labels[0], str):
                raise DataError(f"a region must have one label, got {labels} in {where}")
            yield labels[0], result


def _id_of(data: Mapping[str, Any], where: str) -> str:
    if isinstance(data.get("image_id"), str):
        return data["image_id"]
    address = urlsplit(field_of(data, "image", str, where=where))
    named = parse_qs(address.query).get("d", [""])[0]  # of local files
    name = PurePosixPath(named or unquote(address.path)).name
    stem = image_id_of(name)
    prefix, dash, rest = stem.partition("-")
    is_upload = "/upload/" in address.path and dash and len(prefix) == 8
    return rest if is_upload else stem
