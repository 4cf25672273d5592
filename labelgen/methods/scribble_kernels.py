"""From a label map to full strokes: which regions get strokes, and in which style."""

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np
from jaxtyping import Bool

from labelgen.data.sample import Sample
from labelgen.errors import DataError
from labelgen.geometry.background import background_strokes
from labelgen.geometry.distance import ALL_SIDES, NO_SIDES, boundary_distance
from labelgen.geometry.hand import Hand
from labelgen.geometry.interior import Interior, interior_of
from labelgen.geometry.overrun import run_over
from labelgen.geometry.regions import Region, component_regions, instance_regions
from labelgen.geometry.styles import STYLES
from labelgen.methods.scribble import ScribbleConfig
from labelgen.methods.scribble_plan import Plan
from labelgen.strokes import Stroke
from labelgen.vocab import Vocabulary

__all__ = ["MIXTURE", "full_strokes"]

LONG_SIDE = 500
"""Image side in pixels that `min_area` refers to, as in PASCAL VOC."""

MIXTURE: Mapping[str, float] = {
    "path": 0.45, "curve": 0.25, "line": 0.1, "random-walk": 0.1, "loop": 0.05, "contour": 0.05,
}  # fmt: skip
"""How often the mixed style draws in each style."""


def full_strokes(sample: Sample, config: ScribbleConfig, vocabulary: Vocabulary, rng: np.random.Generator) -> Plan:
    """Draw every stroke of an image in full length.

    Each region has random numbers of its own, so what happens in one does not depend on the others, and shrinking
    and dropping, which come later, change nothing here.
    """
    regions = _regions(sample, config, vocabulary)
    seeds = rng.integers(0, 2**63, size=(len(regions), 2))
    clips = _clips(regions, sample, config, vocabulary)
    least = config.min_area * (max(sample.size) / LONG_SIDE) ** 2
    drawn = []
    for targets in _targets(regions, config, vocabulary, least):
        drawn += _strokes_of(targets, config, vocabulary, seeds, clips, sample.size, least)
    # background first, then by decreasing area, so that small objects win where strokes may overlap
    drawn.sort(key=lambda entry: (entry[0].class_id != vocabulary.background, -entry[0].area, entry[0].index))
    return _plan(drawn, regions, clips, seeds, config, sample.need_truth())


def _regions(sample: Sample, config: ScribbleConfig, vocabulary: Vocabulary) -> tuple[Region, ...]:
    truth = sample.need_truth()
    if config.group != "instance":
        return component_regions(truth, ignore=vocabulary.ignore)
    if sample.instances is None:
        raise DataError(
            f"group instance needs an instance map, but {sample.id} has none",
            hint="use --group component, or data with instance masks (VOC SegmentationObject, COCO)",
        )
    return instance_regions(truth, sample.instances, background=vocabulary.background, ignore=vocabulary.ignore)


def _clips(
    regions: Sequence[Region], sample: Sample, config: ScribbleConfig, vocabulary: Vocabulary
) -> dict[int, Bool[np.ndarray, "h w"]]:
    """By region: the part of its box that strokes may cover; a region that lies in the void margin has none."""
    if config.void_margin <= 0:
        return {region.index: region.mask for region in regions}
    allowed = boundary_distance(sample.need_truth() != vocabulary.ignore, sides=NO_SIDES) > config.void_margin
    clips = {}
    for region in regions:
        (top, left), (height, width) = region.origin, region.mask.shape
        clip = region.mask & allowed[top : top + height, left : left + width]
        if clip.any():
            clips[region.index] = clip
    return clips


def _targets(
    regions: Sequence[Region], config: ScribbleConfig, vocabulary: Vocabulary, least: float
) -> list[list[Region]]:
    """Regions that share a budget of strokes, the largest first in each."""
    by_class: dict[int, list[Region]] = {}
    for region in regions:
        by_class.setdefault(region.class_id, []).append(region)
    targets = []
    for class_id, members in by_class.items():
        members.sort(key=lambda region: (-region.area, region.index))
        large = [region for region in members if region.area >= least]
        if class_id == vocabulary.background and not config.background:
            continue
        if not large:
            targets += [members[:1]] if config.keep_tiny else []
        elif config.group == "class" or class_id == vocabulary.background:
            targets.append(large)
        else:
            targets += [[region] for region in large]
    return targets


