"""Ignore band: pixels that are foreground against a weak background but not against a strong one get no label."""

import dataclasses
from dataclasses import dataclass
from typing import Annotated

import numpy as np

from labelgen.data.sample import Refine, Sample
from labelgen.errors import ConfigError, ShapeError
from labelgen.masks import SoftMask
from labelgen.refine.cells import has_vote
from labelgen.refine.planes import without_class
from labelgen.refine.refiner import Refiner, RefineStep, background_of, make_refiner, parse_refiner, row_of
from labelgen.seeds.background_scores import set_against
from labelgen.seeds.backgrounds import DUAL_PRESETS, Dual, parse_background

__all__ = ["BAND", "BandConfig", "decided", "make_band"]


@dataclass(frozen=True)
class BandConfig:
    """Leave pixels without a label that two backgrounds, a weak and a strong one, do not agree on.

    The background among the scores is replaced, once by the low and once by the high rule. Confident foreground wins
    against the high background; confident background wins though it is only the low one; what is left abstains. With
    `refine` both are refined before they are compared, as PSA and IRN do with a CRF; where refined foreground of the
    high background is background under the low one, the foreground stays.

    The rules read the scores of the classes as class maps in [0, 1]. Of scores that sum to 1, such as those of a CRF,
    they read the probability of the best class: `fixed:0.3` is then a probability of .3, and the presets, which are
    for maps, leave hardly a band. Pixels that abstain stay so unless `refine` fills them.

    Raises
    ------
    ConfigError
        When the rule is not dual, or the refiner is unknown or one whose network or state follows from the data.

    References
    ----------
    .. [1] Ahn & Kwak, "Learning Pixel-level Semantic Affinity with Image-level Supervision for Weakly Supervised
       Semantic Segmentation", CVPR 2018, arXiv 1803.10464, section 3.2.
    """

    rule: Annotated[str, "psa, seam, irn or toco, or two rules: power:4/power:24, fixed:0.3/fixed:0.05"] = "seam"
    refine: Annotated[str, "refiner of both before they are compared, NAME or NAME:ARGUMENT; empty for none"] = ""
    background_id: Annotated[int, "class id of background; that of the vocabulary where it is known"] = 0

    def __post_init__(self) -> None:
        self.dual()
        self.inner()

    def dual(self) -> Dual:
        """The two rules."""
        text = self.rule if self.rule.startswith("dual:") else f"dual:{self.rule}"
        rule = parse_background(text)
        if not isinstance(rule, Dual):
            raise ConfigError(f"a band needs two backgrounds, got {self.rule!r}", hint=", ".join(DUAL_PRESETS))
        return rule

    def inner(self) -> RefineStep | None:
        """The refiner of both."""
        if not self.refine:
            return None
        step = parse_refiner(self.refine)
        row = row_of(step.name)
        if row.settle or row.settle_classes or row.models or row.fit:
            raise ConfigError(
                f"a band cannot refine by {step.name}, which depends on the data set or on a network",
                hint=f"crf, pamr, par or regions; or apply {step.name} before the band",
            )
        return step


def make_band(config: BandConfig) -> Refine:
    """Build the refiner."""
    rule, background = config.dual(), config.background_id
    inner = config.inner()
    both = make_refiner(inner) if inner is not None else None

    def refine(sample: Sample, mask: SoftMask) -> SoftMask:
        maps, votes = without_class(mask, background), has_vote(mask.scores)
        versions = []
        for side in (rule.high, rule.low):
            against = set_against(maps.scores, maps.class_ids, side, background=background)
            version = dataclasses.replace(mask, scores=against.scores * votes, class_ids=against.class_ids)
            versions.append(version if both is None else both(sample, version))
        return decided(*versions, background=background)

    return refine


def decided(high: SoftMask, low: SoftMask, *, background: int) -> SoftMask:
    """Scores where two versions of a mask, against a high and a low background, are sure; zeros elsewhere.

    Parameters
    ----------
    high, low
        Of the same classes, background among them.
    background
        Its class id.

    Returns
    -------
    SoftMask
        The scores of `high` where foreground wins there, whatever `low` says; those of `low` where background wins in
        both.

    Raises
    ------
    ShapeError
        When the versions have different classes or sizes, or no background.

    Examples
    --------
    >>> high = SoftMask(np.array([[[0.5, 0.5, 0.5]], [[0.9, 0.3, 0.1]]], np.float32), (0, 7))
    >>> low = SoftMask(np.array([[[0.2, 0.2, 0.2]], [[0.9, 0.3, 0.1]]], np.float32), (0, 7))
    >>> decided(high, low, background=0).scores.max(axis=0).round(1).tolist()[0]
    [0.8999999761581421, 0.0, 0.20000000298023224]
    """
    if high.class_ids != low.class_ids or high.size != low.size or background not in high.class_ids:
        raise ShapeError(
            f"both sides of a band must have the same classes and size, and background {background}, got "
            f"{high.class_ids} {high.size} and {low.class_ids} {low.size}"
        )
    plane = high.class_ids.index(background)
    by_high, by_low = (np.where(has_vote(m.scores), m.scores.argmax(axis=0), -1) for m in (high, low))
    is_foreground = (by_high != plane) & (by_high >= 0)
    is_background = (by_high == plane) & (by_low == plane)
    scores = np.where(is_foreground, high.scores, np.where(is_background, low.scores, np.float32(0)))
    return dataclasses.replace(high, scores=scores)


BAND = Refiner(BandConfig, make_band, argument="rule", settle_classes=background_of)
