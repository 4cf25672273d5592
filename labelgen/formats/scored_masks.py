"""Masks of single objects with scores and names, as Grounded-SAM, SAM 3 and autodistill users keep them.

Four layouts are read:

- a COCO JSON whose annotations have a `score`;
- a COCO list of results (`image_id`, `category_id`, `segmentation`, `score`), beside the JSON that says what its ids
  mean (`ReadOptions.categories`);
- a folder with `ID.json` for each image, as Grounded-SAM 2 writes it: `annotations` with `class_name`, `segmentation`
  and `score`; also one such file;
- a folder with `ID.npz` for each image: `masks` (N, H, W), `class_names` or `labels` (N), `scores` (N) or none.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from labelgen.data.files import list_files
from labelgen.data.inputs import InputFile, with_input
from labelgen.errors import ConfigError, DataError, ShapeError
from labelgen.formats.class_names import ClassNames
from labelgen.formats.coco_read import CocoMasks, Outline, parse_coco
from labelgen.formats.format import Masks, ReadOptions
from labelgen.formats.instances import Instance, paint, rest_of
from labelgen.formats.json_files import field_of, image_id_of, read_json, score_of
from labelgen.masks import SoftMask
from labelgen.untrusted import read_bounded, read_npz_arrays
from labelgen.untrusted.limits import LARGEST_ARRAYS

__all__ = ["InstanceFolder", "open_scored_masks"]

ENDINGS = (".json", ".npz")
NAME_KEYS = ("class_names", "class_name", "labels")
SCORE_KEYS = ("scores", "confidence")


def open_scored_masks(path: Path, names: ClassNames, options: ReadOptions) -> Masks:
    """Open one of the layouts above.

    Raises
    ------
    DataError
        When it is none of them.
    VocabularyError
        When a name is no class.
    ConfigError
        When a list of results comes without `categories`, or these without need.
    """
    rest_of(names.vocabulary, options.rest)
    if path.is_dir():
        return _open_folder(path, names, options)
    data = read_json(path)
    if isinstance(data, list):
        return _open_results(path, data, names, options)
    if options.categories:
        raise ConfigError(f"--categories is for a list of results, but {path} is none", hint="leave it out")
    if isinstance(data, dict) and "images" not in data and "image_path" in data:
        sample_id = image_id_of(Path(field_of(data, "image_path", str, where=str(path)).replace("\\", "/")).name)
        return CocoMasks(path, {sample_id: _grounded(data, names, str(path))}, names.vocabulary, options)
    return CocoMasks(path, parse_coco(data, data, names, where=str(path)), names.vocabulary, options)


def _open_results(path: Path, data: list[Any], names: ClassNames, options: ReadOptions) -> CocoMasks:
    if not options.categories:
        raise ConfigError(
            f"{path} is a list of results, whose ids mean nothing by themselves",
            hint="--categories FILE.json names the COCO file with their images and categories",
        )
    index = read_json(Path(options.categories))
    outlines = parse_coco({"annotations": data}, index, names, where=str(path))
    return CocoMasks(path, outlines, names.vocabulary, options)


def _grounded(data: Any, names: ClassNames, where: str) -> list[Outline]:
    """The masks of a file of Grounded-SAM 2."""
    records = field_of(data, "annotations", list, where=where)
    named = [field_of(record, "class_name", str, where=where) for record in records]
    classes = names.ids_of(dict.fromkeys(named), where=where)
    return [
        Outline(
            classes[name],
            score_of(record.get("score"), where=where),
            field_of(record, "segmentation", (list, dict), where=where),
            False,
        )
        for name, record in zip(named, records, strict=True)
    ]


def _open_folder(path: Path, names: ClassNames, options: ReadOptions) -> "InstanceFolder":
    if options.categories:
        raise ConfigError(f"--categories is for a list of results, but {path} is a folder", hint="leave it out")
    files = list_files(path, ENDINGS, deep=True)
    if not files:
        raise DataError(f"no ID.json or ID.npz in {path}", hint="labelgen import --help lists what is read")
    return InstanceFolder(path, files, names, options)


@dataclass(frozen=True)
class InstanceFolder:
    """A folder with a file of masks for each image."""

    path: Path
    files: Mapping[str, str]
    names: ClassNames
    options: ReadOptions

    @property
    def ids(self) -> frozenset[str]:
        """Ids of the images with a file."""
        return frozenset(self.files)

    def mask(self, sample_id: str, size: tuple[int, int]) -> SoftMask:
        """All masks of an image, painted."""
        if sample_id not in self.files:
            raise DataError(f"no masks of image {sample_id!r} in {self.path}", hint="leave the image out with --ids")
        file = self.path / self.files[sample_id]
        if file.suffix == ".npz":
            found = _from_arrays(file, self.names, size)
        else:
            found = [o.instance(size, str(file)) for o in _grounded(read_json(file), self.names, str(file))]
        mask = paint(found, size, self.names.vocabulary, self.options)
        details = with_input(mask.details, InputFile.read(file))
        return SoftMask(mask.scores, mask.class_ids, warnings=mask.warnings, details=details)


def _from_arrays(file: Path, names: ClassNames, size: tuple[int, int]) -> list[Instance]:
    where = str(file)
    try:
        arrays = read_npz_arrays(read_bounded(file, LARGEST_ARRAYS), ("masks", *NAME_KEYS, *SCORE_KEYS))
    except (OSError, ValueError) as error:
        raise DataError(f"masks cannot be read: {where} ({error})", hint="arrays of objects are refused") from error
    masks = arrays.get("masks")
    labels = next((arrays[key] for key in NAME_KEYS if key in arrays), None)
    scores = next((arrays[key] for key in SCORE_KEYS if key in arrays), None)
    if masks is None or labels is None or masks.ndim != 3 or len(labels) != len(masks) or labels.dtype.kind not in "US":
        raise DataError(f"there must be masks (N, H, W) and {' or '.join(NAME_KEYS)}, N names, in {where}")
    if masks.shape[1:] != size:
        raise ShapeError(f"masks must have the size {size} of their image, got {masks.shape[1:]} in {where}")
    if scores is not None and scores.shape != (len(masks),):
        raise DataError(f"there must be a score for each mask, got {scores.shape} for {len(masks)} in {where}")
    if masks.dtype != bool and not np.isin(masks, (0, 1, 255)).all():
        raise DataError(f"masks must be True and False (or 0 and 1, 0 and 255), got other values in {where}")
    named = [name.decode() if isinstance(name, bytes) else str(name) for name in labels.tolist()]
    classes = names.ids_of(dict.fromkeys(named), where=where)
    found = []
    for number, name in enumerate(named):
        plane = masks[number] > 0
        score = 1.0 if scores is None else score_of(float(scores[number]), where=where)
        found.append(Instance(classes[name], score, int(plane.sum()), lambda plane=plane: plane))
    return found
