"""The two forms of a mask (hard label map, soft scores) and the only code that reads or writes mask files."""

import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Float32, Int64, Integer, UInt8, UInt16

from labelgen.errors import DataError, ShapeError
from labelgen.untrusted import opened_picture, read_bounded
from labelgen.untrusted.limits import LARGEST_ARRAYS
from labelgen.writing import write_atomic

if TYPE_CHECKING:
    from labelgen.strokes import Stroke

__all__ = [
    "IGNORE",
    "LabelMap",
    "SoftMask",
    "check_labels",
    "decode_mask",
    "encode_mask",
    "harden",
    "has_foreign",
    "label_counts",
    "label_dtype",
    "one_hot",
    "read_image",
    "read_mask",
    "write_atomic",
    "write_mask",
]

IGNORE = 255
"""Truth: void, never counted. Label: no label here."""

WIDE_IGNORE = 65535
"""The same in 16-bit files, which vocabularies of more than 255 classes need."""

RUN_LEAST = 16
"""Mean length in pixels from which on counting runs is quicker than counting pixels."""

LabelMap = UInt8[np.ndarray, "H W"] | UInt16[np.ndarray, "H W"]
"""Class ids, `(H, W)`; uint8 with 255 = unlabelled (uint16 with 65535 above 255 classes)."""


def label_dtype(ignore: int) -> type[np.uint8] | type[np.uint16]:
    """The type of a label map whose unlabelled pixels are `ignore`."""
    return np.uint8 if ignore <= IGNORE else np.uint16


