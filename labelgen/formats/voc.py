"""PASCAL VOC: palette PNGs in SegmentationClass, a list of images, and a labelmap that names the colours."""

from pathlib import Path

import numpy as np

from labelgen.errors import ConfigError, DataError
from labelgen.formats.archives import Archive, open_archive
from labelgen.formats.class_names import UNLABELLED, ClassNames
from labelgen.formats.format import Exported, ExportOptions, Progress, ReadOptions, Written
from labelgen.formats.labelmap import LABELMAP, Labelmap, encode_labelmap, parse_labelmap
from labelgen.formats.mask_files import MaskReader
from labelgen.formats.pictures import UNLABELLED_COLOUR, decode_picture, distinct_colours
from labelgen.formats.target import new_folder, provenance, write_below
from labelgen.masks import LabelMap, encode_mask, label_dtype
from labelgen.vocab import Colour

__all__ = ["CLASSES", "LISTS", "find_masks", "open_voc_masks", "read_class_mask", "write_voc"]

CLASSES = "SegmentationClass/"
LISTS = "ImageSets/Segmentation/"
IMAGES = "JPEGImages"
WHITE = (255, 255, 255)


def write_voc(exported: Exported, out: Path, options: ExportOptions, progress: Progress) -> Written:
    """Write a PNG for each image; a pixel is its class id, 255 where it is unlabelled.

    More than 255 classes do not fit into a palette; their ids are written as 16-bit greys, 65535 where unlabelled.
    """
    vocabulary = exported.vocabulary
    colours = distinct_colours(vocabulary, taken=(UNLABELLED_COLOUR,))
    names = encode_labelmap([*vocabulary.classes, UNLABELLED], [*colours, UNLABELLED_COLOUR])
    palette: list[Colour] = [*colours, *[WHITE] * (vocabulary.ignore - len(colours)), UNLABELLED_COLOUR]
    others: set[str] = set()
    with new_folder(out, provenance(exported, "voc"), overwrite=options.overwrite) as folder:
        for number, sample_id in enumerate(exported.ids, start=1):
            content = encode_mask(exported.labels(sample_id), palette=palette)
            write_below(folder, f"{CLASSES}{sample_id}.png", content)
            if options.images:
                image, suffix = exported.image(sample_id)
                write_below(folder, f"{IMAGES}/{sample_id}{suffix}", image)
                others |= {suffix} - {".jpg"}
            progress(number, len(exported.ids), "")
        write_below(folder, f"{LISTS}{exported.split}.txt", "".join(f"{i}\n" for i in exported.ids).encode())
        write_below(folder, LABELMAP, names)
    notes = [f"some images are {', '.join(sorted(others))}, which code for VOC may not look for"] if others else []
    if vocabulary.ignore > 255:
        notes.append(
            f"{vocabulary.num_classes} classes do not fit into a palette: the masks are 16-bit greys, "
            f"{vocabulary.ignore} where unlabelled, which code for VOC may not read"
        )
    recipe = [
        f"read it back: labelgen import {out.as_posix()} --from voc --data DATA",
    ]
    return Written((2 if options.images else 1) * len(exported.ids) + 2, notes, recipe)


def open_voc_masks(path: Path, names: ClassNames, options: ReadOptions) -> MaskReader:
    """Open a folder or zip archive with SegmentationClass/; pixels are ids, or colours that labelmap.txt names.

    With a labelmap, id n is its n-th name; without, it is class n of the vocabulary.

    Raises
    ------
    DataError
        When there is no such mask.
    ConfigError
        When names are to be mapped, but the files have none.
    """
    archive = open_archive(path)
    root, masks = find_masks(archive)
    labelmap, classes = None, {}
    if f"{root}{LABELMAP}" in archive.names:
        name = f"{root}{LABELMAP}"
        labelmap, classes = parse_labelmap(archive.read(name), names, where=archive.where(name))
    elif names.renamed:
        raise ConfigError(f"--map is for names, but {path} has none (no {LABELMAP})", hint="leave --map out")

    def read(sample_id: str, size: tuple[int, int]) -> tuple[LabelMap, Path | None]:
        name = masks[sample_id]
        return read_class_mask(archive, name, names, labelmap, classes), archive.file(name)

    return MaskReader(path, frozenset(masks), names.vocabulary, read)


def find_masks(archive: Archive) -> tuple[str, dict[str, str]]:
    """What stands before `SegmentationClass/` in the names, and the name of the mask of each id.

    Raises
    ------
    DataError
        When there is no mask.
    """
    found = [name for name in archive.names if f"/{CLASSES}" in f"/{name}" and name.lower().endswith(".png")]
    if not found:
        raise DataError(f"no {CLASSES}ID.png in {archive.path}", hint="is it the right --from?")
    root = min((name[: f"/{name}".index(f"/{CLASSES}")] for name in found), key=len)
    start = len(root) + len(CLASSES)
    return root, {name[start:-4]: name for name in found if name.startswith(f"{root}{CLASSES}")}


def read_class_mask(
    archive: Archive, name: str, names: ClassNames, labelmap: Labelmap | None, classes: dict[str, int]
) -> LabelMap:
    """The label map in one PNG of ids or colours.

    Raises
    ------
    DataError
        When a colour or id has no name.
    """
    pixels, where = decode_picture(archive.read(name), where=archive.where(name)), archive.where(name)
    ignore = names.vocabulary.ignore
    if pixels.ndim == 3:
        if labelmap is None:
            raise DataError(
                f"{where} holds colours, and no {LABELMAP} names them", hint=f"put {LABELMAP} beside {CLASSES}"
            )
        return labelmap.of_colours(pixels, classes, ignore=ignore, where=where)
    return _by_number(pixels, list(classes.values()) or list(range(names.vocabulary.num_classes)), ignore, where)


def _by_number(pixels: np.ndarray, class_of: list[int], ignore: int, where: str) -> LabelMap:
    """Ids that are numbers of names; the ignore id, and that of 8-bit files, has no label."""
    table = np.full(int(np.iinfo(pixels.dtype).max) + 1, -1, np.int64)
    table[np.iinfo(pixels.dtype).max] = table[min(ignore, np.iinfo(pixels.dtype).max)] = ignore
    table[: len(class_of)] = class_of[: len(table)]
    labels = table[pixels]
    if labels.size and labels.min() < 0:
        foreign = ", ".join(map(str, np.unique(pixels[labels < 0])[:5].tolist()))
        raise DataError(f"ids must be < {len(class_of)} or {ignore}, got {foreign} in {where}", hint="is it --vocab?")
    return labels.astype(label_dtype(ignore))