def _strokes_of(
    targets: list[Region],
    config: ScribbleConfig,
    vocabulary: Vocabulary,
    seeds: np.ndarray,
    clips: Mapping[int, np.ndarray],
    size: tuple[int, int],
    least: float,
) -> list[tuple[Region, str, np.ndarray]]:
    """Strokes of regions with a common budget, in image coordinates, with their style."""
    rng = np.random.default_rng(int(seeds[targets[0].index, 0]))
    style = _style(config, rng)
    assert config.width is not None and config.branches is not None and config.jitter is not None
    hand = Hand(width=config.width, branches=config.branches, jitter=config.jitter)
    is_background = targets[0].class_id == vocabulary.background
    budget = config.max_background_strokes if is_background else 1 + config.branches
    chosen = [region for region in targets if region.index in clips][:budget]
    inside = [_interior(region, config, clips[region.index], size) for region in chosen]
    if not chosen:
        return []
    if targets[0].area < least:
        found = [(0, inside[0].centre[None])]
    elif is_background:
        found = background_strokes(inside, hand, rng, style=style, most=budget)
    else:
        hand = replace(hand, branches=budget - len(chosen))
        found = [(0, points) for points in STYLES[style](inside[0], hand, rng)]
        for piece in range(1, len(chosen)):
            found += [(piece, points) for points in STYLES[style](inside[piece], replace(hand, branches=0), rng)]
    return [(chosen[piece], style, points + chosen[piece].origin) for piece, points in found]


def _style(config: ScribbleConfig, rng: np.random.Generator) -> str:
    """The style of one region; the draw is made in any case, so that all styles see the same numbers after it."""
    pick = float(rng.uniform())
    if config.style != "mixed":
        return str(config.style)
    return list(MIXTURE)[int(np.searchsorted(np.cumsum(list(MIXTURE.values()))[:-1], pick, side="right"))]


def _interior(region: Region, config: ScribbleConfig, clip: np.ndarray, size: tuple[int, int]) -> Interior:
    """The part to draw in. Sides of the box that lie inside the image are boundary, as the region ends there."""
    sides = ALL_SIDES
    if not config.border_is_boundary:
        (top, left), (height, width) = region.origin, region.mask.shape
        sides = (top > 0, top + height < size[0], left > 0, left + width < size[1])
    connected = config.group != "instance" and config.void_margin <= 0
    return interior_of(clip, margin=config.margin or 0.0, sides=sides, connected=connected)


def _plan(
    drawn: Sequence[tuple[Region, str, np.ndarray]],
    regions: tuple[Region, ...],
    clips: Mapping[int, np.ndarray],
    seeds: np.ndarray,
    config: ScribbleConfig,
    truth: np.ndarray,
) -> Plan:
    """Draw the numbers that decide on each stroke's fate, and let violators run over the contour."""
    fates = {region.index: np.random.default_rng(int(seeds[region.index, 1])) for region, _, _ in drawn}
    strokes, numbers = [], []
    for region, style, points in drawn:
        luck, anchor, temper, *overshoot = fates[region.index].uniform(size=5)
        numbers.append((luck, anchor, temper))
        over = temper < (config.violate or 0.0)
        full = run_over(points, truth == region.class_id, overshoot=overshoot) if over else points
        strokes.append(Stroke(region.class_id, full.round(2), float(config.width or 3), region.index, style))
    table = np.array(numbers, np.float64).reshape(-1, 3)
    missed = len(regions) - len({region.index for region, _, _ in drawn})
    return Plan(tuple(strokes), table[:, :2], table[:, 2] < (config.violate or 0.0), regions, clips, missed)
