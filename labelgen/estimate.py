"""How long something will take and how large it will be: a little of it is done, timed, and thrown away."""

import dataclasses
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from labelgen.data.dataset import Dataset
from labelgen.job import Job, RunOptions
from labelgen.pipeline import Task, label_images, one_opencv_thread, open_writer

__all__ = ["RunEstimate", "bytes_below", "estimate_run", "estimate_writing", "part_of", "spread"]

IMAGES = 4  # timed; the first also pays for what is compiled at its first use
PATIENCE = 20.0  # seconds after which no further image is begun
WRITTEN = 16  # images of an export that are timed at the most
AT_LEAST = 2  # images that are timed all the same: compiling can take longer than the patience, and happens once

T = TypeVar("T")


@dataclass(frozen=True)
class RunEstimate:
    """What a run, or the files of an export, will cost.

    Parameters
    ----------
    images
        Still to be labelled or written.
    timed
        Images that were tried to find out.
    seconds
        Of all of them, by the workers that there will be, loading included.
    bytes
        On disk.
    failed
        Images, of those that were tried, that cannot be labelled.
    """

    images: int
    timed: int
    seconds: float
    bytes: int
    failed: int = 0

    def to_json(self) -> dict[str, Any]:
        """Plain JSON values."""
        return {**dataclasses.asdict(self), "seconds": round(self.seconds, 2)}


def estimate_run(
    dataset: Dataset, job: Job, ids: Sequence[str], options: RunOptions, *, count: int = IMAGES
) -> RunEstimate:
    """Label a few images in this process into a folder that is removed.

    Parameters
    ----------
    ids
        Images that the run has still to label.
    count
        Images to try, spread evenly over `ids`.

    Raises
    ------
    LabelgenError
        Where the run would not begin, such as without weights.
    """
    if not ids:
        return RunEstimate(0, 0, 0.0, 0)
    ends = [time.perf_counter()]
    failed = 0
    options = dataclasses.replace(options, strict=False)
    with tempfile.TemporaryDirectory(prefix="labelgen-estimate-") as name:
        task = Task(dataset, job, Path(name), options)
        with open_writer(task) as writer, one_opencv_thread():
            generate = job.make()
            ends.append(time.perf_counter())
            for sample_id in spread(ids, count):  # one by one, so that work on the next is not in the time of this
                failed += sum("error" in record for record in label_images(task, generate, [sample_id], writer))
                ends.append(time.perf_counter())
                if ends[-1] - ends[1] > PATIENCE and len(ends) > AT_LEAST + 1:
                    break
        size = bytes_below(Path(name))
    begun, ready, first, *others = ends
    timed = 1 + len(others)
    usual = (others[-1] - first) / len(others) if others else first - ready
    start = (ready - begun) + max(0.0, (first - ready) - usual)
    seconds = start + usual * len(ids) / min(options.workers, len(ids))
    return RunEstimate(len(ids), timed, seconds, round(size / timed * len(ids)), failed)


def estimate_writing(write: Callable[[Sequence[str], Path], object], ids: Sequence[str]) -> RunEstimate:
    """Write the files of a few images into folders that are removed.

    Parameters
    ----------
    write
        Writes what belongs to some images into a folder.
    ids
        All images to write.
    """
    with tempfile.TemporaryDirectory(prefix="labelgen-estimate-") as name:
        warm, timed = Path(name, "warm"), Path(name, "timed")
        begin = time.perf_counter()
        warm.mkdir()
        write(spread(ids, 1), warm)  # also pays for what comes once
        first = time.perf_counter() - begin
        count = max(AT_LEAST, min(WRITTEN, int(PATIENCE / 2 / max(first, 1e-6))))
        tried = spread(ids, count)
        begin = time.perf_counter()
        timed.mkdir()
        write(tried, timed)
        each = (time.perf_counter() - begin) / len(tried)
        size = bytes_below(timed)
    seconds = max(first - each, 0.0) + each * len(ids)
    return RunEstimate(len(ids), len(tried), seconds, round(size / len(tried) * len(ids)))


def spread(items: Sequence[T], count: int) -> list[T]:
    """At most so many items, evenly from first to last.

    Examples
    --------
    >>> spread("abcdefg", 3), spread("ab", 5), spread("abc", 1)
    (['a', 'd', 'g'], ['a', 'b'], ['a'])
    """
    if len(items) <= count:
        return list(items)
    return [items[number * (len(items) - 1) // max(count - 1, 1)] for number in range(count)]


def part_of(dataset: Any, ids: Sequence[str]) -> Any:
    """The same data set with only some of its images; it must be a dataclass with a field `ids`."""
    return dataclasses.replace(dataset, ids=tuple(sorted(ids)))


def bytes_below(folder: Path) -> int:
    """Bytes of all files below a folder."""
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
