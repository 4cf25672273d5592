"""What methods that make labels of class maps have in common: a background, and images that show no class."""

from typing import Any, Literal

import numpy as np

from labelgen.data.sample import Sample
from labelgen.errors import ConfigError, DataError
from labelgen.masks import SoftMask
from labelgen.seeds.backgrounds import BackgroundRule, Dual, Power
from labelgen.vocab import Vocabulary

__all__ = ["background_facts", "need_background", "without_classes"]


def need_background(vocabulary: Vocabulary) -> int:
    """The class of background.

    Raises
    ------
    ConfigError
        When the vocabulary has none.
    """
    if vocabulary.background is None:
        raise ConfigError(
            f"labels from class activation maps have a background, which {vocabulary.name!r} does not",
            hint="a vocabulary with one, such as --vocab voc",
        )
    return vocabulary.background


def background_facts(rule: BackgroundRule) -> dict[str, Any]:
    """The thresholds that a power, or two of them, amount to; nothing for other rules."""
    if isinstance(rule, Power):
        return {"background_as_threshold": round(rule.threshold, 4)}
    if isinstance(rule, Dual):
        return {"background_as_thresholds": [round(rule.low.threshold, 4), round(rule.high.threshold, 4)]}
    return {}


def without_classes(
    sample: Sample, what: str, *, untagged: Literal["background", "skip", "error"], background: int
) -> SoftMask:
    """The scores of an image that shows no class: never a map, which would have its maximum somewhere.

    Parameters
    ----------
    what
        What the image has or does instead, for messages.
    untagged
        Whether it is all background or unlabelled, or is refused.

    Raises
    ------
    DataError
        When it is refused.
    """
    if untagged == "error":
        raise DataError(f"{sample.id} {what}", hint="--untagged background or skip takes it")
    made = "all background" if untagged == "background" else "unlabelled"
    scores = np.full((1, *sample.size), float(untagged == "background"), np.float32)
    return SoftMask(scores, (background,), warnings=(f"the image {what}: {made}",))
