"""What the runner is asked to do, with which options, and what it reports."""

import dataclasses
import functools
import hashlib
import json
import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from labelgen.data.dataset import Dataset
from labelgen.data.sample import SUPERVISION, Generate, Likely
from labelgen.errors import ConfigError, DataError
from labelgen.refine import (
    Pairs,
    RefineStep,
    fit_refiners,
    make_refiner,
    models_of,
    parse_refiners,
    refined,
    settle_refiners,
)
from labelgen.refine.source import Start, make_start
from labelgen.store import MaskFolder, RunFolder
from labelgen.vocab import Vocabulary

__all__ = ["Job", "RunOptions", "RunReport", "config_to_json", "method_job", "refined_job", "rng_for", "source_job"]

log = logging.getLogger(__name__)


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
        Name of each network to facts about it, its sha256 among them, for run.json.
    facts
        What else the method settled before the first image, as JSON values, for run.json.
    likely
        Builds the function that gives scores of likely classes before any rule, where the method has one.
    inherited
        Supervision behind what the method starts from, such as the run that it refines; recorded beside `needs`.
    """

    method: str
    config: Mapping[str, Any]
    make: Callable[[], Generate]
    needs: frozenset[str]
    reads_image: bool
    vocabulary: Vocabulary
    models: Mapping[str, Any] = field(default_factory=dict)
    facts: Mapping[str, Any] = field(default_factory=dict)
    likely: Callable[[], Likely] | None = None
    inherited: frozenset[str] = frozenset()

    @property
    def supervision(self) -> frozenset[str]:
        """All supervision behind the labels."""
        return self.needs | self.inherited

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
            raise ConfigError(f"workers must be >= 1, got {self.workers}", hint="1 labels in this process")
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
    first_failure
        id, error and hint of the first image that could not be labelled, if any.
    first_warning
        The first warning, behind the id of its image; empty without any.
    """

    done: int
    skipped: int
    failed: int
    complete: bool
    coverage: float
    out: Path
    counts: Mapping[str, Any] = field(default_factory=dict)
    first_failure: Mapping[str, Any] | None = None
    first_warning: str = ""


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


def method_job(
    name: str,
    config: Any,
    vocabulary: Vocabulary,
    *,
    dataset: Dataset | None = None,
    refine: Sequence[str] = (),
    seed: int = 0,
) -> Job:
    """The job of one row of `METHODS` with these settings.

    Parameters
    ----------
    vocabulary
        What the data or the user say the classes are; a method that names classes by words may label in its own.
    dataset
        What will be labelled, for methods that settle something by it: the model that suits it, a threshold.
    refine
        Refiners to apply to each mask in this order, each as typed after `--refine` (see `labelgen.refine`).
    seed
        Of the masks from which refiners learn that learn from the data set; that of the run.

    Raises
    ------
    ConfigError
        When there is no such method or refiner; the hint lists them.
    """
    from labelgen.methods import METHODS

    if name not in METHODS:
        raise ConfigError(f"unknown method {name!r}", hint=f"methods: {', '.join(METHODS)}")
    method, refiners = METHODS[name], parse_refiners(*refine)
    vocabulary = method.label_vocabulary(config, vocabulary)
    prepared = method.settle(config, vocabulary, dataset)
    job = Job(
        method=name,
        config=config_to_json(prepared.config),
        make=functools.partial(method.make, prepared.config, vocabulary),
        needs=frozenset(method.supervision(prepared.config)),
        reads_image=method.wants_image(prepared.config),
        vocabulary=vocabulary,
        models=prepared.models,
        facts={**prepared.facts, **_tag_facts(dataset, method.supervision(prepared.config))},
        inherited=prepared.supervision,
        likely=functools.partial(method.likely, prepared.config, vocabulary) if method.likely else None,
    )
    return refined_job(job, refiners, dataset=dataset, seed=seed) if refiners else job


