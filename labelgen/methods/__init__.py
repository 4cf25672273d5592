"""The table of labelling methods. One import and one line per method."""

from labelgen.methods.box import BOX
from labelgen.methods.method import Method
from labelgen.methods.point import POINT

__all__ = ["METHODS", "Method"]

METHODS: dict[str, Method] = {
    "point": POINT,
    "box": BOX,
}
