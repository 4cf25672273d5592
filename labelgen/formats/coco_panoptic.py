"""COCO panoptic: an RGB PNG of segment ids for each image, and a JSON that says what each segment is."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Int32, UInt8

from labelgen.data.files import FileTable
from labelgen.data.readers.coco_panoptic import PanopticTruth, Segment
from labelgen.errors import DataError, RunFolderError
from labelgen.formats.class_names import ClassNames
from labelgen.formats.coco_ids import categories_of, category_ids, image_record, info_of, write_coco_document
from labelgen.formats.coco_read import names_of_categories
from labelgen.formats.format import Exported, ExportOptions, Progress, ReadOptions, Written
from labelgen.formats.json_files import field_of, image_id_of, read_json
from labelgen.formats.mask_files import MaskReader
from labelgen.formats.pictures import encode_rgb
from labelgen.formats.regions import regions_of
from labelgen.formats.target import new_folder, provenance, write_below
from labelgen.masks import LabelMap
from labelgen.store import check_id
from labelgen.vocab import Colour

__all__ = ["open_coco_panoptic", "write_coco_panoptic"]

FOLDER = "annotations"
SEGMENT_IDS = 2**24


def write_coco_panoptic(exported: Exported, out: Path, options: ExportOptions, progress: Progress) -> Written:
    """Write `annotations/panoptic_SPLIT.json` and the PNGs in a folder of that name; unlabelled pixels are id 0."""
    name = f"panoptic_{exported.split}"
    images: list[dict[str, Any]] = []
    head = {
        "info": info_of(exported),
        "licenses": [],
        "categories": categories_of(exported.vocabulary, things=options.instances),
    }
    with new_folder(out, provenance(exported, "coco-panoptic"), overwrite=options.overwrite) as folder:
        (folder / FOLDER).mkdir()
        with (folder / FOLDER / f"{name}.json").open("wb") as stream:
            annotations = _annotations(exported, folder / FOLDER / name, options, images, progress)
            write_coco_document(stream, head, annotations, images)
    recipe = [
        f"read it back: labelgen import {out.as_posix()} --from coco-panoptic --data DATA",
    ]
    return Written(len(exported.ids) + 1, (), recipe)


def _annotations(
    exported: Exported, folder: Path, options: ExportOptions, images: list[dict[str, Any]], progress: Progress
) -> Iterator[dict[str, Any]]:
    categories = category_ids(exported.vocabulary)
    for number, sample_id in enumerate(exported.ids, start=1):
        labels = exported.labels(sample_id)
        images.append(image_record(number, exported, sample_id, labels))
        ids = np.zeros(labels.shape, np.int32)
        taken: set[int] = {0}
        segments = []
        for class_id, mask in regions_of(labels, exported.vocabulary, instances=options.instances):
            segment = _free_id(exported.vocabulary.colours[class_id], taken)
            ids[mask] = segment
            segments.append({"id": segment, "category_id": categories[class_id], **_extent(mask), "iscrowd": 0})
        write_below(folder, f"{sample_id}.png", encode_rgb(_as_colours(ids)))
        yield {"image_id": number, "file_name": f"{sample_id}.png", "segments_info": segments}
        progress(number, len(exported.ids), "")


def _free_id(colour: Colour, taken: set[int]) -> int:
    """The id whose colour in the PNG is that of the class, or the next free one, so that the picture can be read."""
    segment = colour[0] + 256 * colour[1] + 65536 * colour[2]
    while segment in taken:
        segment = (segment + 1) % SEGMENT_IDS
    taken.add(segment)
    return segment


def _extent(mask: np.ndarray) -> dict[str, Any]:
    rows, cols = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    top, left = int(rows[0]), int(cols[0])
    return {"area": int(mask.sum()), "bbox": [left, top, int(cols[-1]) - left + 1, int(rows[-1]) - top + 1]}


def _as_colours(ids: Int32[np.ndarray, "H W"]) -> UInt8[np.ndarray, "H W 3"]:
    """Segment ids as red + 256 green + 65536 blue.

    Examples
    --------
    >>> _as_colours(np.array([[513]], np.int32)).tolist()
    [[[1, 2, 0]]]
    """
    return np.stack([ids & 255, ids >> 8 & 255, ids >> 16], axis=-1).astype(np.uint8)


def open_coco_panoptic(path: Path, names: ClassNames, options: ReadOptions) -> MaskReader:
    """Open a panoptic JSON, or a folder with one; the PNGs lie in the folder of its name beside it.

    Crowds have a class here, as every pixel of their segment shows it.

    Raises
    ------
    DataError
        When there is not one such JSON, it is malformed, or it names files outside its folder.
    VocabularyError
        When a category that a segment has is no class.
    """
    file = _panoptic_file(path)
    where = str(file)
    data = read_json(file)
    records = field_of(data, "annotations", list, where=where)
    infos = [info for record in records for info in field_of(record, "segments_info", list, where=where)]
    class_of = names_of_categories(data, infos, names, where=where)
    files: dict[str, str] = {}
    segments: dict[str, tuple[Segment, ...]] = {}
    for record in records:
        name = field_of(record, "file_name", str, where=where)
        _check_name(name, where=where)
        files[image_id_of(name)] = name
        segments[image_id_of(name)] = tuple(
            Segment(_segment_id(info, where), class_of[info["category_id"]], False) for info in record["segments_info"]
        )
    table = FileTable(file.with_suffix(""), files, "panoptic mask", "{id}.png")
    truth = PanopticTruth(table, segments, names.vocabulary.ignore)

    def read(sample_id: str, size: tuple[int, int]) -> tuple[LabelMap, Path]:
        return truth.labels(sample_id), table.path(sample_id)

    return MaskReader(path, frozenset(files), names.vocabulary, read)


def _segment_id(info: Any, where: str) -> int:
    number = field_of(info, "id", int, where=where)
    if not 0 <= number < SEGMENT_IDS:
        raise DataError(f"the id of a segment must be a colour, below {SEGMENT_IDS}, got {number} in {where}")
    return number


def _check_name(name: str, *, where: str) -> None:
    try:
        check_id(image_id_of(name))
    except RunFolderError as error:
        raise DataError(f"a mask must lie in the folder of its JSON, got file_name {name!r} in {where}") from error


def _panoptic_file(path: Path) -> Path:
    if path.is_file():
        return path
    found = sorted((path / FOLDER).glob("panoptic_*.json"))
    if len(found) != 1:
        there = ", ".join(p.name for p in found) or "none"
        raise DataError(
            f"there must be one {FOLDER}/panoptic_*.json in {path}, got {there}", hint="name the JSON itself"
        )
    return found[0]
