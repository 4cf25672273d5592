"""Rules of the background, which class activation maps do not have, in the text form in which they are typed."""

import math
from dataclasses import dataclass

from labelgen.errors import ConfigError

__all__ = [
    "DUAL_PRESETS",
    "FIXED_PRESETS",
    "BackgroundRule",
    "Channel",
    "Dual",
    "Fixed",
    "Power",
    "Saliency",
    "ThresholdRule",
    "alpha_to_threshold",
    "parse_background",
    "threshold_to_alpha",
]


BISECTIONS = 60  # down to the last bit of a float in [0, 1]


def alpha_to_threshold(alpha: float) -> float:
    """The threshold `s` with `s = (1 - s) ** alpha`: where `power` with this alpha turns into foreground.

    Raises
    ------
    ConfigError
        When alpha is not above 0 and finite.

    Examples
    --------
    >>> [round(alpha_to_threshold(alpha), 3) for alpha in (1, 4, 24)]
    [0.5, 0.276, 0.094]
    """
    if not 0 < alpha < math.inf:
        raise ConfigError(f"alpha must be above 0 and finite, got {alpha}")
    low, high = 0.0, 1.0
    for _ in range(BISECTIONS):
        middle = (low + high) / 2
        low, high = (middle, high) if middle < (1 - middle) ** alpha else (low, middle)
    return (low + high) / 2


def threshold_to_alpha(threshold: float) -> float:
    """The alpha of the `power` rule that gives the same labels as a fixed threshold: `log s / log(1 - s)`.

    Raises
    ------
    ConfigError
        When the threshold is not within (0, 1).

    Examples
    --------
    >>> round(threshold_to_alpha(0.5), 6), round(threshold_to_alpha(0.2), 2)
    (1.0, 7.21)
    """
    if not 0 < threshold < 1:
        raise ConfigError(f"a threshold must lie in (0, 1) to have an alpha, got {threshold}")
    return math.log(threshold) / math.log1p(-threshold)


@dataclass(frozen=True)
class Fixed:
    """A constant score: foreground is what exceeds it.

    Parameters
    ----------
    threshold
        In (0, 1].
    """

    threshold: float

    def __post_init__(self) -> None:
        if not 0 < self.threshold <= 1:
            raise ConfigError(
                f"a fixed background must lie in (0, 1], got {self.threshold}",
                hint="at 0 a pixel that no class claims would be without any label",
            )

    def __str__(self) -> str:
        return f"fixed:{self.threshold:g}"


@dataclass(frozen=True)
class Power:
    """`(1 - max_c M_c) ** alpha`: the larger alpha, the weaker the background.

    Parameters
    ----------
    alpha
        Above 0.
    """

    alpha: float

    def __post_init__(self) -> None:
        if not 0 < self.alpha < math.inf:
            raise ConfigError(f"the alpha of a power background must be above 0 and finite, got {self.alpha}")

    @property
    def threshold(self) -> float:
        """The fixed threshold that gives the same labels; see `alpha_to_threshold`."""
        return alpha_to_threshold(self.alpha)

    def __str__(self) -> str:
        return f"power:{self.alpha:g}"


@dataclass(frozen=True)
class Saliency:
    """`1 - S`, where S is the saliency of the image. What is salient but of no class stays unlabelled."""

    def __str__(self) -> str:
        return "saliency"


@dataclass(frozen=True)
class Channel:
    """The plane that the network itself gives for background."""

    def __str__(self) -> str:
        return "channel"


ThresholdRule = Fixed | Power
"""Rules under which foreground wins exactly where the best class exceeds a threshold."""


@dataclass(frozen=True)
class Dual:
    """Two backgrounds: what only one of them takes is undecided and gets no label.

    Confident foreground wins against the high background; confident background wins though it is only the low one.

    Parameters
    ----------
    low, high
        The weak and the strong background, by the threshold that each amounts to.
    """

    low: ThresholdRule
    high: ThresholdRule

    def __post_init__(self) -> None:
        if not self.low.threshold < self.high.threshold:
            raise ConfigError(
                f"the low background must be weaker than the high one, got {self.low} (a threshold of "
                f"{self.low.threshold:.3g}) and {self.high} ({self.high.threshold:.3g})",
                hint="a larger alpha is a weaker background, a larger threshold a stronger one",
            )

    def __str__(self) -> str:
        return f"dual:{self.high}/{self.low}"


BackgroundRule = Fixed | Power | Saliency | Channel | Dual

FIXED_PRESETS = {"psa": 0.20, "seam": 0.26, "eps": 0.20, "irn": 0.15, "irn-walk": 0.25, "1-stage": 0.1}
"""Thresholds of the papers' code, for plain masks (IRN: of maps, and of maps after its random walk)."""

DUAL_PRESETS = {
    "psa": Dual(Power(32), Power(4)),
    "seam": Dual(Power(24), Power(4)),
    "irn": Dual(Fixed(0.05), Fixed(0.30)),
    "toco": Dual(Fixed(0.25), Fixed(0.70)),
}
"""Pairs of the papers' code, for labels with an ignore band."""

GRAMMAR = "fixed:0.2, power:6, saliency, channel, dual:power:4/power:24, or fixed: or dual: with the name of a paper"


def parse_background(text: str) -> BackgroundRule:
    """Read a rule as it is typed.

    - `fixed:0.2`, or `fixed:NAME` with a name of `FIXED_PRESETS`;
    - `power:6`;
    - `saliency`: 1 - saliency;
    - `channel`: the plane of the network;
    - `dual:power:4/power:24`, `dual:fixed:0.3/fixed:0.05`: two of the first two kinds, in any order, or `dual:NAME`
      with a name of `DUAL_PRESETS`.

    There is no comma in it, so that it can be an argument of a refiner.

    Raises
    ------
    ConfigError
        When it is none of these, or a number is out of range.

    Examples
    --------
    >>> parse_background("power:6")
    Power(alpha=6.0)
    >>> parse_background("fixed:seam")
    Fixed(threshold=0.26)
    >>> parse_background("dual:power:24/power:4") == parse_background("dual:seam")
    True
    """
    kind, colon, argument = text.strip().partition(":")
    if kind in ("saliency", "channel") and not colon:
        return Saliency() if kind == "saliency" else Channel()
    if kind in ("fixed", "power") and argument:
        return _parse_threshold_rule(text)
    if kind == "dual" and argument in DUAL_PRESETS:
        return DUAL_PRESETS[argument]
    if kind == "dual" and argument.count("/") == 1:
        low, high = sorted(map(_parse_threshold_rule, argument.split("/")), key=lambda rule: rule.threshold)
        return Dual(low, high)
    names = f"; names: fixed:{'|'.join(FIXED_PRESETS)}, dual:{'|'.join(DUAL_PRESETS)}"
    raise ConfigError(f"unknown background rule {text!r}", hint=f"{GRAMMAR}{names}")


def _parse_threshold_rule(text: str) -> ThresholdRule:
    kind, _, argument = text.strip().partition(":")
    if kind == "fixed" and argument in FIXED_PRESETS:
        return Fixed(FIXED_PRESETS[argument])
    if kind not in ("fixed", "power"):
        raise ConfigError(f"a dual background is made of fixed: and power:, got {text!r}", hint=GRAMMAR)
    try:
        number = float(argument)
    except ValueError as error:
        raise ConfigError(f"a background rule needs a number, got {text!r}", hint=GRAMMAR) from error
    return Fixed(number) if kind == "fixed" else Power(number)
