"""The table of file formats: what each is, and where it is written and read."""

from labelgen.errors import ConfigError
from labelgen.formats.format import Format

__all__ = ["FORMATS", "mask_format"]

FORMATS: dict[str, Format] = {
    "coco": Format(
        "COCO JSON, a mask of run lengths per class and image (--instances: per component); unlabelled is in no mask",
        ".json",
        "labelgen.formats.coco:write_coco",
        "labelgen.formats.coco_read:open_coco_masks",
        scored=True,
        rest=True,
        regions=True,
    ),
    "coco-panoptic": Format(
        "COCO panoptic, PNGs of segment ids and a JSON; unlabelled is id 0, void",
        "",
        "labelgen.formats.coco_panoptic:write_coco_panoptic",
        "labelgen.formats.coco_panoptic:open_coco_panoptic",
        regions=True,
    ),
    "voc": Format(
        "PASCAL VOC, palette PNGs with ImageSets and labelmap.txt; unlabelled is 255",
        "",
        "labelgen.formats.voc:write_voc",
        "labelgen.formats.voc:open_voc_masks",
        images="optional",
    ),
    "cityscapes": Format(
        "Cityscapes, PNGs of label ids and train ids (--instances: and of instance ids); unlabelled is 0 and 255",
        "",
        "labelgen.formats.cityscapes:write_cityscapes",
        "labelgen.formats.cityscapes:open_cityscapes_masks",
        regions=True,
    ),
    "cvat": Format(
        "CVAT Segmentation mask 1.1, a zip of coloured PNGs; unlabelled is a label of that name",
        ".zip",
        "labelgen.formats.cvat:write_cvat",
        "labelgen.formats.cvat:open_cvat",
        regions=True,
    ),
    "label-studio": Format(
        "Label Studio, tasks with brush masks as predictions, and their labelling interface; unlabelled is in no mask",
        "",
        "labelgen.formats.label_studio:write_label_studio",
        "labelgen.formats.label_studio_read:open_label_studio",
        rest=True,
        regions=True,
        images="optional",
        finds_images=True,
    ),
    "hf": Format(
        "Hugging Face datasets, columns id, image and annotation, for load_from_disk; unlabelled is 255",
        "",
        "labelgen.formats.hf:write_hf",
        "labelgen.formats.hf:open_hf",
        images="always",
        finds_images=True,
        extra="hf",
    ),
    "webdataset": Format(
        "WebDataset, tar shards of KEY.jpg, KEY.png and KEY.json; unlabelled is 255",
        "",
        "labelgen.formats.webdataset:write_webdataset",
        "labelgen.formats.webdataset:open_webdataset",
        images="always",
        finds_images=True,
    ),
    "instances": Format(
        "Masks of objects with scores: COCO JSON or results, ID.json of Grounded-SAM 2, ID.npz",
        "",
        "",
        "labelgen.formats.scored_masks:open_scored_masks",
        scored=True,
        rest=True,
    ),
    "scribblesup": Format(
        "ScribbleSup, strokes as ID.xml, or painted as ID.png",
        "",
        "",
        "labelgen.formats.scribblesup:open_scribbles",
    ),
}
"""Formats of masks by the name that `--to` and `--from` take; those of seeds are in `labelgen.seeds.legacy`."""


def mask_format(name: str) -> Format:
    """The row of a format.

    Raises
    ------
    ConfigError
        When there is none; the hint lists them.
    """
    from labelgen.seeds.legacy import SEED_FORMATS

    if name not in FORMATS:
        raise ConfigError(f"unknown format {name!r}", hint=f"formats: {', '.join([*FORMATS, *SEED_FORMATS])}")
    return FORMATS[name]
