"""`labelgen import PATH --from psa`: seed files of published code as a run."""

import functools
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter

from labelgen.commands.common import (
    EXIT_DONE,
    EXIT_SOME_FAILED,
    DataFlags,
    RunFlags,
    data_path,
    open_dataset_from,
    progress_bar,
    say,
)
from labelgen.commands.generate import print_plan, print_report, say_failures
from labelgen.commands.next_step import can_be_scored
from labelgen.commands.sheet import leave_sheet
from labelgen.errors import ConfigError, DataError

if TYPE_CHECKING:
    from labelgen.data.dataset import Dataset

__all__ = ["ImportRunFlags", "check_supervision", "import_seeds"]


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


def import_seeds(
    path: str,
    /,
    *,
    from_: Annotated[str, Parameter(name="--from")],
    data: str = "demo",
    background: str = "",
    normalise: str = "",
    supervision: tuple[str, ...] = ("tags",),
    images: Annotated[DataFlags | None, Parameter(name="*", group="Images")] = None,
    flags: Annotated[ImportRunFlags | None, Parameter(name="*", group="Common flags")] = None,
) -> int:
    """Read seed files of published code into a run, with their scores.

    Files are read without executing anything that they name, whatever numpy.load would do. Where the tags of an image
    are known, from --tags or the truth, classes of its file that are none of them are warned about; labels do not
    depend on tags.

    Parameters
    ----------
    path
        Folder of ID.npy, by relative name.
    from_
        Format: psa (SEAM, EPS too: {class: map}), psa-crf ({0: background, class + 1: map}), irn (keys, high_res),
        irn-cam (keys, cam at a quarter of the size), clipes (keys, attn_highres).
    data
        Where the images are: demo, a path, or kind:path.
    background
        Rule of background: fixed:0.2, power:6, dual:power:4/power:24, ... Default: that of the code which writes such
        files (fixed:0.2 for psa, fixed:0.15 for irn, power:1 for clipes).
    normalise
        Scale maps to [0, 1] first: max, minmax or minmax0. Default: they are scaled already.
    supervision
        What the seeds rest on, for the record: tags, saliency, strokes, truth or unknown; several as
        --supervision tags --supervision saliency.

    Examples
    --------
    labelgen import seeds --from psa
    labelgen import cams --from irn --data voc:VOCdevkit/VOC2012 --background power:6
    """
    flags = flags or ImportRunFlags()
    folder = Path(path)
    check_supervision(supervision)

    from labelgen.job import Job, config_to_json
    from labelgen.run import run_job
    from labelgen.seeds.import_seeds import ImportConfig, disagreement, make_import
    from labelgen.seeds.legacy import SEED_FORMATS
    from labelgen.store import RunFolder

    config = ImportConfig(from_, folder.as_posix(), background, normalise)
    dataset = open_dataset_from(images or DataFlags(), data)
    _compare(folder, dataset)
    job = Job(
        method="import",
        config=config_to_json(config),
        make=functools.partial(make_import, config, dataset.vocabulary, dataset),
        needs=frozenset(),
        reads_image=False,
        vocabulary=dataset.vocabulary,
        facts={"about": SEED_FORMATS[from_].about},
        inherited=frozenset(supervision),
    )
    options = flags.run_options()
    out = Path(flags.out or Path("runs", folder.resolve().name))
    if flags.dry_run:
        print_plan(dataset, job, out, options, as_json=flags.as_json)
        return EXIT_DONE
    with progress_bar("import") as progress:
        report = run_job(dataset, job, out, options, progress=progress)
    scored = report.complete and can_be_scored(dataset, job.vocabulary)
    steps = (
        [("next", f"labelgen quality {data_path(report.out)}{' --curve' if options.save_scores else ''}")]
        if scored
        else []
    )
    steps = leave_sheet(report, dataset, wanted=flags.sheet) + steps
    foreign, tagged = disagreement(RunFolder.open(report.out).records().values())
    more = {"format": from_, "images_with_tags": tagged, "images_with_classes_without_tag": foreign}
    print_report(report, job, as_json=flags.as_json, more=more, steps=steps)
    if foreign > tagged / 2:
        say(
            f"warning: {foreign} of {tagged} images have maps of classes that are none of their tags\n"
            f"hint: is --from {from_} right? psa numbers classes from 0 without background, psa-crf with it; "
            "manifest.jsonl names the classes of each image"
        )
    if report.first_failure is not None:
        say_failures(report, report.first_failure)
    return EXIT_SOME_FAILED if report.failed else EXIT_DONE


def check_supervision(names: tuple[str, ...]) -> None:
    """Refuse what is no kind of supervision."""
    from labelgen.data.sample import SUPERVISION
    from labelgen.refine.source import UNKNOWN

    known = (*sorted(SUPERVISION), UNKNOWN)
    for name in names:
        if name not in known:
            raise ConfigError(
                f"--supervision must be out of {', '.join(known)}, got {name!r}",
                hint="several as --supervision tags --supervision saliency",
            )


def _compare(folder: Path, dataset: "Dataset") -> None:
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