def _tag_facts(dataset: Dataset | None, needs: frozenset[str]) -> dict[str, str]:
    """A hash of the tags that come from a file, so that a run does not go on with others."""
    if dataset is None or "tags" not in needs or dataset.tags_source == "truth":
        return {}
    digest = hashlib.sha256()
    for sample_id in dataset.ids:
        try:
            tags = sorted(dataset.load(sample_id, {"tags"}).need_tags())
        except DataError:  # the image will fail with the reason
            tags = None
        digest.update(json.dumps([sample_id, tags]).encode())
    return {"tags_sha256": digest.hexdigest()}


def refined_job(job: Job, refiners: Sequence[RefineStep], *, dataset: Dataset | None = None, seed: int = 0) -> Job:
    """The same job with every mask repaired by these refiners, one after the other.

    Refiners that learn from the data set do so here, from masks that the job makes of it.

    Parameters
    ----------
    dataset
        What will be labelled, for refiners whose network follows from it or that learn from it.
    seed
        Of the masks that refiners learn from.
    """
    refiners = _prepared(refiners, job, dataset, seed=seed)
    return dataclasses.replace(
        job,
        make=functools.partial(_make_refined, job.make, refiners),
        reads_image=True,
        models={**job.models, **models_of(refiners)},
        facts={**job.facts, "refine": _steps_to_json(refiners)},
    )


def source_job(
    source: RunFolder | MaskFolder,
    refiners: Sequence[RefineStep],
    *,
    dataset: Dataset,
    certainty: float | None = None,
) -> Job:
    """The job that repairs what a run or a folder of masks holds.

    Parameters
    ----------
    source
        What to start from; a run must be complete.
    dataset
        Where its images are.
    certainty
        Start from hard labels with this score; None starts from the scores of the run (see `labelgen.refine.source`).

    Raises
    ------
    ConfigError
        When there is no refiner, or the certainty is out of range or needed.
    RunFolderError
        When the run is not complete.
    """
    if not refiners:
        raise ConfigError("at least one refiner must be named", hint="--with crf, or several: --with crf --with pamr")
    start = Start(source, certainty)
    unrefined = Job(
        method="refine",
        config={},
        make=functools.partial(make_start, start),
        needs=frozenset(),
        reads_image=True,
        vocabulary=source.vocabulary,
        inherited=start.supervision,
    )
    steps = _prepared(refiners, unrefined, dataset)
    return dataclasses.replace(
        unrefined,
        config={"source": start.facts(), "certainty": certainty, "steps": _steps_to_json(steps)},
        make=functools.partial(_make_refined, unrefined.make, steps),
        models=models_of(steps),
    )


def _prepared(
    refiners: Sequence[RefineStep], job: Job, dataset: Dataset | None, *, seed: int = 0
) -> tuple[RefineStep, ...]:
    """Refiners with all that follows from the data, from its classes, and from the masks of the job over it."""
    steps = settle_refiners(refiners, dataset.spec if dataset else None, vocabulary=job.vocabulary)
    return steps if dataset is None else fit_refiners(steps, lambda: _masks_of(job, dataset, seed))


def _masks_of(job: Job, dataset: Dataset, seed: int) -> Pairs:
    """Masks of a data set, in an order in which the first so many are a fair sample of all."""
    generate = job.make()
    for sample_id in sorted(dataset.ids, key=lambda sample_id: hashlib.sha256(sample_id.encode()).digest()):
        try:
            sample = dataset.load(sample_id, {*job.needs, "image"}).only(job.needs)
            mask = generate(sample, rng_for(seed, sample_id))
        except DataError as error:  # the run meets the image again, and records why it cannot be labelled
            log.info("nothing is learned from %s: %s", sample_id, error)
            continue
        yield sample.only(frozenset()), mask


def _steps_to_json(steps: Sequence[RefineStep]) -> list[dict[str, Any]]:
    return [
        {"refiner": step.name, **config_to_json(step.config), **({"learned": step.state.facts()} if step.state else {})}
        for step in steps
    ]


def _make_refined(make: Callable[[], Generate], refiners: tuple[RefineStep, ...]) -> Generate:
    return refined(make(), [make_refiner(refiner) for refiner in refiners])
