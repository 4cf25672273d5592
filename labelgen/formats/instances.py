"""Masks of single objects, which may overlap and have scores, painted into one label map."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool

from labelgen.errors import ConfigError
from labelgen.formats.format import ReadOptions
from labelgen.masks import SoftMask, label_dtype
from labelgen.vocab import Vocabulary

__all__ = ["SMALLEST_SCORE", "Instance", "paint", "rest_of"]

SMALLEST_SCORE = 2.0**-14
"""Score of a mask that has less, the smallest normal number of float16: at 0 its pixels would count as unlabelled."""


@dataclass(frozen=True)
class Instance:
    """One mask.

    Parameters
    ----------
    class_id
        Class in the vocabulary; its ignore id where the class is to have no label.
    score
        Certainty, >= 0; 1 where the file has none.
    area
        Number of pixels.
    pixels
        Gives the mask, when it is its turn.
    crowd
        The mask of many objects that nobody outlined: no label, and whatever is outlined within it lies above.
    """

    class_id: int
    score: float
    area: int
    pixels: Callable[[], Bool[np.ndarray, "H W"]]
    crowd: bool = False


def rest_of(vocabulary: Vocabulary, rest: str) -> int:
    """Id of the pixels that are in no mask.

    Raises
    ------
    ConfigError
        When they are to be background and there is no such class.
    """
    if rest == "unlabelled":
        return vocabulary.ignore
    if vocabulary.background is None:
        raise ConfigError(
            f"--rest background needs a background, but vocabulary {vocabulary.name!r} has none",
            hint="leave --rest out: pixels in no mask stay unlabelled",
        )
    return vocabulary.background


def paint(
    instances: Iterable[Instance], size: tuple[int, int], vocabulary: Vocabulary, options: ReadOptions
) -> SoftMask:
    """Give each pixel the class of the mask that wins it, with the score of that mask.

    Crowds and masks of classes without a label lie below all others; their pixels stay unlabelled. Of masks that are
    equal in score and area, the earlier wins.

    Examples
    --------
    >>> voc = Vocabulary("v", ("ground", "cat", "dog"), background=0)
    >>> wide = Instance(1, 0.5, 3, lambda: np.array([[True, True, True, False]]))
    >>> narrow = Instance(2, 0.25, 1, lambda: np.array([[False, True, False, False]]))
    >>> paint([wide, narrow], (1, 4), voc, ReadOptions()).scores[0].tolist()
    [[0.5, 0.5, 0.5, 0.0]]
    >>> paint([wide, narrow], (1, 4), voc, ReadOptions(overlap="small")).class_ids
    (1, 2)
    """
    ignore = vocabulary.ignore
    labels = np.full(size, rest_of(vocabulary, options.rest), label_dtype(ignore))
    best = np.where(labels == ignore, np.float32(0), np.float32(1))
    is_claimed, is_contested = np.zeros(size, bool), np.zeros(size, bool)
    kept = [i for i in instances if i.score >= options.min_score]
    for instance in _painting_order(kept, options.overlap, ignore=ignore):
        mask = instance.pixels()
        if instance.crowd or instance.class_id == ignore:
            labels[mask], best[mask] = ignore, 0
            continue
        is_contested |= mask & is_claimed & (labels != instance.class_id)
        is_claimed |= mask
        labels[mask], best[mask] = instance.class_id, max(instance.score, SMALLEST_SCORE)
    if options.overlap == "unlabelled":
        labels[is_contested] = ignore
    present = np.flatnonzero(np.bincount(labels.reshape(-1), minlength=ignore + 1)[:ignore]).tolist()
    scores = np.stack([np.where(labels == i, best, np.float32(0)) for i in present]) if present else None
    details = {"masks": len(kept), "contested": int(is_contested.sum())}
    warnings = () if kept else ("no mask in this image",)
    return SoftMask(
        np.zeros((0, *size), np.float32) if scores is None else scores, tuple(present), (), warnings, details
    )


def _painting_order(instances: Sequence[Instance], overlap: str, *, ignore: int) -> list[Instance]:
    """The order in which later masks cover earlier ones."""

    def rank(item: tuple[int, Instance]) -> tuple[float, ...]:
        place, instance = item
        labelled = not (instance.crowd or instance.class_id == ignore)
        order = (-instance.area, instance.score) if overlap == "small" else (instance.score, -instance.area)
        return (labelled, *order, -place)

    return [instance for _, instance in sorted(enumerate(instances), key=rank)]
