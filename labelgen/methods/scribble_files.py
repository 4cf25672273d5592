"""Scribbles on disk: the XML files of ScribbleSup, read and written, and label maps that hold scribbles."""

import xml.etree.ElementTree as ElementTree
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from jaxtyping import Bool

from labelgen.data.inputs import InputFile
from labelgen.errors import DataError, ShapeError
from labelgen.geometry.polyline import cumulative_length
from labelgen.geometry.regions import component_regions
from labelgen.geometry.skeleton_path import skeleton_paths
from labelgen.geometry.thinning import thin
from labelgen.masks import LabelMap, check_labels, decode_mask
from labelgen.strokes import Stroke
from labelgen.untrusted import parse_xml
from labelgen.vocab import Vocabulary

__all__ = ["PaintedStroke", "parse_painted", "parse_scribble_xml", "read_scribble_file", "scribble_xml"]


FARTHEST = 10  # times the longer side of the image; people leave it by some pixels


def read_scribble_file(path: Path, *, flag: str) -> InputFile:
    """Read a file of scribbles whole.

    Parameters
    ----------
    flag
        That named its folder, for the message.

    Raises
    ------
    DataError
        When it is missing or cannot be read.
    """
    try:
        return InputFile.read(path)
    except OSError as error:
        raise DataError(
            f"scribble file cannot be read: {path} ({error.strerror})",
            hint=f"check {flag}; files are named ID{path.suffix}",
        ) from error


def parse_scribble_xml(
    content: bytes, vocabulary: Vocabulary, *, size: tuple[int, int], width: float, where: str
) -> list[Stroke]:
    """Read the strokes of a ScribbleSup annotation, in file order.

    Each `polygon` is one open polyline: a `tag` with the class name and `point` nodes with `X` (column) and `Y` (row).
    The `size` node may be missing, other nodes are passed over, a `polygon` without a point is no stroke.

    Parameters
    ----------
    size
        (H, W) of the image in pixels.
    width
        Pen width in pixels that the strokes get; the files have none.
    where
        Name of the file, for messages.

    Raises
    ------
    DataError
        When it is not such a file, has a document type declaration (no entity is ever expanded), or a point is not a
        number.
    ShapeError
        When its `size` is not that of the image.
    VocabularyError
        When a class name is unknown; the hint lists the known ones.

    References
    ----------
    .. [1] Lin et al., "ScribbleSup", CVPR 2016, arXiv 1604.05144.

    Examples
    --------
    >>> from labelgen.vocab import load_vocabulary
    >>> text = b"<annotation><polygon><tag>plane</tag><point><X>3</X><Y>1</Y></point></polygon></annotation>"
    >>> strokes = parse_scribble_xml(text, load_vocabulary("voc"), size=(5, 5), width=3.0, where="a.xml")
    >>> strokes[0].class_id, strokes[0].points.tolist()
    (1, [[1.0, 3.0]])
    """
    root = _root(content, where)
    stated = root.find("size")
    if stated is not None:
        found = tuple(int(_number(stated, side, where)) for side in ("height", "width"))
        if found != size:
            raise ShapeError(f"scribbles must be of the size {size} of their image, got {found} in {where}")
    strokes = []
    for polygon in root.iter("polygon"):
        tag = (polygon.findtext("tag") or "").strip()
        points = [(_number(point, "Y", where), _number(point, "X", where)) for point in polygon.findall("point")]
        class_id = vocabulary.id_of(tag)
        if max((abs(side) for point in points for side in point), default=0) > FARTHEST * max(size):
            raise DataError(
                f"points must lie in or near the image of the size {size}, got one far away in {where}",
                hint="are these the scribbles of this image, at its size?",
            )
        if points:
            strokes.append(Stroke(class_id, np.array(points, np.float64), width, style="human"))
    return strokes


def _root(content: bytes, where: str) -> ElementTree.Element:
    """The root node; a document type declaration, and with it every entity, is refused before anything is built."""
    try:
        root = parse_xml(content)
    except ValueError as error:
        raise DataError(
            f"scribble file is not valid XML: {where} ({error})",
            hint="ScribbleSup files have no document type; remove the <!DOCTYPE ...> if you trust the file",
        ) from error
    if root.tag != "annotation":
        raise DataError(f"scribble XML must have the root <annotation>, got <{root.tag}> in {where}")
    return root


def _number(node: ElementTree.Element, name: str, where: str) -> float:
    text = node.findtext(name)
    try:
        value = float(text or "")
    except ValueError:
        value = float("nan")
    if not np.isfinite(value):
        raise DataError(f"<{name}> must be a number, got {text!r} in {where}")
    return value


