"""Kernels of promotion: classes that the tags lack are removed, weak pseudo-labels too, and scribbles win."""

from collections.abc import Set
from dataclasses import replace

import numpy as np
from jaxtyping import Bool

from labelgen.geometry.components import label_components
from labelgen.masks import IGNORE, LabelMap, SoftMask, harden

__all__ = ["agreement", "contradicted", "empty_mask", "keep_classes", "keep_sure", "merge_labels", "silence"]


def keep_classes(mask: SoftMask, class_ids: Set[int]) -> SoftMask:
    """Leave out the planes of all other classes; a pixel that one of them had won goes to the best that is left.

    Pixels without any score left abstain.

    Examples
    --------
    >>> mask = SoftMask(np.array([[[0.2, 0.0]], [[0.7, 0.9]]], np.float32), (0, 7))
    >>> harden(keep_classes(mask, {0}))
    array([[  0, 255]], dtype=uint8)
    """
    kept = [index for index, class_id in enumerate(mask.class_ids) if class_id in class_ids]
    if len(kept) == len(mask.class_ids):
        return mask
    return replace(mask, scores=mask.scores[kept], class_ids=tuple(mask.class_ids[index] for index in kept))


def keep_sure(mask: SoftMask, *, min_score: float = 0.0, without: int | None = None, ignore: int = IGNORE) -> SoftMask:
    """Let pixels abstain whose best score does not exceed a limit, or whose best class is not wanted.

    Parameters
    ----------
    without
        A class, such as background, of which no pixel is kept; None keeps all.

    Examples
    --------
    >>> mask = SoftMask(np.array([[[0.8, 0.0, 0.3]], [[0.2, 0.9, 0.0]]], np.float32), (0, 7))
    >>> harden(keep_sure(mask, min_score=0.5)).tolist(), harden(keep_sure(mask, without=0)).tolist()
    ([[0, 7, 255]], [[255, 7, 255]])
    """
    labels = harden(mask, min_score=min_score, ignore=ignore)
    weak = labels == ignore
    if without is not None:
        weak |= labels == without
    return silence(mask, weak)


def silence(mask: SoftMask, where: Bool[np.ndarray, "H W"]) -> SoftMask:
    """Let pixels abstain."""
    scores = mask.scores.copy()
    scores[:, where] = 0
    return replace(mask, scores=scores)


def contradicted(pseudo: LabelMap, scribbles: LabelMap, *, ignore: int = IGNORE) -> Bool[np.ndarray, "H W"]:
    """Regions of pseudo-labels in which scribbles mostly say something else.

    A region is an 8-connected component of one class. It is contradicted if more of its scribbled pixels are of other
    classes than of its own; a region without any scribble is not.

    Examples
    --------
    >>> pseudo = np.array([[3, 3, 3, 0, 0, 0]], np.uint8)
    >>> contradicted(pseudo, np.array([[255, 0, 255, 0, 3, 255]], np.uint8)).tolist()
    [[True, True, True, False, False, False]]
    """
    numbers, facts = label_components(pseudo, ignore=ignore)
    both = (scribbles != ignore) & (pseudo != ignore)
    votes = np.where(scribbles[both] == pseudo[both], -1.0, 1.0)
    against = np.bincount(numbers[both], weights=votes, minlength=len(facts) + 1)
    return (against > 0)[numbers] & (pseudo != ignore)


def merge_labels(scribbles: LabelMap, pseudo: SoftMask, *, ignore: int = IGNORE) -> SoftMask:
    """Put scribbles over pseudo-labels: where both speak, the scribble wins.

    Parameters
    ----------
    scribbles
        Class ids, `ignore` where nothing was drawn.
    pseudo
        Scores of the pseudo-labels.

    Returns
    -------
    SoftMask
        The scores of the pseudo-labels beside the scribbles. On a scribble its class has the largest score of the
        image, at least 1, and no other class has any.

    Examples
    --------
    >>> pseudo = SoftMask(np.array([[[0.4, 0.4, 0.0]]], np.float32), (3,))
    >>> merged = merge_labels(np.array([[5, 255, 255]], np.uint8), pseudo)
    >>> merged.class_ids, harden(merged).tolist()
    ((3, 5), [[5, 3, 255]])
    """
    drawn = scribbles != ignore
    named = {int(class_id) for class_id in np.unique(scribbles[drawn])}
    class_ids = tuple(sorted(named.union(pseudo.class_ids)))
    scores = np.zeros((len(class_ids), *scribbles.shape), np.float32)
    for class_id, plane in zip(pseudo.class_ids, pseudo.scores, strict=True):
        scores[class_ids.index(class_id)] = plane
    top = max(1.0, float(pseudo.scores.max(initial=0)))
    scores[:, drawn] = 0
    for class_id in named:
        scores[class_ids.index(class_id)][scribbles == class_id] = top
    return replace(pseudo, scores=scores, class_ids=class_ids)


def agreement(scribbles: LabelMap, pseudo: LabelMap, *, ignore: int = IGNORE) -> float | None:
    """Share of the pixels with both a scribble and a pseudo-label on which they say the same; None without such.

    Examples
    --------
    >>> agreement(np.array([[1, 2, 255, 2]], np.uint8), np.array([[1, 1, 1, 255]], np.uint8))
    0.5
    """
    both = (scribbles != ignore) & (pseudo != ignore)
    return float((scribbles[both] == pseudo[both]).mean()) if both.any() else None


def empty_mask(size: tuple[int, int]) -> SoftMask:
    """A mask that says nothing."""
    return SoftMask(np.zeros((0, *size), np.float32), ())