@dataclass(frozen=True)
class SoftMask:
    """Scores of the classes that a method found in one image.

    Parameters
    ----------
    scores
        `(C, H, W)` float32, >= 0, finite, at image resolution. An all-zero pixel column abstains.
    class_ids
        The C vocabulary ids, strictly increasing; only classes that are present.
    strokes
        The exact geometry behind scribbles and points; empty for other methods.
    warnings
        Sentences about this image that the manifest keeps.
    details
        JSON-able facts about this image that the manifest keeps (achieved noise, lost classes, ...).
    layers
        Label maps that the labels were put together from, by name; empty for most methods.
    distances
        `(H, W)` float32 weights in [0, 1] of pixels by their distance to something, by name; empty for most methods.

    Raises
    ------
    ShapeError
        When scores, class_ids, layers and distances do not fit together or a score is negative or not finite.

    Examples
    --------
    >>> mask = SoftMask(np.ones((1, 2, 2), np.float32), (15,))
    >>> mask.size
    (2, 2)
    """

    scores: Float32[np.ndarray, "C H W"]
    class_ids: tuple[int, ...]
    strokes: "tuple[Stroke, ...]" = ()
    warnings: tuple[str, ...] = ()
    details: Mapping[str, Any] = field(default_factory=dict)
    layers: Mapping[str, LabelMap] = field(default_factory=dict)
    distances: Mapping[str, Float32[np.ndarray, "H W"]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        scores = self.scores
        if scores.ndim != 3 or scores.dtype != np.float32:
            raise ShapeError(f"scores must be float32 of shape (C, H, W), got {scores.dtype} of shape {scores.shape}")
        if len(self.class_ids) != scores.shape[0]:
            raise ShapeError(f"scores hold {scores.shape[0]} planes but class_ids names {len(self.class_ids)} classes")
        if any(b <= a for a, b in zip(self.class_ids, self.class_ids[1:], strict=False)):
            raise ShapeError(f"class_ids must be strictly increasing, got {self.class_ids}")
        if scores.size and not (np.isfinite(scores).all() and scores.min() >= 0):
            raise ShapeError(f"scores must be finite and >= 0, got a range of {scores.min()} to {scores.max()}")
        for name, plane in [*self.layers.items(), *self.distances.items()]:
            if plane.shape != self.size:
                raise ShapeError(f"layer {name!r} must have the size {self.size} of the scores, got {plane.shape}")

    @property
    def size(self) -> tuple[int, int]:
        """`(H, W)` in pixels."""
        return self.scores.shape[1], self.scores.shape[2]


def one_hot(
    labels: LabelMap,
    *,
    ignore: int = IGNORE,
    strokes: "Sequence[Stroke]" = (),
    warnings: Sequence[str] = (),
    details: Mapping[str, Any] | None = None,
) -> SoftMask:
    """Turn a label map into scores of 1 on labelled pixels and 0 elsewhere.

    Examples
    --------
    >>> one_hot(np.array([[0, 255], [3, 3]], np.uint8)).class_ids
    (0, 3)
    """
    counts = label_counts(labels, ignore=ignore)
    counts[ignore] = 0
    mask = object.__new__(_OneHot)
    mask.__dict__.update(
        _labels=labels,
        _ignore=ignore,
        class_ids=tuple(int(i) for i in np.flatnonzero(counts)),
        strokes=tuple(strokes),
        warnings=tuple(warnings),
        details=dict(details or {}),
        layers={},
        distances={},
    )
    return mask


class _OneHot(SoftMask):
    """A label map whose scores are filled in when somebody asks for them: one that is only written down needs none."""

    _labels: LabelMap
    _ignore: int

    def __getattr__(self, name: str) -> Any:
        if name != "scores" or "_labels" not in self.__dict__:
            raise AttributeError(f"{type(self).__name__} has no attribute {name!r}")
        scores = np.empty((len(self.class_ids), *self._labels.shape), np.float32)
        for index, class_id in enumerate(self.class_ids):
            np.equal(self._labels, class_id, out=scores[index], casting="unsafe")
        self.__dict__["scores"] = scores
        return scores

    @property
    def size(self) -> tuple[int, int]:
        labels = self.__dict__.get("_labels")  # dataclasses.replace makes one of scores alone
        return super().size if labels is None else labels.shape

    def hardened(self, min_score: float, ignore: int) -> LabelMap | None:
        """The labels themselves, where that is what hardening gives."""
        labels = self.__dict__.get("_labels")
        if labels is None or not 0 <= min_score < 1 or ignore != self._ignore or labels.dtype != label_dtype(ignore):
            return None
        return labels.copy()


def label_counts(labels: LabelMap, *, ignore: int = IGNORE) -> Int64[np.ndarray, "{ignore}+1"]:
    """Count the pixels of each id up to `ignore`.

    Label maps are made of long runs, so runs are counted where there are few of them.

    Examples
    --------
    >>> label_counts(np.array([[0, 0, 3], [3, 3, 4]], np.uint8), ignore=4)
    array([2, 0, 0, 3, 1])
    """
    flat = labels.reshape(-1)
    changes = np.flatnonzero(flat[1:] != flat[:-1])
    if len(changes) > flat.size // RUN_LEAST:
        return np.bincount(flat, minlength=ignore + 1)
    ends = np.append(changes, flat.size - 1) if flat.size else changes
    return np.bincount(flat[ends], np.diff(ends, prepend=-1), minlength=ignore + 1).astype(np.int64)


def harden(mask: SoftMask, *, min_score: float = 0.0, ignore: int = IGNORE) -> LabelMap:
    """Give each pixel its best class, or `ignore` where no score exceeds `min_score`.

    Ties go to the smaller class id. Without any class the whole map is `ignore`.

    Examples
    --------
    >>> scores = np.array([[[0.2, 0.0]], [[0.7, 0.0]]], np.float32)
    >>> harden(SoftMask(scores, (0, 7)))
    array([[  7, 255]], dtype=uint8)
    """
    if isinstance(mask, _OneHot) and (kept := mask.hardened(min_score, ignore)) is not None:
        return kept
    labels = np.full(mask.size, ignore, label_dtype(ignore))
    best = np.full(mask.size, min_score, np.float32)
    for plane, class_id in zip(mask.scores, mask.class_ids, strict=True):  # several times faster than argmax
        np.copyto(labels, class_id, where=plane > best, casting="unsafe")
        np.maximum(best, plane, out=best)
    return labels


def has_foreign(labels: Integer[np.ndarray, "H W"], *, num_classes: int, ignore: int = IGNORE) -> bool:
    """Whether an id is neither below `num_classes` nor `ignore`.

    Examples
    --------
    >>> ids = np.array([[0, 1, 255]], np.uint8)
    >>> has_foreign(ids, num_classes=2), has_foreign(ids, num_classes=1)
    (False, True)
    """
    if labels.dtype.kind == "u" and 0 < num_classes < ignore == np.iinfo(labels.dtype).max and labels.size:
        # classes wrap around to the largest numbers, `ignore` comes just below them: two passes instead of five
        return int((labels - labels.dtype.type(num_classes)).min()) < ignore - num_classes
    return bool(((labels >= num_classes) & (labels != ignore)).any())


def check_labels(labels: np.ndarray, *, num_classes: int, where: str, ignore: int = IGNORE) -> None:
    """Refuse a label map that holds an id outside the vocabulary.

    Raises
    ------
    DataError
        When an id is neither below `num_classes` nor `ignore`.
    """
    if has_foreign(labels, num_classes=num_classes, ignore=ignore):
        foreign = [int(i) for i in np.unique(labels) if i >= num_classes and i != ignore]
        shown = ", ".join(map(str, foreign[:5])) + (" ..." if len(foreign) > 5 else "")
        raise DataError(
            f"labels must be ids < {num_classes} or {ignore}, got {shown} in {where}",
            hint="is this the right --vocab for these masks?",
        )


MASK_FORMATS = ("PNG", "BMP", "GIF", "TIFF")  # whatever the file is called; JPEG would blur the ids
_SCALED_GREY = ("L;2", "L;4")  # Pillow's names of the encodings whose values it multiplies


def read_mask(path: Path | str) -> Integer[np.ndarray, "H W"]:
    """Read the class ids of a PNG label map exactly as they are stored.

    Palette (P), 8-bit grey (L) and 16-bit grey (I;16) files are understood. RGB files are refused, because colours
    are not ids. The array may be written to.

    Raises
    ------
    DataError
        When the file is missing, truncated, not an image, or not a map of ids.
    """
    try:
        content = read_bounded(Path(path), LARGEST_ARRAYS)
    except FileNotFoundError as error:
        raise DataError(
            f"mask file not found: {path}",
            hint="check the path; of a run, labelgen verify RUN lists what is missing, and the command that made it "
            "makes it again",
        ) from error
    except OSError as error:
        raise DataError(f"mask cannot be read: {path} ({error.strerror})", hint="is it a file you may read?") from error
    return decode_mask(content, where=str(path))


def decode_mask(content: bytes, *, where: str) -> Integer[np.ndarray, "H W"]:
    """Decode the bytes of a PNG label map; see `read_mask`.

    Parameters
    ----------
    where
        Name of the file, for messages.
    """
    try:
        with opened_picture(content, formats=MASK_FORMATS) as picture:
            if picture.mode not in ("P", "L", "I;16", "I;16B", "I"):
                raise DataError(
                    "a mask must hold one class id a pixel (PNG mode P, L or I;16), "
                    f"got mode {picture.mode} in {where}",
                    hint="convert colours to ids first; cv2 and skimage make colours of palette PNGs, Pillow does not",
                )
            if any(str(tile[3]).startswith(_SCALED_GREY) for tile in getattr(picture, "tile", ())):
                raise DataError(
                    f"a grey mask must have 8 or 16 bits a pixel, got 2 or 4 in {where}",
                    hint="Pillow stretches such greys to 0-255, so ids would be lost; save it as 8-bit PNG",
                )
            array = np.array(picture)
    except ValueError as error:
        if isinstance(error, DataError):
            raise
        raise DataError(f"mask cannot be read: {where} ({error})", hint="the file is truncated or not a PNG") from error
    if array.dtype in (np.int32, np.uint32):
        if array.size and (array.min() < 0 or array.max() > WIDE_IGNORE):
            raise DataError(f"mask ids must lie in [0, {WIDE_IGNORE}], got {array.min()} to {array.max()} in {where}")
        array = array.astype(np.uint16)
    return array


def read_image(path: Path | str) -> UInt8[np.ndarray, "H W 3"]:
    """Read a picture as RGB, with its EXIF orientation applied.

    Raises
    ------
    DataError
        When the file is missing, truncated, not an image, or of more than 8 bits a channel in one grey channel.
    """
    from PIL import ImageOps

    try:
        with opened_picture(path) as picture:
            if picture.mode.startswith(("I", "F")):
                raise DataError(
                    f"an image must have 8 bits a channel, got mode {picture.mode} in {path}",
                    hint="scale its values to 0-255 and save it again; what is white is not for the reader to guess",
                )
            return np.array(ImageOps.exif_transpose(picture).convert("RGB"))
    except FileNotFoundError as error:
        raise DataError(f"image file not found: {path}", hint="check the path and the file name") from error
    except (OSError, ValueError) as error:
        if isinstance(error, DataError):
            raise
        raise DataError(f"image cannot be read: {path} ({error})", hint="the file is truncated or no image") from error


def encode_mask(labels: LabelMap, *, palette: Sequence[tuple[int, int, int]] = ()) -> bytes:
    """Encode a label map as PNG: mode P with `palette` for uint8, 16-bit grey for uint16.

    Parameters
    ----------
    palette
        RGB colour of each class id, 0 to 255; ids beyond it are shown white.
    """
    from PIL import Image

    if labels.ndim != 2 or labels.dtype not in (np.uint8, np.uint16):
        raise ShapeError(f"labels must be uint8 or uint16 of shape (H, W), got {labels.dtype} of shape {labels.shape}")
    picture = Image.fromarray(labels)
    if labels.dtype == np.uint8 and palette:
        colours = [c for colour in palette for c in colour][: 3 * 256]
        picture.putpalette(colours + [255] * (3 * 256 - len(colours)))
    stream = io.BytesIO()
    picture.save(stream, format="PNG", compress_level=6)
    return stream.getvalue()


def write_mask(path: Path | str, labels: LabelMap, *, palette: Sequence[tuple[int, int, int]] = ()) -> None:
    """Write a label map as PNG, atomically (see `encode_mask`)."""
    write_atomic(Path(path), encode_mask(labels, palette=palette))