def scribble_xml(strokes: Sequence[Stroke], vocabulary: Vocabulary, *, size: tuple[int, int]) -> bytes:
    """Write the strokes that are not dropped as a ScribbleSup annotation, with vertices rounded to whole pixels.

    Class names are written as ScribbleSup has them (`plane`, not `aeroplane`) where the vocabulary knows such an alias
    of a PASCAL VOC class.

    Parameters
    ----------
    size
        (H, W) of the image in pixels.

    Examples
    --------
    >>> from labelgen.vocab import load_vocabulary
    >>> stroke = Stroke(15, np.array([[1.2, 3.0]]))
    >>> scribble_xml([stroke], load_vocabulary("voc"), size=(5, 8)).decode().splitlines()[-1]
    '</annotation>'
    """
    short = {name: alias for alias, name in vocabulary.aliases.items()} if vocabulary.name.startswith("voc") else {}
    root = ElementTree.Element("annotation")
    _child(_child(root, "size"), "width", size[1])
    _child(root[0], "height", size[0])
    for stroke in strokes:
        if stroke.dropped:
            continue
        polygon = _child(root, "polygon")
        name = vocabulary.classes[stroke.class_id]
        _child(polygon, "tag", short.get(name, name))
        pixels = np.floor(stroke.points + 0.5).astype(int)
        changed = np.r_[True, (np.diff(pixels, axis=0) != 0).any(axis=1)]
        for row, col in pixels[changed]:
            point = _child(polygon, "point")
            _child(point, "X", col)
            _child(point, "Y", row)
    ElementTree.indent(root)
    return ElementTree.tostring(root, encoding="utf-8", xml_declaration=True)


def _child(parent: ElementTree.Element, name: str, value: object = None) -> ElementTree.Element:
    node = ElementTree.SubElement(parent, name)
    if value is not None:
        node.text = str(value)
    return node


@dataclass(frozen=True)
class PaintedStroke:
    """A stroke found in a label map, with the pixels it was found in.

    Parameters
    ----------
    stroke
        The longest path of the skeleton of the pixels, as wide as area over skeleton length.
    origin
        (row, col) of the first pixel of `pixels` in the image.
    pixels
        What was painted, within its bounding box.
    """

    stroke: Stroke
    origin: tuple[int, int]
    pixels: Bool[np.ndarray, "h w"]


def parse_painted(content: bytes, vocabulary: Vocabulary, *, size: tuple[int, int], where: str) -> list[PaintedStroke]:
    """Find the strokes of a label map that holds scribbles: each 8-connected component of a class is one.

    Raises
    ------
    DataError
        When the file cannot be read or holds a foreign id.
    ShapeError
        When its size is not that of the image.
    """
    labels = decode_mask(content, where=where)
    if labels.shape != size:
        raise ShapeError(f"scribbles must be of the size {size} of their image, got {labels.shape} in {where}")
    check_labels(labels, num_classes=vocabulary.num_classes, where=where, ignore=vocabulary.ignore)
    return painted_strokes(labels, ignore=vocabulary.ignore)


def painted_strokes(labels: LabelMap, *, ignore: int) -> list[PaintedStroke]:
    """Find the strokes of a label map; see `parse_painted`.

    Examples
    --------
    >>> labels = np.full((5, 12), 255, np.uint8)
    >>> labels[1:4, 1:11] = 7
    >>> painted = painted_strokes(labels, ignore=255)[0]
    >>> painted.stroke.class_id, int(painted.pixels.sum())
    (7, 30)
    """
    found = []
    for region in component_regions(labels, ignore=ignore):
        skeleton = thin(region.mask)
        path = skeleton_paths(skeleton)[0].astype(np.float64)
        if len(path) > 4:
            # every second pixel: a staircase of unit steps would count as longer than the stroke is
            path = np.concatenate([path[:-1:2], path[-1:]])
        width = _width(region.mask, float(cumulative_length(path)[-1]), int(skeleton.sum()))
        stroke = Stroke(region.class_id, path + region.origin, width, region.index, "human")
        found.append(PaintedStroke(stroke, region.origin, region.mask))
    return found


def _width(pixels: np.ndarray, length: float, skeleton: int) -> float:
    """Area over the length of the skeleton; for a blob the diameter of its largest disc."""
    thickest = 2 * float(cv2.distanceTransform(_padded(pixels), cv2.DIST_L2, cv2.DIST_MASK_PRECISE).max()) - 1
    return round(max(1.0, thickest if length < thickest else min(thickest + 1, pixels.sum() / skeleton)), 2)


def _padded(pixels: np.ndarray) -> np.ndarray:
    return np.pad(pixels, 1).view(np.uint8)
