"""The runner: label every image of a data set into a run folder, in this process or in several.

Decoding, compute and writing overlap. Each image has its own random generator, made from the seed and its id, so no
byte depends on order, workers, shards or interruptions (see `labelgen.store`).
"""

import dataclasses
import functools
import hashlib
import json
import logging
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from labelgen.data.dataset import Dataset
from labelgen.data.sample import SUPERVISION, Generate, Sample
from labelgen.errors import ConfigError, DataError, LabelgenError
from labelgen.masks import SoftMask
from labelgen.store import (
    RunWriter,
    complete_run,
    look_into,
    make_header,
    prepare_run,
    read_header,
    unfinished_ids,
)
from labelgen.store.records import Record, Records, summarise
from labelgen.vocab import Vocabulary

__all__ = [
    "Job",
    "Progress",
    "RunOptions",
    "RunReport",
    "config_to_json",
    "method_job",
    "plan_job",
    "rng_for",
    "run_job",
]

log = logging.getLogger(__name__)

Progress = Callable[[int, int, str], None]
"""Called as `progress(done, total, note)` from the calling thread."""

AHEAD = 3  # images decoded ahead, and images waiting to be written, per process


@dataclass(frozen=True)
class Job:
    """What to do with each image. Picklable, so that worker processes can do it too.

    Parameters
    ----------
    method
        Name of the method, for run.json.
    config
        Its settings as plain JSON values, for run.json.
    make
        Builds the `Generate` function once per process; must survive pickling.
    needs
        Supervision that the method may see; all else is blanked.
    reads_image
        False spares the decoding of images.
    vocabulary
        The classes of the labels.
    models
        Id of each network to sha256 of its weights, for run.json.
    """

    method: str
    config: Mapping[str, Any]
    make: Callable[[], Generate]
    needs: frozenset[str]
    reads_image: bool
    vocabulary: Vocabulary
    models: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        unknown = sorted(self.needs - SUPERVISION)
        if unknown:
            raise ConfigError(f"needs must be out of {', '.join(sorted(SUPERVISION))}, got {unknown[0]!r}")


@dataclass(frozen=True)
class RunOptions:
    """How a run is made.

    Parameters
    ----------
    seed
        Seed of all randomness, >= 0.
    workers
        Processes. Changes nothing but the time.
    shard
        `(i, n)`: label only the i-th of n parts of the data set, 1 <= i <= n. Whoever finishes last completes the run.
    overwrite
        Replace a run that is already there.
    save_scores
        Keep the scores beside the labels.
    strict
        Stop at the first image that cannot be labelled.
    min_score
        A pixel whose best score does not exceed it stays unlabelled.
    """

    seed: int = 0
    workers: int = 1
    shard: tuple[int, int] = (1, 1)
    overwrite: bool = False
    save_scores: bool = False
    strict: bool = False
    min_score: float = 0.0

    def __post_init__(self) -> None:
        part, parts = self.shard
        if self.seed < 0:
            raise ConfigError(f"seed must be >= 0, got {self.seed}")
        if self.workers < 1:
            raise ConfigError(f"workers must be >= 1, got {self.workers}")
        if not 1 <= part <= parts:
            raise ConfigError(f"shard i/n must have 1 <= i <= n, got {part}/{parts}", hint="1/3, 2/3 and 3/3")
        if not 0 <= self.min_score < float("inf"):
            raise ConfigError(f"min_score must be finite and >= 0, got {self.min_score}")
        if self.overwrite and parts > 1:
            raise ConfigError(
                "overwrite cannot go with a shard, which would wipe what the other shards made",
                hint="remove the folder before the first shard starts",
            )


@dataclass(frozen=True)
class RunReport:
    """What `run_job` did.

    Parameters
    ----------
    done
        Images labelled by this call.
    skipped
        Images that were labelled before.
    failed
        Images that could not be labelled; failures.jsonl says why.
    complete
        Whether the whole run, of all shards, is complete.
    coverage
        Share of labelled pixels over the images of this shard.
    out
        The run folder.
    counts
        More totals over the images of this shard; see `labelgen.store.records.summarise`.
    """

    done: int
    skipped: int
    failed: int
    complete: bool
    coverage: float
    out: Path
    counts: Mapping[str, Any] = field(default_factory=dict)


def rng_for(seed: int, sample_id: str) -> np.random.Generator:
    """The generator of one image; independent of all other images.

    Examples
    --------
    >>> int(rng_for(0, "a").integers(1000)) == int(rng_for(0, "a").integers(1000))
    True
    >>> int(rng_for(0, "a").integers(10**9)) == int(rng_for(0, "b").integers(10**9))
    False
    """
    digest = hashlib.sha256(f"{seed}\0{sample_id}".encode()).digest()
    return np.random.default_rng(np.frombuffer(digest, "<u4"))


def config_to_json(config: Any) -> dict[str, Any]:
    """The settings of a method, a dataclass, as plain JSON values."""
    return json.loads(json.dumps(dataclasses.asdict(config), allow_nan=False, default=_plain))


def _plain(value: Any) -> str:
    if isinstance(value, Path):
        return value.as_posix()
    raise TypeError(f"settings must be plain JSON values, got {type(value).__name__}")


