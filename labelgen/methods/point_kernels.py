"""Where clicks go: candidate pixels within a region, disks on a label map."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from jaxtyping import Bool, Float32, Int

from labelgen.geometry.distance import distance_to_zero
from labelgen.masks import LabelMap, label_dtype
from labelgen.methods.targets import Region
from labelgen.strokes import Stroke

__all__ = ["clicks_in", "draw_clicks", "inside_distance", "mark_dropped", "sample_clicks"]

INNER_SHARE = 1 / 1.7  # RITM draws its first click farther than this share of the largest distance
BORDER_SHARE = 0.1  # of sqrt(area): width of the band along the boundary, as RITM's ring
BACKGROUND_DISTANCE = 5.0  # pixels to anything else, so that background clicks keep off fuzzy outlines
JITTER_TRIES = 10


def inside_distance(mask: Bool[np.ndarray, "h w"]) -> Float32[np.ndarray, "h w"]:
    """Euclidean distance in pixels of each pixel of a mask to the nearest one outside; beyond the array is outside.

    Examples
    --------
    >>> inside_distance(np.ones((3, 3), bool))[1].tolist()
    [1.0, 2.0, 1.0]
    """
    padded = np.pad(mask, 1).view(np.uint8)
    return distance_to_zero(padded)[1:-1, 1:-1]


def sample_clicks(
    mask: Bool[np.ndarray, "h w"], *, n: int, where: str, rng: np.random.Generator
) -> Int[np.ndarray, "N 2"]:
    """Choose up to `n` different pixels of a non-empty mask; extreme chooses up to four.

    Parameters
    ----------
    where
        random, centre, inner, border or extreme, as in `PointConfig`.

    Returns
    -------
    Int[np.ndarray, "N 2"]
        (row, col) in the mask. Where a rule offers fewer than `n` pixels, those, and the rest from the whole mask.

    References
    ----------
    .. [1] Sofiiuk et al., "Reviving iterative training with mask guidance" (RITM), 2021, arXiv 2102.06583 (inner).
    .. [2] Maninis et al., "Deep extreme cut", CVPR 2018, arXiv 1711.09081 (extreme).

    Examples
    --------
    >>> sample_clicks(np.ones((3, 5), bool), n=1, where="centre", rng=np.random.default_rng(0)).tolist()
    [[1, 2]]
    """
    if where == "centre":
        return _centres(mask, n)
    if where == "extreme":
        return _extremes(mask, rng)
    candidates = {"random": _anywhere, "inner": _inner, "border": _border}[where](mask)
    return _draw(candidates, mask, n, rng)


def _draw(candidates: np.ndarray, mask: np.ndarray, n: int, rng: np.random.Generator) -> np.ndarray:
    chosen = _pick(candidates, n, rng)
    if len(chosen) < n:
        chosen = np.concatenate([chosen, _pick(mask & ~candidates, n - len(chosen), rng)])
    return chosen


def _pick(candidates: np.ndarray, n: int, rng: np.random.Generator) -> np.ndarray:
    pixels = np.flatnonzero(candidates)
    if n == 1 and len(pixels):
        chosen = pixels[rng.integers(len(pixels), size=1)]
    else:
        chosen = rng.choice(pixels, min(n, len(pixels)), replace=False)
    return np.stack(np.unravel_index(chosen, candidates.shape), axis=1)


def _anywhere(mask: np.ndarray) -> np.ndarray:
    return mask


def _inner(mask: np.ndarray) -> np.ndarray:
    distance = inside_distance(mask)
    return distance > distance.max() * INNER_SHARE


def _border(mask: np.ndarray) -> np.ndarray:
    return mask & (inside_distance(mask) <= max(1.0, BORDER_SHARE * np.sqrt(np.count_nonzero(mask))))


def _centres(mask: np.ndarray, n: int) -> np.ndarray:
    """Pixel farthest from the outside, then again with the clicked pixels counted as outside.

    Of equally far pixels the one nearest to their mean is taken, and then the first in reading order.
    """
    left = mask.copy()
    chosen = []
    for _ in range(min(n, int(np.count_nonzero(mask)))):
        distance = inside_distance(left)
        ties = np.argwhere(distance == distance.max())
        off_mean = ((ties - ties.mean(axis=0)) ** 2).sum(axis=1)
        chosen.append(ties[off_mean.argmin()])
        left[tuple(chosen[-1])] = False
    return np.array(chosen, np.int64)


def _extremes(mask: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """One pixel of the first and last row and column that the mask reaches; equal ones are merged."""
    rows, cols = np.nonzero(mask)
    ends = [rows == rows.min(), rows == rows.max(), cols == cols.min(), cols == cols.max()]
    chosen = [rng.choice(np.flatnonzero(end)) for end in ends]
    return np.array(list(dict.fromkeys((int(rows[i]), int(cols[i])) for i in chosen)), np.int64)


def background_clicks(mask: Bool[np.ndarray, "h w"], *, n: int, rng: np.random.Generator) -> Int[np.ndarray, "N 2"]:
    """Choose up to `n` pixels farther than 5 from all else where possible; the image's edge is not a boundary here."""
    # OpenCV defines no distance when there is nothing else: then all is background and any pixel will do.
    far: np.ndarray = mask
    if not mask.all():
        far = distance_to_zero(mask.view(np.uint8)) > BACKGROUND_DISTANCE
    return _draw(far, mask, n, rng)


