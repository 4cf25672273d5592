"""What is drawn over an image in reports: labels with holes and strokes, and where labels are wrong."""

from collections.abc import Mapping

import numpy as np
from jaxtyping import Integer, UInt8
from PIL import Image

from labelgen.masks import LabelMap
from labelgen.report.pictures import hatched, with_names
from labelgen.vocab import Colour, Vocabulary

__all__ = ["ERRORS", "error_picture", "errors_of", "is_sparse", "label_picture", "labelled_at", "swatch_of"]

RIGHT, EXTRA, MISSED, OTHER, VOID, UNLABELLED = 0, 1, 2, 3, 4, 255
ERRORS: Mapping[int, tuple[str, str]] = {
    RIGHT: ("right", "right"),
    EXTRA: ("extra", "labelled, but background in the truth"),
    MISSED: ("missed", "background in the labels, a class in the truth"),
    OTHER: ("other", "another class"),
    UNLABELLED: ("unlabelled", "unlabelled (in the truth: void)"),
    VOID: ("void", "void in the truth, not counted"),
}
"""Code of each kind of pixel to its short name (a class of the style sheet) and what it means."""

ERROR_COLOURS: Mapping[int, Colour] = {
    RIGHT: (0, 158, 115),
    EXTRA: (213, 94, 0),
    MISSED: (0, 114, 178),
    OTHER: (204, 121, 167),
}
FAINT, STRONG = 0.3, 0.82  # of the colour over the grey image: what is right, what is wrong
FINEST = 8  # parts of the side of a cell that are looked at when a map shrinks
STRIPES = 6  # pixels from stripe to stripe
SPARSE = 0.25  # coverage below which labels are strokes: drawn solid and a little wider
DOTTED = 0.01  # share of the picture below which they are dots: drawn as discs with a rim
DISC = 1 / 55  # radius of a disc, as a share of the long side of the picture
STROKE_BACKGROUND: Colour = (40, 40, 40)
TINT = 0.6
EDGE = (255, 255, 255)


