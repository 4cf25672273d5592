"""Label images by actors of a Ray cluster, each of which opens the files itself."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from labelgen.cluster import Token, Work, work_through
from labelgen.errors import ConfigError
from labelgen.job import Job
from labelgen.pipeline import Task, label_images, open_writer
from labelgen.pool import chunks_of
from labelgen.store.header import MODEL_PACKAGES, PACKAGES
from labelgen.store.layout import LABELS, path_of
from labelgen.store.lines import Record
from labelgen.store.records import load_records

__all__ = ["computes_on_cuda", "label_on_ray"]


def label_on_ray(task: Task, ids: Sequence[str]) -> Iterator[Record]:
    """Yield the records of all images, in no fixed order, when they are on disk.

    Leaving the generator early kills the actors; what they have written is whole.

    Raises
    ------
    ConfigError
        When there is no Ray or no cluster, or its machines do not see the same files or have other versions.
    LabelgenError
        When actors keep dying.
    """
    task = replace(task, out=task.out.resolve())
    work = Work(
        build=partial(_Labeller, task),
        witness=Token.into(task.out),
        distributions=PACKAGES + (MODEL_PACKAGES if task.job.models else ()),
        on_gpu=computes_on_cuda(task.job),
        left=partial(_left, task.out),
        name=_name,
    )
    options = task.options
    chunks = chunks_of(ids, options.workers)
    for records in work_through(work, chunks, options.engine, workers=options.workers):
        yield from records


class _Labeller:
    """The method and the journal of one actor."""

    def __init__(self, task: Task) -> None:
        self.task = task
        self.generate = task.job.make()
        self.writer = open_writer(task)

    def __call__(self, ids: Sequence[str]) -> Iterator[Record]:
        return label_images(self.task, self.generate, ids, self.writer)


def _left(out: Path, ids: Sequence[str]) -> tuple[list[Record], Sequence[str]]:
    """Records that a dead actor wrote down, and the images that it did not come to."""
    known = load_records(out).done
    done = [sample_id for sample_id in ids if sample_id in known and path_of(out, LABELS, sample_id).is_file()]
    return [known[sample_id] for sample_id in done], [sample_id for sample_id in ids if sample_id not in set(done)]


def _name(ids: Sequence[str]) -> str:
    return f"image {ids[0]!r}" + (f" and {len(ids) - 1} more" if len(ids) > 1 else "")


def computes_on_cuda(job: Job) -> bool:
    """Whether the networks of a job compute on a GPU of NVIDIA.

    Raises
    ------
    ConfigError
        When a certain GPU is named, which is for Ray to choose.
    """
    devices = set(_values(job.config, "device")) | set(_values(job.facts, "device"))
    if not job.models or not devices - {"cpu"}:
        return False
    if numbered := sorted(device for device in devices if ":" in device):
        raise ConfigError(
            f"Ray chooses the GPU of each worker, got --device {numbered[0]}",
            hint=f"--device {numbered[0].partition(':')[0]}",
        )
    from labelgen.nets.device import resolve_device

    return any(resolve_device(device).type == "cuda" for device in devices)


def _values(settings: Any, name: str) -> Iterator[str]:
    """All texts of one name, however deep."""
    if isinstance(settings, Mapping):
        if isinstance(settings.get(name), str):
            yield settings[name]
        settings = list(settings.values())
    if isinstance(settings, list | tuple):
        for value in settings:
            yield from _values(value, name)
