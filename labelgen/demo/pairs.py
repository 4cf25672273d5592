"""Unlabelled pairs of frames for self-supervised training: the same objects seen twice, as in a video.

Pose, position, size, light, and often the place differ between the two frames; no label or mask is returned.
"""

import numpy as np
from jaxtyping import UInt8

from labelgen.demo.backgrounds import PLACES
from labelgen.demo.compose import draw_cast, picture
from labelgen.demo.shapes import pick

SAME_PLACE = 0.5  # share of the pairs whose second frame is of the same kind of place
PAIR_SHARES = (0.6, 0.3, 0.1)  # of pairs with one, two and three objects: fewer than in the scenes


def draw_pair(
    rng: np.random.Generator, *, size: tuple[int, int] = (128, 128)
) -> tuple[UInt8[np.ndarray, "H W 3"], UInt8[np.ndarray, "H W 3"]]:
    """Draw two frames of the same objects.

    Parameters
    ----------
    rng
        Decides everything.
    size
        Height and width of both frames, pixels.

    Examples
    --------
    >>> first, second = draw_pair(np.random.default_rng(0), size=(64, 80))
    >>> first.shape, second.shape
    ((64, 80, 3), (64, 80, 3))
    """
    place, cast = draw_cast(rng, shares=PAIR_SHARES)
    first, _, _ = picture(rng, place, cast, size=size)
    other_place = place if rng.random() < SAME_PLACE else pick(rng, tuple(PLACES))
    second, _, _ = picture(rng, other_place, cast, size=size)
    return first, second
