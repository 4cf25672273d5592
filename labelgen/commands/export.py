"""`labelgen export [RUN] --to coco`: labels as files of other tools, or scores as seed files of published code."""

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import Parameter

from labelgen.commands.amounts import cost_rows
from labelgen.commands.common import JsonFlag, Switch, print_json, print_table, progress_bar, refuse_negative, say
from labelgen.commands.sources import SourceFlags, open_source
from labelgen.errors import ConfigError, LabelgenError

if TYPE_CHECKING:
    from labelgen.data.dataset import Dataset
    from labelgen.estimate import RunEstimate
    from labelgen.store import LabelSource

__all__ = ["export", "print_export_plan"]


def export(
    run: str = "",
    /,
    *,
    to: str,
    out: str = "",
    instances: Switch = False,
    images: Switch = False,
    overwrite: Switch = False,
    dry_run: Switch = False,
    source: Annotated[SourceFlags | None, Parameter(name="*", group="Images")] = None,
    as_json: JsonFlag = False,
) -> None:
    """Write the labels of a run in the format of another tool, or its scores as seed files of published code.

    Labels:

    - coco: COCO JSON, a mask of run lengths for each class of an image
    - coco-panoptic: PNGs of segment ids, and a JSON that says what they are
    - voc: palette PNGs, ImageSets, labelmap.txt
    - cityscapes: PNGs of label ids and of train ids
    - cvat: a zip archive for CVAT, "Segmentation mask 1.1"
    - label-studio: tasks with brush masks as predictions, and the labelling interface
    - hf: a data set for datasets.load_from_disk (needs labelgen[hf])
    - webdataset: tar shards with image, mask and JSON

    Seeds: psa (SEAM, EPS too), psa-crf, irn, irn-cam, clipes. Background is left out where the format has none; the
    code that reads the files sets its own.

    `labelgen formats` says how each format expresses unlabelled pixels. What is written appears when it is whole, and
    its bytes depend on nothing but the run.

    Parameters
    ----------
    run
        Run folder, or plain folder of mask PNGs (with --vocab). Default: the newest run below runs/.
    to
        Format, out of the lists above.
    out
        File or folder to write. Default: exports/RUN-FORMAT, for seeds seeds/RUN-FORMAT.
    instances
        A region for each connected component instead of one for each class: coco, coco-panoptic, cvat, label-studio.
        With cityscapes, PNGs of instance ids beside the others, for humans and vehicles.
    images
        Write the images too: voc, label-studio.
    overwrite
        Replace an export that is already there; never a folder that is none.
    dry_run
        Write a few images and throw them away, to say how long all would take and how much disk.

    Examples
    --------
    labelgen export runs/clip --to coco
    labelgen export runs/clip --to cvat --out for-cvat.zip --ids worst.txt
    labelgen export runs/cam --to coco --instances --out objects.json
    labelgen export runs/cam --to psa
    """
    from labelgen.seeds.legacy import SEED_FORMATS

    flags = source or SourceFlags()
    if to in SEED_FORMATS:
        _refuse_for_seeds(to, instances=instances, images=images, flags=flags)
        from labelgen.commands.export_seeds import export_seeds

        export_seeds(run, to=to, out=out, overwrite=overwrite, dry_run=dry_run, as_json=as_json)
        return
    refuse_negative(limit=flags.limit)

    from labelgen.formats.export_masks import (
        choose_ids,
        default_out,
        estimate_export,
        export_masks,
        refuse_options,
    )
    from labelgen.formats.format import ExportOptions
    from labelgen.store import newest_run

    options = ExportOptions(instances=instances, images=images, overwrite=overwrite)
    row = refuse_options(to, options)
    path = Path(run) if run else newest_run()
    labels, dataset = _open(path, flags, must_find=row.finds_images or images)
    ids = choose_ids(labels, ids_file=flags.ids, limit=flags.limit)
    target = Path(out) if out else default_out(labels, to)
    if dry_run:
        cost = estimate_export(labels, to, target, options, ids=ids, dataset=dataset)
        print_export_plan({"run": path.as_posix(), "format": to, "out": target.as_posix()}, cost, as_json=as_json)
        return
    with progress_bar("export") as progress:
        written = export_masks(labels, to, target, options, ids=ids, dataset=dataset, progress=progress)
    for note in written.notes:
        say(f"warning: {note}")
    facts = {"run": path.as_posix(), "format": to, "images": len(ids), "files": written.files}
    if as_json:
        print_json({**facts, "out": target.as_posix(), "notes": list(written.notes), "recipe": list(written.recipe)})
        return
    print(f"{len(ids)} images in the format {to}: {target.as_posix()}")  # noqa: T201
    for line in written.recipe:
        print(f"  {line}")  # noqa: T201


def print_export_plan(facts: dict[str, Any], cost: "RunEstimate", *, as_json: bool) -> None:
    """Print what an export would write, and what that would take."""
    if as_json:
        print_json({**facts, "images": cost.images, "estimate": cost.to_json()})
        return
    rows = [*facts.items(), ("images", cost.images), *cost_rows(cost)]
    print_table(("", ""), rows, title="would do (nothing is written)", texts=(0, 1))


def _refuse_for_seeds(to: str, *, instances: bool, images: bool, flags: SourceFlags) -> None:
    """Refuse flags that have no say for seeds."""
    given = [name for name, value in (("instances", instances), ("images", images)) if value]
    given += [name for name, value in vars(flags).items() if value != getattr(SourceFlags, name)]
    if given:
        raise ConfigError(
            f"--{given[0]} has no say for seed files of the format {to}",
            hint="all images of the run are written; leave it out",
        )


def _open(path: Path, flags: SourceFlags, *, must_find: bool) -> "tuple[LabelSource, Dataset | None]":
    """Labels, and the data set of their images; None where it is not there and nothing but names is lost."""
    from labelgen.store import open_labels
    from labelgen.vocab import load_vocabulary

    is_run = (path / "run.json").exists()
    if is_run and flags.vocab:
        raise ConfigError(f"--vocab is for plain folders of masks, but {path} is a run, which knows its own")
    if is_run or flags.data:
        try:
            return open_source(path, replace(flags, ids="", limit=0))
        except LabelgenError as error:
            if must_find or flags.data:
                raise
            say(f"the images are not found ({error.message}); files that name them take the suffix .jpg for granted")
    elif must_find:
        raise ConfigError(f"{path} is a plain folder, so its images must be named", hint="--data voc:DIR")
    return open_labels(path, vocabulary=load_vocabulary(flags.vocab) if flags.vocab else None), None
