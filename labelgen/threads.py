"""One thread per library in processes of which there is one per core; what belongs to all threads, one at a time."""

import sys
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager

__all__ = ["THREAD_VARIABLES", "limit_threads", "without_warning"]

QUIET = threading.Lock()

THREAD_VARIABLES = (
    "OMP_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "MKL_NUM_THREADS",
    "VECLIB_MAXIMUM_THREADS",
    "NUMBA_NUM_THREADS",
    "OPENCV_FOR_THREADS_NUM",
)
"""Variables that libraries read when they are loaded."""


def limit_threads() -> None:
    """One thread in libraries that do not read the environment, if this process has loaded them."""
    if "torch" in sys.modules:
        sys.modules["torch"].set_num_threads(1)
    if "cv2" in sys.modules:
        sys.modules["cv2"].setNumThreads(1)


@contextmanager
def without_warning(category: type[Warning]) -> Iterator[None]:
    """Leave a kind of warning out. The filters are those of the process, so one thread at a time changes them."""
    with QUIET, warnings.catch_warnings():
        warnings.simplefilter("ignore", category)
        yield
