"""Planes of a mask taken out or scaled, before a background is set against them."""

import dataclasses

import numpy as np
from jaxtyping import Float32

from labelgen.masks import SoftMask

__all__ = ["over_largest", "without_class"]


def over_largest(scores: Float32[np.ndarray, "C H W"]) -> Float32[np.ndarray, "C H W"]:
    """Scores over the largest of the image, of all classes; zeros stay zeros."""
    largest = scores.max(initial=0)
    return scores / largest if largest > 0 else scores


def without_class(mask: SoftMask, class_id: int) -> SoftMask:
    """The same mask without the plane of one class, whether or not it is there."""
    kept = [index for index, other in enumerate(mask.class_ids) if other != class_id]
    return dataclasses.replace(mask, scores=mask.scores[kept], class_ids=tuple(mask.class_ids[i] for i in kept))
