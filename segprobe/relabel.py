"""New labels for the images that a head was trained on, from what it says of their cached features."""

import io
import json
from collections.abc import Callable, Set
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float32

from labelgen.errors import RunFolderError
from labelgen.masks import IGNORE, LabelMap, write_atomic
from labelgen.untrusted import parse_json, read_bounded, read_npz_arrays
from labelgen.untrusted.limits import LARGEST_ARRAYS
from segprobe.batches import FeatureSource
from segprobe.heads import Head
from segprobe.labels import ImageLabels, LabelSet
from segprobe.sampling import upsample_logits

__all__ = ["Changes", "Correct", "confident_labels", "image_probabilities", "load_labels", "relabelled", "save_labels"]

Correct = Callable[[LabelMap, Float32[np.ndarray, "C H W"]], LabelMap]
"""New labels from the initial ones and probabilities by class id."""


@dataclass(frozen=True)
class Changes:
    """What a correction did, as shares.

    Parameters
    ----------
    changed
        Pixels that had a label and have another now, of all pixels.
    added
        Pixels that had none and have one now, of all pixels.
    agreement
        Pixels whose most probable class is their initial label, of those with an initial label.
    coverage
        Labelled pixels after the correction, of all pixels.
    """

    changed: float
    added: float
    agreement: float
    coverage: float


def image_probabilities(
    head: Head, features: FeatureSource, sample_id: str, *, device: str = "cpu"
) -> Float32[np.ndarray, "C H W"]:
    """Probability of each class of the head at every pixel, averaged over all cached views of the image."""
    total: Any = 0
    with torch.no_grad():
        for view in range(len(features.views)):
            found = features.features(sample_id, view)
            logits = head(found.tokens.to(device, torch.float32))
            total = total + upsample_logits(logits, found.geometry).softmax(-1)
    return (total / len(features.views)).permute(2, 0, 1).contiguous().cpu().numpy()


def confident_labels(
    labels: LabelMap,
    probabilities: Float32[np.ndarray, "C H W"],
    *,
    confidence: float,
    everywhere: bool = False,
    allowed: Set[int] | None = None,
    ignore: int = IGNORE,
) -> LabelMap:
    """Label pixels by the class of highest probability where that exceeds `confidence`.

    Parameters
    ----------
    probabilities
        By class id.
    everywhere
        Labelled pixels may get another label; else only unlabelled ones get one.
    allowed
        Classes that may be given; the others are passed over, and the probability of those left is not raised for it.

    Examples
    --------
    >>> probabilities = np.array([[[0.95, 0.2, 0.6]], [[0.05, 0.8, 0.4]]], np.float32)
    >>> confident_labels(np.array([[255, 0, 255]], np.uint8), probabilities, confidence=0.7)
    array([[  0,   0, 255]], dtype=uint8)
    >>> confident_labels(np.array([[255, 0, 255]], np.uint8), probabilities, confidence=0.7, everywhere=True)
    array([[  0,   1, 255]], dtype=uint8)
    """
    best = np.full(labels.shape, confidence, np.float32)
    found = labels.copy()
    free = np.ones(labels.shape, bool) if everywhere else labels == ignore
    for class_id, plane in enumerate(probabilities):
        if allowed is None or class_id in allowed:
            better = (plane > best) & free
            found[better] = class_id
            best[better] = plane[better]
    return found


def relabelled(
    labels: LabelSet,
    head: Head,
    features: FeatureSource,
    correct: Correct,
    *,
    gamma: float = 0.0,
    device: str = "cpu",
) -> tuple[LabelSet, Changes]:
    """Correct the labels of every image.

    Parameters
    ----------
    labels
        The initial labels; the classes of the head are theirs, also where a correction leaves one of them out.
    gamma
        The weight of a corrected label is its probability to this power, where labels have weights.
    """
    images: dict[str, ImageLabels] = {}
    counts = np.zeros_like(labels.counts)
    changed = added = agreed = initial = pixels = 0
    class_ids = np.asarray(labels.class_ids)
    for sample_id, image in labels.images.items():
        small = image_probabilities(head, features, sample_id, device=device)
        probabilities = np.zeros((labels.vocabulary.num_classes, *image.size), np.float32)
        probabilities[class_ids] = small
        before = image.map()
        after = correct(before, probabilities)
        had = before != image.ignore
        other = after != before
        changed += int((other & had).sum())
        added += int((other & ~had).sum())
        agreed += int((class_ids[small.argmax(0)] == before)[had].sum())
        initial += int(had.sum())
        pixels += before.size
        given = np.take_along_axis(probabilities, np.where(other & (after != image.ignore), after, 0)[None], axis=0)[0]
        images[sample_id] = _with_weights(image, after, other, given, gamma)
        counts += np.bincount(images[sample_id].labelled()[1], minlength=len(counts))
    corrected = replace(labels, images=images, counts=counts, fixed_classes=labels.class_ids)
    return corrected, Changes(
        changed / pixels, added / pixels, agreed / max(initial, 1), float(counts.sum()) / max(pixels, 1)
    )


def _with_weights(
    image: ImageLabels, after: LabelMap, other: np.ndarray, probability: Float32[np.ndarray, "H W"], gamma: float
) -> ImageLabels:
    if image.weights is None:
        return ImageLabels.of(after, ignore=image.ignore)
    weights = np.where(other, probability**gamma, image.weight_map())
    return ImageLabels.of(after, ignore=image.ignore, weights=weights)


def save_labels(path: Path, labels: LabelSet) -> None:
    """Write corrected labels, to go on from after an interruption."""
    arrays: dict[str, np.ndarray] = {"ids": np.array(json.dumps(list(labels.images)))}
    for number, image in enumerate(labels.images.values()):
        arrays[f"labels-{number}"] = image.map()
        if image.weights is not None:
            arrays[f"weights-{number}"] = image.weight_map()
    stream = io.BytesIO()
    np.savez_compressed(stream, **arrays)  # type: ignore[arg-type]
    write_atomic(path, stream.getvalue())


def load_labels(path: Path, initial: LabelSet) -> LabelSet:
    """Read corrected labels of the images of `initial` back.

    Raises
    ------
    RunFolderError
        When the file is missing, damaged, or of other images.
    """
    images: dict[str, ImageLabels] = {}
    counts = np.zeros_like(initial.counts)
    try:
        archive = read_npz_arrays(read_bounded(path, LARGEST_ARRAYS))
        if parse_json(str(archive["ids"])) != list(initial.images):
            raise ValueError("it is of other images")
        for number, (sample_id, image) in enumerate(initial.images.items()):
            weights = archive[f"weights-{number}"] if image.weights is not None else None
            images[sample_id] = ImageLabels.of(archive[f"labels-{number}"], ignore=image.ignore, weights=weights)
            counts += np.bincount(images[sample_id].labelled()[1], minlength=len(counts))
    except Exception as error:
        raise RunFolderError(
            f"corrected labels cannot be read: {path} ({error})", hint="--overwrite begins the fit again"
        ) from error
    return replace(initial, images=images, counts=counts, fixed_classes=initial.class_ids)
