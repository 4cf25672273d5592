"""How good labels are near contours: boundary IoU, and scores within bands around the contours of the truth."""

from collections.abc import Sequence
from itertools import pairwise

import cv2
import numpy as np
from jaxtyping import Bool, Float32, Int64, Integer

from labelgen.errors import ConfigError
from labelgen.masks import IGNORE
from labelgen.quality.confusion import check_same_size, pair_counts

__all__ = ["band_confusions", "boundary_counts", "boundary_distance", "complete_void", "contour_distance", "inner_edge"]

BOUNDARY_FRACTION = 0.02
"""Width of the boundary as a share of the image diagonal; Cheng et al. 2021, section 4."""


def boundary_distance(size: tuple[int, int], *, fraction: float = BOUNDARY_FRACTION) -> int:
    """Width of the boundary region in pixels: the rounded share of the diagonal, at least 1.

    Examples
    --------
    >>> boundary_distance((100, 100)), boundary_distance((10, 10))
    (3, 1)
    """
    return max(1, round(fraction * float(np.hypot(*size))))


def inner_edge(regions: Integer[np.ndarray, "H W"], *, distance: int) -> Bool[np.ndarray, "H W"]:
    """Mark the pixels that leave their own region when every region is eroded `distance` times.

    The erosion has a 3 x 3 square and the outside of the image belongs to no region, so the image edge is a contour.
    All regions are eroded at once: a pixel stays where its whole square of side 2 distance + 1 has one id.

    Examples
    --------
    >>> inner_edge(np.zeros((3, 4), np.uint8), distance=1).astype(int)
    array([[1, 1, 1, 1],
           [1, 0, 0, 1],
           [1, 1, 1, 1]])
    """
    if not regions.size:
        return np.zeros(regions.shape, bool)
    square = np.ones((2 * distance + 1, 2 * distance + 1), np.uint8)
    edge = cv2.dilate(regions, square) != cv2.erode(regions, square)
    edge[:distance] = edge[-distance:] = True
    edge[:, :distance] = edge[:, -distance:] = True
    return edge


def complete_void(
    truth: Integer[np.ndarray, "H W"], labels: Integer[np.ndarray, "H W"], *, truth_ignore: int, label_ignore: int
) -> tuple[Integer[np.ndarray, "H W"], Integer[np.ndarray, "H W"]]:
    """Give void pixels the id of the nearest pixel that is not void.

    A ring of void around every object, as in PASCAL VOC, hides where the contour runs; this puts it into the middle
    of the ring. Labels keep what they say there; where they say nothing they are completed in the same way.
    An image of void alone stays as it is.

    Examples
    --------
    >>> truth = np.array([[0, 255, 255, 255, 1]], np.uint8)
    >>> full, same = complete_void(truth, truth, truth_ignore=255, label_ignore=255)
    >>> full[0, [0, 1, 3, 4]], bool((full == same).all())
    (array([0, 0, 1, 1], dtype=uint8), True)
    """
    void = truth == truth_ignore
    if not void.any() or void.all():
        return truth, labels
    _, nearest = cv2.distanceTransformWithLabels(
        void.astype(np.uint8), cv2.DIST_L2, cv2.DIST_MASK_5, labelType=cv2.DIST_LABEL_PIXEL
    )
    source = nearest[void] - 1  # known pixels are numbered from 1 in reading order
    full_truth, full_labels = truth.copy(), labels.copy()
    full_truth[void] = truth[~void][source]
    silent = labels[void] == label_ignore
    full_labels[void] = np.where(silent, labels[~void][source], labels[void])
    return full_truth, full_labels


