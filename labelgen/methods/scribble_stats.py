"""How much synthetic scribbles resemble real ones: figures per stroke, region and image, and their comparison."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from jaxtyping import Float

from labelgen.geometry.distance import ALL_SIDES, boundary_distance, distance_to_zero
from labelgen.geometry.polyline import cumulative_length, resample
from labelgen.geometry.rasterise import draw_polyline
from labelgen.geometry.regions import Region, component_regions
from labelgen.geometry.skeleton_path import skeleton_paths
from labelgen.geometry.thinning import thin
from labelgen.masks import IGNORE, LabelMap
from labelgen.strokes import Stroke, arc_length

__all__ = ["TARGETS", "compare_samples", "image_statistics", "pool_statistics", "summarise_statistics"]

TARGETS: Mapping[str, tuple[float, float]] = {
    "coverage": (0.02, 0.045),
    "strokes_per_region": (1.0, 2.0),
    "length_over_path": (0.8, 1.3),
    "width": (3.0, 3.6),
    "wrong": (0.0, 0.011),
    "void": (0.0, 0.0),
}
"""Where the mean of a figure should lie for scribbles on PASCAL VOC; measured on real ones."""

BANDS = (5, 30)
"""Widths in pixels of the bands along the contours."""

TURN_STEP = 10.0
"""Turning angles are measured over steps of this many pixels."""

LONG_SIDE = 500
MIN_AREA = 80
"""Regions below this area (at a long side of 500 pixels) are not looked at: they get no stroke by default."""


def image_statistics(
    truth: LabelMap, labels: LabelMap, strokes: Sequence[Stroke], *, ignore: int = IGNORE
) -> dict[str, list[float]]:
    """Measure the scribbles of one image; each figure is a list, one value per image, region or stroke.

    Per image: `coverage` (share of labelled pixels), `strokes`, `wrong` and `void` (share of labelled pixels on
    another class, or on void), `missed` (share of regions without a stroke), `lost` (classes without a stroke),
    `width` (labelled pixels over total stroke length), `band_5` and `band_30` (share of labelled pixels within so many
    pixels of a contour).
    Per region with a stroke: `strokes_per_region`, `length_over_root_area`, `length_over_path` (total stroke length
    over the longest geodesic path of the region's skeleton; regions whose skeleton is a mere dot are left out),
    `region_coverage`, `area`, `centroid_offset` (between the labelled pixels and the region, over sqrt(area)).
    Per stroke: `depth` (mean distance to the boundary over the largest in the region), `turning` (standard deviation
    in degrees of the turning angle per 10 pixels).

    Strokes are assigned to the 8-connected component of their class that holds most of their vertices.
    """
    drawn = [stroke for stroke in strokes if not stroke.dropped]
    regions = component_regions(truth, ignore=ignore)
    least = MIN_AREA * (max(truth.shape) / LONG_SIDE) ** 2
    owners = [_owner(stroke, regions) for stroke in drawn]
    figures = _image_figures(truth, labels, drawn, regions, ignore)
    large = [region for region in regions if region.area >= least]
    figures["missed"] = [1 - np.mean([region.index in owners for region in large])] if large else []
    for region in regions:
        members = [stroke for stroke, owner in zip(drawn, owners, strict=True) if owner == region.index]
        if members:
            for name, value in _region_figures(region, members, labels).items():
                figures.setdefault(name, []).extend(value)
    return {name: [float(v) for v in values] for name, values in figures.items()}


def _owner(stroke: Stroke, regions: Sequence[Region]) -> int:
    """Index of the region that holds most vertices of a stroke, -1 when none does."""
    best, most = -1, 0
    for region in regions:
        if region.class_id == stroke.class_id:
            rows, cols = (np.floor(stroke.points + 0.5).astype(int) - region.origin).T
            height, width = region.mask.shape
            inside = (rows >= 0) & (rows < height) & (cols >= 0) & (cols < width)
            held = int(region.mask[rows[inside], cols[inside]].sum())
            if held > most:
                best, most = region.index, held
    return best


def _image_figures(
    truth: LabelMap, labels: LabelMap, drawn: Sequence[Stroke], regions: Sequence[Region], ignore: int
) -> dict[str, list]:
    labelled = labels != ignore
    count = int(labelled.sum())
    void = truth == ignore
    lost = {region.class_id for region in regions} - {stroke.class_id for stroke in drawn}
    figures: dict[str, list] = {"coverage": [count / labels.size], "strokes": [len(drawn)], "lost": [len(lost)]}
    if count:
        figures["wrong"] = [(labelled & ~void & (labels != truth)).sum() / count]
        figures["void"] = [(labelled & void).sum() / count]
        distance = _contour_distance(truth)
        for band in BANDS:
            figures[f"band_{band}"] = [(labelled & (distance <= band)).sum() / count]
    length = sum(stroke.length for stroke in drawn)
    if length > 0:
        # the round caps add the area of one disc per stroke
        caps = sum(np.pi / 4 * stroke.width**2 for stroke in drawn)
        figures["width"] = [max(count - caps, 0) / length]
    return figures


def _contour_distance(truth: LabelMap) -> np.ndarray:
    """Distance of each pixel to the nearest pixel whose right or lower neighbour has another id."""
    contour = np.zeros(truth.shape, bool)
    contour[:, :-1] |= truth[:, :-1] != truth[:, 1:]
    contour[:-1] |= truth[:-1] != truth[1:]
    if not contour.any():
        return np.full(truth.shape, np.inf, np.float32)
    return distance_to_zero((~contour).view(np.uint8))


def _region_figures(region: Region, members: Sequence[Stroke], labels: LabelMap) -> dict[str, list]:
    (top, left), (height, width) = region.origin, region.mask.shape
    on_region = region.mask & (labels[top : top + height, left : left + width] == region.class_id)
    length = sum(stroke.length for stroke in members)
    distance = boundary_distance(region.mask, sides=ALL_SIDES)
    figures: dict[str, list] = {
        "strokes_per_region": [len(members)],
        "length_over_root_area": [length / region.area**0.5],
        "region_coverage": [on_region.sum() / region.area],
        "area": [region.area],
    }
    path = skeleton_paths(thin(region.mask))[0]
    longest = arc_length(path.astype(np.float64))
    if longest >= 0.25 * region.area**0.5:
        figures["length_over_path"] = [length / longest]
    if on_region.any():
        offset = np.argwhere(on_region).mean(axis=0) - np.argwhere(region.mask).mean(axis=0)
        figures["centroid_offset"] = [np.hypot(*offset) / region.area**0.5]
    figures["depth"], figures["turning"] = [], []
    for stroke in members:
        pixels = draw_polyline(stroke.points - region.origin, width=1.0, size=region.mask.shape) & region.mask
        if pixels.any():
            figures["depth"].append(distance[pixels].mean() / distance.max())
        turns = turning_angles(stroke.points)
        if len(turns):
            figures["turning"].append(np.sqrt(np.mean(turns**2)))
    return figures


def turning_angles(points: Float[np.ndarray, "N 2"]) -> Float[np.ndarray, "M"]:
    """Change of direction in degrees from each 10-pixel step of a polyline to the next; positive to the right.

    Examples
    --------
    >>> turning_angles(np.array([[0.0, 0.0], [0.0, 10.0], [10.0, 10.0]])).tolist()
    [90.0]
    """
    if cumulative_length(points)[-1] < 2 * TURN_STEP:
        return np.zeros(0)
    steps = np.diff(resample(points, TURN_STEP), axis=0)
    heading = np.arctan2(steps[:, 0], steps[:, 1])
    return np.degrees((np.diff(heading) + np.pi) % (2 * np.pi) - np.pi)


def pool_statistics(images: Sequence[Mapping[str, Sequence[float]]]) -> dict[str, Float[np.ndarray, "N"]]:
    """Put the figures of many images together, each in one array."""
    names = sorted({name for image in images for name in image})
    return {name: np.concatenate([np.asarray(image.get(name, ()), np.float64) for image in images]) for name in names}


def summarise_statistics(pooled: Mapping[str, Float[np.ndarray, "N"]]) -> dict[str, dict[str, Any]]:
    """Count, mean, median, 5th and 95th percentile of each figure, and whether the mean lies in its target range.

    The slope of log coverage over log area of regions is added as `coverage_slope`: about -0.5 when stroke length
    grows with the diameter.
    """
    summary: dict[str, dict[str, Any]] = {}
    for name, values in pooled.items():
        if not len(values):
            continue
        low, median, high = np.percentile(values, (5, 50, 95))
        row = {"n": len(values), "mean": float(values.mean()), "median": float(median), "p5": float(low)}
        row |= {"p95": float(high)}
        if name in TARGETS:
            bottom, top = TARGETS[name]
            row["target"], row["met"] = [bottom, top], bool(bottom - 1e-9 <= row["mean"] <= top + 1e-9)
        summary[name] = row
    coverage, area = pooled.get("region_coverage"), pooled.get("area")
    if coverage is not None and area is not None and len(coverage) == len(area):
        usable = coverage > 0
        if len(np.unique(area[usable])) > 1:
            slope = float(np.polyfit(np.log(area[usable]), np.log(coverage[usable]), 1)[0])
            summary["coverage_slope"] = {"n": int(usable.sum()), "mean": slope}
    return summary


def compare_samples(
    synthetic: Mapping[str, Float[np.ndarray, "N"]], real: Mapping[str, Float[np.ndarray, "M"]]
) -> dict[str, dict[str, float]]:
    """Two-sample Kolmogorov-Smirnov test of each figure: the largest gap between the two distributions, and p.

    Examples
    --------
    >>> same = {"coverage": np.arange(20.0)}
    >>> compare_samples(same, same)["coverage"]["distance"]
    0.0
    """
    from scipy.stats import ks_2samp

    found = {}
    for name in sorted(set(synthetic) & set(real)):
        if len(synthetic[name]) and len(real[name]):
            result: Any = ks_2samp(synthetic[name], real[name], method="asymp")
            found[name] = {"distance": float(result.statistic), "p": float(result.pvalue)}
    return found
