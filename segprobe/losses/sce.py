"""`sce`: symmetric cross-entropy, which adds the cross-entropy with label and prediction exchanged."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, Any

from labelgen.errors import ConfigError
from labelgen.settings import check_finite
from segprobe.losses.loss import Loss

__all__ = ["SCE", "SceConfig", "make_sce"]


@dataclass(frozen=True)
class SceConfig:
    """`alpha CE + beta RCE` with `RCE = -sum_k p_k log y_k`, the logarithm of 0 being A.

    For hard labels RCE is `-A (1 - p_y)`, a multiple of the mean absolute error. Many implementations clamp labels at
    1e-4 instead, which is A = -9.21.

    Raises
    ------
    ConfigError
        When a value is out of range.

    References
    ----------
    .. [1] Wang et al., "Symmetric Cross Entropy for Robust Learning with Noisy Labels", ICCV 2019, arXiv 1908.06112,
       section 3; (alpha, beta) is (0.1, 1) there for ten classes and (6, 0.1) for a hundred, A is -4.
    """

    alpha: Annotated[float, "weight of cross-entropy"] = 0.1
    beta: Annotated[float, "weight of reverse cross-entropy"] = 1.0
    a: Annotated[float, "what stands for the logarithm of 0"] = -4.0

    def __post_init__(self) -> None:
        check_finite(self)
        if self.alpha < 0 or self.beta < 0 or self.alpha + self.beta == 0:
            raise ConfigError(f"alpha and beta must be >= 0 and not both 0, got {self.alpha} and {self.beta}")
        if self.a >= 0:
            raise ConfigError(f"a stands for the logarithm of 0 and must be < 0, got {self.a}", hint="the paper has -4")


def make_sce(config: SceConfig) -> Callable[..., Any]:
    """The loss of a batch."""
    from segprobe.losses.kernels import symmetric_cross_entropy
    from segprobe.losses.masked import masked_loss

    def each(logits: Any, columns: Any, progress: float) -> Any:
        return symmetric_cross_entropy(logits, columns, alpha=config.alpha, beta=config.beta, log_zero=config.a)

    return masked_loss(each)


SCE = Loss(SceConfig, make_sce)
