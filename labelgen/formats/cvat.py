"""CVAT "Segmentation mask 1.1": a zip archive of masks of colours, of classes and of objects, with a labelmap."""

import json
import zipfile
from dataclasses import replace
from pathlib import Path
from typing import IO

import numpy as np

from labelgen.errors import ConfigError, DataError
from labelgen.formats.archives import open_archive, zip_entry
from labelgen.formats.class_names import UNLABELLED, ClassNames
from labelgen.formats.format import Exported, ExportOptions, Progress, ReadOptions, Written
from labelgen.formats.labelmap import LABELMAP, encode_labelmap, parse_labelmap
from labelgen.formats.mask_files import MaskReader
from labelgen.formats.pictures import UNLABELLED_COLOUR, distinct_colours, encode_rgb
from labelgen.formats.regions import regions_of
from labelgen.formats.target import new_file, refuse_existing
from labelgen.formats.voc import CLASSES, LISTS, find_masks, read_class_mask
from labelgen.masks import LabelMap, label_dtype, write_atomic
from labelgen.vocab import Colour, Vocabulary, colour_map

__all__ = ["open_cvat", "write_cvat"]

OBJECTS = "SegmentationObject/"
BACKGROUND, BLACK = "background", (0, 0, 0)
LIST = f"{LISTS}default.txt"


def write_cvat(exported: Exported, out: Path, options: ExportOptions, progress: Progress) -> Written:
    """Write the archive, and beside it the labels in the form that CVAT takes for a new task.

    Black is background and makes no shape in CVAT. Where the vocabulary has a background, unlabelled pixels get a label
    of their own, `unlabelled`; where it has none, they are black.
    """
    vocabulary = exported.vocabulary
    rows = _rows(vocabulary)
    table = _colour_table(vocabulary, rows)
    labels_file = out.with_name(f"{out.stem}-labels.json")
    refuse_existing(labels_file, folder=False, overwrite=options.overwrite)
    with new_file(out, overwrite=options.overwrite) as stream:
        has_unlabelled = _write_archive(stream, exported, options, table, rows, progress)
    labels = [
        {"name": name, "color": "#{:02x}{:02x}{:02x}".format(*colour), "type": "any", "attributes": []}
        for name, colour in _named(rows, has_unlabelled)[1:]
    ]
    write_atomic(labels_file, (json.dumps(labels, indent=1, ensure_ascii=False) + "\n").encode())
    recipe = [
        f"in CVAT make a task of the same images, with the labels of {labels_file.as_posix()} (Raw tab)",
        f"then Actions > Upload annotations > Segmentation mask 1.1 > {out.as_posix()}",
        "after mending: Actions > Export task dataset in that format; labelgen import FILE.zip --from cvat --data DATA",
    ]
    notes = []
    if has_unlabelled:
        notes = [f"unlabelled pixels have a label of their own, {UNLABELLED}: black would make them background"]
    return Written(2, notes, recipe)


def _rows(vocabulary: Vocabulary) -> dict[str, tuple[int, Colour]]:
    """Id and colour of each name, background first and `unlabelled` last, where the two differ."""
    background = vocabulary.background
    others = [i for i in range(vocabulary.num_classes) if i != background]
    wanted = tuple(BLACK if i == background else colour for i, colour in enumerate(vocabulary.colours))
    colours = distinct_colours(replace(vocabulary, palette=wanted), taken=(BLACK, UNLABELLED_COLOUR))
    rows = {BACKGROUND: (vocabulary.ignore if background is None else background, BLACK)}
    for class_id in others:
        name = vocabulary.classes[class_id]
        if name in (BACKGROUND, UNLABELLED):
            raise ConfigError(
                f"the name {name} has a meaning of its own in this format, but class {class_id} is called so",
                hint="name the class otherwise, or make it the background of the vocabulary",
            )
        rows[name] = (class_id, colours[class_id])
    if background is not None:
        rows[UNLABELLED] = (vocabulary.ignore, UNLABELLED_COLOUR)
    return rows


def _named(rows: dict[str, tuple[int, Colour]], has_unlabelled: bool) -> list[tuple[str, Colour]]:
    return [(name, colour) for name, (_, colour) in rows.items() if name != UNLABELLED or has_unlabelled]


