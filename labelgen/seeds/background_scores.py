"""Class activation maps set against a background: its score at each pixel, and the band that two backgrounds leave."""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Bool, Float32

from labelgen.errors import DataError
from labelgen.masks import SoftMask
from labelgen.seeds.backgrounds import BackgroundRule, Channel, Dual, Fixed, Power, Saliency

__all__ = ["background_plane", "set_against", "undecided"]


def background_plane(
    maps: Float32[np.ndarray, "C H W"],
    rule: Fixed | Power | Saliency | Channel,
    *,
    saliency: Float32[np.ndarray, "H W"] | None = None,
    channel: Float32[np.ndarray, "H W"] | None = None,
) -> Float32[np.ndarray, "H W"]:
    """The score of background in [0, 1] at each pixel.

    Parameters
    ----------
    maps
        Normalised maps of the classes that are present, in [0, 1]; may be none.
    saliency
        In [0, 1]; for the rule of that name.
    channel
        The network's own plane, in [0, 1]; for the rule of that name.

    Raises
    ------
    DataError
        When the plane that the rule needs is not there, or leaves [0, 1].

    Examples
    --------
    >>> maps = np.array([[[0.0, 0.5, 1.0]], [[0.25, 0.0, 0.0]]], np.float32)
    >>> background_plane(maps, Power(2)).tolist()
    [[0.5625, 0.25, 0.0]]
    """
    if isinstance(rule, Fixed):
        return np.full(maps.shape[1:], rule.threshold, np.float32)
    if isinstance(rule, Power):
        return (1 - np.clip(_best(maps), 0, 1)) ** np.float32(rule.alpha)
    if isinstance(rule, Saliency):
        return 1 - _given(saliency, "saliency", maps.shape[1:])
    return _given(channel, "channel", maps.shape[1:])


def undecided(maps: Float32[np.ndarray, "C H W"], rule: Dual) -> Bool[np.ndarray, "H W"]:
    """Pixels that are foreground against the low background but not against the high one.

    Examples
    --------
    >>> undecided(np.array([[[0.02, 0.2, 0.9]]], np.float32), Dual(Fixed(0.05), Fixed(0.3))).tolist()
    [[False, True, False]]
    """
    best = _best(maps)
    return (best > background_plane(maps, rule.low)) & ~(best > background_plane(maps, rule.high))


def set_against(
    maps: Float32[np.ndarray, "C H W"],
    class_ids: Sequence[int],
    rule: BackgroundRule,
    *,
    background: int,
    saliency: Float32[np.ndarray, "H W"] | None = None,
    channel: Float32[np.ndarray, "H W"] | None = None,
) -> SoftMask:
    """Scores of the background and of the present classes, which are not made to sum to 1.

    Parameters
    ----------
    maps
        Normalised maps of the classes that are present, in [0, 1].
    class_ids
        Their vocabulary ids, strictly increasing.
    background
        Vocabulary id of background. Foreground has to exceed it where that is the smallest id.
    saliency, channel
        As for `background_plane`.

    Returns
    -------
    SoftMask
        Planes in the order of their ids. With `Dual` the columns of undecided pixels are all zero, which abstains;
        elsewhere the background is the high one where foreground wins, and the low one where background does.

    Raises
    ------
    DataError
        As `background_plane`.

    Examples
    --------
    >>> from labelgen.masks import harden
    >>> from labelgen.seeds.backgrounds import parse_background
    >>> maps = np.array([[[0.02, 0.2, 0.9]]], np.float32)
    >>> harden(set_against(maps, (15,), parse_background("dual:irn"), background=0)).tolist()
    [[0, 255, 15]]
    >>> harden(set_against(maps, (15,), Fixed(0.2), background=0)).tolist()
    [[0, 0, 15]]
    """
    if isinstance(rule, Dual):
        best = _best(maps)
        low, high = background_plane(maps, rule.low), background_plane(maps, rule.high)
        plane = np.where(best > high, high, low)
    else:
        plane = background_plane(maps, rule, saliency=saliency, channel=channel)
    place = int(np.searchsorted(np.asarray(class_ids, np.int64), background))
    scores = np.concatenate([maps[:place], plane[None], maps[place:]])
    if isinstance(rule, Dual):
        scores[:, undecided(maps, rule)] = 0
    return SoftMask(scores, (*class_ids[:place], background, *class_ids[place:]))


def _best(maps: np.ndarray) -> np.ndarray:
    return maps.max(axis=0) if len(maps) else np.zeros(maps.shape[1:], np.float32)


def _given(plane: np.ndarray | None, name: str, size: tuple[int, ...]) -> np.ndarray:
    if plane is None:
        raise DataError(
            f"the background rule {name} needs a plane of the image, but there is none",
            hint="fixed:0.2 and power:6 need none",
        )
    if plane.shape != size:
        raise DataError(f"the {name} must have the size {size} of the maps, got {plane.shape}")
    if not (plane.min() >= 0 and plane.max() <= 1):  # refuses NaN too
        raise DataError(f"the {name} must lie in [0, 1], got a range of {plane.min()} to {plane.max()}")
    return plane.astype(np.float32, copy=False)
