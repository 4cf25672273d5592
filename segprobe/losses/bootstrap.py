"""`bootstrap`: cross-entropy with a target that is partly the label and partly what the head itself says."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, Any, Literal

from labelgen.errors import ConfigError
from labelgen.settings import check_finite
from segprobe.losses.loss import Loss

__all__ = ["BETA", "BOOTSTRAP", "BootstrapConfig", "make_bootstrap"]

BETA = {"soft": 0.95, "hard": 0.8}
"""Share of the label in the target, from the paper."""


@dataclass(frozen=True)
class BootstrapConfig:
    """Cross-entropy with the target `beta onehot(y) + (1 - beta) s`; s is p (soft) or `onehot(argmax p)` (hard).

    Soft is cross-entropy plus a penalty on the entropy of p; gradients flow through s, as in the paper.

    Raises
    ------
    ConfigError
        When beta is out of range.

    References
    ----------
    .. [1] Reed et al., "Training Deep Neural Networks on Noisy Labels with Bootstrapping", ICLR 2015 workshop,
       arXiv 1412.6596, equations 6 and 7.
    """

    kind: Annotated[Literal["soft", "hard"], "what of the head's own goes into the target"] = "soft"
    beta: Annotated[float | None, "share of the label; .95 for soft and .8 for hard"] = None

    def __post_init__(self) -> None:
        if self.kind not in BETA:
            raise ConfigError(f"kind must be soft or hard, got {self.kind!r}")
        if self.beta is None:
            object.__setattr__(self, "beta", BETA[self.kind])
        check_finite(self)
        if not 0 < self.beta <= 1:  # type: ignore[operator]
            raise ConfigError(f"beta must lie in (0, 1], got {self.beta}", hint="1 is cross-entropy")


def make_bootstrap(config: BootstrapConfig) -> Callable[..., Any]:
    """The loss of a batch."""
    from segprobe.losses.kernels import bootstrapped_hard, bootstrapped_soft
    from segprobe.losses.masked import masked_loss

    kernel = bootstrapped_soft if config.kind == "soft" else bootstrapped_hard
    beta = float(config.beta)  # type: ignore[arg-type]
    return masked_loss(lambda logits, columns, _: kernel(logits, columns, beta=beta))


BOOTSTRAP = Loss(BootstrapConfig, make_bootstrap, argument="kind")
