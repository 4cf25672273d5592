"""`labelgen import PATH --from coco`: masks of other tools, or seed files of published code, as a run."""

import functools
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from cyclopts import Parameter

from labelgen.commands.common import (
    EXIT_DONE,
    EXIT_SOME_FAILED,
    DataFlags,
    data_path,
    open_dataset_from,
    progress_bar,
    say,
)
from labelgen.commands.generate import print_plan, print_report, say_failures
from labelgen.commands.import_seeds import ImportRunFlags, check_supervision, import_seeds
from labelgen.commands.next_step import can_be_scored
from labelgen.commands.sheet import leave_sheet
from labelgen.errors import ConfigError, DataError

if TYPE_CHECKING:
    from labelgen.data.dataset import Dataset
    from labelgen.formats.format import Masks
    from labelgen.formats.import_masks import MaskImportConfig

__all__ = ["MaskFlags", "SeedFlags", "import_labels"]


@dataclass(frozen=True, kw_only=True)
class MaskFlags:
    """What is made of masks.

    Parameters
    ----------
    map
        NAME=CLASS: the class of a name in the files, or NAME=unlabelled; several as --map a=b --map c=d. The name * is
        every name that is unknown otherwise.
    overlap
        Which of several masks a pixel belongs to (coco, instances): score, that with the highest score, of equal ones
        the smallest; small, the smallest, of equal ones that with the highest score; unlabelled, none where their
        classes differ.
    rest
        What pixels in no mask are (coco, instances, label-studio): unlabelled or background.
    min_score
        Leave masks with a lower score out (coco, instances).
    categories
        COCO JSON that says what the ids in a list of results mean (instances).
    """

    map: Annotated[tuple[str, ...], Parameter(negative="")] = ()
    overlap: Literal["score", "small", "unlabelled"] = "score"
    rest: Literal["unlabelled", "background"] = "unlabelled"
    min_score: float = 0.0
    categories: str = ""


@dataclass(frozen=True, kw_only=True)
class SeedFlags:
    """What is made of seed files.

    Parameters
    ----------
    background
        Rule of background: fixed:0.2, power:6, dual:power:4/power:24, ... Default: that of the code which writes such
        files (fixed:0.2 for psa, fixed:0.15 for irn, power:1 for clipes).
    normalise
        Scale maps to [0, 1] first: max, minmax or minmax0. Default: they are scaled already.
    """

    background: str = ""
    normalise: str = ""


