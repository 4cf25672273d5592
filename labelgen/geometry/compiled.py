"""Compile a kernel to machine code, with a cache on disk where one can be written."""

from collections.abc import Callable
from typing import Any

import numba

__all__ = ["compiled"]


def compiled(kernel: Callable) -> Any:
    """Compile a kernel with numba at its first call.

    The machine code is kept beside the module or in the user's cache folder; on an installation where neither can
    be written it is compiled anew in each process. Kernels also carry `@no_type_check`, below this decorator, because
    the run-time type checks of the tests would otherwise wrap the function before numba sees it.
    """
    try:
        return numba.njit(nogil=True, cache=True)(kernel)
    except RuntimeError:  # numba found no folder that it may write to
        return numba.njit(nogil=True)(kernel)