def boundary_counts(
    truth: Integer[np.ndarray, "H W"],
    labels: Integer[np.ndarray, "rows columns"],
    *,
    num_classes: int,
    truth_ignore: int = IGNORE,
    label_ignore: int = IGNORE,
    exclude_unlabelled: bool = False,
    fraction: float = BOUNDARY_FRACTION,
) -> Int64[np.ndarray, "4 {num_classes}"]:
    """Count what boundary IoU needs, by class, over one image; counts of several images add up.

    The boundary of a class holds the pixels of its mask within `boundary_distance` of the contour, from inside. Void is
    completed first (see `complete_void`), both maps are eroded whole, and only then void pixels are dropped from both.
    For an object thinner than twice the distance the measure equals IoU.

    Parameters
    ----------
    exclude_unlabelled
        Drop unlabelled pixels too, after the erosion.

    Returns
    -------
    Int64[np.ndarray, "4 {num_classes}"]
        Rows: intersection, union, boundary pixels of the truth before void is dropped, and after.

    References
    ----------
    .. [1] Cheng et al., "Boundary IoU: Improving Object-Centric Image Segmentation Evaluation", CVPR 2021,
       arXiv 2103.16562. There by instance; here by class, pooled over the data set, with void.

    Examples
    --------
    >>> truth = np.zeros((4, 4), np.uint8)
    >>> boundary_counts(truth, truth, num_classes=1).T
    array([[12, 12, 12, 12]])
    """
    check_same_size(truth, labels)
    distance = boundary_distance(truth.shape, fraction=fraction)
    full_truth, full_labels = complete_void(truth, labels, truth_ignore=truth_ignore, label_ignore=label_ignore)
    dropped = truth == truth_ignore
    truth_edge = np.where(inner_edge(full_truth, distance=distance), full_truth, truth_ignore)
    label_edge = np.where(inner_edge(full_labels, distance=distance), full_labels, label_ignore)
    everywhere = np.bincount(truth_edge.reshape(-1), minlength=num_classes)[:num_classes]
    if exclude_unlabelled:
        dropped |= labels == label_ignore
    truth_edge[dropped] = truth_ignore
    label_edge[dropped] = label_ignore
    counts = pair_counts(
        truth_edge, label_edge, num_classes=num_classes, truth_ignore=truth_ignore, label_ignore=label_ignore
    )
    both = np.diagonal(counts)[:-1]
    in_truth, in_labels = counts[:-1].sum(axis=1), counts[:, :-1].sum(axis=0)
    return np.stack([both, in_truth + in_labels - both, everywhere, in_truth]).astype(np.int64)


def contour_distance(truth: Integer[np.ndarray, "H W"]) -> Float32[np.ndarray, "H W"]:
    """Euclidean distance in pixels to the nearest contour of the truth; 1 on either side of it, infinite without one.

    A contour runs where two neighbours (4-neighbourhood) differ, and void counts as an id of its own: with a ring of
    void around each object, distance is measured from both rims of the ring, as for the trimaps of PASCAL VOC. The
    image edge is no contour.

    Examples
    --------
    >>> contour_distance(np.array([[0, 0, 0, 7, 7]], np.uint8))
    array([[3., 2., 1., 1., 2.]], dtype=float32)
    """
    contour = np.zeros(truth.shape, bool)
    down, right = truth[1:] != truth[:-1], truth[:, 1:] != truth[:, :-1]
    contour[1:] |= down
    contour[:-1] |= down
    contour[:, 1:] |= right
    contour[:, :-1] |= right
    if not contour.any():
        return np.full(truth.shape, np.inf, np.float32)
    return cv2.distanceTransform((~contour).astype(np.uint8), cv2.DIST_L2, cv2.DIST_MASK_PRECISE) + np.float32(1)


def band_confusions(
    truth: Integer[np.ndarray, "H W"],
    labels: Integer[np.ndarray, "rows columns"],
    *,
    bands: Sequence[int],
    num_classes: int,
    truth_ignore: int = IGNORE,
    label_ignore: int = IGNORE,
) -> Int64[np.ndarray, "bands {num_classes} {num_classes}+1"]:
    """One confusion matrix for each band: the valid pixels within so many pixels of a contour of the truth.

    Parameters
    ----------
    bands
        Increasing widths in pixels, each >= 1, measured as in `contour_distance`. Band 5 contains band 3.

    Raises
    ------
    ConfigError
        When the bands do not increase from 1 up.

    References
    ----------
    .. [1] Kohli et al., "Robust Higher Order Potentials for Enforcing Label Consistency", IJCV 2009, section 5
       (the trimap measure); here the whole confusion matrix is kept.

    Examples
    --------
    >>> truth, labels = np.array([[0, 0, 0, 1]], np.uint8), np.array([[1, 1, 0, 1]], np.uint8)
    >>> band_confusions(truth, labels, bands=(1, 2), num_classes=2)[:, :, :2]
    array([[[1, 0],
            [0, 1]],
    <BLANKLINE>
           [[1, 1],
            [0, 1]]])
    """
    check_bands(bands)
    check_same_size(truth, labels)
    ring = np.searchsorted(np.asarray(bands, np.float32), contour_distance(truth))
    matrices = []
    for index in range(len(bands)):
        inside = ring == index
        counts = pair_counts(
            truth[inside],
            labels[inside],
            num_classes=num_classes,
            truth_ignore=truth_ignore,
            label_ignore=label_ignore,
        )
        matrices.append(counts[:-1])
    return np.cumsum(matrices, axis=0)


def check_bands(bands: Sequence[int]) -> None:
    """Refuse bands that do not increase from 1 up.

    Raises
    ------
    ConfigError
        With the bands that were given.
    """
    if not bands or bands[0] < 1 or any(b <= a for a, b in pairwise(bands)):
        raise ConfigError(f"bands must be increasing widths in pixels, each >= 1, got {tuple(bands)}")
