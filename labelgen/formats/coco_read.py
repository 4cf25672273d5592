"""COCO JSON read back: polygons and run lengths with categories, crowds, and scores where there are some."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from labelgen.data.readers.coco_instances import decode_segmentation
from labelgen.errors import DataError
from labelgen.formats.class_names import ClassNames
from labelgen.formats.format import ReadOptions
from labelgen.formats.instances import Instance, paint, rest_of
from labelgen.formats.json_files import field_of, image_id_of, read_json, score_of
from labelgen.masks import SoftMask
from labelgen.vocab import Vocabulary

__all__ = ["CocoMasks", "Outline", "names_of_categories", "open_coco_masks", "parse_coco"]


@dataclass(frozen=True)
class Outline:
    """One mask as the file has it."""

    class_id: int
    score: float
    segmentation: Any
    crowd: bool

    def instance(self, size: tuple[int, int], where: str) -> Instance:
        """The mask with its area counted; the one in the file is not to be trusted."""
        mask = decode_segmentation(self.segmentation, size, where)
        area = int(mask.sum())
        del mask  # kept, the masks of a crowded image would fill the memory

        def pixels():
            return decode_segmentation(self.segmentation, size, where).astype(bool)

        return Instance(self.class_id, self.score, area, pixels, self.crowd)


@dataclass(frozen=True)
class CocoMasks:
    """The masks of each image of a JSON file."""

    path: Path
    outlines: Mapping[str, Sequence[Outline]]
    vocabulary: Vocabulary
    options: ReadOptions

    @property
    def ids(self) -> frozenset[str]:
        """Ids of the images in the file, those without any mask among them."""
        return frozenset(self.outlines)

    def mask(self, sample_id: str, size: tuple[int, int]) -> SoftMask:
        """All masks of an image, painted."""
        if sample_id not in self.outlines:
            raise DataError(f"no masks of image {sample_id!r} in {self.path}", hint="leave the image out with --ids")
        where = f"{self.path}, {sample_id!r}"
        instances = [outline.instance(size, where) for outline in self.outlines[sample_id]]
        return paint(instances, size, self.vocabulary, self.options)


def open_coco_masks(path: Path, names: ClassNames, options: ReadOptions) -> CocoMasks:
    """Open a JSON file with images, annotations and categories.

    Raises
    ------
    DataError
        When it is malformed.
    VocabularyError
        When a category that an annotation has is no class.
    """
    data = read_json(path)
    rest_of(names.vocabulary, options.rest)
    return CocoMasks(path, parse_coco(data, data, names, where=str(path)), names.vocabulary, options)


def parse_coco(data: Any, index: Any, names: ClassNames, *, where: str) -> dict[str, list[Outline]]:
    """The masks by image id.

    Parameters
    ----------
    data
        What holds `annotations`.
    index
        What holds the `images` and `categories` that these refer to.
    """
    ids: dict[Any, str] = {}
    records = field_of(index, "images", list, where=where)
    for record in records:
        name = field_of(record, "file_name", str, where=where)
        ids[field_of(record, "id", (int, str), where=where)] = image_id_of(name)
    if len(set(ids.values())) != len(records):
        raise DataError(f"two images have the same id or file name in {where}", hint="make the names unique")
    annotations = field_of(data, "annotations", list, where=where)
    classes = names_of_categories(index, annotations, names, where=where)
    found: dict[str, list[Outline]] = {sample_id: [] for sample_id in ids.values()}
    for record in annotations:
        image = field_of(record, "image_id", (int, str), where=where)
        if image not in ids:
            raise DataError(f"an annotation must belong to an image of the file, got {image!r} in {where}")
        segmentation = field_of(record, "segmentation", (list, dict), where=where)
        if segmentation == []:  # a box without an outline, as detectors write it
            raise DataError(
                f"an annotation of {ids[image]!r} has no segmentation in {where}", hint="boxes are no masks"
            )
        score = score_of(record.get("score"), where=where)
        crowd = bool(record.get("iscrowd", 0))
        found[ids[image]].append(Outline(classes[record["category_id"]], score, segmentation, crowd))
    return found


def names_of_categories(index: Any, annotations: Sequence[Any], names: ClassNames, *, where: str) -> dict[int, int]:
    """Class id of each category that occurs; those that do not may be unknown.

    Raises
    ------
    DataError
        When an annotation has a category that is not in the list.
    VocabularyError
        When a category that occurs is no class.
    """
    listed = {
        field_of(record, "id", int, where=where): field_of(record, "name", str, where=where)
        for record in field_of(index, "categories", list, where=where)
    }
    used = sorted({field_of(record, "category_id", int, where=where) for record in annotations})
    lonely = [category for category in used if category not in listed]
    if lonely:
        raise DataError(f"category {lonely[0]} of an annotation is not among the categories in {where}")
    classes = names.ids_of(dict.fromkeys(listed[category] for category in used), where=where)
    return {category: classes[listed[category]] for category in used}
