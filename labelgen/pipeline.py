"""Label images one after the other while the next are decoded and the last are written: the loop of each process."""

import contextlib
import functools
import itertools
import logging
import sys
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from labelgen.data.dataset import Dataset
from labelgen.data.sample import Generate, Sample
from labelgen.errors import DataError, LabelgenError
from labelgen.job import Job, RunOptions, rng_for
from labelgen.masks import SoftMask
from labelgen.store import RunWriter
from labelgen.store.lines import Record

__all__ = ["Task", "label_images", "one_opencv_thread", "open_writer"]

log = logging.getLogger(__name__)

AHEAD = 3  # images decoded ahead, and images waiting to be written, per process


@dataclass(frozen=True)
class Task:
    """All that a process needs to label images."""

    dataset: Dataset
    job: Job
    out: Path
    options: RunOptions

    def load(self, sample_id: str) -> Sample:
        """Read one image and only what the method may see."""
        fields = set(self.job.needs) | ({"image"} if self.job.reads_image else set())
        return self.dataset.load(sample_id, fields).only(self.job.needs)


def label_images(task: Task, generate: Generate, ids: Sequence[str], writer: RunWriter) -> Iterator[Record]:
    """Label images one after the other while the next are decoded and the last are written.

    Yields the record of each image in order, when it is on disk.
    """
    with ThreadPoolExecutor(1, "decode") as decode, ThreadPoolExecutor(1, "write") as write:
        coming: deque[tuple[str, Future[Sample]]] = deque()
        leaving: deque[Future[Record]] = deque()
        rest = iter(ids)
        try:
            while True:
                for sample_id in itertools.islice(rest, AHEAD - len(coming)):
                    coming.append((sample_id, decode.submit(task.load, sample_id)))
                if not coming:
                    break
                leaving.append(write.submit(*_label_one(task, generate, *coming.popleft(), writer)))
                while len(leaving) > AHEAD or (leaving and leaving[0].done()):
                    yield leaving.popleft().result()
            while leaving:
                yield leaving.popleft().result()
        finally:
            decode.shutdown(wait=False, cancel_futures=True)


def _label_one(
    task: Task, generate: Generate, sample_id: str, loading: "Future[Sample]", writer: RunWriter
) -> tuple[Callable[..., Record], str, SoftMask | DataError]:
    """Label one image; return the call that writes the result down."""
    try:
        sample = loading.result()
        mask = generate(sample, rng_for(task.options.seed, sample_id))
        if mask.size != sample.size:
            raise ValueError(f"scores must have the size {sample.size} of the image, got {mask.size}")
    except DataError as error:
        if task.options.strict:
            raise
        log.debug("failed: %s: %s", sample_id, error)
        return writer.fail, sample_id, error
    except LabelgenError:
        raise
    except Exception as error:
        raise RuntimeError(f"{type(error).__name__} while labelling image {sample_id!r}: {error}") from error
    log.debug("labelled: %s", sample_id)
    return functools.partial(_put, writer), sample_id, mask


def _put(writer: RunWriter, sample_id: str, mask: SoftMask) -> Record:
    try:
        return writer.put(sample_id, mask)
    except DataError as error:
        return writer.fail(sample_id, error)
    except (TypeError, ValueError) as error:
        raise RuntimeError(f"{type(error).__name__} while writing image {sample_id!r}: {error}") from error


@contextlib.contextmanager
def one_opencv_thread() -> Iterator[None]:
    """Keep OpenCV, if the method has loaded it, to one thread: the last bits of its results depend on their number."""
    cv2 = sys.modules.get("cv2")
    if cv2 is None:
        yield
        return
    before = cv2.getNumThreads()
    cv2.setNumThreads(1)
    try:
        yield
    finally:
        cv2.setNumThreads(before)


def open_writer(task: Task) -> RunWriter:
    """A writer into the run folder of the task."""
    options = task.options
    return RunWriter(task.out, task.job.vocabulary, min_score=options.min_score, save_scores=options.save_scores)
