"""The table of labelling methods. One import and one line per method."""

from labelgen.methods.box import BOX
from labelgen.methods.cam import CAM
from labelgen.methods.clip import CLIP
from labelgen.methods.clip_es import CLIP_ES
from labelgen.methods.corrupt import CORRUPT
from labelgen.methods.method import Method
from labelgen.methods.point import POINT
from labelgen.methods.scribble import SCRIBBLE
from labelgen.methods.zeroseg import ZEROSEG

__all__ = ["METHODS", "Method"]

METHODS: dict[str, Method] = {
    "scribble": SCRIBBLE,
    "point": POINT,
    "box": BOX,
    "corrupt": CORRUPT,
    "cam": CAM,
    "clip": CLIP,
    "clip-es": CLIP_ES,
    "zeroseg": ZEROSEG,
}
