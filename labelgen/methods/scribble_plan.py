"""The full strokes of an image, what shrinking and dropping leave of them, and how that is drawn."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Bool, Float

from labelgen.geometry.rasterise import draw_inside, draw_polyline
from labelgen.geometry.regions import Region
from labelgen.masks import LabelMap, label_dtype
from labelgen.strokes import Stroke
from labelgen.vocab import Vocabulary

__all__ = ["Plan", "details_of", "draw_labels", "warnings_of"]


@dataclass(frozen=True)
class Plan:
    """The full strokes of one image, in the order in which they are painted.

    Parameters
    ----------
    strokes
        Full strokes: background first, then by decreasing area of their region, so that small objects win.
    numbers
        Two uniform numbers per stroke: its luck when strokes are dropped, and where the window of random shrinking
        lies.
    unclipped
        Whether a stroke may leave its region.
    regions
        All regions of the image; `Stroke.region` is an index into it.
    clips
        By region: the part of its box that its strokes may cover.
    missed
        Regions without a stroke.
    """

    strokes: tuple[Stroke, ...]
    numbers: Float[np.ndarray, "N 2"]
    unclipped: Bool[np.ndarray, "N"]
    regions: tuple[Region, ...]
    clips: Mapping[int, Bool[np.ndarray, "h w"]]
    missed: int


def draw_labels(strokes: Sequence[Stroke], plan: Plan, *, size: tuple[int, int], ignore: int) -> LabelMap:
    """Paint the strokes in order; unless it may leave it, each stroke marks only pixels of its own region."""
    labels = np.full(size, ignore, label_dtype(ignore))
    for stroke, unclipped in zip(strokes, plan.unclipped, strict=True):
        if stroke.dropped:
            continue
        if unclipped:
            labels[draw_polyline(stroke.points, width=stroke.width, size=size)] = stroke.class_id
            continue
        (top, left), clip = plan.regions[stroke.region].origin, plan.clips[stroke.region]
        first, last = _box(stroke, (top, left), clip.shape)
        window = clip[first[0] : last[0], first[1] : last[1]]
        start = np.array([top + first[0], left + first[1]])
        drawn = draw_inside(stroke.points - start, width=stroke.width, region=window)
        labels[start[0] : start[0] + drawn.shape[0], start[1] : start[1] + drawn.shape[1]][drawn] = stroke.class_id
    return labels


def _box(stroke: Stroke, origin: tuple[int, int], shape: tuple[int, ...]) -> tuple[np.ndarray, np.ndarray]:
    """First and one-past-last (row, col) of the part of a region's box that the pen can reach."""
    reach = int(stroke.width / 2) + 2
    first = np.floor(stroke.points.min(axis=0)).astype(int) - reach - origin
    last = np.ceil(stroke.points.max(axis=0)).astype(int) + reach + 1 - origin
    return np.clip(first, 0, shape), np.clip(last, 0, shape)


def details_of(
    plan: Plan, strokes: Sequence[Stroke], labels: LabelMap, truth: LabelMap, vocabulary: Vocabulary
) -> dict[str, Any]:
    """Facts about one image for the manifest, after shrinking and dropping."""
    present = {region.class_id for region in plan.regions}
    drawn = {stroke.class_id for stroke in strokes if not stroke.dropped}
    labelled = labels != vocabulary.ignore
    void = truth == vocabulary.ignore
    return {
        "strokes": sum(not stroke.dropped for stroke in strokes),
        "dropped": sum(stroke.dropped for stroke in strokes),
        "regions": len(plan.regions),
        "missed_regions": plan.missed,
        "classes_lost": [vocabulary.classes[i] for i in sorted(present - drawn)],
        "wrong_pixels": int(np.count_nonzero(labelled & ~void & (labels != truth))),
        "void_pixels": int(np.count_nonzero(labelled & void)),
    }


def warnings_of(plan: Plan, strokes: Sequence[Stroke], vocabulary: Vocabulary) -> list[str]:
    """Sentences about one image for the manifest."""
    if not plan.regions:
        return ["the ground truth is void everywhere; nothing was labelled"]
    background = vocabulary.background
    if background is None or background not in {region.class_id for region in plan.regions}:
        return []
    if any(stroke.class_id == background and not stroke.dropped for stroke in strokes):
        return []
    return ["the background has no stroke: a loss on labelled pixels alone sees no negatives here"]
