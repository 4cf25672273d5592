"""Kernels on several threads: a few pieces of work at a time, taken as the threads become free."""

import multiprocessing
import os
from collections import deque
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise

from labelgen.errors import ConfigError

__all__ = ["Crew", "threads_to_use"]


def threads_to_use(threads: int) -> int:
    """The number itself; for 0 all cores of this process, or one in a worker process, which has its core already.

    Raises
    ------
    ConfigError
        When the number is negative.
    """
    if threads < 0:
        raise ConfigError(f"threads must be >= 0, got {threads}", hint="0 takes all cores")
    if threads:
        return threads
    if multiprocessing.parent_process() is not None:
        return 1
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


class Crew:
    """Threads for kernels that release the interpreter; a context manager.

    Parameters
    ----------
    threads
        As `threads_to_use` takes it.

    Examples
    --------
    >>> done = []
    >>> with Crew(2) as crew:
    ...     crew.run([lambda: done.append(1), lambda: done.append(2), lambda: done.append(3)])
    >>> sorted(done)
    [1, 2, 3]
    """

    def __init__(self, threads: int = 1) -> None:
        self.threads = threads_to_use(threads)
        self._pool = ThreadPoolExecutor(self.threads - 1, thread_name_prefix="crf") if self.threads > 1 else None

    def __enter__(self) -> "Crew":
        return self

    def __exit__(self, *_: object) -> None:
        if self._pool is not None:
            self._pool.shutdown()

    def run(self, pieces: Iterable[Callable[[], object]]) -> None:
        """Do all pieces, in any order, and return when they are done."""
        left = deque(pieces)

        def work() -> None:
            while True:
                try:
                    piece = left.popleft()
                except IndexError:
                    return
                piece()

        others = (
            [] if self._pool is None else [self._pool.submit(work) for _ in range(min(self.threads, len(left)) - 1)]
        )
        work()
        for other in others:
            other.result()

    def run_ranges(self, kernel: Callable[[int, int], object], count: int, *, smallest: int = 4096) -> None:
        """Call `kernel(first, last)` for ranges that make up `range(count)`, of at least `smallest` each."""
        parts = max(1, min(self.threads, count // smallest))
        edges = [count * part // parts for part in range(parts + 1)]
        self.run([lambda a=a, b=b: kernel(a, b) for a, b in pairwise(edges)])