def jitter(
    clicks: Int[np.ndarray, "N 2"], mask: Bool[np.ndarray, "h w"], *, sigma: float, rng: np.random.Generator
) -> Int[np.ndarray, "N 2"]:
    """Displace clicks by a normal deviation of `sigma` pixels; one that leaves the mask ten times stays in place."""
    if sigma == 0 or not len(clicks):
        return clicks
    offsets = rng.normal(0, sigma, (len(clicks), JITTER_TRIES, 2))
    tries = np.floor(clicks[:, None] + offsets + 0.5).astype(np.int64)
    within: np.ndarray = np.all((tries >= 0) & (tries < mask.shape), axis=2)
    tries_inside = np.where(within[..., None], tries, 0)
    good: np.ndarray = within & mask[tries_inside[..., 0], tries_inside[..., 1]]
    first = good.argmax(axis=1)
    return np.where(np.any(good, axis=1, keepdims=True), tries[np.arange(len(clicks)), first], clicks)


def clicks_in(
    regions: Sequence[Region],
    *,
    n: int,
    where: str,
    background: int | None,
    num_background: int,
    sigma: float,
    min_area: int,
    width: float,
    rng: np.random.Generator,
) -> tuple[tuple[Stroke, ...], int]:
    """Sample the clicks of all regions as one-vertex strokes.

    Returns
    -------
    tuple
        The strokes, background first, then larger regions before smaller ones; and the number of regions below
        `min_area`, which the background is never.
    """
    found: list[tuple[int, list[Stroke]]] = []
    skipped = 0
    for index, region in enumerate(regions):
        area = int(np.count_nonzero(region.mask))
        if region.class_id == background:
            area = region.mask.size + 1  # painted first
            clicks = background_clicks(region.mask, n=num_background, rng=rng)
        elif area < min_area:
            skipped += 1
            continue
        else:
            clicks = sample_clicks(region.mask, n=n, where=where, rng=rng)
        points = jitter(clicks, region.mask, sigma=sigma, rng=rng) + np.array(region.corner)
        strokes = [Stroke(region.class_id, p[None].astype(np.float64), width, index, "point") for p in points]
        found.append((area, strokes))
    found.sort(key=lambda entry: -entry[0])
    return tuple(stroke for _, strokes in found for stroke in strokes), skipped


def mark_dropped(strokes: Sequence[Stroke], *, drop: float, rng: np.random.Generator) -> tuple[Stroke, ...]:
    """Mark each stroke as dropped with probability `drop`, independently of the others."""
    if drop == 0:
        return tuple(strokes)
    lost = rng.random(len(strokes)) < drop
    return tuple(replace(s, dropped=True) if gone else s for s, gone in zip(strokes, lost, strict=True))


def draw_clicks(
    strokes: Sequence[Stroke], *, size: tuple[int, int], ignore: int, inside: LabelMap | None = None
) -> LabelMap:
    """Draw one-vertex strokes as disks: the pixels whose centre lies within half the pen's width of the vertex.

    Parameters
    ----------
    inside
        Ground truth; a disk then covers only pixels of its own class.

    Returns
    -------
    LabelMap
        Later strokes lie on top, background strokes of `strokes` should therefore come first; `ignore` elsewhere.

    Examples
    --------
    >>> draw_clicks([Stroke(3, np.array([[0.0, 1.0]]), width=2.0)], size=(2, 3), ignore=255)
    array([[  3,   3,   3],
           [255,   3, 255]], dtype=uint8)
    """
    labels = np.full(size, ignore, label_dtype(ignore))
    for stroke in strokes:
        if stroke.dropped:
            continue
        row, col = stroke.points[0]
        reach = stroke.width / 2
        top, left = max(0, int(np.ceil(row - reach))), max(0, int(np.ceil(col - reach)))
        window = labels[top : int(np.floor(row + reach)) + 1, left : int(np.floor(col + reach)) + 1]
        rows = np.arange(top, top + window.shape[0])[:, None] - row
        cols = np.arange(left, left + window.shape[1])[None] - col
        disk = rows * rows + cols * cols <= reach * reach
        if inside is not None:
            disk &= inside[top : top + window.shape[0], left : left + window.shape[1]] == stroke.class_id
        window[disk] = stroke.class_id
    return labels
