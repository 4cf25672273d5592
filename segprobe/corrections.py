"""How labels are corrected by what a head has learned from them: settings, and how they are typed."""

import difflib
import math
from dataclasses import dataclass
from typing import Annotated, Literal

from labelgen.errors import ConfigError
from labelgen.settings import settings_from_text, split_setting

__all__ = ["CORRECTIONS", "AdeleConfig", "ConfidentConfig", "parse_correction"]


@dataclass(frozen=True)
class ConfidentConfig:
    """Self-training: after a whole training, what the head is sure of is a label of the next one.

    Each round begins from the initial labels, so that mistakes of one round do not pile up in the next. The confidence
    is that of ADELE; a head that was trained briefly exceeds it nowhere, and then a lower one is needed.

    Raises
    ------
    ConfigError
        When a value is out of range.
    """

    confidence: Annotated[float, "probability that a prediction must exceed"] = 0.8
    pixels: Annotated[Literal["unlabelled", "all"], "which pixels may get a label; all replaces labels, too"] = (
        "unlabelled"
    )
    tags: Annotated[bool, "only classes that the labels of the image show, and background"] = True
    start: Annotated[Literal["scratch", "continue"], "where the next training begins"] = "scratch"

    def __post_init__(self) -> None:
        _check_share("confidence", self.confidence)


@dataclass(frozen=True)
class AdeleConfig:
    """ADELE: labels of a class are replaced from the epoch on in which the head begins to memorise their mistakes.

    Measured after each epoch: the IoU of each class between predictions and the initial labels. See
    `labelgen.correct.adele`, which holds the curve and the correction.

    Raises
    ------
    ConfigError
        When a value is out of range.

    References
    ----------
    .. [1] Liu et al., "Adaptive Early-Learning Correction for Segmentation from Noisy Annotations", CVPR 2022,
       arXiv 2110.03740, section 3.2; both defaults are theirs.
    """

    confidence: Annotated[float, "probability that a prediction must exceed"] = 0.8
    ratio: Annotated[float, "loss of slope of the IoU at which a class is corrected"] = 0.9

    def __post_init__(self) -> None:
        _check_share("confidence", self.confidence)
        _check_share("ratio", self.ratio)
        if not self.ratio:
            raise ConfigError("ratio must lie in (0, 1), got 0.0", hint="the paper has 0.9")


CORRECTIONS: dict[str, type] = {"confident": ConfidentConfig, "adele": AdeleConfig}
"""Name to settings."""


def parse_correction(text: str) -> ConfidentConfig | AdeleConfig:
    """Read `NAME[,setting=value...]`.

    Raises
    ------
    ConfigError
        When the correction or a setting is unknown (the hint names the nearest), or a value is out of range.

    Examples
    --------
    >>> parse_correction("confident,pixels=all,tags=no").pixels
    'all'
    """
    name, *rest = (part.strip() for part in text.split(","))
    if name not in CORRECTIONS:
        nearest = difflib.get_close_matches(name, CORRECTIONS, n=1)
        advice = f"did you mean {nearest[0]}? " if nearest else ""
        raise ConfigError(f"unknown correction {name!r}", hint=f"{advice}corrections: {', '.join(CORRECTIONS)}")
    values = dict(split_setting(part) for part in rest)
    return settings_from_text(CORRECTIONS[name], values, of=f"correction {name}")


def _check_share(name: str, value: float) -> None:
    if not (math.isfinite(value) and 0 <= value < 1):
        raise ConfigError(f"{name} must lie in [0, 1), got {value}")