def import_labels(
    path: str,
    /,
    *,
    from_: Annotated[str, Parameter(name="--from")],
    data: str = "demo",
    supervision: Annotated[tuple[str, ...], Parameter(negative="")] = (),
    masks: Annotated[MaskFlags | None, Parameter(name="*", group="Masks")] = None,
    seeds: Annotated[SeedFlags | None, Parameter(name="*", group="Seed files")] = None,
    images: Annotated[DataFlags | None, Parameter(name="*", group="Images")] = None,
    flags: Annotated[ImportRunFlags | None, Parameter(name="*", group="Common flags")] = None,
) -> int:
    """Read masks of other tools, or seed files of published code, into a run.

    Masks, of the images of --data with the same ids:

    - coco: COCO JSON, polygons or run lengths; crowds are unlabelled
    - coco-panoptic: a panoptic JSON with its PNGs, or a folder with annotations/panoptic_*.json
    - voc: a folder or zip with SegmentationClass/; ids, or colours that labelmap.txt names
    - cityscapes: a folder with gtFine/
    - cvat: a zip of CVAT, "Segmentation mask 1.1"
    - label-studio: a JSON export with brush masks or polygons
    - hf: a folder that datasets has saved to disk (needs labelgen[hf])
    - webdataset: a tar shard, or a folder of them
    - instances: masks of objects with scores, which may overlap: COCO JSON or results, ID.json of Grounded-SAM 2,
      ID.npz with masks, class_names and scores
    - scribblesup: strokes as ID.xml, or painted as ID.png (labelgen scribble --from-xml can also shrink and drop them)

    Seeds, ID.npy by relative name: psa (SEAM, EPS too: {class: map}), psa-crf ({0: background, class + 1: map}), irn
    (keys, high_res), irn-cam (keys, cam at a quarter of the size), clipes (keys, attn_highres).

    Classes are found by name or alias; a name that is unknown is an error that lists the known ones. Files are read
    without executing anything that they name, and archives are never unpacked. Where the tags of an image are known,
    from --tags or the truth, classes of a seed file that are none of them are warned about.

    Parameters
    ----------
    path
        File or folder of masks, or folder of seeds.
    from_
        Format, out of the lists above.
    data
        Where the images are: demo, a path, or kind:path.
    supervision
        What the masks or seeds rest on, for the record: tags, saliency, strokes, truth or unknown; several as
        --supervision tags --supervision saliency. Default: tags for seeds, strokes for scribblesup, else unknown.

    Examples
    --------
    labelgen import from-cvat.zip --from cvat --data voc:VOCdevkit/VOC2012 --ids worst.txt
    labelgen import sam.json --from instances --data photos --vocab voc --rest background --min-score 0.3
    labelgen import result.json --from coco --map 'tv monitor=tvmonitor' --map '*=unlabelled'
    labelgen import seeds --from psa --background power:6
    """
    masks, seeds = masks or MaskFlags(), seeds or SeedFlags()
    images, flags = images or DataFlags(), flags or ImportRunFlags()

    from labelgen.seeds.legacy import SEED_FORMATS

    if from_ in SEED_FORMATS:
        _refuse_foreign(masks, from_, "the maps of its classes, not masks")
        return import_seeds(
            path,
            from_=from_,
            data=data,
            background=seeds.background,
            normalise=seeds.normalise,
            supervision=supervision or ("tags",),
            images=images,
            flags=flags,
        )
    from labelgen.formats.import_masks import MaskImportConfig

    config = MaskImportConfig(
        from_, Path(path).as_posix(), masks.map, masks.overlap, masks.rest, masks.min_score, masks.categories
    )
    _refuse_foreign(seeds, from_, "masks, not maps of classes")
    supervision = supervision or ("strokes" if from_ == "scribblesup" else "unknown",)
    check_supervision(supervision)
    return _import_masks(config, data, supervision, images, flags)


def _refuse_foreign(given: MaskFlags | SeedFlags, format_name: str, holds: str) -> None:
    """Refuse flags of the other kind of files."""
    for name, value in vars(given).items():
        if value != getattr(type(given), name):
            raise ConfigError(
                f"--{name.replace('_', '-')} has no say for the format {format_name}, which holds {holds}",
                hint="leave it out",
            )


def _import_masks(
    config: "MaskImportConfig", data: str, supervision: tuple[str, ...], images: DataFlags, flags: ImportRunFlags
) -> int:
    from labelgen.formats.import_masks import container_facts, make_mask_import, open_masks
    from labelgen.formats.table import mask_format
    from labelgen.job import Job, config_to_json
    from labelgen.run import run_job

    row = mask_format(config.format)
    dataset = open_dataset_from(images, data)
    _compare(open_masks(config, dataset.vocabulary), dataset, config)
    job = Job(
        method="import",
        config=config_to_json(config),
        make=functools.partial(make_mask_import, config, dataset.vocabulary),
        needs=frozenset(),
        reads_image=False,
        vocabulary=dataset.vocabulary,
        facts={"about": row.about, **container_facts(config)},
        inherited=frozenset(supervision),
    )
    options = flags.run_options()
    # hard labels have no scores that could be kept
    options = replace(options, save_scores=options.save_scores and row.scored)
    out = Path(flags.out or Path("runs", Path(config.path).resolve().stem))
    if flags.dry_run:
        print_plan(dataset, job, out, options, as_json=flags.as_json)
        return EXIT_DONE
    with progress_bar("import") as progress:
        report = run_job(dataset, job, out, options, progress=progress)
    scored = report.complete and can_be_scored(dataset, job.vocabulary)
    steps = leave_sheet(report, dataset, wanted=flags.sheet)
    steps += [("next", f"labelgen quality {data_path(report.out)}")] if scored else []
    print_report(report, job, as_json=flags.as_json, more={"format": config.format}, steps=steps)
    if row.rest and config.rest == "unlabelled" and dataset.vocabulary.background is not None and report.coverage < 1:
        say("pixels in no mask stay unlabelled; --rest background makes them background")
    if report.first_failure is not None:
        say_failures(report, report.first_failure)
    return EXIT_SOME_FAILED if report.failed else EXIT_DONE


def _compare(masks: "Masks", dataset: "Dataset", config: "MaskImportConfig") -> None:
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
