"""The runs of a sweep: of a labelling method over data, or of a refiner over a run; made, measured, or estimated."""

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

from labelgen.commands.common import DataFlags, progress_bar, say
from labelgen.errors import ConfigError, LabelgenError

if TYPE_CHECKING:
    from labelgen.data.dataset import Dataset
    from labelgen.job import Job
    from labelgen.run import RunOptions
    from labelgen.sweep.plan import SweepPoint

__all__ = ["MethodTarget", "RefinerTarget", "Target", "estimate_sweep", "make_and_measure", "sweep_target"]

Row = dict[str, Any]
ESTIMATED_SETTINGS, ESTIMATED_IMAGES = 3, 2
"""Settings that are timed for an estimate, from first to last, and images for each."""


@runtime_checkable
class Target(Protocol):
    """What is swept: where its settings come from, and the job of one of them."""

    @property
    def name(self) -> str:
        """Of the method, or of the run and the refiner; the names of run folders begin with it."""
        ...

    @property
    def config(self) -> type:
        """Dataclass of the settings."""
        ...

    @property
    def label(self) -> str:
        """What messages call it."""
        ...

    def job(self, config: Any, options: "RunOptions") -> "tuple[Dataset, Job, RunOptions]":
        """The data, the job, and the options of a run with these settings."""
        ...


@dataclass(frozen=True)
class MethodTarget:
    """A labelling method over data."""

    name: str
    data: str
    flags: DataFlags
    refine: tuple[str, ...] = ()

    @property
    def config(self) -> type:
        """That of the method."""
        from labelgen.methods import METHODS

        return METHODS[self.name].config

    @property
    def label(self) -> str:
        """As the command is typed."""
        return f"method {self.name}"

    def job(self, config: Any, options: "RunOptions") -> "tuple[Dataset, Job, RunOptions]":
        """As `labelgen METHOD` makes it."""
        from labelgen.commands.generate import open_for, refuse_unused
        from labelgen.methods import METHODS
        from labelgen.run import method_job

        row = METHODS[self.name]
        refuse_unused(self.name, row, config, self.flags)
        dataset, vocabulary = open_for(row, config, self.data or "demo", self.flags)
        job = method_job(self.name, config, vocabulary, dataset=dataset, refine=self.refine, seed=options.seed)
        return dataset, job, options


@dataclass(frozen=True)
class RefinerTarget:
    """A refiner over a run; a setting `certainty` of its own starts from labels instead of scores."""

    refiner: str
    run: Path
    data: str
    flags: DataFlags
    refine: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        """The run and the refiner."""
        return f"{self.run.resolve().name}-{self.refiner}"

    @property
    def config(self) -> type:
        """The settings of the refiner, and `certainty`."""
        from labelgen.refine import REFINERS

        certainty = ("certainty", float | None, dataclasses.field(default=None))
        return dataclasses.make_dataclass("Settings", [certainty], bases=(REFINERS[self.refiner].config,), frozen=True)

    @property
    def label(self) -> str:
        """As the refiner is typed."""
        return f"refiner {self.refiner}"

    @cached_property
    def _source(self) -> Any:
        from labelgen.commands.sources import SourceFlags, open_source

        if self.flags.tags:
            raise ConfigError("refiners look at no image-level tags, got --tags", hint="leave it out")
        known = {name: getattr(self.flags, name) for name in ("split", "vocab", "ids", "limit")}
        return open_source(self.run, SourceFlags(data=self.data, **known))

    def job(self, config: Any, options: "RunOptions") -> "tuple[Dataset, Job, RunOptions]":
        """As `labelgen refine` makes it."""
        from labelgen.job_builders import source_job
        from labelgen.refine import REFINERS, RefineStep, parse_refiners
        from labelgen.refine.source import CERTAINTY, Start, has_scores

        labels, dataset = self._source
        own = REFINERS[self.refiner].config
        values = {field.name: getattr(config, field.name) for field in dataclasses.fields(own) if field.init}
        certainty = config.certainty if config.certainty is not None or has_scores(labels) else CERTAINTY
        steps = (RefineStep(self.refiner, own(**values)), *parse_refiners(*self.refine))
        job = source_job(labels, steps, dataset=dataset, certainty=certainty)
        return dataset, job, replace(options, min_score=Start(labels, certainty).min_score)


def sweep_target(name: str, data: str, settings: dict[str, str], flags: Any) -> Target:
    """What the first word of the command line names.

    Parameters
    ----------
    data
        Data of a method, run of a refiner; empty for the usual.
    settings
        What was typed of settings; `data`, which is none, is taken out for refiners.

    Raises
    ------
    ConfigError
        When it is neither method nor refiner.
    """
    from labelgen.methods import METHODS
    from labelgen.refine import REFINERS
    from labelgen.store import newest_run

    if name in METHODS:
        return MethodTarget(name, data, flags, flags.refine)
    if name in REFINERS:
        run = Path(data) if data else newest_run(but="refine")
        return RefinerTarget(name, run, settings.pop("data", ""), flags, flags.refine)
    raise ConfigError(
        f"unknown method {name!r}",
        hint=f"methods: {', '.join(METHODS)}; refiners, over a run: {', '.join(sorted(REFINERS))}",
    )


def make_and_measure(
    target: Target, point: "SweepPoint", out: Path, options: "RunOptions", *, sheet: bool = True
) -> Row | None:
    """Make one run, or find that it is made; its quality, where there is truth in its classes.

    Parameters
    ----------
    sheet
        Draw the contact sheet of the run.

    Raises
    ------
    LabelgenError
        Naming the run.
    """
    from labelgen.commands.generate import say_failures
    from labelgen.commands.next_step import can_be_scored
    from labelgen.commands.sheet import leave_sheet
    from labelgen.quality.document import quality_document
    from labelgen.quality.evaluate import QualityOptions, evaluate
    from labelgen.run import run_job
    from labelgen.store import RunFolder

    try:
        dataset, job, options = target.job(point.config, options)
        with progress_bar(out.name) as progress:
            report = run_job(dataset, job, out, options, progress=progress)
    except LabelgenError as error:
        raise type(error)(f"{out.name}: {error.message}", hint=error.hint) from error
    leave_sheet(report, dataset, wanted=sheet)
    say_failures(report)
    if not can_be_scored(dataset, job.vocabulary):
        say(f"{out}: no truth in its classes, so that only coverage is known")
        return None
    return quality_document(evaluate(RunFolder.open(out), dataset, QualityOptions(intervals=True)))


def estimate_sweep(
    target: Target, runs: "Sequence[tuple[SweepPoint, Path]]", options: "RunOptions"
) -> dict[str, float | int]:
    """Time a few settings on a few images each, and multiply; nothing is written.

    Parameters
    ----------
    runs
        Settings and folders of the runs that are still to be made.
    """
    from labelgen.estimate import estimate_run, spread

    found = []
    for point, _ in spread(list({point.name: (point, out) for point, out in runs}.values()), ESTIMATED_SETTINGS):
        dataset, job, own = target.job(point.config, options)
        found.append(estimate_run(dataset, job, dataset.ids, own, count=ESTIMATED_IMAGES))
    share = len(runs) / len(found) if found else 0.0
    return {
        "runs": len(runs),
        "timed": sum(cost.timed for cost in found),
        "seconds": round(share * sum(cost.seconds for cost in found), 2),
        "bytes": round(share * sum(cost.bytes for cost in found)),
    }
