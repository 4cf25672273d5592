"""Panoptic quality of labels: are objects found one by one, or merged, dropped and torn?"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float64, Int32, Int64, Integer

from labelgen.geometry.components import label_components
from labelgen.masks import IGNORE
from labelgen.quality.confusion import check_same_size, mean_of_numbers

__all__ = ["Panoptic", "Segments", "panoptic_counts", "panoptic_quality", "segments_of"]

MATCH = 0.5
"""Segments match when their IoU exceeds this, so that a segment has at most one match; Kirillov et al. 2019."""


@dataclass(frozen=True)
class Segments:
    """The objects of one image.

    Parameters
    ----------
    numbers
        Number of the segment of each pixel, -1 for none.
    class_ids
        Class of each segment.
    """

    numbers: Int64[np.ndarray, "H W"]
    class_ids: Int64[np.ndarray, " S"]


@dataclass(frozen=True)
class Panoptic:
    """By class, nan where there is no segment of it on either side.

    Parameters
    ----------
    pq
        Panoptic quality, sq times rq.
    sq
        Segmentation quality: mean IoU of the matched segments; nan without a match.
    rq
        Recognition quality: matches over matches and half of the segments without one, on either side.
    mean_pq, mean_sq, mean_rq
        Means over the classes that have a segment; sq counts as 0 where nothing matched.
    num_classes
        How many those are.
    """

    pq: Float64[np.ndarray, " C"]
    sq: Float64[np.ndarray, " C"]
    rq: Float64[np.ndarray, " C"]
    mean_pq: float
    mean_sq: float
    mean_rq: float
    num_classes: int


def segments_of(
    labels: Integer[np.ndarray, "H W"],
    instances: Int32[np.ndarray, "H W"] | None = None,
    *,
    background: int | None,
    ignore: int = IGNORE,
) -> Segments:
    """Cut a label map into objects: instances where they are known, else 8-connected components of one class.

    The background is no object. Pixels of a class without an instance number (0) are cut into components.

    Examples
    --------
    >>> labels, instances = np.array([[7, 7, 7, 0, 7]], np.uint8), np.array([[1, 1, 2, 0, 2]], np.int32)
    >>> segments_of(labels, background=0).numbers.tolist()
    [[0, 0, 0, -1, 1]]
    >>> segments_of(labels, instances, background=0).numbers.tolist()
    [[0, 0, 1, -1, 1]]
    """
    object_map = labels.copy()
    if background is not None:
        object_map[labels == background] = ignore
    parts, facts = label_components(object_map, ignore=ignore)
    keys, classes = parts.astype(np.int64), facts[:, 0]
    if instances is not None:
        numbered = (instances > 0) & (object_map != ignore)
        rest = object_map.copy()
        rest[numbered] = ignore
        parts, facts = label_components(rest, ignore=ignore)
        pairs = object_map[numbered].astype(np.int64) << 32 | instances[numbered]
        found, places = np.unique(pairs, return_inverse=True)
        keys = np.where(parts >= 0, parts.astype(np.int64) + len(found), -1)
        keys[numbered] = places
        classes = np.concatenate([found >> 32, facts[:, 0]])
    return Segments(keys, classes.astype(np.int64))


def panoptic_counts(
    truth: Segments, labels: Segments, void: np.ndarray, *, num_classes: int
) -> Float64[np.ndarray, "4 {num_classes}"]:
    """Match the segments of one image; counts of several images add up.

    Void pixels are taken out of unions. A segment of the labels without a match of which more than half is void counts
    for nothing.

    Parameters
    ----------
    void
        `(H, W)` bool: where the truth says nothing.

    Returns
    -------
    Float64[np.ndarray, "4 {num_classes}"]
        Rows: sum of the IoU of matches, matches, segments of the labels without one, segments of the truth without one.

    References
    ----------
    .. [1] Kirillov et al., "Panoptic Segmentation", CVPR 2019, arXiv 1801.00868, section 4 (equation 1; void labels in
       4.2). There every class counts; here the background is no segment.

    Examples
    --------
    >>> truth = segments_of(np.array([[7, 7, 0, 7]], np.uint8), background=0)
    >>> labels = segments_of(np.array([[7, 7, 7, 0]], np.uint8), background=0)
    >>> panoptic_counts(truth, labels, np.zeros((1, 4), bool), num_classes=8)[:, 7].round(3)
    array([0.667, 1.   , 0.   , 1.   ])
    """
    check_same_size(truth.numbers, labels.numbers)
    rows, columns = len(truth.class_ids), len(labels.class_ids)
    pairs = (truth.numbers + 1) * (columns + 1) + labels.numbers + 1
    table = np.bincount(pairs.reshape(-1), minlength=(rows + 1) * (columns + 1)).reshape(rows + 1, columns + 1)
    both = table[1:, 1:]
    true_area = table[1:].sum(axis=1)
    label_area = table[:, 1:].sum(axis=0)
    hidden = np.bincount(labels.numbers[void] + 1, minlength=columns + 1)[1:]
    union = true_area[:, None] + (label_area - hidden)[None] - both
    iou = np.divide(both, union, out=np.zeros(both.shape), where=union > 0)
    matched = (iou > MATCH) & (truth.class_ids[:, None] == labels.class_ids[None])
    void_label = 2 * hidden > label_area
    counts = np.zeros((4, num_classes))
    row, column = np.nonzero(matched)
    np.add.at(counts[0], truth.class_ids[row], iou[row, column])
    np.add.at(counts[1], truth.class_ids[row], 1)
    np.add.at(counts[2], labels.class_ids[~matched.any(axis=0) & ~void_label], 1)
    np.add.at(counts[3], truth.class_ids[~matched.any(axis=1)], 1)
    return counts


def panoptic_quality(counts: Float64[np.ndarray, "4 C"]) -> Panoptic:
    """Turn counts, of one image or of many, into qualities.

    Examples
    --------
    >>> found = panoptic_quality(np.array([[1.5, 0.0], [2.0, 0.0], [1.0, 0.0], [1.0, 0.0]]))
    >>> found.pq.tolist(), found.sq.tolist(), found.num_classes
    ([0.5, nan], [0.75, nan], 1)
    """
    total, matches, extra, missed = counts
    weight = matches + (extra + missed) / 2
    present = weight > 0
    pq = np.divide(total, weight, out=np.full(len(total), np.nan), where=present)
    rq = np.divide(matches, weight, out=np.full(len(total), np.nan), where=present)
    sq = np.divide(total, matches, out=np.full(len(total), np.nan), where=matches > 0)
    mean_sq = mean_of_numbers(np.where(present, np.nan_to_num(sq), np.nan))
    return Panoptic(pq, sq, rq, mean_of_numbers(pq), mean_sq, mean_of_numbers(rq), int(present.sum()))
