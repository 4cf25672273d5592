"""COCO JSON of run lengths: a mask for each class of an image, or for each connected component of one."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from labelgen.formats.coco_ids import categories_of, category_ids, image_record, info_of, write_coco_document
from labelgen.formats.format import Exported, ExportOptions, Progress, Written
from labelgen.formats.regions import regions_of
from labelgen.formats.target import new_file

__all__ = ["encode_region", "write_coco"]


def write_coco(exported: Exported, out: Path, options: ExportOptions, progress: Progress) -> Written:
    """Write one JSON file, annotation by annotation.

    Unlabelled pixels are in no mask, and the background is a category like the others. With `instances` the
    background is left out, as files of objects have none.
    """
    images: list[dict[str, Any]] = []
    unlabelled: list[str] = []
    head = {
        "info": info_of(exported),
        "categories": categories_of(
            exported.vocabulary, things=options.instances, with_background=not options.instances
        ),
    }
    with new_file(out, overwrite=options.overwrite) as stream:
        write_coco_document(stream, head, _annotations(exported, options, images, unlabelled, progress), images)
    notes = []
    if unlabelled and options.instances and exported.vocabulary.background is not None:
        notes = [
            f"{len(unlabelled)} images have unlabelled pixels, such as {unlabelled[0]}; a file of objects cannot tell "
            "them from background. Without --instances background is a category and they are in no mask"
        ]
    return Written(1, notes, [f"read it back: labelgen import {out.as_posix()} --from coco --data DATA"])


def _annotations(
    exported: Exported,
    options: ExportOptions,
    images: list[dict[str, Any]],
    unlabelled: list[str],
    progress: Progress,
) -> Iterator[dict[str, Any]]:
    vocabulary = exported.vocabulary
    categories, number = category_ids(vocabulary), 0
    for image, sample_id in enumerate(exported.ids, start=1):
        labels = exported.labels(sample_id)
        images.append(image_record(image, exported, sample_id, labels))
        if (labels == vocabulary.ignore).any():
            unlabelled.append(sample_id)
        for class_id, mask in regions_of(labels, vocabulary, instances=options.instances):
            if options.instances and class_id == vocabulary.background:
                continue
            number += 1  # from 1: pycocotools takes an annotation 0 for no match
            ids = {"id": number, "image_id": image, "category_id": categories[class_id]}
            yield {**ids, **encode_region(mask), "iscrowd": 0}
        progress(image, len(exported.ids), "")


def encode_region(mask: np.ndarray) -> dict[str, Any]:
    """Segmentation, area and box of a mask as pycocotools gives them.

    Examples
    --------
    >>> encode_region(np.array([[False, True], [False, True]]))
    {'segmentation': {'size': [2, 2], 'counts': '22'}, 'area': 2, 'bbox': [1.0, 0.0, 1.0, 2.0]}
    """
    from pycocotools import mask as coco_mask

    runs = coco_mask.encode(np.asfortranarray(mask, np.uint8))
    counts: Any = runs["counts"]  # bytes, whatever its stub says
    segmentation = {"size": [int(side) for side in runs["size"]], "counts": counts.decode("ascii")}
    box = [float(value) for value in coco_mask.toBbox(runs)]
    return {"segmentation": segmentation, "area": int(coco_mask.area(runs)), "bbox": box}
