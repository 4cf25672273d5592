"""`smooth`: cross-entropy with a little of every class in the target, so that no label is believed entirely."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, Any

from labelgen.errors import ConfigError
from labelgen.settings import check_finite
from segprobe.losses.loss import Loss

__all__ = ["SMOOTH", "SmoothConfig", "make_smooth"]


@dataclass(frozen=True)
class SmoothConfig:
    """`-sum_k t_k log p_k` with the target `t = (1 - eps) onehot(y) + eps / C`, C being the classes of the head.

    Raises
    ------
    ConfigError
        When eps is out of range.

    References
    ----------
    .. [1] Szegedy et al., "Rethinking the Inception Architecture for Computer Vision", CVPR 2016, arXiv 1512.00567,
       section 7.
    """

    eps: Annotated[float, "share of the target that all classes have alike"] = 0.1

    def __post_init__(self) -> None:
        check_finite(self)
        if not 0 <= self.eps < 1:
            raise ConfigError(f"eps must lie in [0, 1), got {self.eps}", hint="0.1 is usual; 0 is cross-entropy")


def make_smooth(config: SmoothConfig) -> Callable[..., Any]:
    """The loss of a batch."""
    from segprobe.losses.kernels import smoothed_cross_entropy
    from segprobe.losses.masked import masked_loss

    return masked_loss(lambda logits, columns, _: smoothed_cross_entropy(logits, columns, eps=config.eps))


SMOOTH = Loss(SmoothConfig, make_smooth)
