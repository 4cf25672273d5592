"""The labels a head is trained from: any run folder, plain folder of masks or ground truth, kept small in memory."""

import hashlib
import logging
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, runtime_checkable

import numpy as np
from jaxtyping import Float, Float16, Float32, Int64, UInt8, UInt16

from labelgen.data import Dataset
from labelgen.errors import ConfigError, DataError, VocabularyError
from labelgen.masks import LabelMap
from labelgen.vocab import Vocabulary
from segprobe.confidence import confident_reader

__all__ = ["ImageLabels", "LabelSet", "Labels", "TruthSource", "read_labels", "supervision_of"]

log = logging.getLogger(__name__)

DENSE_FROM = 0.25  # coverage above which a whole map takes less memory than a list of pixels

ClassIds = UInt8[np.ndarray, "N"] | UInt16[np.ndarray, "N"]


@runtime_checkable
class Labels(Protocol):
    """Where label maps come from: a `RunFolder`, a `MaskFolder` or a `TruthSource`."""

    @property
    def name(self) -> str:
        """What the labels are called."""
        ...

    @property
    def vocabulary(self) -> Vocabulary:
        """Their classes."""
        ...

    @property
    def ids(self) -> tuple[str, ...]:
        """Labelled images."""
        ...

    def labels(self, sample_id: str) -> LabelMap:
        """The label map of one image."""
        ...


@dataclass(frozen=True)
class TruthSource:
    """The ground truth of a data set, read as if it were a run: full supervision."""

    dataset: Dataset
    name: str = "truth"
    path: Path | None = None

    @property
    def vocabulary(self) -> Vocabulary:
        """Classes of the data set."""
        return self.dataset.vocabulary

    @property
    def ids(self) -> tuple[str, ...]:
        """Ids of the data set."""
        return self.dataset.ids

    def labels(self, sample_id: str) -> LabelMap:
        """Ground truth of one image; void is unlabelled."""
        return self.dataset.truth(sample_id)


def supervision_of(source: Labels) -> list[str]:
    """What a person had to give for these labels: as a run records it, truth, or unknown for a folder of masks."""
    if isinstance(source, TruthSource):
        return ["truth"]
    return list(getattr(source, "header", {}).get("supervision", ["unknown"]))


