"""Category ids of COCO for the classes of a vocabulary, and what a COCO file says about images and categories."""

import json
from collections.abc import Iterable
from typing import IO, Any

import labelgen
from labelgen.formats.format import Exported
from labelgen.formats.json_files import write_list
from labelgen.masks import LabelMap
from labelgen.vocab import Vocabulary, load_vocabulary

__all__ = ["categories_of", "category_ids", "image_record", "info_of", "write_coco_document"]

OFFICIAL = {"coco-object": 0, "coco-stuff": 1}  # category id = id in the files of that vocabulary + this


def category_ids(vocabulary: Vocabulary) -> tuple[int, ...]:
    """COCO's own ids for COCO's classes; else class ids where class 0 is background, and class ids + 1 where not.

    Nothing has the id 0, which tools take for no class; where it would be the background's, that comes last.

    Examples
    --------
    >>> category_ids(Vocabulary("v", ("ground", "cat"), background=0)), category_ids(Vocabulary("v", ("cat", "dog")))
    ((2, 1), (1, 2))
    >>> ids = category_ids(load_vocabulary("coco-object"))
    >>> ids[0], ids[1], ids[-1]
    (91, 1, 90)
    """
    ids = tuple(range(vocabulary.num_classes))
    for name, first in OFFICIAL.items():
        known = load_vocabulary(name)
        if known.classes == vocabulary.classes:
            ids = tuple(i + first for i in known.raw_ids or ids)
    if ids[0] > 0:
        return ids
    return (ids[-1] + 1, *ids[1:]) if vocabulary.background == 0 else tuple(i + 1 for i in ids)


def categories_of(vocabulary: Vocabulary, *, things: bool, with_background: bool = True) -> list[dict[str, Any]]:
    """The categories of a COCO file; `color` and `isthing` are those of panoptic files, and do no harm in others.

    Parameters
    ----------
    things
        Whether regions are single objects (never true of the background).
    """
    return [
        {
            "id": category,
            "name": name,
            "supercategory": "thing" if things and class_id != vocabulary.background else "stuff",
            "isthing": int(things and class_id != vocabulary.background),
            "color": list(colour),
        }
        for class_id, (category, name, colour) in enumerate(
            zip(category_ids(vocabulary), vocabulary.classes, vocabulary.colours, strict=True)
        )
        if with_background or class_id != vocabulary.background
    ]


def image_record(number: int, exported: Exported, sample_id: str, labels: LabelMap) -> dict[str, Any]:
    """What a COCO file says of an image."""
    height, width = labels.shape
    return {"id": number, "file_name": exported.image_name(sample_id), "width": width, "height": height}


def info_of(exported: Exported) -> dict[str, Any]:
    """Where the labels come from."""
    return {
        "description": f"{exported.source.name}: {len(exported.ids)} images in vocabulary {exported.vocabulary.name}",
        "version": labelgen.__version__,
        "unlabelled": "pixels in no segment",
    }


def write_coco_document(
    stream: IO[bytes], head: dict[str, Any], annotations: Iterable[Any], images: Iterable[Any]
) -> None:
    """Write a COCO file, annotation by annotation; `images` is read when all annotations are written."""
    stream.write(json.dumps(head, ensure_ascii=False)[:-1].encode() + b',\n"annotations": ')
    write_list(stream, annotations)
    stream.write(b',\n"images": ')
    write_list(stream, images)
    stream.write(b"}\n")
