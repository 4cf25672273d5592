"""`labelgen refine [RUN] --with crf`: a refined copy of a run."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from labelgen.commands.common import EXIT_DONE, RunFlags, data_path, progress_bar, refuse_negative, say
from labelgen.commands.generate import print_plan, print_report, say_failures
from labelgen.commands.next_step import can_be_scored
from labelgen.commands.sheet import leave_sheet
from labelgen.commands.sources import SourceFlags, open_source
from labelgen.errors import ConfigError

__all__ = ["RefineRunFlags", "refine"]


@dataclass(frozen=True, kw_only=True)
class RefineRunFlags(RunFlags):
    """Flags of every command that writes a run.

    Parameters
    ----------
    out
        Run folder to write. Default: runs/SOURCE-REFINERS, such as runs/cam-crf.
    """


def refine(
    run: str = "",
    /,
    *,
    with_: Annotated[tuple[str, ...], Parameter(name="--with", negative="")] = (),
    certainty: float | None = None,
    source: Annotated[SourceFlags | None, Parameter(name="*", group="Images")] = None,
    flags: Annotated[RefineRunFlags | None, Parameter(name="*", group="Common flags")] = None,
) -> int:
    """Repair the labels of a run and write them as a run of their own.

    The scores of the run are refined where it kept them (--save-scores), else its labels with a stated certainty.

    Parameters
    ----------
    run
        Run folder, or plain folder of mask PNGs. Default: the newest run below runs/ that is not refined itself.
    with_
        Refiner as NAME:ARGUMENT,setting=value, such as crf:psa, walk:colour or regions:slic,segments=300, out
        of crf, pamr, par, walk, attention, affinity, regions, debias and band; several are applied in their order.
        labelgen refiners NAME lists the settings.
    certainty
        Start from the labels, not from the scores: the label of a pixel has this score, in (0.5, 1], the other classes
        of the image share the rest, unlabelled pixels abstain. Default where there are no scores: 0.7.

    Examples
    --------
    labelgen refine runs/cam --with crf
    labelgen refine runs/scribble --with pamr,steps=20 --certainty 0.9
    labelgen refine masks --data voc:VOCdevkit/VOC2012 --with regions:slic --with crf
    """
    source, flags = source or SourceFlags(), flags or RefineRunFlags()
    refuse_negative(limit=source.limit)
    options = flags.run_options()

    from labelgen.job_builders import source_job
    from labelgen.refine import REFINERS, parse_refiners
    from labelgen.refine.source import CERTAINTY, Start, has_scores
    from labelgen.run import run_job
    from labelgen.store import newest_run

    if not with_:
        raise ConfigError("--with must name a refiner", hint=f"--with NAME, out of {', '.join(REFINERS)}")
    steps = parse_refiners(*with_)
    path = Path(run) if run else newest_run(but="refine")
    labels, dataset = open_source(path, source)
    if certainty is None and not has_scores(labels):
        certainty = CERTAINTY
    job = source_job(labels, steps, dataset=dataset, certainty=certainty)
    options = replace(options, min_score=Start(labels, certainty).min_score)
    out = Path(flags.out or Path("runs", "-".join([labels.name, *(step.name for step in steps)])))
    if out.resolve() == path.resolve():
        raise ConfigError(f"--out must be another folder than the labels that are refined, got {out} for both")
    say(f"{path.as_posix()}: {_start_sentence(certainty, has=has_scores(labels))}")
    if flags.dry_run:
        print_plan(dataset, job, out, options, as_json=flags.as_json)
        return EXIT_DONE
    with progress_bar("refine") as progress:
        report = run_job(dataset, job, out, options, progress=progress)
    steps_after = leave_sheet(report, dataset, wanted=flags.sheet)
    if report.complete:
        quality = f"labelgen quality {data_path(path)} {data_path(report.out)}"
        scored = can_be_scored(dataset, job.vocabulary)
        steps_after += [("next", quality if scored else f"segprobe fit {data_path(report.out)}")]
    more = {"source": path.as_posix(), "certainty": certainty}
    print_report(report, job, as_json=flags.as_json, more=more, steps=steps_after)
    return say_failures(report)


def _start_sentence(certainty: float | None, *, has: bool) -> str:
    if certainty is None:
        return "its scores are refined"
    why = "though it has scores, as --certainty asks" if has else "it has no scores"
    return f"its labels are refined with a certainty of {certainty:g} ({why})"