@dataclass(frozen=True)
class ImageLabels:
    """The labelled pixels of one image: all of the map where it is dense, else only the pixels that have a label.

    Parameters
    ----------
    size
        `(H, W)` in pixels.
    classes
        Class id of each of `pixels`, or of all H * W pixels (row by row, `ignore` = unlabelled) when `pixels` is None.
    pixels
        Index `row * W + col` of each labelled pixel, increasing; None for dense maps.
    ignore
        Id that means unlabelled.
    weights
        Weight in the loss of each of `classes`; None for 1 everywhere. Half precision, as there are as many as pixels.

    Examples
    --------
    >>> labels = ImageLabels.of(np.array([[255, 3], [255, 255], [255, 255]], np.uint8))
    >>> labels.labelled()
    (array([1]), array([3], dtype=uint8))
    """

    size: tuple[int, int]
    classes: ClassIds
    pixels: Int64[np.ndarray, "N"] | None = None
    ignore: int = 255
    weights: Float16[np.ndarray, "N"] | None = None

    @classmethod
    def of(
        cls, labels: LabelMap, *, ignore: int = 255, weights: Float[np.ndarray, "H W"] | None = None
    ) -> "ImageLabels":
        """Keep the cheaper of the two forms."""
        flat = np.ascontiguousarray(labels).reshape(-1)
        half = None if weights is None else np.ascontiguousarray(weights, np.float16).reshape(-1)
        pixels = np.flatnonzero(flat != ignore)
        size = (labels.shape[0], labels.shape[1])
        if len(pixels) > DENSE_FROM * flat.size:
            return cls(size, flat, None, ignore, half)
        return cls(size, flat[pixels], pixels, ignore, None if half is None else half[pixels])

    def labelled(self) -> tuple[Int64[np.ndarray, "N"], ClassIds]:
        """Flat indices and class ids of the labelled pixels."""
        if self.pixels is not None:
            return self.pixels, self.classes
        pixels = np.flatnonzero(self.classes != self.ignore)
        return pixels, self.classes[pixels]

    def labelled_weights(self) -> Float32[np.ndarray, "N"] | None:
        """Weights of the labelled pixels, in the order of `labelled`; None for 1 everywhere."""
        if self.weights is None:
            return None
        used = self.weights if self.pixels is not None else self.weights[self.classes != self.ignore]
        return used.astype(np.float32)

    def map(self) -> LabelMap:
        """The whole label map."""
        return self._whole(self.classes, self.ignore)

    def weight_map(self) -> Float16[np.ndarray, "H W"]:
        """The weight of every pixel; what it is where there is no label does not matter."""
        if self.weights is None:
            return np.ones(self.size, np.float16)
        return self._whole(self.weights, 0)

    def _whole(self, values: np.ndarray, elsewhere: int) -> np.ndarray:
        if self.pixels is None:
            return values.reshape(self.size)
        flat = np.full(self.size[0] * self.size[1], elsewhere, values.dtype)
        flat[self.pixels] = values
        return flat.reshape(self.size)

    def with_pixels(self, pixels: Int64[np.ndarray, "M"], class_id: int) -> "ImageLabels":
        """Add pixels of one class, of weight 1; those that have a label already keep it."""
        labels = self.map().copy().reshape(-1)
        free = pixels[labels[pixels] == self.ignore]
        labels[free] = class_id
        weights = None
        if self.weights is not None:
            weights = self.weight_map().copy().reshape(-1)
            weights[free] = 1
            weights = weights.reshape(self.size)
        return ImageLabels.of(labels.reshape(self.size), ignore=self.ignore, weights=weights)


@dataclass(frozen=True)
class LabelSet:
    """The labels of all images that have any.

    Parameters
    ----------
    name
        Name of the run.
    vocabulary
        Its classes.
    images
        Labels by image id, sorted; only images with a labelled pixel.
    counts
        Labelled pixels of each class of the vocabulary.
    skipped
        Ids of images without any labelled pixel.
    total_pixels
        Of all images, skipped ones included.
    fixed_classes
        Classes of a head that was made for other labels of these images; empty for those that the labels show.
    """

    name: str
    vocabulary: Vocabulary
    images: Mapping[str, ImageLabels]
    counts: Int64[np.ndarray, "C"]
    skipped: tuple[str, ...] = ()
    total_pixels: int = 0
    fixed_classes: tuple[int, ...] = ()

    @property
    def ids(self) -> tuple[str, ...]:
        """Ids of the images that have labels."""
        return tuple(self.images)

    @property
    def class_ids(self) -> tuple[int, ...]:
        """Classes that at least one pixel shows: those that a head can learn."""
        return self.fixed_classes or tuple(int(i) for i in np.flatnonzero(self.counts))

    @property
    def coverage(self) -> float:
        """Share of the pixels that have a label."""
        return float(self.counts.sum()) / max(self.total_pixels, 1)

    def digest(self) -> str:
        """Sha256 over ids, sizes, labels and their weights, so that a resumed fit notices changed labels."""
        digest = hashlib.sha256()
        for sample_id, labels in self.images.items():
            pixels, classes = labels.labelled()
            digest.update(f"{sample_id}\0{labels.size}\0{len(pixels)}\0".encode())
            digest.update(np.ascontiguousarray(pixels, "<i8").tobytes())
            digest.update(np.ascontiguousarray(classes, "<u2").tobytes())
            weights = labels.labelled_weights()
            digest.update(b"" if weights is None else weights.astype("<f4").tobytes())
        return digest.hexdigest()