def _colour_table(vocabulary: Vocabulary, rows: dict[str, tuple[int, Colour]]) -> np.ndarray:
    table = np.zeros((vocabulary.ignore + 1, 3), np.uint8)
    for class_id, colour in rows.values():
        table[class_id] = colour
    return table


def _write_archive(
    stream: IO[bytes],
    exported: Exported,
    options: ExportOptions,
    table: np.ndarray,
    rows: dict[str, tuple[int, Colour]],
    progress: Progress,
) -> bool:
    """Write all entries, and say whether `unlabelled` is among the labels."""
    vocabulary, has_unlabelled = exported.vocabulary, False
    with zipfile.ZipFile(stream, "w") as archive:

        def put(name: str, content: bytes) -> None:
            stored = zipfile.ZIP_STORED if name.endswith(".png") else zipfile.ZIP_DEFLATED
            archive.writestr(zip_entry(name), content, stored)

        for number, sample_id in enumerate(exported.ids, start=1):
            labels = exported.labels(sample_id)
            has_unlabelled |= UNLABELLED in rows and bool((labels == vocabulary.ignore).any())
            put(f"{CLASSES}{sample_id}.png", encode_rgb(table[labels]))
            put(f"{OBJECTS}{sample_id}.png", encode_rgb(_objects(labels, vocabulary, options)))
            progress(number, len(exported.ids), "")
        put(LIST, "".join(f"{sample_id}\n" for sample_id in exported.ids).encode())
        names, colours = zip(*_named(rows, has_unlabelled), strict=True)
        put(LABELMAP, encode_labelmap(names, colours))
    return has_unlabelled


def _objects(labels: LabelMap, vocabulary: Vocabulary, options: ExportOptions) -> np.ndarray:
    """A colour of the VOC map for each region; black for the background, and for no label where that is black."""
    numbers, count = np.zeros(labels.shape, np.int64), 0
    for class_id, mask in regions_of(labels, vocabulary, instances=options.instances):
        if class_id != vocabulary.background:
            count += 1
            numbers[mask] = count
    if vocabulary.background is not None:
        numbers[labels == vocabulary.ignore] = count + 1
    return np.array(colour_map(count + 2), np.uint8)[numbers]


def open_cvat(path: Path, names: ClassNames, options: ReadOptions) -> MaskReader:
    """Open an archive that CVAT or `write_cvat` has written, or a folder with its files.

    `background` is the background of the vocabulary, or no label where that has none. An image that is listed but has
    no mask is all background: CVAT writes none where nothing was drawn.

    Raises
    ------
    DataError
        When it is no such archive.
    VocabularyError
        When a name is no class.
    """
    archive = open_archive(path)
    root, masks = find_masks(archive)
    if f"{root}{LABELMAP}" not in archive.names:
        raise DataError(f"there must be {LABELMAP} in {path}, got none", hint="is it the right --from?")
    name = f"{root}{LABELMAP}"
    labelmap, classes = parse_labelmap(archive.read(name), _with_background(names), where=archive.where(name))
    listed = [
        line for name in archive.names if name.startswith(f"{root}{LISTS}") for line in _lines(archive.read(name))
    ]
    ground = _with_background(names).ids_of([BACKGROUND], where=str(path))[BACKGROUND]

    def read(sample_id: str, size: tuple[int, int]) -> tuple[LabelMap, Path | None]:
        if sample_id not in masks:
            return np.full(size, ground, label_dtype(names.vocabulary.ignore)), None
        mask = masks[sample_id]
        return read_class_mask(archive, mask, names, labelmap, classes), archive.file(mask)

    return MaskReader(path, frozenset(masks) | frozenset(listed), names.vocabulary, read)


def _lines(content: bytes) -> list[str]:
    return [line.strip() for line in content.decode("utf-8-sig", errors="replace").splitlines() if line.strip()]


def _with_background(names: ClassNames) -> ClassNames:
    """The names, with `background` as the background of the vocabulary whatever its name, or as no label."""
    vocabulary = names.vocabulary
    if BACKGROUND in names.renamed or BACKGROUND in {*vocabulary.classes, *vocabulary.aliases}:
        return names
    ground = UNLABELLED if vocabulary.background is None else vocabulary.classes[vocabulary.background]
    return ClassNames(vocabulary, {BACKGROUND: ground, **names.renamed})
