"""Split a label map into the regions that strokes are drawn for."""

from dataclasses import dataclass, replace

import cv2
import numpy as np
from jaxtyping import Bool, Int32, Integer

from labelgen.geometry.components import label_components

__all__ = ["Region", "component_regions", "instance_regions", "largest_component"]


@dataclass(frozen=True)
class Region:
    """One connected piece of one class, or one instance.

    Parameters
    ----------
    class_id
        Vocabulary id.
    index
        Position in reading order among all regions of the image; names the region in strokes.
    origin
        (row, col) of the first pixel of `mask` in the image.
    mask
        The region within its bounding box.
    area
        Pixels.
    """

    class_id: int
    index: int
    origin: tuple[int, int]
    mask: Bool[np.ndarray, "h w"]
    area: int


def component_regions(labels: Integer[np.ndarray, "H W"], *, ignore: int = 255) -> tuple[Region, ...]:
    """Find the 8-connected components of each class, ordered by class id, then in reading order.

    Examples
    --------
    >>> labels = np.array([[0, 7, 255], [7, 0, 255]], np.uint8)
    >>> [(region.class_id, region.origin, region.area) for region in component_regions(labels)]
    [(0, (0, 0), 2), (7, (0, 0), 2)]
    """
    numbers, facts = label_components(labels, ignore=ignore)
    order = np.argsort(facts[:, 0], kind="stable")
    return tuple(_region(numbers, facts, int(number), index) for index, number in enumerate(order))


def instance_regions(
    labels: Integer[np.ndarray, "H W"],
    instances: Int32[np.ndarray, "H W"],
    *,
    background: int | None,
    ignore: int = 255,
) -> tuple[Region, ...]:
    """Find the instances of each class; pixels without an instance (id 0), and the background, by component.

    An instance that others cut into several pieces stays one region.

    Examples
    --------
    >>> labels, instances = np.array([[7, 7, 7]], np.uint8), np.array([[1, 2, 1]], np.int32)
    >>> [region.area for region in instance_regions(labels, instances, background=0)]
    [2, 1]
    """
    found = []
    for class_id in (int(i) for i in np.unique(labels) if i != ignore):
        of_class = labels == class_id
        numbers = np.unique(instances[of_class]) if class_id != background else np.zeros(1, np.int32)
        for number in numbers:
            chosen = of_class & (instances == number) if class_id != background else of_class
            if number == 0:
                found += _components(chosen, class_id, len(found))
            else:
                rows, cols = np.flatnonzero(chosen.any(axis=1)), np.flatnonzero(chosen.any(axis=0))
                box = chosen[rows[0] : rows[-1] + 1, cols[0] : cols[-1] + 1]
                found.append(Region(class_id, len(found), (int(rows[0]), int(cols[0])), box.copy(), int(box.sum())))
    return tuple(found)


def largest_component(mask: Bool[np.ndarray, "H W"]) -> Bool[np.ndarray, "H W"]:
    """Keep the largest 8-connected component; of equals the first in reading order. Empty stays empty.

    Examples
    --------
    >>> largest_component(np.array([[1, 0, 1, 1]], bool)).astype(int)
    array([[0, 0, 1, 1]])
    """
    count, numbers, stats, _ = cv2.connectedComponentsWithStats(_bytes(mask), connectivity=8)
    if count <= 2:
        return mask
    return numbers == 1 + int(stats[1:, cv2.CC_STAT_AREA].argmax())


def _bytes(mask: np.ndarray) -> np.ndarray:
    return np.ascontiguousarray(mask).view(np.uint8)


def _components(mask: np.ndarray, class_id: int, first: int) -> list[Region]:
    """Regions of one class, in reading order."""
    numbers, facts = label_components(mask.view(np.uint8), ignore=0)
    return [replace(_region(numbers, facts, number, first + number), class_id=class_id) for number in range(len(facts))]


def _region(numbers: np.ndarray, facts: np.ndarray, number: int, index: int) -> Region:
    class_id, top, left, bottom, right, area = (int(value) for value in facts[number])
    mask = numbers[top : bottom + 1, left : right + 1] == number
    return Region(class_id, index, (top, left), mask, area)
