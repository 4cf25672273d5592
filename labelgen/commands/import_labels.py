"""`labelgen import PATH --from coco`: masks of other tools, or seed files of published code, as a run."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

from cyclopts import Parameter

from labelgen.commands.common import DataFlags, open_dataset_from
from labelgen.commands.import_runs import ImportRunFlags, import_masks, import_seeds
from labelgen.errors import ConfigError

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
        from labelgen.seeds.import_seeds import ImportConfig

        _refuse_foreign(masks, from_, "the maps of its classes, not masks")
        supervision = supervision or ("tags",)
        _check_supervision(supervision)
        config = ImportConfig(from_, Path(path).as_posix(), seeds.background, seeds.normalise)
        return import_seeds(config, open_dataset_from(images, data), supervision, flags)
    from labelgen.formats.import_masks import MaskImportConfig

    config = MaskImportConfig(
        from_, Path(path).as_posix(), masks.map, masks.overlap, masks.rest, masks.min_score, masks.categories
    )
    _refuse_foreign(seeds, from_, "masks, not maps of classes")
    supervision = supervision or ("strokes" if from_ == "scribblesup" else "unknown",)
    _check_supervision(supervision)
    return import_masks(config, open_dataset_from(images, data), supervision, flags)


def _refuse_foreign(given: MaskFlags | SeedFlags, format_name: str, holds: str) -> None:
    """Refuse flags of the other kind of files."""
    for name, value in vars(given).items():
        if value != getattr(type(given), name):
            raise ConfigError(
                f"--{name.replace('_', '-')} has no say for the format {format_name}, which holds {holds}",
                hint="leave it out",
            )


def _check_supervision(names: tuple[str, ...]) -> None:
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
