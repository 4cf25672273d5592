"""Make some images of a run again, into a folder that is thrown away, and compare their files byte for byte."""

import hashlib
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from labelgen.data.dataset import Dataset
from labelgen.data.open import reopen
from labelgen.errors import DataError, LabelgenError, RunFolderError
from labelgen.job import Job, RunOptions
from labelgen.masks import read_mask
from labelgen.pipeline import Task, label_images, one_opencv_thread, open_writer
from labelgen.regenerate.jobs import job_of_run
from labelgen.run import Progress
from labelgen.store import RunFolder, make_header
from labelgen.store.header import differences
from labelgen.store.layout import LABELS, files_of, path_of
from labelgen.store.lines import Record

__all__ = ["Regenerated", "choose_ids", "regenerate"]

SHOWN = 6  # settings that differ, in a sentence
NO_SETTINGS = ("versions.", "facts.")  # what may differ without the labels being others


@dataclass(frozen=True)
class Regenerated:
    """What came out.

    Parameters
    ----------
    ids
        Images that were made again.
    different
        Sentences about files that came out otherwise; none where all is the same.
    doubts
        Packages and facts that are not those of the run, which may be why.
    """

    ids: tuple[str, ...]
    different: tuple[str, ...]
    doubts: tuple[str, ...]

    def to_json(self) -> dict[str, Any]:
        """Plain JSON values."""
        return {"images": list(self.ids), "different": list(self.different), "doubts": list(self.doubts)}


def choose_ids(ids: Sequence[str], count: int, seed: int) -> tuple[str, ...]:
    """Some ids, sorted: the same ones for the same seed, whatever the order of all.

    Examples
    --------
    >>> choose_ids(["a", "b", "c", "d"], 2, 0) == choose_ids(["d", "c", "b", "a"], 2, 0)
    True
    >>> len(choose_ids(["a", "b"], 5, 0))
    2
    """
    ranked = sorted(ids, key=lambda sample_id: hashlib.sha256(f"{seed}\0{sample_id}".encode()).digest())
    return tuple(sorted(ranked[:count]))


def regenerate(run: RunFolder, count: int, *, seed: int = 0, progress: Progress | None = None) -> Regenerated:
    """Make some images of a run again and compare all files of each with those that are there.

    Nothing of the run is touched.

    Parameters
    ----------
    count
        Images, >= 1.
    seed
        Says which.

    Raises
    ------
    LabelgenError
        When they cannot be made again here, naming why: another version, data, weights, a source or a device that are
        not those of the run.
    """
    header = run.header
    if run.spec is None:
        raise RunFolderError(f"{run.path} does not say which data it was made from", hint="make the run again")
    dataset = reopen(run.spec)
    _refuse_other_version(header)
    with _threads(int(header.get("threads", 0))):
        job = job_of_run(run, dataset)
        doubts = _doubts(header, _header_now(header, dataset, job))
        ids = choose_ids(run.ids, count, seed)
        options = RunOptions(seed=header["seed"], save_scores=header["save_scores"], min_score=header["min_score"])
        with tempfile.TemporaryDirectory(prefix="labelgen-verify-") as name:
            task = Task(dataset, job, Path(name), options)
            different: list[str] = []
            with open_writer(task) as writer, one_opencv_thread():
                made = label_images(task, job.make(), ids, writer)
                for number, record in enumerate(made, start=1):
                    different += _differences(run, record, Path(name))
                    if progress is not None:
                        progress(number, len(ids), "")
    return Regenerated(ids, tuple(different), doubts)


def _refuse_other_version(header: Mapping[str, Any]) -> None:
    import labelgen

    there = header["versions"].get("labelgen")
    if there != labelgen.__version__:
        raise RunFolderError(
            f"the run was made by labelgen {there}, and this is {labelgen.__version__}",
            hint=f"pip install labelgen=={there} in an environment of its own makes the same bytes",
        )


def _header_now(there: Mapping[str, Any], dataset: Dataset, job: Job) -> dict[str, Any]:
    """What run.json would say if the run began now."""
    return make_header(
        dataset,
        method=job.method,
        config=job.config,
        supervision=sorted(job.supervision),
        vocabulary=job.vocabulary,
        seed=there["seed"],
        min_score=there["min_score"],
        save_scores=there["save_scores"],
        models=job.models,
        facts=job.facts,
    )


def _doubts(there: Mapping[str, Any], now: Mapping[str, Any]) -> tuple[str, ...]:
    """Differences that may be without effect; the others are refused."""
    found = differences(there, now)
    settings = [difference for difference in found if not difference.startswith(NO_SETTINGS)]
    if settings:
        more = f" (and {len(settings) - SHOWN} more)" if len(settings) > SHOWN else ""
        raise RunFolderError(
            f"what the run was made from is not what is here: {'; '.join(settings[:SHOWN])}{more}",
            hint="put data, sources and weights back as they were, and use the same device",
        )
    return tuple(found)


def _differences(run: RunFolder, record: Record, folder: Path) -> Iterator[str]:
    """Files of one image that came out otherwise."""
    sample_id = record["id"]
    there = run.records()[sample_id]
    if "error" in record:
        raise DataError(f"image {sample_id!r} cannot be labelled any more: {record['error']}", hint=record["hint"])
    old, new = dict(files_of(there)), dict(files_of(record))
    for kind in {**old, **new}:
        name = path_of(Path(), kind, sample_id).as_posix()
        if kind not in old or kind not in new:
            yield f"{name}: {'not made' if kind in old else 'made'} this time"
            continue
        path = path_of(run.path, kind, sample_id)
        before = path.read_bytes() if path.is_file() else b""
        if before != path_of(folder, kind, sample_id).read_bytes():
            yield f"{name}: made again it is another file{_pixels(path, path_of(folder, kind, sample_id), kind)}"
    for key in ("classes", "warnings", "details"):
        if there[key] != _as_json(record[key]):
            yield f"manifest.jsonl: {key} of {sample_id} came out otherwise"


def _pixels(before: Path, after: Path, kind: tuple[str, str]) -> str:
    """How many pixels of a label map are others."""
    if kind != LABELS:
        return ""
    try:
        old, new = read_mask(before), read_mask(after)
    except LabelgenError:
        return ", and what is there cannot be read"
    if old.shape != new.shape:
        return f" of {new.shape[0]} x {new.shape[1]} pixels, not {old.shape[0]} x {old.shape[1]}"
    return f" in {int(np.count_nonzero(old != new))} of {old.size} pixels"


def _as_json(value: Any) -> Any:
    import json

    return json.loads(json.dumps(value, default=lambda number: number.item()))


@contextmanager
def _threads(count: int) -> Iterator[None]:
    """As many threads of torch as the run had in each process, where a network was run."""
    if not count:
        yield
        return
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)
