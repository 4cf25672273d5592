"""COCO instances truth: polygons and run lengths of a JSON, painted into one label map by pycocotools."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Int32, UInt8

from labelgen.data.readers.coco_categories import classes_of_categories
from labelgen.data.readers.coco_runs import fill_runs
from labelgen.errors import DataError
from labelgen.masks import LabelMap, label_dtype
from labelgen.threads import without_warning
from labelgen.untrusted.limits import LONGEST_OUTLINE, MOST_PIXELS
from labelgen.vocab import Vocabulary, load_vocabulary

__all__ = ["InstanceTruth", "Shape", "decode_segmentation", "instance_truth", "instance_vocabulary"]

MIN_COORDINATES = 6  # of a polygon: three points
FARTHEST = 10  # times the longer side of the image; annotators leave it by some pixels
SHOWN = 60  # characters in a message


@dataclass(frozen=True)
class Shape:
    """One annotated object: class, area in pixels, polygons or run lengths as in the JSON, crowd or not."""

    class_id: int
    area: float
    segmentation: Any
    crowd: bool


@dataclass(frozen=True)
class InstanceTruth:
    """Objects painted on background, large before small, so that what lies on top of a larger object stays.

    Crowds are void, unless a single object is painted over them.
    """

    file: Path
    sizes: Mapping[str, tuple[int, int]]
    shapes: Mapping[str, tuple[Shape, ...]]
    background: int
    ignore: int

    def where(self, sample_id: str) -> str:
        """The JSON and the image in it."""
        return f"{self.file}, {sample_id!r}"

    def size(self, sample_id: str) -> tuple[int, int]:
        """`(H, W)` as the JSON says."""
        return self.sizes[sample_id]

    def labels(self, sample_id: str) -> LabelMap:
        """Class ids; background where there is no object, void in crowds."""
        dtype = label_dtype(self.ignore)
        labels = np.full(self.sizes[sample_id], self.background, dtype)
        for shape, mask in self._painted(sample_id):
            labels[mask] = self.ignore if shape.crowd else shape.class_id
        return labels

    def instances(self, sample_id: str) -> Int32[np.ndarray, "H W"] | None:
        """Number of the object from 1 in the order of painting, 0 for background and crowds."""
        instances = np.zeros(self.sizes[sample_id], np.int32)
        for number, (shape, mask) in enumerate(self._painted(sample_id), start=1):
            instances[mask] = 0 if shape.crowd else number
        return instances

    def _painted(self, sample_id: str) -> "Iterator[tuple[Shape, np.ndarray]]":
        order = sorted(self.shapes[sample_id], key=lambda shape: (not shape.crowd, -shape.area))
        for shape in order:
            yield (
                shape,
                decode_segmentation(shape.segmentation, self.sizes[sample_id], self.where(sample_id)).astype(bool),
            )


def decode_segmentation(segmentation: Any, size: tuple[int, int], where: str) -> UInt8[np.ndarray, "H W"]:
    """Pixels of polygons (a list) or of run lengths (a dict, counts compressed or not).

    Raises
    ------
    DataError
        When it is malformed, or of another size than the image.
    """
    from pycocotools import mask as coco_mask

    try:
        if isinstance(segmentation, list):
            with without_warning(DeprecationWarning):  # pycocotools against NumPy 2
                _check_polygons(segmentation, size)
                return coco_mask.decode(coco_mask.merge(coco_mask.frPyObjects(segmentation, *size)))
        counts, found = segmentation["counts"], tuple(segmentation["size"])
        if found == size:
            return fill_runs(counts, size)
    except (TypeError, ValueError, KeyError, IndexError, OverflowError) as error:
        raise DataError(
            f"a segmentation is malformed in {where}: {error!r}",
            hint='it must be a list of polygons [x, y, x, y, x, y, ...] or {"size": [H, W], "counts": ...}',
        ) from error
    raise DataError(f"a segmentation must have the size {size} of its image, got {found} in {where}")


def _check_polygons(polygons: list[Any], size: tuple[int, int]) -> None:
    """Four numbers would be taken for a box, and none for nothing at all; pycocotools crashes on far outlines."""
    if not polygons:
        raise ValueError("no polygon")
    length = 0.0
    for polygon in polygons:
        if not isinstance(polygon, list) or len(polygon) < MIN_COORDINATES or len(polygon) % 2:
            raise ValueError(f"a polygon must be a flat list of at least 3 points, got {str(polygon)[:SHOWN]}")
        points = np.array(polygon, np.float64).reshape(-1, 2)  # raises ValueError or TypeError for anything but numbers
        if not (np.abs(points) <= FARTHEST * max(size)).all():  # nor is it true of NaN
            raise ValueError(f"a polygon must lie in or near its image, got {np.abs(points).max():g}")
        length += float(np.abs(np.diff(points, axis=0, append=points[:1])).max(axis=1).sum())
    if length > LONGEST_OUTLINE:
        raise ValueError(f"the outline of an object must be shorter than {LONGEST_OUTLINE} pixels, got {length:.0f}")


def instance_vocabulary(categories: Sequence[Mapping[str, Any]]) -> Vocabulary:
    """`coco-object` for COCO's own 80 categories, else background and the categories in order of their id."""
    ordered = sorted(categories, key=lambda category: int(category["id"]))
    names = tuple(str(category["name"]) for category in ordered)
    coco = load_vocabulary("coco-object")
    if coco.classes[1:] == names:
        return coco
    return Vocabulary("coco-instances", ("background", *names), background=0)


def instance_truth(
    data: Mapping[str, Any], records: Mapping[str, Mapping[str, Any]], vocabulary: Vocabulary, file: Path
) -> InstanceTruth:
    """Collect the objects of the chosen images."""
    if vocabulary.background is None:
        raise DataError(
            f"instances leave background between them, but vocabulary {vocabulary.name!r} has none ({file})",
            hint="leave --vocab out, or take coco-object",
        )
    class_of = classes_of_categories(data["categories"], vocabulary, where=file)
    shapes: dict[str, list[Shape]] = {sample_id: [] for sample_id in records}
    id_of = {int(record["id"]): sample_id for sample_id, record in records.items()}
    for annotation in data["annotations"]:
        sample_id = id_of.get(int(annotation["image_id"]))
        if sample_id is not None:
            shapes[sample_id].append(_shape(annotation, class_of))
    return InstanceTruth(
        file=file,
        sizes={sample_id: _size_of(record) for sample_id, record in records.items()},
        shapes={sample_id: tuple(found) for sample_id, found in shapes.items()},
        background=vocabulary.background,
        ignore=vocabulary.ignore,
    )


def _size_of(record: Mapping[str, Any]) -> tuple[int, int]:
    height, width = int(record["height"]), int(record["width"])
    if not (height > 0 and width > 0 and height * width <= MOST_PIXELS):
        raise ValueError(f"an image must have 1 to {MOST_PIXELS} pixels, got {height} x {width}")
    return height, width


def _shape(annotation: Mapping[str, Any], class_of: Mapping[int, int]) -> Shape:
    return Shape(
        class_id=class_of[int(annotation["category_id"])],
        area=float(annotation.get("area", 0)),
        segmentation=annotation["segmentation"],
        crowd=bool(annotation.get("iscrowd", 0)),
    )
