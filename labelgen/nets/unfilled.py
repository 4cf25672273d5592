"""Build a network without drawing the random numbers that its weights will replace: of a large one, seconds."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch.overrides import TorchFunctionMode

__all__ = ["unfilled"]

DRAWS = frozenset(
    {
        *(torch.Tensor.normal_, torch.Tensor.uniform_, torch.Tensor.erfinv_),
        *(torch.nn.init.normal_, torch.nn.init.uniform_, torch.nn.init.kaiming_uniform_),
    }
)
"""What the initialisers of torch and timm come down to; `erfinv_` turns uniform numbers into normal ones."""


@contextmanager
def unfilled(when: bool) -> Iterator[None]:
    """Leave tensors that are filled with random numbers as they are, if every one of them is loaded afterwards.

    Parameters
    ----------
    when
        Whether weights follow, strictly: none may be missing.
    """
    if not when:
        yield
        return
    with _Unfilled():
        yield


class _Unfilled(TorchFunctionMode):
    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Sequence[type],
        args: tuple[Any, ...] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        named = kwargs or {}
        if func in DRAWS:
            return args[0] if args else named["tensor"]
        return func(*args, **named)
