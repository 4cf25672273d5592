"""COCO: panoptic JSON with PNGs, instances JSON, or COCO-Stuff pixel maps, beside images by file name."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from labelgen.data.dataset import DataSpec
from labelgen.data.disk import DiskDataset, MaskFiles
from labelgen.data.files import IMAGE_SUFFIXES, MASK_SUFFIXES, FileTable, list_files
from labelgen.data.raw_ids import raw_ids_of
from labelgen.data.readers.coco_instances import instance_truth, instance_vocabulary
from labelgen.data.readers.coco_panoptic import panoptic_truth, panoptic_vocabulary
from labelgen.data.selection import choose_split, select_ids
from labelgen.data.tags import open_tags
from labelgen.errors import DataError, LabelgenError
from labelgen.untrusted import LARGEST_INDEX, is_plain_name, parse_json, read_bounded
from labelgen.vocab import load_vocabulary

__all__ = ["is_coco", "open_coco"]

ANNOTATIONS = "annotations"
PREFIXES = ("panoptic_", "instances_")  # the earlier one is read when both are there
STUFF = "stuffthingmaps"  # PNGs of COCO-Stuff 164k, pixel = COCO category id - 1
TRAIN_IDS = "_labeltrainids"  # files that a converter for OpenMMLab adds beside them
PROBES = 50  # images looked for in a folder before it is held for the wrong one


def is_coco(path: Path) -> bool:
    """Whether a folder looks like COCO, or a file is JSON."""
    return path.suffix.lower() == ".json" if path.is_file() else bool(_json_files(path)) or (path / STUFF).is_dir()


def open_coco(spec: DataSpec) -> DiskDataset:
    """Open a COCO folder (`annotations/panoptic_train2017.json`, ...) or one JSON file.

    What is read, and the vocabulary unless another is named:

    - panoptic JSON (first choice in a folder): the categories of the JSON in order of their id, 133 for COCO; there
      is no background, pixels in no segment are void;
    - instances JSON: `coco-object`, or for other categories than COCO's background and the categories of the JSON;
      large objects are painted first, crowds are void;
    - `--vocab coco-stuff`, or nothing but `stuffthingmaps/`: the PNGs there.

    With another vocabulary, categories are matched by name or alias. Those without a partner become background, where
    the vocabulary has one (`coco-object` on panoptic truth), and are refused otherwise; a class that the JSON lacks is
    refused too. Split `train` means `train2017` where that is the only year; an id is the file name without suffix.
    """
    path = Path(spec.root)
    if path.is_file():
        return _open_json(path, path.parent.parent, spec)
    names = _names(path)
    full = dict(zip(_short_names(names), names, strict=True))
    split = choose_split(full.get(spec.split or "train", spec.split), names, root=path)
    spec = replace(spec, split=split)
    files = _json_files(path)
    file = next((files[prefix + split] for prefix in PREFIXES if prefix + split in files), None)
    if spec.vocabulary == "coco-stuff" or file is None:
        return _open_stuff(path, spec, names)
    return _open_json(file, path, spec)


def _json_files(root: Path) -> dict[str, Path]:
    files = (root / ANNOTATIONS).glob("*.json")
    return {path.stem: path for path in files if path.stem.startswith(PREFIXES)}


def _names(root: Path) -> list[str]:
    """Full names of the splits, such as train2017."""
    listed = {_split_of(stem) for stem in _json_files(root)}
    return sorted(listed | {path.name for path in (root / STUFF).glob("[!.]*") if path.is_dir()})


def _split_of(stem: str) -> str:
    return re.sub(f"^({'|'.join(PREFIXES)})", "", stem)


def _short_names(names: Sequence[str]) -> list[str]:
    """Names of splits, without the year where that is clear."""
    short = [re.sub(r"\d{4}$", "", name) for name in names]
    return [s if short.count(s) == 1 else name for s, name in zip(short, names, strict=True)]


def _open_json(file: Path, root: Path, spec: DataSpec) -> DiskDataset:
    name = _split_of(file.stem)
    if spec.split and spec.split not in (name, *_short_names([name])):
        raise DataError(f"{file} holds one split, {name!r}, got --split {spec.split}", hint="leave --split out")
    spec = replace(spec, split=name)
    data = _read_json(file)
    try:
        records = _image_records(data, file)
        ids = select_ids(records, spec)
        chosen = {sample_id: records[sample_id] for sample_id in ids}
        panoptic = "segments_info" in (data["annotations"] or [{}])[0]
        vocabulary_of, truth_of = (
            (panoptic_vocabulary, panoptic_truth) if panoptic else (instance_vocabulary, instance_truth)
        )
        vocabulary = load_vocabulary(spec.vocabulary) if spec.vocabulary else vocabulary_of(data["categories"])
        masks = truth_of(data, chosen, vocabulary, file)
    except LabelgenError:
        raise
    except (KeyError, TypeError, ValueError, AttributeError, OverflowError) as error:
        raise DataError(f"COCO annotations are malformed in {file}: {error!r}") from error
    images = _images([root / name, root / "images" / name, root / "images", file.parent, root], chosen)
    tags = open_tags(spec.tags, vocabulary)
    return DiskDataset(spec, vocabulary, ids, images, masks, tags)


def _read_json(file: Path) -> Mapping[str, Any]:
    try:
        data = parse_json(read_bounded(file, LARGEST_INDEX), largest=LARGEST_INDEX)
    except (OSError, ValueError) as error:
        raise DataError(f"COCO annotations cannot be read: {file} ({error})", hint="is it whole JSON?") from error
    missing = {"images", "annotations", "categories"} - (set(data) if isinstance(data, dict) else set())
    if missing:
        raise DataError(f"COCO annotations must hold {', '.join(sorted(missing))}, got none in {file}")
    return data


def _image_records(data: Mapping[str, Any], file: Path) -> dict[str, Mapping[str, Any]]:
    records: dict[str, Mapping[str, Any]] = {}
    for record in data["images"]:
        sample_id = str(Path(record["file_name"]).with_suffix("").as_posix())
        if not is_plain_name(record["file_name"]):
            raise DataError(
                f"an image must lie in its folder, got file_name {record['file_name']!r} in {file}",
                hint="names are relative to the folder of images, without .. and with /",
            )
        if sample_id in records:
            raise DataError(f"two images share the name {sample_id!r} in {file}")
        records[sample_id] = record
    return records


def _images(folders: list[Path], records: Mapping[str, Mapping[str, Any]]) -> FileTable:
    """The images in the first folder that holds one of them; an empty table where none does."""
    names = {sample_id: str(record["file_name"]) for sample_id, record in records.items()}
    probes = list(names.values())[:PROBES]
    folder = next((f for f in folders if any((f / name).is_file() for name in probes)), None)
    if folder is None:
        expected = ", ".join(str(f / "{id}") for f in folders)
        return FileTable(folders[0], {}, "image", expected)
    there = set(list_files(folder, IMAGE_SUFFIXES, deep=any("/" in name for name in probes)).values())
    return FileTable(folder, {i: n for i, n in names.items() if n in there}, "image", "{id}.jpg")


def _open_stuff(root: Path, spec: DataSpec, names: list[str]) -> DiskDataset:
    folder = root / STUFF / spec.split
    masks = list_files(folder, MASK_SUFFIXES, root=root)
    masks = {i: name for i, name in masks.items() if not i.lower().endswith(TRAIN_IDS)}
    if not masks:
        raise DataError(
            f"no COCO-Stuff masks in {folder}", hint="--vocab coco-stuff reads stuffthingmaps/<split>/*.png"
        )
    vocabulary = load_vocabulary(spec.vocabulary or "coco-stuff")
    images = next((d for d in (root / spec.split, root / "images" / spec.split) if d.is_dir()), root / spec.split)
    return DiskDataset(
        spec,
        vocabulary,
        select_ids(masks, spec, splits=names),
        FileTable(images, list_files(images, IMAGE_SUFFIXES), "image", "{id}.jpg"),
        MaskFiles(FileTable(root, masks, "mask", f"{STUFF}/{spec.split}/{{id}}.png"), raw_ids_of(vocabulary)),
        open_tags(spec.tags, vocabulary),
    )
