"""The runner: label every image of a data set into a run folder, in this process, in several, or on a cluster.

Decoding, compute and writing overlap. Each image has its own random generator, made from the seed and its id, so no
byte depends on order, workers, shards or interruptions (see `labelgen.store`).
"""

import contextlib
import logging
import sys
from collections.abc import Callable, Generator, Iterator, Sequence
from pathlib import Path
from typing import Any

from labelgen.data.dataset import Dataset
from labelgen.data.sample import Generate
from labelgen.errors import DataError
from labelgen.job import Job, RunOptions, RunReport, config_to_json, rng_for
from labelgen.job_builders import method_job
from labelgen.pipeline import Task, label_images, one_opencv_thread, open_writer
from labelgen.pool import label_in_processes
from labelgen.pool_ray import label_on_ray
from labelgen.store import at_work, complete_run, look_into, make_header, prepare_run, read_header, unfinished_ids
from labelgen.store.lines import Record
from labelgen.store.records import Records, summarise

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


def run_job(
    dataset: Dataset, job: Job, out: Path, options: RunOptions | None = None, *, progress: Progress | None = None
) -> RunReport:
    """Label the images of a data set into the run folder `out`, or finish what is missing there.

    With several workers the calling script needs the usual `if __name__ == "__main__":`, because they import it.

    Raises
    ------
    DataError
        When the data set is empty, when no image of the completed run has any label, or, with `strict`, when an image
        cannot be labelled.
    RunFolderError
        When `out` is foreign, holds other settings or cannot be written.
    RuntimeError
        When a method has a bug; names the image.
    ConfigError
        When a Ray cluster is to do the work and cannot; see `labelgen.cluster`.
    """
    options = options or RunOptions()
    out, header = Path(out), _header(dataset, job, options)
    # settings that only building the method can refuse must not cost the run that is there, nor leave an empty one
    known = look_into(out, header, dataset.ids, overwrite=options.overwrite)
    generate = job.make() if unfinished_ids(known, _ids_of_shard(dataset, options)) else None
    del known  # a record an image
    records = prepare_run(out, header, dataset.ids, overwrite=options.overwrite)
    mine = _ids_of_shard(dataset, options)
    todo = unfinished_ids(records, mine)
    log.info("%s: %d of %d images to label into %s", job.method, len(todo), len(mine), out)
    task = Task(dataset, job, out, options)
    if options.workers > 1 or options.engine.is_ray:
        generate = None  # each worker builds its own
    with at_work(out, header) if todo else contextlib.nullcontext():
        own = Records()
        # closed before the lock is given up, however it ends: workers write until then
        with contextlib.closing(_all_records(task, todo, generate)) as made:
            own.add(_watched(made, already=len(mine) - len(todo), total=len(mine), progress=progress))
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
        supervision=sorted(job.supervision),
        vocabulary=job.vocabulary,
        seed=options.seed,
        min_score=options.min_score,
        save_scores=options.save_scores,
        models=job.models,
        facts=job.facts,
        threads=threads_per_worker(options) if job.models else 0,
    )


def threads_per_worker(options: RunOptions) -> int:
    """Threads that a network computes with in each process; the last bits of its results depend on them."""
    torch = sys.modules.get("torch")
    return 1 if options.workers > 1 or options.engine.is_ray or torch is None else int(torch.get_num_threads())


def _ids_of_shard(dataset: Dataset, options: RunOptions) -> tuple[str, ...]:
    part, parts = options.shard
    return dataset.ids[part - 1 :: parts]


def _all_records(task: Task, ids: Sequence[str], generate: Generate | None) -> Generator[Record, None, None]:
    if task.options.engine.is_ray:
        yield from label_on_ray(task, ids)
    elif task.options.workers > 1 and len(ids) > 1:
        yield from label_in_processes(task, ids)
    elif ids:
        with open_writer(task) as writer, one_opencv_thread():
            yield from label_images(task, generate or task.job.make(), ids, writer)


def _watched(records: Iterator[Record], *, already: int, total: int, progress: Progress | None) -> Iterator[Record]:
    failed = 0
    for number, record in enumerate(records, start=already + 1):
        failed += "error" in record
        if progress is not None:
            progress(number, total, f"{failed} failed" if failed else "")
        yield record


def _report(out: Path, before: Records, own: Records, mine: Sequence[str], *, complete: bool) -> RunReport:
    records = Records()
    records.add(before.done[sample_id] for sample_id in mine if sample_id in before.done)
    skipped = len(records.done)
    records.add(own.every())
    counts = summarise(records)
    if complete:
        _refuse_empty(out, list(records.failed.values()))
    return RunReport(
        done=len(records.done) - skipped,
        skipped=skipped,
        failed=len(records.failed),
        complete=complete,
        coverage=counts["coverage"],
        out=out,
        counts=counts,
        first_failure=next(iter(records.failed.values()), None),
        first_warning=next((f"{i}: {r['warnings'][0]}" for i, r in records.done.items() if r.get("warnings")), ""),
    )


def _refuse_empty(out: Path, failures: Sequence[Record]) -> None:
    """A complete run without a single label is of no use to anybody, so it is an error."""
    counts = read_header(out)["counts"]
    if counts["labelled_pixels"]:
        return
    why = f"; the first failure: {failures[0]['error']}" if failures else ""
    advice = failures[0]["hint"] if failures else ""
    raise DataError(
        f"0 of {counts['labelled'] + counts['failed']} images had any label in {out}{why}",
        hint=advice or "check the settings, the vocabulary and the data; manifest.jsonl and failures.jsonl say more",
    )
