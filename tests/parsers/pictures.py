"""Pictures, and arrays with a number for each pixel."""

import contextlib

import numpy as np

from parsers.parser import COLOURS, LABELS, SIZE, TOY, UNIT, Parser, import_of, npy, npz, png


def mask_seeds():
    from labelgen.masks import encode_mask

    return [encode_mask(LABELS, palette=TOY.colours), encode_mask(LABELS), encode_mask(LABELS.astype(np.uint16) * 9)]


def image_seeds():
    exif = b"Exif\0\0MM\0*\0\0\0\x08\0\x01\x01\x12\0\x03\0\0\0\x01\0\x06\0\0\0\0\0\0"
    return [png(COLOURS), png(COLOURS, format="JPEG", exif=exif), png(COLOURS, "P"), png(COLOURS, format="BMP")]


def read_mask_file(folder):
    from labelgen.masks import read_mask

    return read_mask(folder / "a.png")


def read_image_file(folder):
    from labelgen.data.files import image_size
    from labelgen.errors import DataError
    from labelgen.masks import read_image

    try:
        return read_image(folder / "a.jpg").shape
    except DataError:
        return image_size(folder / "a.jpg")


def read_colours(folder):
    from labelgen.data.readers.coco_panoptic import read_segments
    from labelgen.errors import DataError
    from labelgen.formats.pictures import decode_picture

    with contextlib.suppress(DataError):
        read_segments(folder / "a.png")
    return decode_picture((folder / "a.png").read_bytes(), where="a.png")


def unit_map(ending):
    def read(folder):
        from labelgen.data.unit_maps import read_unit_map

        return read_unit_map(folder, "a", SIZE, what="saliency map")

    seeds = {"png": lambda: [png((UNIT * 255).astype(np.uint8))], "npy": lambda: [npy(UNIT)]}
    return Parser(f"a.{ending}", seeds.get(ending, lambda: [npz(x=UNIT), npz(x=UNIT.astype(np.float64))]), read)


def read_region_map(folder):
    from labelgen.refine.regions import read_regions

    return read_regions(folder, "a")


def read_object_masks(folder):
    return import_of("instances", folder)


def legacy_seeds():
    from labelgen.seeds.legacy import SEED_FORMATS, Seeds, write_seeds

    seeds = Seeds((1, 2), np.stack([UNIT, 1 - UNIT]), UNIT)
    return [write_seeds(seeds, name, TOY) for name in SEED_FORMATS]


def read_legacy(folder):
    from labelgen.errors import DataError
    from labelgen.seeds.legacy import SEED_FORMATS, read_seeds

    errors = []
    for name in SEED_FORMATS:
        try:
            read_seeds(folder / "a.npy", name, TOY, size=SIZE)
        except DataError as error:
            errors.append(error)
    if len(errors) == len(SEED_FORMATS):
        raise errors[0]


PARSERS: dict[str, Parser] = {
    "mask": Parser("a.png", mask_seeds, read_mask_file),
    "colour-mask": Parser("a.png", lambda: [png(COLOURS), png(LABELS)], read_colours),
    "image": Parser("a.jpg", image_seeds, read_image_file),
    "unit-map-png": unit_map("png"),
    "unit-map-npy": unit_map("npy"),
    "unit-map-npz": unit_map("npz"),
    "region-map": Parser("a.npz", lambda: [npz(x=LABELS.astype(np.int32))], read_region_map),
    "object-masks": Parser(
        "a.npz",
        lambda: [npz(masks=np.stack([LABELS == 1, LABELS == 2]), class_names=["cat", "dog"], scores=[0.5, 1.0])],
        read_object_masks,
    ),
    "legacy-seeds": Parser("a.npy", legacy_seeds, read_legacy),
}
