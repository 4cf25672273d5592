"""Images scored one by one, on threads or on a Ray cluster; those that cannot be are gathered into one error."""

import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Generic, TypeVar

from labelgen.data.dataset import Dataset
from labelgen.engine import Engine
from labelgen.errors import DataError
from labelgen.quality.on_ray import score_on_ray
from labelgen.store import LabelSource

__all__ = ["Progress", "on_threads", "scored"]

AHEAD = 4  # images in flight per worker: enough to keep all busy, few enough for any memory
SHOWN_ERRORS = 3
INTEGER = 8  # bytes of a count

Progress = Callable[[int, int, str], None]
"""Called with images done, images in all, and a note."""

T = TypeVar("T")


def scored(
    score: Callable[[str], T],
    source: LabelSource,
    truth: Dataset,
    *,
    workers: int,
    engine: Engine,
    progress: Progress | None = None,
) -> Iterator[T]:
    """What `score` says of each image of the truth, in their order.

    Parameters
    ----------
    workers
        Threads, or actors of a Ray cluster; 0 for one per core.
    engine
        Where they are.

    Raises
    ------
    DataError
        When an image cannot be scored: all are looked at before, and the first few named.
    """
    if engine.is_ray:
        sums = INTEGER * (truth.vocabulary.num_classes + 1) ** 2
        outcomes = score_on_ray(_Safely(score), truth.ids, engine, workers=workers, source=source, image_bytes=sums)
    else:
        outcomes = _in_order(_Safely(score), truth.ids, workers)
    return _gathered(outcomes, len(truth.ids), progress)


def on_threads(score: Callable[[str], T], ids: Sequence[str], *, workers: int) -> Iterator[T]:
    """What `score` says of each image, in the order of ids; `workers` and errors as of `scored`."""
    return _gathered(_in_order(_Safely(score), ids, workers), len(ids), None)


@dataclass(frozen=True)
class _Safely(Generic[T]):
    """The same with an error as a result, which names the image."""

    score: Callable[[str], T]

    def __call__(self, sample_id: str) -> T | DataError:
        try:
            return self.score(sample_id)
        except DataError as error:
            if sample_id in error.message:
                return error
            return DataError(f"{error.message} (image {sample_id})", hint=error.hint)


def _in_order(outcome: Callable[[str], T], ids: Sequence[str], workers: int) -> Iterator[T]:
    """Results in the order of ids, a few images ahead."""
    workers = workers or os.cpu_count() or 1
    if workers == 1:
        yield from map(outcome, ids)
        return
    with ThreadPoolExecutor(workers, thread_name_prefix="quality") as pool:
        running: deque[Future[T]] = deque()
        try:
            for sample_id in ids:
                running.append(pool.submit(outcome, sample_id))
                if len(running) >= AHEAD * workers:
                    yield running.popleft().result()
            while running:
                yield running.popleft().result()
        finally:
            pool.shutdown(wait=True, cancel_futures=True)


def _gathered(outcomes: Iterable[T | DataError], total: int, progress: Progress | None) -> Iterator[T]:
    errors: list[DataError] = []
    for done, outcome in enumerate(outcomes, start=1):
        if isinstance(outcome, DataError):
            errors.append(outcome)
        elif not errors:  # nothing is made of the rest, whose errors are still worth a look
            yield outcome
        if progress is not None:
            progress(done, total, "")
    if errors:
        raise _joined(errors, total)


def _joined(errors: list[DataError], total: int) -> DataError:
    """One error that names the first few of several."""
    if len(errors) == 1:
        return errors[0]
    more = f"; and {len(errors) - SHOWN_ERRORS} more" if len(errors) > SHOWN_ERRORS else ""
    listed = "; ".join(error.message for error in errors[:SHOWN_ERRORS])
    return DataError(f"{len(errors)} of {total} images cannot be scored: {listed}{more}", hint=errors[0].hint)
