"""The jobs behind runs: of a labelling method, of refiners over masks, of files that other tools made."""

import dataclasses
import functools
import hashlib
import json
import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from labelgen.data.dataset import Dataset
from labelgen.data.sample import Generate
from labelgen.errors import ConfigError, DataError
from labelgen.job import Job, config_to_json, rng_for
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

__all__ = ["import_job", "method_job", "refined_job", "source_job"]

log = logging.getLogger(__name__)


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


def import_job(
    config: Any,
    make: Callable[[], Generate],
    vocabulary: Vocabulary,
    *,
    facts: Mapping[str, Any],
    supervision: Iterable[str],
) -> Job:
    """The job that reads masks or seeds out of files that other tools made.

    Parameters
    ----------
    config
        Which files, and how they are read, for run.json.
    make
        Builds the function that reads those of one image.
    facts
        What else is known of the files, for run.json.
    supervision
        What they rest on.
    """
    return Job(
        method="import",
        config=config_to_json(config),
        make=make,
        needs=frozenset(),
        reads_image=False,
        vocabulary=vocabulary,
        facts=facts,
        inherited=frozenset(supervision),
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