def method_job(name: str, config: Any, vocabulary: Vocabulary) -> Job:
    """The job of one row of `METHODS` with these settings.

    Raises
    ------
    ConfigError
        When there is no such method; the hint lists them.
    """
    from labelgen.methods import METHODS

    if name not in METHODS:
        raise ConfigError(f"unknown method {name!r}", hint=f"methods: {', '.join(METHODS)}")
    method = METHODS[name]
    return Job(
        method=name,
        config=config_to_json(config),
        make=functools.partial(method.make, config, vocabulary),
        needs=frozenset(method.supervision(config)),
        reads_image=method.wants_image(config),
        vocabulary=vocabulary,
    )


def run_job(
    dataset: Dataset, job: Job, out: Path, options: RunOptions | None = None, *, progress: Progress | None = None
) -> RunReport:
    """Label the images of a data set into the run folder `out`, or finish what is missing there.

    With several workers the calling script needs the usual `if __name__ == "__main__":`, since processes are spawned.

    Raises
    ------
    DataError
        When the data set is empty, when no image of the completed run has any label, or, with `strict`, when an image
        cannot be labelled.
    RunFolderError
        When `out` is foreign, holds other settings or cannot be written.
    RuntimeError
        When a method has a bug; names the image.
    """
    options = options or RunOptions()
    out, header = Path(out), _header(dataset, job, options)
    records = prepare_run(out, header, dataset.ids, overwrite=options.overwrite)
    mine = _ids_of_shard(dataset, options)
    todo = unfinished_ids(records, mine)
    log.info("%s: %d of %d images to label into %s", job.method, len(todo), len(mine), out)
    task = Task(dataset, job, out, options)
    own = list(_watched(_all_records(task, todo), already=len(mine) - len(todo), total=len(mine), progress=progress))
    complete = complete_run(out, header, dataset.ids, own)
    return _report(out, records, own, mine, complete=complete)


def plan_job(dataset: Dataset, job: Job, out: Path, options: RunOptions | None = None) -> tuple[list[str], int]:
    """Ids that `run_job` would label and the number of images of the shard; nothing is written.

    Raises
    ------
    DataError, RunFolderError
        Where `run_job` would refuse to begin.
    """
    options = options or RunOptions()
    records = look_into(Path(out), _header(dataset, job, options), dataset.ids, overwrite=options.overwrite)
    mine = _ids_of_shard(dataset, options)
    return unfinished_ids(records, mine), len(mine)


def _header(dataset: Dataset, job: Job, options: RunOptions) -> dict[str, Any]:
    if not dataset.ids:
        raise DataError(f"the data set has no images: {dataset.spec}", hint="check --split, --ids and the path")
    return make_header(
        dataset,
        method=job.method,
        config=job.config,
        supervision=sorted(job.needs),
        vocabulary=job.vocabulary,
        seed=options.seed,
        min_score=options.min_score,
        save_scores=options.save_scores,
        models=job.models,
    )


def _ids_of_shard(dataset: Dataset, options: RunOptions) -> tuple[str, ...]:
    part, parts = options.shard
    return dataset.ids[part - 1 :: parts]


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
                for sample_id in _take(rest, AHEAD - len(coming)):
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


def _all_records(task: Task, ids: Sequence[str]) -> Iterator[Record]:
    if task.options.workers > 1 and len(ids) > 1:
        from labelgen.pool import label_in_processes

        yield from label_in_processes(task, ids)
    elif ids:
        with open_writer(task) as writer:
            yield from label_images(task, task.job.make(), ids, writer)


def open_writer(task: Task) -> RunWriter:
    """A writer into the run folder of the task."""
    options = task.options
    return RunWriter(task.out, task.job.vocabulary, min_score=options.min_score, save_scores=options.save_scores)


def _watched(records: Iterator[Record], *, already: int, total: int, progress: Progress | None) -> Iterator[Record]:
    failed = 0
    for number, record in enumerate(records, start=already + 1):
        failed += "error" in record
        if progress is not None:
            progress(number, total, f"{failed} failed" if failed else "")
        yield record


def _take(items: Iterator[str], count: int) -> Iterator[str]:
    for _ in range(count):
        try:
            yield next(items)
        except StopIteration:
            return


def _report(out: Path, before: Records, own: list[Record], mine: Sequence[str], *, complete: bool) -> RunReport:
    records = Records({i: before.done[i] for i in mine if i in before.done})
    skipped = len(records.done)
    records.add(own)
    counts = summarise(records)
    if complete:
        _refuse_empty(out, [record["error"] for record in records.failed.values()])
    return RunReport(
        done=len(records.done) - skipped,
        skipped=skipped,
        failed=len(records.failed),
        complete=complete,
        coverage=counts["coverage"],
        out=out,
        counts=counts,
    )


def _refuse_empty(out: Path, reasons: Sequence[str]) -> None:
    """A complete run without a single label is of no use to anybody, so it is an error."""
    counts = read_header(out)["counts"]
    if counts["labelled_pixels"]:
        return
    why = f"; the first failure: {reasons[0]}" if reasons else ""
    raise DataError(
        f"0 of {counts['labelled'] + counts['failed']} images had any label in {out}{why}",
        hint="check the settings, the vocabulary and the data; manifest.jsonl and failures.jsonl say more",
    )
