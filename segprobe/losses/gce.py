"""`gce`: generalised cross-entropy, between cross-entropy and the mean absolute error, bounded for every pixel."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, Any

from labelgen.errors import ConfigError
from labelgen.settings import check_finite
from segprobe.losses.loss import Loss

__all__ = ["GCE", "GceConfig", "make_gce"]


@dataclass(frozen=True)
class GceConfig:
    """`(1 - p_y^q) / q`: cross-entropy for q to 0, `1 - p_y` for q = 1.

    Its gradient is that of cross-entropy times `p_y^q`, so that pixels the head disbelieves have little say. Before
    anything is learned it disbelieves all of them, therefore training begins with cross-entropy.

    Raises
    ------
    ConfigError
        When a value is out of range.

    References
    ----------
    .. [1] Zhang & Sabuncu, "Generalized Cross Entropy Loss for Training Deep Neural Networks with Noisy Labels",
       NeurIPS 2018, arXiv 1805.07836, equation 6; q = 0.7 is theirs, the warm-up is ours.
    """

    q: Annotated[float, "in (0, 1]; larger ones trust labels less"] = 0.7
    warmup: Annotated[float, "share of the updates that take cross-entropy"] = 0.1

    def __post_init__(self) -> None:
        check_finite(self)
        if not 0 < self.q <= 1:
            raise ConfigError(f"q must lie in (0, 1], got {self.q}", hint="the paper has 0.7; ce is its limit q = 0")
        if not 0 <= self.warmup < 1:
            raise ConfigError(f"warmup of gce must be a share of the updates in [0, 1), got {self.warmup}")


def make_gce(config: GceConfig) -> Callable[..., Any]:
    """The loss of a batch."""
    from segprobe.losses.kernels import cross_entropy, generalised_cross_entropy
    from segprobe.losses.masked import masked_loss

    def each(logits: Any, columns: Any, progress: float) -> Any:
        if progress < config.warmup:
            return cross_entropy(logits, columns)
        return generalised_cross_entropy(logits, columns, q=config.q)

    return masked_loss(each)


GCE = Loss(GceConfig, make_gce)
