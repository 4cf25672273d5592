"""The runs that `labelgen import` makes: of masks of other tools, and of seed files of published code."""

import functools
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from labelgen.commands.common import EXIT_DONE, RunFlags, data_path, progress_bar, say
from labelgen.commands.generate import print_plan, print_report, say_failures
from labelgen.commands.next_step import can_be_scored
from labelgen.commands.sheet import leave_sheet
from labelgen.errors import DataError

if TYPE_CHECKING:
    from labelgen.data.dataset import Dataset
    from labelgen.formats.format import Masks
    from labelgen.formats.import_masks import MaskImportConfig
    from labelgen.job import Job
    from labelgen.run import RunReport
    from labelgen.seeds.import_seeds import ImportConfig

__all__ = ["ImportRunFlags", "import_masks", "import_seeds"]


@dataclass(frozen=True, kw_only=True)
class ImportRunFlags(RunFlags):
    """Flags of every command that writes a run.

    Parameters
    ----------
    out
        Run folder to write. Default: runs/NAME, the name of the file or folder that is read.
    save_scores
        Keep the scores beside the labels, for curves and refiners, where the files have scores.
    """

    save_scores: bool = True


def import_masks(
    config: "MaskImportConfig", dataset: "Dataset", supervision: tuple[str, ...], flags: ImportRunFlags
) -> int:
    """Read masks of other tools into a run; the exit code."""
    from labelgen.formats.import_masks import container_facts, make_mask_import, open_masks
    from labelgen.formats.table import mask_format
    from labelgen.job_builders import import_job

    row, vocabulary = mask_format(config.format), dataset.vocabulary
    _compare_masks(open_masks(config, vocabulary), dataset, config)
    make = functools.partial(make_mask_import, config, vocabulary)
    facts = {"about": row.about, **container_facts(config)}
    job = import_job(config, make, vocabulary, facts=facts, supervision=supervision)
    report = _made(dataset, job, Path(config.path).resolve().stem, flags, scored=row.scored)
    if report is None:
        return EXIT_DONE
    _print(report, dataset, job, flags, more={"format": config.format})
    if row.rest and config.rest == "unlabelled" and vocabulary.background is not None and report.coverage < 1:
        say("pixels in no mask stay unlabelled; --rest background makes them background")
    return say_failures(report)


def import_seeds(
    config: "ImportConfig", dataset: "Dataset", supervision: tuple[str, ...], flags: ImportRunFlags
) -> int:
    """Read seed files of published code into a run, with their scores; the exit code."""
    from labelgen.job_builders import import_job
    from labelgen.seeds.import_seeds import disagreement, make_import
    from labelgen.seeds.legacy import SEED_FORMATS
    from labelgen.store import RunFolder

    folder = Path(config.path)
    _compare_seeds(folder, dataset)
    make = functools.partial(make_import, config, dataset.vocabulary, dataset)
    facts = {"about": SEED_FORMATS[config.format].about}
    job = import_job(config, make, dataset.vocabulary, facts=facts, supervision=supervision)
    report = _made(dataset, job, folder.resolve().name, flags, scored=True)
    if report is None:
        return EXIT_DONE
    foreign, tagged = disagreement(RunFolder.open(report.out).records().values())
    more = {"format": config.format, "images_with_tags": tagged, "images_with_classes_without_tag": foreign}
    _print(report, dataset, job, flags, more=more, curve=flags.save_scores)
    if foreign > tagged / 2:
        say(
            f"warning: {foreign} of {tagged} images have maps of classes that are none of their tags\n"
            f"hint: is --from {config.format} right? psa numbers classes from 0 without background, psa-crf with it; "
            "manifest.jsonl names the classes of each image"
        )
    return say_failures(report)


def _made(dataset: "Dataset", job: "Job", name: str, flags: ImportRunFlags, *, scored: bool) -> "RunReport | None":
    """Make the run; None for a dry run, of which the plan is printed.

    Parameters
    ----------
    name
        Of what is read, for a run folder that was not named.
    scored
        False for hard labels, which have no scores that could be kept.
    """
    from labelgen.run import run_job

    options = replace(flags.run_options(), save_scores=flags.save_scores and scored)
    out = Path(flags.out or Path("runs", name))
    if flags.dry_run:
        print_plan(dataset, job, out, options, as_json=flags.as_json)
        return None
    with progress_bar("import") as progress:
        return run_job(dataset, job, out, options, progress=progress)


def _print(
    report: "RunReport",
    dataset: "Dataset",
    job: "Job",
    flags: ImportRunFlags,
    *,
    more: dict[str, Any],
    curve: bool = False,
) -> None:
    steps = leave_sheet(report, dataset, wanted=flags.sheet)
    if report.complete and can_be_scored(dataset, job.vocabulary):
        steps.append(("next", f"labelgen quality {data_path(report.out)}{' --curve' if curve else ''}"))
    print_report(report, job, as_json=flags.as_json, more=more, steps=steps)


def _compare_masks(masks: "Masks", dataset: "Dataset", config: "MaskImportConfig") -> None:
    """Refuse masks of other images; say how many are of none, and how many images have none."""
    shared = masks.ids.intersection(dataset.ids)
    if not shared:
        here = f"such as {min(masks.ids)!r}" if masks.ids else "none at all"
        raise DataError(
            f"no mask of {config.path} belongs to an image of the data: {here} against images such as "
            f"{dataset.ids[0]!r}",
            hint="is it the right --data and --split?",
        )
    foreign, missing = len(masks.ids) - len(shared), len(dataset.ids) - len(shared)
    if foreign:
        say(f"{foreign} masks of {config.path} belong to no image of the data and are left out")
    if missing:
        say(f"{missing} images of the data have no mask in {config.path} and will fail; --ids FILE leaves them out")


def _compare_seeds(folder: Path, dataset: "Dataset") -> None:
    """Refuse a folder of other images; say how many files are of none."""
    if not folder.is_dir():
        raise DataError(f"no such folder of seeds: {folder}", hint="it holds one ID.npy per image")
    names = {p.relative_to(folder).with_suffix("").as_posix() for p in folder.rglob("*.npy")}
    if not names.intersection(dataset.ids):
        here = f"such as {min(names)}.npy" if names else "none at all"
        raise DataError(
            f"no file of {folder} belongs to an image of the data, {here} against images such as {dataset.ids[0]}",
            hint="is it the right --data and --split? A file is named as its image, in the same subfolders",
        )
    foreign = len(names.difference(dataset.ids))
    if foreign:
        say(f"{foreign} files of {folder} belong to no image of the data and are left out")
