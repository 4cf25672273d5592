"""The table of corruptions."""

from collections.abc import Mapping

from labelgen.methods.corruptions.classes import add, classes, drop, pixels
from labelgen.methods.corruptions.coarse import band, blocks, interior, resolution, superpixel
from labelgen.methods.corruptions.outline import box, jitter, polygon, shift
from labelgen.methods.corruptions.scene import Corrupt
from labelgen.methods.corruptions.size import dilate, erode, mixed

__all__ = ["KINDS"]

KINDS: Mapping[str, Corrupt] = {
    "erode": erode,
    "dilate": dilate,
    "mixed": mixed,
    "pixels": pixels,
    "classes": classes,
    "drop": drop,
    "add": add,
    "polygon": polygon,
    "box": box,
    "jitter": jitter,
    "shift": shift,
    "interior": interior,
    "blocks": blocks,
    "band": band,
    "superpixel": superpixel,
    "resolution": resolution,
}
