"""labelmap.txt of PASCAL VOC files as CVAT and Datumaro read it: a line `name:red,green,blue:parts:actions` a class."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from labelgen.errors import ConfigError, DataError
from labelgen.formats.class_names import ClassNames
from labelgen.formats.pictures import packed
from labelgen.masks import LabelMap, label_dtype
from labelgen.vocab import Colour

__all__ = ["LABELMAP", "Labelmap", "encode_labelmap", "parse_labelmap"]

LABELMAP = "labelmap.txt"
HEADER = "# label:color_rgb:parts:actions"
FIELDS = 4


def encode_labelmap(names: Sequence[str], colours: Sequence[Colour]) -> bytes:
    r"""Name every colour.

    Raises
    ------
    ConfigError
        When a name would be read as something else.

    Examples
    --------
    >>> encode_labelmap(["background", "cat"], [(0, 0, 0), (128, 0, 0)])
    b'# label:color_rgb:parts:actions\nbackground:0,0,0::\ncat:128,0,0::\n'
    """
    for name in names:
        if ":" in name or name.startswith("#") or name != name.strip() or len(name.splitlines()) != 1:
            raise ConfigError(
                f"{LABELMAP} cannot hold a class named {name!r}",
                hint="rename it: no colon, no line break, no leading #",
            )
    lines = [f"{name}:{','.join(map(str, colour))}::" for name, colour in zip(names, colours, strict=True)]
    return "\n".join([HEADER, *lines, ""]).encode()


@dataclass(frozen=True)
class Labelmap:
    """The names of a file in their order, with the colours of those that have one."""

    colours: Mapping[str, Colour | None]
    where: str

    def of_colours(self, pixels: np.ndarray, classes: Mapping[str, int], *, ignore: int, where: str) -> LabelMap:
        """Class ids of a mask of colours, `(H, W, 3)`.

        Raises
        ------
        DataError
            When it has a colour that the file does not name.
        """
        table = {self._key(colour): classes[name] for name, colour in self.colours.items() if colour is not None}
        keys, inverse = np.unique(packed(pixels), return_inverse=True)
        unknown = [key for key in keys.tolist() if key not in table]
        if unknown:
            shown = ", ".join(f"({key & 255}, {key >> 8 & 255}, {key >> 16})" for key in unknown[:5])
            raise DataError(
                f"every colour must be named in {self.where}, got {shown} in {where}",
                hint="JPEG, or resizing with blending, makes such colours; masks must be PNG",
            )
        ids = np.array([table[key] for key in keys.tolist()], label_dtype(ignore))
        return ids[inverse].reshape(pixels.shape[:2])

    @staticmethod
    def _key(colour: Colour) -> int:
        return colour[0] | colour[1] << 8 | colour[2] << 16


def parse_labelmap(content: bytes, names: ClassNames, *, where: str) -> tuple[Labelmap, dict[str, int]]:
    """Read a file, and find the class of each name.

    Raises
    ------
    DataError
        When a line is malformed, or a name or colour is there twice.
    VocabularyError
        When a name is no class.
    """
    colours: dict[str, Colour | None] = {}
    try:
        lines = content.decode("utf-8-sig").splitlines()
    except UnicodeDecodeError as error:
        raise DataError(f"{where} must be UTF-8 text ({error})") from error
    for line in (line.strip() for line in lines):
        if not line or line.startswith("#"):
            continue
        fields = line.split(":")
        colour = _colour(fields[1]) if len(fields) == FIELDS else None
        if len(fields) != FIELDS or (fields[1].strip() and colour is None) or fields[0] in colours:
            raise DataError(
                f"a line must be name:red,green,blue:parts:actions, each name once, got {line!r} in {where}"
            )
        colours[fields[0]] = colour
    present = [colour for colour in colours.values() if colour is not None]
    if len(set(present)) != len(present):
        raise DataError(f"each colour must stand for one name, got some twice in {where}")
    return Labelmap(colours, where), names.ids_of(colours, where=where)


def _colour(text: str) -> Colour | None:
    parts = [part.strip() for part in text.split(",")]
    if len(parts) != 3 or not all(part.isdecimal() and int(part) <= 255 for part in parts):
        return None
    return int(parts[0]), int(parts[1]), int(parts[2])