def labelled_at(
    labels: Integer[np.ndarray, "H W"], size: tuple[int, int], *, ignore: int
) -> Integer[np.ndarray, "h w"]:
    """The labels at another size; in a smaller one no stroke is lost: a cell with a labelled pixel is labelled.

    Examples
    --------
    >>> labels = np.full((6, 6), 255, np.uint8)
    >>> labels[1, 4] = 7
    >>> labelled_at(labels, (2, 2), ignore=255)
    array([[255,   7],
           [255, 255]], dtype=uint8)
    """
    for axis in (0, 1):
        if labels.shape[axis] > FINEST * size[axis]:  # ids are smaller than ignore, so what is labelled stays
            parts = np.arange(FINEST * size[axis]) * labels.shape[axis] // (FINEST * size[axis])
            labels = np.minimum.reduceat(labels, parts, axis=axis)
    factor = max(-(-labels.shape[axis] // size[axis]) for axis in (0, 1))
    starts = [np.arange(size[axis]) * labels.shape[axis] // size[axis] for axis in (0, 1)]
    middle = factor // 2
    offsets = sorted(np.ndindex(factor, factor), key=lambda o: (o[0] - middle) ** 2 + (o[1] - middle) ** 2)
    result = np.full(size, ignore, labels.dtype)
    for down, right in offsets:
        rows = np.minimum(starts[0] + down, labels.shape[0] - 1)
        cols = np.minimum(starts[1] + right, labels.shape[1] - 1)
        empty = result == ignore
        if not empty.any():
            break
        result[empty] = labels[rows[:, None], cols][empty]
    return result


def is_sparse(labels: LabelMap, *, ignore: int) -> bool:
    """Whether labels are strokes and dots rather than regions."""
    return bool((labels != ignore).mean() < SPARSE)


def label_picture(
    image: UInt8[np.ndarray, "h w 3"],
    labels: Integer[np.ndarray, "h w"],
    vocabulary: Vocabulary,
    colours: Mapping[int, Colour],
    *,
    strokes: bool = False,
    text_size: int = 12,
) -> UInt8[np.ndarray, "h w 3"]:
    """Labels over the image: regions tinted with white edges, strokes solid; unlabelled hatched, classes named.

    Parameters
    ----------
    labels
        At the size of the picture; see `labelled_at`.
    strokes
        See `is_sparse`.
    """
    picture = image.astype(np.float32)
    dots = strokes and _are_dots(labels, ignore=vocabulary.ignore)
    shown = _widened(labels, ignore=vocabulary.ignore) if strokes else labels
    empty = shown == vocabulary.ignore
    picture[empty] = hatched(image)[empty]
    painted = dict(colours)
    if strokes and vocabulary.background is not None:
        painted[vocabulary.background] = STROKE_BACKGROUND
    for class_id, colour in painted.items():
        inside = shown == class_id
        picture[inside] += (1.0 if strokes else TINT) * (np.asarray(colour, np.float32) - picture[inside])
    if not strokes:
        picture[_edges(shown, ignore=vocabulary.ignore)] = EDGE
    if dots:
        picture[_rim(shown, ignore=vocabulary.ignore)] = EDGE
    names = {class_id: vocabulary.classes[class_id] for class_id in colours}
    return with_names(np.rint(picture).astype(np.uint8), shown, names, text_size=text_size, dots=dots)


def _are_dots(labels: Integer[np.ndarray, "H W"], *, ignore: int) -> bool:
    """Whether so little is labelled that it is not seen as it is."""
    return bool((labels != ignore).mean() < DOTTED)


def _widened(labels: Integer[np.ndarray, "H W"], *, ignore: int) -> Integer[np.ndarray, "H W"]:
    """Strokes a little wider, dots as discs; over what is unlabelled only."""
    steps = max(2, round(DISC * max(labels.shape))) if _are_dots(labels, ignore=ignore) else 1
    for step in range(steps):
        labels = _wider(labels, ignore=ignore, corners=step % 2 == 1)
    return labels


def _rim(labels: Integer[np.ndarray, "H W"], *, ignore: int) -> np.ndarray:
    """Unlabelled pixels beside labelled ones."""
    return (labels == ignore) & (_wider(labels, ignore=ignore) != ignore)


def _wider(labels: Integer[np.ndarray, "H W"], *, ignore: int, corners: bool = False) -> Integer[np.ndarray, "H W"]:
    """Strokes one pixel wider on each side, over what is unlabelled only; with corners a pixel becomes a square."""
    wide = labels.copy()
    for axis, step in ((0, 1), (0, -1), (1, 1), (1, -1)):
        moved = np.roll(wide if corners else labels, step, axis=axis)
        border = (slice(None),) * axis + (0 if step == 1 else -1,)
        moved[border] = ignore
        wide = np.where(wide == ignore, moved, wide)
    return wide


def _edges(labels: Integer[np.ndarray, "H W"], *, ignore: int) -> np.ndarray:
    """Pixels at a change from one label to another, on one side; not where it meets what is unlabelled."""
    edge = np.zeros(labels.shape, bool)
    for axis in (0, 1):
        before = tuple(slice(None, -1) if a == axis else slice(None) for a in (0, 1))
        after = tuple(slice(1, None) if a == axis else slice(None) for a in (0, 1))
        a, b = labels[before], labels[after]
        edge[before] |= (a != b) & (a != ignore) & (b != ignore)
    return edge


def errors_of(truth: LabelMap, labels: LabelMap, vocabulary: Vocabulary) -> UInt8[np.ndarray, "H W"]:
    """The kind of every pixel, a key of `ERRORS`. Both maps are in ids of the vocabulary.

    Examples
    --------
    >>> voc = Vocabulary("a", ("ground", "cat", "dog"), background=0)
    >>> errors_of(np.array([[0, 0, 1, 1, 1, 255]], np.uint8), np.array([[0, 1, 0, 2, 255, 1]], np.uint8), voc)
    array([[  0,   1,   2,   3, 255,   4]], dtype=uint8)
    """
    kinds = np.where(truth == labels, RIGHT, OTHER).astype(np.uint8)
    if vocabulary.background is not None:
        wrong = kinds == OTHER
        kinds[wrong & (truth == vocabulary.background)] = EXTRA
        kinds[wrong & (labels == vocabulary.background)] = MISSED
    kinds[labels == vocabulary.ignore] = UNLABELLED
    kinds[truth == vocabulary.ignore] = VOID
    return kinds


def error_picture(
    image: UInt8[np.ndarray, "h w 3"], errors: UInt8[np.ndarray, "h w"], *, strokes: bool = False
) -> UInt8[np.ndarray, "h w 3"]:
    """Kinds of pixels over the grey image, told apart by colour and by stripes: missed level, another class upright."""
    if not strokes:
        return _painted(image, errors)
    drawn = np.where(errors == VOID, UNLABELLED, errors).astype(np.uint8)  # void does not grow
    wide = _widened(drawn, ignore=UNLABELLED)
    picture = _painted(image, np.where((wide == UNLABELLED) & (errors == VOID), VOID, wide), faint=STRONG)
    if _are_dots(drawn, ignore=UNLABELLED):
        picture[_rim(wide, ignore=UNLABELLED)] = EDGE
    return picture


def _painted(image: np.ndarray, kinds: np.ndarray, *, faint: float = FAINT) -> np.ndarray:
    grey = np.asarray(Image.fromarray(image).convert("L"), np.float32)
    pale = np.repeat((0.45 * grey + 0.55 * 235)[..., None], 3, axis=2)
    picture = pale.copy()
    rows, cols = np.ogrid[: image.shape[0], : image.shape[1]]
    lines = {MISSED: rows % STRIPES < 2, OTHER: cols % STRIPES < 2}
    for kind, colour in ERROR_COLOURS.items():
        inside = kinds == kind
        strength = faint if kind == RIGHT else STRONG
        picture[inside] += strength * (np.asarray(colour, np.float32) - picture[inside])
        if kind in lines:
            picture[inside & lines[kind]] = 255
    empty = kinds == UNLABELLED
    picture[empty] = hatched(image)[empty]
    void = kinds == VOID
    picture[void] = 250
    picture[void & (rows % 4 < 1) & (cols % 4 < 1)] = 120
    return np.rint(picture).astype(np.uint8)


def swatch_of(kind: int, size: tuple[int, int]) -> UInt8[np.ndarray, "h w 3"]:
    """A patch that shows what a kind of pixel looks like, for a legend."""
    return _painted(np.full((*size, 3), 170, np.uint8), np.full(size, kind, np.uint8))
