"""What every corruption works on: a label map, its objects, and how pixels that lose their label are filled."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

import cv2
import numpy as np
from jaxtyping import Bool, Float32, Float64, Int32, Int64, UInt8

from labelgen.geometry.distance import distance_to_zero
from labelgen.masks import LabelMap

__all__ = ["Corrupt", "Objects", "Scene", "distance_within", "find_objects", "nearest_values"]


@dataclass(frozen=True)
class Objects:
    """The 8-connected components of all classes but the background; index 0 means no object.

    Parameters
    ----------
    ids
        Index of the object at each pixel.
    class_ids, areas
        Class and number of pixels by index.
    boxes
        (top, left, bottom, right) by index, the last two exclusive.
    """

    ids: Int32[np.ndarray, "H W"]
    class_ids: Int64[np.ndarray, " N"]
    areas: Int64[np.ndarray, " N"]
    boxes: Int64[np.ndarray, "N 4"]

    @property
    def indices(self) -> range:
        """Indices of the real objects."""
        return range(1, len(self.class_ids))

    @cached_property
    def radii(self) -> Float64[np.ndarray, " N"]:
        """Radius in pixels of the disk of equal area."""
        return np.sqrt(self.areas / np.pi)

    def crop(self, index: int, *, margin: int = 0) -> tuple[slice, slice]:
        """Rows and columns of an object's bounding box, grown by a margin within the image."""
        top, left, bottom, right = (int(v) for v in self.boxes[index])
        return slice(max(0, top - margin), bottom + margin), slice(max(0, left - margin), right + margin)


@dataclass(frozen=True)
class Scene:
    """One label map to corrupt.

    Parameters
    ----------
    labels
        Class ids; `ignore` where there is no label.
    num_classes, background, ignore
        As in the vocabulary.
    empty
        What pixels become that an object leaves: the background or `ignore`.
    image
        RGB, for the kinds that look at it.
    block_size
        Side of a block in pixels.
    confusion
        Row: class of an object; column: probability of each wrong class. A row of zeros is never confused.
    false_class
        Class of added objects: same as the copied one, or other.
    """

    labels: LabelMap
    num_classes: int
    background: int | None
    ignore: int
    empty: int
    image: UInt8[np.ndarray, "H W 3"] | None = None
    block_size: int = 16
    confusion: Float64[np.ndarray, "K K"] = field(default_factory=lambda: np.zeros((0, 0)))
    false_class: str = "other"

    @cached_property
    def objects(self) -> Objects:
        """The objects of the label map, found when first asked for."""
        return find_objects(self.labels, skip=(self.background, self.ignore))

    def with_labels(self, labels: LabelMap) -> "Scene":
        """The same scene with other labels."""
        return replace(self, labels=labels)

    def repaint(self, outlines: Iterable[tuple[int, tuple[slice, slice], Bool[np.ndarray, "_ _"]]]) -> LabelMap:
        """Take all objects away and paint them with other outlines, the smallest on top.

        Parameters
        ----------
        outlines
            (index, crop, mask within the crop) of each object.
        """
        painted = self.labels.copy()
        painted[self.objects.ids > 0] = self.empty
        for index, crop, mask in sorted(outlines, key=lambda entry: -self.objects.areas[entry[0]]):
            painted[crop][mask] = self.objects.class_ids[index]
        return painted


Corrupt = Callable[[Scene, float, np.random.Generator], tuple[LabelMap, dict[str, Any]]]
"""A corruption: scene, level in (0, 1] and generator in; labels and JSON-able facts about this draw out."""


def find_objects(labels: LabelMap, *, skip: Iterable[int | None]) -> Objects:
    """Find the 8-connected components of every class outside `skip`, by class id and then in reading order.

    Examples
    --------
    >>> objects = find_objects(np.array([[3, 0, 7], [0, 3, 7]], np.uint8), skip=(0, 255))
    >>> objects.ids.tolist(), objects.class_ids.tolist(), objects.areas.tolist()
    ([[1, 0, 2], [0, 1, 2]], [0, 3, 7], [0, 2, 2])
    """
    ids = np.zeros(labels.shape, np.int32)
    classes, stats = [0], [np.zeros((1, 5), np.int64)]
    for class_id in np.flatnonzero(np.bincount(labels.reshape(-1), minlength=1)):
        if class_id in tuple(skip):
            continue
        mask = labels == class_id
        count, parts, measures, _ = cv2.connectedComponentsWithStats(mask.view(np.uint8), connectivity=8)
        np.add(parts, len(classes) - 1, out=ids, where=mask)
        classes += [int(class_id)] * (count - 1)
        stats.append(measures[1:].astype(np.int64))
    left, top, width, height, areas = np.concatenate(stats).T
    boxes = np.stack([top, left, top + height, left + width], axis=1)
    return Objects(ids, np.array(classes, np.int64), areas, boxes)


def distance_within(mask: Bool[np.ndarray, "h w"]) -> Float32[np.ndarray, "h w"]:
    """Euclidean distance in pixels to the nearest pixel outside a mask; infinite when there is none in the array.

    The edge of the array is no boundary: an object cut by the image's edge goes on beyond it.
    """
    if mask.all():
        return np.full(mask.shape, np.inf, np.float32)
    return distance_to_zero(np.ascontiguousarray(mask).view(np.uint8))


def nearest_values(values: np.ndarray, known: Bool[np.ndarray, "H W"]) -> tuple[np.ndarray, Float32[np.ndarray, "H W"]]:
    """Give each pixel the value of the nearest known one, and the distance to it (5x5 chamfer, within some 2 %).

    At least one pixel must be known.

    Examples
    --------
    >>> nearest_values(np.array([[7, 0, 0, 0, 9]]), np.array([[True, False, False, False, True]]))[0]
    array([[7, 7, 7, 9, 9]])
    """
    distance, labelled = cv2.distanceTransformWithLabels(
        (~known).view(np.uint8), cv2.DIST_L2, cv2.DIST_MASK_5, labelType=cv2.DIST_LABEL_PIXEL
    )
    source = np.asarray(labelled, np.int32)
    table = np.zeros(int(source.max()) + 1, values.dtype)
    table[source[known]] = values[known]
    return table[source], distance
