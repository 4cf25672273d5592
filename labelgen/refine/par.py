"""PAR: like PAMR, with squared colour distances and a small weight for nearness."""

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated

import numpy as np
from jaxtyping import Float32, Float64, UInt8

from labelgen.data.sample import Refine, Sample
from labelgen.masks import SoftMask
from labelgen.refine.neighbours import among_voters, average_neighbours, colour_affinity, dilated_ring
from labelgen.refine.pamr import DILATIONS, check_dilations, check_scores, parse_dilations
from labelgen.refine.refiner import Refiner

__all__ = ["PAR", "ParConfig", "make_par", "near_weights", "par"]

SHARE = 0.3
"""Of the standard deviations of colours and of distances."""

NEARNESS = 0.01
"""Sum of the weights for nearness, beside 1 for those by colour."""


@dataclass(frozen=True)
class ParConfig:
    """Fit scores to the edges of the image by pixel-adaptive refinement (PAR).

    Abstaining pixels have no vote; those that a vote reaches get scores from it.

    Raises
    ------
    ConfigError
        When a value is out of range.

    References
    ----------
    .. [1] Ru et al., "Learning Affinity from Attention: End-to-End Weakly-Supervised Semantic Segmentation with
       Transformers", CVPR 2022, arXiv 2203.02664, section 3.4.
    """

    steps: Annotated[int, "how often to average; ToCo 10, AFA 10 on VOC and 15 on COCO, WeCLIP and ExCEL 20"] = 10
    dilations: Annotated[str, "distances of the neighbours in pixels, with slashes between"] = "1/2/4/8/12/24"
    legacy: Annotated[bool, "weights that sum to 1.01, as published: scores grow by that factor at each step"] = False

    def __post_init__(self) -> None:
        check_dilations(parse_dilations(self.dilations), self.steps)


def make_par(config: ParConfig) -> Refine:
    """Build the refiner."""
    dilations = parse_dilations(config.dilations)

    def refine(sample: Sample, mask: SoftMask) -> SoftMask:
        image = sample.need_image()
        growth = (1 + NEARNESS) ** config.steps if config.legacy else 1.0

        def average(planes: np.ndarray) -> np.ndarray:
            return par(image, planes, dilations=dilations, steps=config.steps)

        averages = among_voters(average, mask.scores) * np.float32(growth)
        return dataclasses.replace(mask, scores=averages)

    return refine


def par(
    image: UInt8[np.ndarray, "H W 3"],
    scores: Float32[np.ndarray, "C H W"],
    *,
    dilations: Sequence[int] = DILATIONS,
    steps: int = 10,
    legacy: bool = False,
) -> Float32[np.ndarray, "C H W"]:
    """Average scores over the 8 neighbours at each dilation, weighted by colour and nearness, `steps` times.

    The weights are `softmax_n -mean_c (|I_c - I_cn| / (1e-8 + 0.3 std_c))^2 + 0.01 softmax_n -(d_n / (0.3 std_d))^2`
    with standard deviations (unbiased) over the neighbours, without the pixel itself, and `d` in pixels.

    Parameters
    ----------
    legacy
        Leave the sum of the weights at 1.01, so that scores grow by that factor at each step; which class is the
        best stays the same, which score exceeds a threshold does not. Otherwise the weights are divided by it.

    Returns
    -------
    ndarray
        Weighted means of the scores.

    Raises
    ------
    ConfigError
        When dilations or steps are out of range.
    ShapeError
        When the scores have another size than the image.

    References
    ----------
    .. [1] Ru et al., "Learning Affinity from Attention: End-to-End Weakly-Supervised Semantic Segmentation with
       Transformers", CVPR 2022, arXiv 2203.02664, section 3.4.

    Examples
    --------
    >>> flat, scores = np.zeros((2, 2, 3), np.uint8), np.ones((1, 2, 2), np.float32)
    >>> [round(float(par(flat, scores, steps=2, legacy=legacy)[0, 0, 0]), 4) for legacy in (False, True)]
    [1.0, 1.0201]
    """
    check_dilations(dilations, steps)
    check_scores(image, scores)
    offsets = dilated_ring(dilations)
    weights = colour_affinity(image, offsets, centres=0, share=SHARE, power=2)
    weights += near_weights(dilations).astype(np.float32)[:, None]
    if not legacy:
        weights /= np.float32(1 + NEARNESS)
    return average_neighbours(scores, weights, offsets, steps=steps)


def near_weights(dilations: Sequence[int]) -> Float64[np.ndarray, "K"]:
    """`0.01 softmax -(d / (0.3 std_d))^2` over the neighbours, in the order of `dilated_ring`."""
    distances = np.linalg.norm(dilated_ring(dilations), axis=1)
    logits = -((distances / (1e-8 + SHARE * distances.std(ddof=1))) ** 2)
    weights = np.exp(logits - logits.max())
    return NEARNESS * weights / weights.sum()


PAR = Refiner(ParConfig, make_par, argument="steps")
