"""PAMR: scores averaged over neighbours at several distances, weighted by how alike their colours are."""

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated

import numpy as np
from jaxtyping import Float32, UInt8

from labelgen.data.sample import Refine, Sample
from labelgen.errors import ConfigError, ShapeError
from labelgen.masks import SoftMask
from labelgen.refine.neighbours import among_voters, average_neighbours, colour_affinity, dilated_ring
from labelgen.refine.refiner import Refiner

__all__ = ["DILATIONS", "PAMR", "PamrConfig", "check_dilations", "check_scores", "make_pamr", "pamr", "parse_dilations"]

DILATIONS = (1, 2, 4, 8, 12, 24)
"""As in the paper's code and in all that followed it."""

SHARE = 0.1
"""Of the standard deviation: the paper's alpha."""


@dataclass(frozen=True)
class PamrConfig:
    """Fit scores to the edges of the image by pixel-adaptive mask refinement (PAMR).

    Abstaining pixels have no vote; those that a vote reaches get scores from it.

    Raises
    ------
    ConfigError
        When a value is out of range.

    References
    ----------
    .. [1] Araslanov & Roth, "Single-Stage Semantic Segmentation from Image Labels", CVPR 2020, arXiv 2005.08104,
       section 3.3.
    """

    steps: Annotated[int, "how often to average"] = 10
    dilations: Annotated[str, "distances of the neighbours in pixels, with slashes between"] = "1/2/4/8/12/24"

    def __post_init__(self) -> None:
        check_dilations(parse_dilations(self.dilations), self.steps)


def parse_dilations(text: str) -> tuple[int, ...]:
    """Read whole numbers with slashes between; a comma would end the setting of a refiner.

    Raises
    ------
    ConfigError
        When it is anything else.

    Examples
    --------
    >>> parse_dilations("1/2/4")
    (1, 2, 4)
    """
    try:
        return tuple(int(part) for part in text.split("/"))
    except ValueError as error:
        raise ConfigError(
            f"dilations must be whole numbers with slashes between, got {text!r}", hint="1/2/4"
        ) from error


def check_dilations(dilations: Sequence[int], steps: int) -> None:
    """Refuse neighbours at no distance and negative steps.

    Raises
    ------
    ConfigError
        Saying which.
    """
    if not dilations or min(dilations) < 1 or len(set(dilations)) != len(dilations):
        raise ConfigError(f"dilations must be different whole numbers >= 1, got {tuple(dilations)}")
    if steps < 1:
        raise ConfigError(f"steps must be >= 1, got {steps}")


def check_scores(image: np.ndarray, scores: np.ndarray) -> None:
    """Refuse an image and scores that do not fit together.

    Raises
    ------
    ShapeError
        Naming both shapes.
    """
    if image.ndim != 3 or image.shape[2] != 3 or image.dtype != np.uint8:
        raise ShapeError(f"an image must be (H, W, 3) uint8, got {image.shape} {image.dtype}")
    if scores.ndim != 3 or scores.shape[1:] != image.shape[:2]:
        raise ShapeError(f"scores must be (C, H, W) of the size {image.shape[:2]} of the image, got {scores.shape}")


def make_pamr(config: PamrConfig) -> Refine:
    """Build the refiner."""
    dilations = parse_dilations(config.dilations)

    def refine(sample: Sample, mask: SoftMask) -> SoftMask:
        image = sample.need_image()

        def average(planes: np.ndarray) -> np.ndarray:
            return pamr(image, planes, dilations=dilations, steps=config.steps)

        return dataclasses.replace(mask, scores=among_voters(average, mask.scores))

    return refine


def pamr(
    image: UInt8[np.ndarray, "H W 3"],
    scores: Float32[np.ndarray, "C H W"],
    *,
    dilations: Sequence[int] = DILATIONS,
    steps: int = 10,
) -> Float32[np.ndarray, "C H W"]:
    """Average scores over the 8 neighbours at each dilation, weighted by colour, `steps` times.

    `k_n = -mean_c |I_c - I_cn| / (1e-8 + 0.1 std_c)` and `m <- sum_n softmax(k)_n m_n`. The standard deviation
    (unbiased) is over the nine samples of each dilation, so that the pixel is among them once per dilation; it has no
    weight itself. Beyond the edges the last pixel is repeated.

    Linear in the scores: a column of zeros is a score of zero here, not an abstention. Weights take 32 bytes per pixel
    and dilation, 36 MB at 375 x 500; planes are averaged a few at a time.

    Returns
    -------
    ndarray
        Weighted means of the scores, on their scale.

    Raises
    ------
    ConfigError
        When dilations or steps are out of range.
    ShapeError
        When the scores have another size than the image.

    References
    ----------
    .. [1] Araslanov & Roth, "Single-Stage Semantic Segmentation from Image Labels", CVPR 2020, arXiv 2005.08104,
       section 3.3.

    Examples
    --------
    >>> image = np.zeros((4, 6, 3), np.uint8)
    >>> image[:, 3:] = 200
    >>> scores = np.zeros((1, 4, 6), np.float32)
    >>> scores[0, :, :2] = 1  # one column short of the edge in the image
    >>> (pamr(image, scores, dilations=[1], steps=10)[0, 1] > 0.5).tolist()
    [True, True, True, False, False, False]
    """
    check_dilations(dilations, steps)
    check_scores(image, scores)
    offsets = dilated_ring(dilations)
    weights = colour_affinity(image, offsets, centres=len(dilations), share=SHARE, power=1)
    return average_neighbours(scores, weights, offsets, steps=steps)


PAMR = Refiner(PamrConfig, make_pamr, argument="steps")
