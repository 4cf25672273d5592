"""Box supervision: every object is known only by its bounding box."""

from dataclasses import dataclass
from typing import Literal

import numpy as np

from labelgen.data.sample import Generate, Sample
from labelgen.errors import ConfigError
from labelgen.masks import SoftMask, one_hot
from labelgen.methods.method import Method
from labelgen.vocab import Vocabulary

__all__ = ["BOX", "BoxConfig", "make_box"]


@dataclass(frozen=True)
class BoxConfig:
    """Filled bounding boxes of the objects in the ground truth; where boxes overlap, the smallest lies on top.

    Parameters
    ----------
    per
        What gets a box: each 8-connected component of a class, or each annotated instance (pixels without an
        instance count by component).
    margin
        Grow each box by this many pixels on every side; negative shrinks it, to one pixel at the least.
    inner
        Share of the box's area, about its centre, that is labelled; the ring around it is left unlabelled. 1 labels
        the whole box.
    outside
        What lies outside all boxes: background (void pixels too, since boxes do not know of them), or unlabelled.
        Vocabularies without a background class always leave it unlabelled, and so does an image that is all void.
    min_area
        Objects of fewer pixels get no box; a class lost by this is named in the manifest.

    Raises
    ------
    ConfigError
        When a value is out of range.

    References
    ----------
    .. [1] Papandreou et al., "Weakly- and semi-supervised learning", ICCV 2015, arXiv 1502.02734 (overlaps).
    .. [2] Khoreva et al., "Simple does it", CVPR 2017, arXiv 1603.07485 (inner boxes with an ignored ring).

    Examples
    --------
    labelgen box
    labelgen box --margin 4 --per instance
    labelgen box voc:VOCdevkit/VOC2012 --split train --out runs/boxes
    """

    per: Literal["component", "instance"] = "component"
    margin: int = 0
    inner: float = 1.0
    outside: Literal["background", "unlabelled"] = "background"
    min_area: int = 0

    def __post_init__(self) -> None:
        if self.per not in ("component", "instance"):
            raise ConfigError(f"per must be component or instance, got {self.per!r}")
        if self.outside not in ("background", "unlabelled"):
            raise ConfigError(f"outside must be background or unlabelled, got {self.outside!r}")
        if not 0 < self.inner <= 1:
            raise ConfigError(f"inner must be a share of the box in (0, 1], got {self.inner}")
        if self.min_area < 0:
            raise ConfigError(f"min_area must be >= 0 pixels, got {self.min_area}")


def make_box(config: BoxConfig, vocabulary: Vocabulary) -> Generate:
    """Build the generator; nothing is loaded and nothing is random."""
    from labelgen.methods.targets import regions_in

    base = vocabulary.ignore
    if config.outside == "background" and vocabulary.background is not None:
        base = vocabulary.background

    def generate(sample: Sample, rng: np.random.Generator) -> SoftMask:
        truth = sample.need_truth()
        regions = [r for r in regions_in(sample, config.per, vocabulary) if r.class_id != vocabulary.background]
        kept = [region for region in regions if np.count_nonzero(region.mask) >= config.min_area]
        boxes = [(region.class_id, _box_of(region, config.margin, truth.shape)) for region in kept]
        blank = bool((truth == vocabulary.ignore).all())  # nothing is known here, so nothing is said
        labels = np.full(truth.shape, vocabulary.ignore if blank else base, truth.dtype)
        paint_boxes(labels, boxes, inner=config.inner, ignore=vocabulary.ignore)
        lost = sorted({r.class_id for r in regions} - {r.class_id for r in kept})
        details = {
            "boxes": len(boxes),
            "regions_skipped": len(regions) - len(kept),
            "classes_lost": [vocabulary.classes[class_id] for class_id in lost],
        }
        return one_hot(labels, ignore=vocabulary.ignore, details=details)

    return generate


def _box_of(region, margin: int, size: tuple[int, ...]) -> tuple[int, int, int, int]:
    """(top, left, bottom, right), the last two exclusive, within the image and never empty."""
    ends = []
    for start, length, limit in zip(region.corner, region.mask.shape, size, strict=True):
        middle = start + length // 2
        ends.append((min(max(0, start - margin), middle), max(min(limit, start + length + margin), middle + 1)))
    (top, bottom), (left, right) = ends
    return top, left, bottom, right


def paint_boxes(
    labels: np.ndarray, boxes: list[tuple[int, tuple[int, int, int, int]]], *, inner: float, ignore: int
) -> None:
    """Fill boxes of (class id, (top, left, bottom, right)) into a label map, the largest first.

    Parameters
    ----------
    inner
        Share of each box's area that gets its class; the ring around it gets `ignore`.

    Examples
    --------
    >>> labels = np.zeros((3, 4), np.uint8)
    >>> paint_boxes(labels, [(5, (1, 1, 2, 2)), (3, (0, 0, 3, 3))], inner=1.0, ignore=255)
    >>> labels
    array([[3, 3, 3, 0],
           [3, 5, 3, 0],
           [3, 3, 3, 0]], dtype=uint8)
    """
    by_area = sorted(boxes, key=lambda entry: -(entry[1][2] - entry[1][0]) * (entry[1][3] - entry[1][1]))
    for class_id, (top, left, bottom, right) in by_area:
        labels[top:bottom, left:right] = ignore
        # Rings of whole pixels on both sides; at least one pixel is labelled.
        down = min(round((bottom - top) * (1 - inner**0.5) / 2), (bottom - top - 1) // 2)
        across = min(round((right - left) * (1 - inner**0.5) / 2), (right - left - 1) // 2)
        labels[top + down : bottom - down, left + across : right - across] = class_id


BOX = Method(BoxConfig, make_box, needs=frozenset({"truth"}), reads_image=False)
