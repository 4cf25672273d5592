"""`labelgen refine [RUN] --with crf`: a refined copy of a run."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter

from labelgen.commands.common import EXIT_DONE, EXIT_SOME_FAILED, RunFlags, data_path, progress_bar, say
from labelgen.commands.generate import print_plan, print_report, say_failures
from labelgen.commands.next_step import can_be_scored
from labelgen.commands.sheet import leave_sheet
from labelgen.errors import ConfigError

if TYPE_CHECKING:
    from labelgen.data.dataset import Dataset
    from labelgen.store import MaskFolder, RunFolder

__all__ = ["RefineRunFlags", "SourceFlags", "open_source", "refine"]


@dataclass(frozen=True, kw_only=True)
class SourceFlags:
    """Where labels and their images are.

    Parameters
    ----------
    data
        Where the images are: demo, a path, or kind:path. Default: the data that the run was made from. A plain folder
        of masks needs it.
    split
        Part of the data set. Default: that of the run.
    vocab
        Vocabulary of a plain folder of masks. Default: that of the data.
    ids
        File with one image id a line; only these.
    limit
        Only the first N images; 0 for all.
    """

    data: str = ""
    split: str = ""
    vocab: str = ""
    ids: str = ""
    limit: int = 0


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
    if source.limit < 0:
        raise ConfigError(f"--limit must be >= 0, got {source.limit}")
    options = flags.run_options()

    from labelgen.job import source_job
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
    if report.first_failure is not None:
        say_failures(report, report.first_failure)
    return EXIT_SOME_FAILED if report.failed else EXIT_DONE


def _start_sentence(certainty: float | None, *, has: bool) -> str:
    if certainty is None:
        return "its scores are refined"
    why = "though it has scores, as --certainty asks" if has else "it has no scores"
    return f"its labels are refined with a certainty of {certainty:g} ({why})"


def open_source(path: Path, flags: SourceFlags) -> "tuple[RunFolder | MaskFolder, Dataset]":
    """Labels, and the data set that their images are in.

    Raises
    ------
    ConfigError
        When a plain folder comes without --data, or --vocab is given for a run, which knows its own.
    RunFolderError, DataError
        When one of them cannot be opened.
    """
    from labelgen.data.dataset import DataSpec
    from labelgen.data.open import open_data, parse_source, reopen
    from labelgen.store import RunFolder, open_labels
    from labelgen.vocab import load_vocabulary

    if path.is_dir() and not (path / "run.json").exists():
        if not flags.data:
            raise ConfigError(
                f"{path} is no run but a plain folder, so its images must be named",
                hint="--data demo, or --data voc:DIR",
            )
        dataset = open_data(
            flags.data, split=flags.split, vocabulary=flags.vocab, ids_file=flags.ids, limit=flags.limit
        )
        vocabulary = load_vocabulary(flags.vocab) if flags.vocab else dataset.vocabulary
        return open_labels(path, vocabulary=vocabulary), dataset
    run = RunFolder.open(path)
    if flags.vocab:
        raise ConfigError(
            f"--vocab is for plain folders of masks, but {path} is a run of vocabulary {run.vocabulary.name!r}",
            hint="leave it out",
        )
    spec = run.spec or DataSpec(kind="")
    if flags.data:
        kind, root = parse_source(flags.data)
        same = spec if spec.kind == kind else DataSpec(kind=kind, vocabulary=spec.vocabulary)
        spec = replace(same, kind=kind, root=root)
    ids_file = str(Path(flags.ids).expanduser().resolve()) if flags.ids else spec.ids_file
    limits = [limit for limit in (flags.limit, spec.limit) if limit]
    spec = replace(spec, split=flags.split or spec.split, ids_file=ids_file, limit=min(limits, default=0))
    return run, reopen(spec)
