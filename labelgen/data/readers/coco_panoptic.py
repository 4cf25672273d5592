"""COCO panoptic truth: one RGB PNG an image whose colour is a segment id, and a JSON that says what each segment is."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Int32, UInt32

from labelgen.data.files import FileTable, image_size
from labelgen.data.readers.coco_categories import classes_of_categories
from labelgen.errors import DataError
from labelgen.masks import LabelMap, label_dtype
from labelgen.untrusted import is_plain_name, opened_picture
from labelgen.vocab import Vocabulary

__all__ = ["PanopticTruth", "Segment", "panoptic_truth", "panoptic_vocabulary", "read_segments"]

RGB_BITS = np.uint32(0xFFFFFF)
NO_SEGMENT = 0  # black: pixels that nobody annotated


@dataclass(frozen=True)
class Segment:
    """One segment of an image: its id in the PNG, its class, and whether it is one countable object."""

    id: int
    class_id: int
    is_object: bool


@dataclass(frozen=True)
class PanopticTruth:
    """Class and instance of each pixel through the segment it belongs to; pixels of no segment are void.

    Crowds keep their class, because every pixel of their segment shows it, but are no instance.
    """

    files: FileTable
    segments: Mapping[str, tuple[Segment, ...]]
    ignore: int

    def where(self, sample_id: str) -> str:
        """The PNG of segments."""
        return str(self.files.path(sample_id))

    def size(self, sample_id: str) -> tuple[int, int]:
        """`(H, W)` from the header of the PNG."""
        return image_size(self.files.path(sample_id))

    def labels(self, sample_id: str) -> LabelMap:
        """Class ids; void where there is no segment."""
        dtype = label_dtype(self.ignore)
        segments = self.segments.get(sample_id, ())
        return self._look_up(sample_id, np.array([self.ignore, *(s.class_id for s in segments)], dtype))

    def instances(self, sample_id: str) -> Int32[np.ndarray, "H W"] | None:
        """Number of the segment from 1 in the order of the JSON, 0 for stuff, crowds and void."""
        numbers = [n if s.is_object else 0 for n, s in enumerate(self.segments.get(sample_id, ()), start=1)]
        return self._look_up(sample_id, np.array([0, *numbers], np.int32))

    def _look_up(self, sample_id: str, values: np.ndarray) -> np.ndarray:
        """`values[0]` where there is no segment, `values[k]` in the k-th segment of the JSON."""
        path = self.files.path(sample_id)
        pixels = read_segments(path)
        ids = np.array([NO_SEGMENT, *(s.id for s in self.segments[sample_id])], np.uint32)
        order = np.argsort(ids)
        place = np.minimum(np.searchsorted(ids[order], pixels), len(ids) - 1)
        unknown = pixels[ids[order][place] != pixels]
        if unknown.size:
            raise DataError(
                f"every segment must be described in the JSON, got segment {int(unknown[0])} in {path}",
                hint="do the JSON and the PNG folder belong to the same release?",
            )
        return values[order][place]


def read_segments(path: Path) -> UInt32[np.ndarray, "H W"]:
    """Read segment ids, red + 256 green + 65536 blue.

    Raises
    ------
    DataError
        When the file is missing, truncated or not RGB.
    """
    try:
        with opened_picture(path, formats=("PNG",)) as picture:
            if picture.mode != "RGB":
                raise DataError(f"panoptic masks must be RGB PNGs, got mode {picture.mode} in {path}")
            colours = np.array(picture.convert("RGBA")).view("<u4")[..., 0]
    except FileNotFoundError as error:
        raise DataError(f"mask file not found: {path}", hint="check the data folder and --split") from error
    except (OSError, ValueError) as error:
        if isinstance(error, DataError):
            raise
        raise DataError(f"mask cannot be read: {path} ({error})", hint="the file is truncated or not a PNG") from error
    return colours.astype(np.uint32, copy=False) & RGB_BITS


def panoptic_vocabulary(categories: Sequence[Mapping[str, Any]]) -> Vocabulary:
    """Categories of a panoptic JSON in order of their id, without background; in the colours of the JSON, if any."""
    ordered = sorted(categories, key=lambda category: int(category["id"]))
    coloured = all("color" in category for category in ordered)
    return Vocabulary(
        "coco-panoptic",
        tuple(str(category["name"]) for category in ordered),
        palette=tuple((int(r), int(g), int(b)) for r, g, b in (c["color"] for c in ordered)) if coloured else (),
    )


def panoptic_truth(
    data: Mapping[str, Any], records: Mapping[str, Mapping[str, Any]], vocabulary: Vocabulary, file: Path
) -> PanopticTruth:
    """Collect the segments of the chosen images; PNGs lie in a folder named as the JSON, beside it."""
    class_of = classes_of_categories(data["categories"], vocabulary, where=file)
    things = {int(c["id"]) for c in data["categories"] if c.get("isthing", 1)}
    by_image = {int(annotation["image_id"]): annotation for annotation in data["annotations"]}
    names: dict[str, str] = {}
    segments: dict[str, tuple[Segment, ...]] = {}
    for sample_id, record in records.items():
        annotation = by_image.get(int(record["id"]))
        if annotation is None:
            continue
        names[sample_id] = str(annotation["file_name"])
        if not is_plain_name(names[sample_id]):
            raise DataError(f"a mask must lie in the folder of its JSON, got {names[sample_id]!r} in {file}")
        segments[sample_id] = tuple(_segment(info, class_of, things) for info in annotation["segments_info"])
    return PanopticTruth(
        FileTable(file.with_suffix(""), names, "panoptic mask", "{id}.png"), segments, vocabulary.ignore
    )


def _segment(info: Mapping[str, Any], class_of: Mapping[int, int], things: set[int]) -> Segment:
    category, number = int(info["category_id"]), int(info["id"])
    if not 0 <= number <= RGB_BITS:
        raise ValueError(f"the id of a segment must be a colour, 0 to {RGB_BITS}, got {number}")
    return Segment(number, class_of[category], category in things and not info.get("iscrowd", 0))