def read_labels(
    source: Labels,
    dataset: Dataset,
    *,
    confidence: float = 0.0,
    min_confidence: float = 0.0,
    only: Collection[str] | None = None,
) -> LabelSet:
    """Read the labels of every image that both the run and the data set have.

    Parameters
    ----------
    confidence
        Weigh each label by its confidence to this power (`segprobe.confidence`); 0 for no weights.
    min_confidence
        Leave out labels of less confidence.
    only
        Of these images only; None for all.

    Raises
    ------
    ConfigError
        When confidence is asked for and the run has no scores.
    VocabularyError
        When the run has other classes than the data set.
    DataError
        When they share no image, or no pixel of any image is labelled, or an id lies outside the vocabulary.
    """
    check_same_classes(source.vocabulary, dataset.vocabulary, run=source.name)
    ids = _common_ids(source.name, source.ids, dataset.ids)
    if only is not None:
        chosen = frozenset(only)
        ids = tuple(sample_id for sample_id in ids if sample_id in chosen)
    vocabulary = source.vocabulary
    read = confident_reader(source, gamma=confidence, least=min_confidence, ignore=vocabulary.ignore)
    images: dict[str, ImageLabels] = {}
    counts = np.zeros(vocabulary.num_classes, np.int64)
    skipped: list[str] = []
    total = 0
    for sample_id in ids:
        label_map, weights = read(sample_id)
        labels = ImageLabels.of(label_map, ignore=vocabulary.ignore, weights=weights)
        total += labels.size[0] * labels.size[1]
        found = np.bincount(labels.labelled()[1], minlength=vocabulary.num_classes)
        if len(found) > vocabulary.num_classes:
            raise DataError(
                f"labels must be ids < {vocabulary.num_classes} or {vocabulary.ignore}, got {len(found) - 1}"
                f" in {sample_id} of {source.name}",
                hint="is this the right --vocab for these masks?",
            )
        if not found.any():
            skipped.append(sample_id)
            continue
        counts += found
        images[sample_id] = labels
    if not images:
        raise DataError(
            f"at least one labelled pixel is needed to fit a head, got none in the {len(ids)} images of {source.name}",
            hint="look at the run with `labelgen quality`; every pixel of it is unlabelled",
        )
    if skipped:
        log.warning("%d of %d images have no labelled pixel and are left out", len(skipped), len(ids))
    return LabelSet(source.name, vocabulary, images, counts, tuple(skipped), total)


def check_same_classes(run_vocabulary: Vocabulary, data_vocabulary: Vocabulary, *, run: str) -> None:
    """Refuse labels whose ids mean something else than those of the data set.

    Raises
    ------
    VocabularyError
        Naming the first id that differs.
    """
    ours, theirs = run_vocabulary.classes, data_vocabulary.classes
    if ours == theirs and run_vocabulary.background == data_vocabulary.background:
        return
    first = next((i for i, (a, b) in enumerate(zip(ours, theirs)) if a != b), min(len(ours), len(theirs)))
    shown = [names[first] if first < len(names) else "nothing" for names in (ours, theirs)]
    raise VocabularyError(
        f"labels and data must have the same classes, got {run_vocabulary.name!r} ({len(ours)}) in {run} and"
        f" {data_vocabulary.name!r} ({len(theirs)}) in the data: id {first} is {shown[0]!r} and {shown[1]!r}",
        hint="make the labels for this data, or give the data with the vocabulary of the labels",
    )


def _common_ids(run: str, run_ids: Iterable[str], data_ids: Iterable[str]) -> tuple[str, ...]:
    known = frozenset(data_ids)
    labelled = tuple(run_ids)
    common = tuple(sorted(i for i in labelled if i in known))
    if not common:
        raise ConfigError(
            f"the run and the data must share images, got {len(labelled)} labelled ids in {run} and {len(known)} other"
            f" ids in the data",
            hint="is --data (and its split) the data set that the labels were made for?",
        )
    if len(common) < len(labelled):
        log.warning("%d of %d labelled images are not in the data", len(labelled) - len(common), len(labelled))
    return common
