"""Targets of clicks and boxes: the regions of a ground truth, cut out at their bounding boxes."""

from dataclasses import dataclass

import cv2
import numpy as np
from jaxtyping import Bool, Int32

from labelgen.data.sample import Sample
from labelgen.errors import DataError
from labelgen.masks import LabelMap
from labelgen.vocab import Vocabulary

__all__ = ["Region", "regions_in", "regions_of"]


@dataclass(frozen=True)
class Region:
    """One target: a class and its pixels, cut out at their bounding box.

    Parameters
    ----------
    class_id
        Vocabulary id.
    mask
        True on the pixels of the region.
    corner
        (row, col) of the cut-out's first pixel.
    """

    class_id: int
    mask: Bool[np.ndarray, "h w"]
    corner: tuple[int, int]


def regions_in(sample: Sample, per: str, vocabulary: Vocabulary) -> list[Region]:
    """The targets in the ground truth of a sample; see `regions_of`.

    Raises
    ------
    DataError
        When there is no ground truth, or no instance map though each instance is a target.
    """
    truth = sample.need_truth()
    if per == "instance" and sample.instances is None:
        raise DataError(
            f"per instance needs an instance map, but {sample.id} has none",
            hint="use --per component, or data with instance masks (VOC SegmentationObject, COCO)",
        )
    instances = sample.instances if per == "instance" else None
    return regions_of(truth, per=per, instances=instances, background=vocabulary.background, ignore=vocabulary.ignore)


def regions_of(
    truth: LabelMap,
    *,
    per: str,
    instances: Int32[np.ndarray, "H W"] | None,
    background: int | None,
    ignore: int,
) -> list[Region]:
    """Cut a ground truth into targets, ordered by class id, then by instance or by reading order.

    The background is always one region.

    Examples
    --------
    >>> truth = np.array([[3, 0, 3]], np.uint8)
    >>> len(regions_of(truth, per="class", instances=None, background=0, ignore=255))
    2
    >>> len(regions_of(truth, per="component", instances=None, background=0, ignore=255))
    3
    """
    regions: list[Region] = []
    for class_id in np.flatnonzero(np.bincount(truth.reshape(-1), minlength=1)):
        if class_id == ignore:
            continue
        mask = truth == class_id
        if class_id == background:
            # Not cut out: what lies beyond its bounding box counts in its distances.
            regions.append(Region(int(class_id), mask, (0, 0)))
            continue
        if per == "class":
            regions.append(_cut(int(class_id), mask))
            continue
        if instances is not None:
            for instance in np.unique(instances[mask]):
                if instance > 0:
                    regions.append(_cut(int(class_id), mask & (instances == instance)))
            mask &= instances <= 0
        regions.extend(_components(int(class_id), mask))
    return regions


def _cut(class_id: int, mask: np.ndarray) -> Region:
    rows, cols = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    top, left = int(rows[0]), int(cols[0])
    return Region(class_id, np.ascontiguousarray(mask[top : rows[-1] + 1, left : cols[-1] + 1]), (top, left))


def _components(class_id: int, mask: np.ndarray) -> list[Region]:
    count, parts, boxes, _ = cv2.connectedComponentsWithStats(mask.astype(np.uint8), connectivity=8)
    regions = []
    for index in range(1, count):
        left, top, width, height = (int(v) for v in boxes[index, :4])
        regions.append(Region(class_id, parts[top : top + height, left : left + width] == index, (top, left)))
    return regions
