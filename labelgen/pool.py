"""Label images in several processes, each of which opens the files itself."""

import itertools
import multiprocessing
import os
import signal
import threading
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from typing import Any

from labelgen.data.sample import Generate
from labelgen.errors import LabelgenError
from labelgen.pipeline import Task, label_images, open_writer
from labelgen.processes import take_environment, worker_context
from labelgen.store import RunWriter
from labelgen.store.lines import Record
from labelgen.threads import limit_threads

__all__ = ["chunks_of", "label_in_processes"]

LARGEST_CHUNK = 32  # images per errand
CHUNKS_PER_WORKER = 4  # at least so many errands each, so that no worker idles at the end


def label_in_processes(task: Task, ids: Sequence[str]) -> Iterator[Record]:
    """Yield the records of all images, in no fixed order, when they are on disk.

    Leaving the generator early, by an error or an interruption, lets each worker finish its image and ends it.

    Raises
    ------
    LabelgenError
        When a worker process dies.
    """
    workers = min(task.options.workers, len(ids))
    chunks = iter(chunks_of(ids, workers))
    with worker_context() as (context, environment):
        stop = context.Event()
        given = (environment, task, stop)
        pool = ProcessPoolExecutor(workers, mp_context=context, initializer=_start_worker, initargs=given)
        running: set[Future[list[Record]]] = set()
        try:
            while True:
                for chunk in itertools.islice(chunks, 2 * workers - len(running)):
                    running.add(pool.submit(_label_chunk, chunk))
                if not running:
                    break
                finished, running = wait(running, return_when=FIRST_COMPLETED)
                for future in finished:
                    yield from future.result()
        except BrokenProcessPool as error:
            raise LabelgenError(
                "a worker process died; what it finished is kept",
                hint="out of memory? Use fewer --workers; the same command again goes on",
            ) from error
        finally:
            stop.set()
            pool.shutdown(wait=True, cancel_futures=True)


def chunks_of(ids: Sequence[str], workers: int) -> list[Sequence[str]]:
    """Images in errands for workers, in order.

    Examples
    --------
    >>> [len(chunk) for chunk in chunks_of(["a"] * 20, workers=2)]
    [2, 2, 2, 2, 2, 2, 2, 2, 2, 2]
    """
    size = max(1, min(LARGEST_CHUNK, len(ids) // (workers * CHUNKS_PER_WORKER)))
    return [ids[start : start + size] for start in range(0, len(ids), size)]


@dataclass
class _Worker:
    """State of a worker process."""

    task: Task
    stop: Any
    generate: Generate | None = None
    writer: RunWriter | None = None


_worker: _Worker | None = None


def _start_worker(environment: Mapping[str, str], task: Task, stop: Any) -> None:
    global _worker
    take_environment(environment)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the whole group; the parent decides
    threading.Thread(target=_die_with_parent, daemon=True).start()
    _worker = _Worker(task, stop)


def _die_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)  # killed parents cannot say goodbye; everything on disk is whole


def _label_chunk(ids: Sequence[str]) -> list[Record]:
    assert _worker is not None
    if _worker.generate is None or _worker.writer is None:
        _worker.generate = _worker.task.job.make()
        _worker.writer = open_writer(_worker.task)
        limit_threads()
    records = []
    for record in label_images(_worker.task, _worker.generate, ids, _worker.writer):
        records.append(record)
        if _worker.stop.is_set():
            break
    return records
