"""Which parts of what seeds call a class are background that comes with it: learned from a data set's features."""

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Bool, Float32

from labelgen.refine.clusters import nearest, spherical_kmeans

__all__ = ["Biases", "ClassClusters", "ImageTokens", "find_biases", "occurrences", "unit_features"]


@dataclass(frozen=True)
class ImageTokens:
    """Features of some cells of one image, by what its seeds call them.

    Parameters
    ----------
    classes
        Class id to `(n, D)` float32 features of its region; every class of the image, if with no cell at all.
    background
        `(n, D)` float32 features of the region of background.
    """

    classes: Mapping[int, Float32[np.ndarray, "n D"]]
    background: Float32[np.ndarray, "m D"]


@dataclass(frozen=True)
class ClassClusters:
    """Clusters of the regions of one class.

    Parameters
    ----------
    centres
        Of length 1.
    ratios
        How often each cluster occurs in the background of images without the class, over how often it occurs in the
        regions of the class: shares of the images.
    dropped
        Clusters that are background.
    """

    centres: Float32[np.ndarray, "K D"]
    ratios: Float32[np.ndarray, "K"]
    dropped: Bool[np.ndarray, "K"]


@dataclass(frozen=True)
class Biases:
    """What was learned from a data set; picklable.

    Parameters
    ----------
    mean
        Feature that is subtracted from all before their directions are compared.
    classes
        Class id to its clusters; classes that were seen too seldom are not in it.
    images
        From how many images it was learned.
    """

    mean: Float32[np.ndarray, "D"]
    classes: Mapping[int, ClassClusters]
    images: int

    @property
    def sha256(self) -> str:
        """Of all that has a say."""
        digest = hashlib.sha256(self.mean.tobytes())
        for class_id, clusters in sorted(self.classes.items()):
            digest.update(f"{class_id}:{len(clusters.centres)}".encode())
            digest.update(clusters.centres.tobytes() + clusters.dropped.tobytes())
        return digest.hexdigest()

    def facts(self) -> dict[str, Any]:
        """JSON values for run.json: the sha256, from how many images, and how many clusters of a class go."""
        dropped = {str(i): [int(c.dropped.sum()), len(c.dropped)] for i, c in sorted(self.classes.items())}
        return {"sha256": self.sha256, "images": self.images, "dropped_of_clusters": dropped}


def find_biases(
    images: Iterable[ImageTokens],
    *,
    clusters: int,
    ratio: float,
    members: float,
    min_images: int,
    rng: np.random.Generator,
) -> Biases:
    """Cluster the regions of each class, and find the clusters that occur where the class is absent.

    A cell belongs to a cluster when it is at least as near to its centre as the given share of the cluster's own cells.
    A cluster is background when it occurs in the background of images without the class at least `ratio` times as
    often as in the regions of the class. One cluster of a class always stays, that of the lowest ratio.

    Parameters
    ----------
    clusters
        For each class.
    members
        Share of a cluster's own cells that belong to it, in (0, 1]: the higher, the looser.
    min_images
        Classes that are in fewer images, or absent from fewer, keep all.
    """
    images = list(images)
    stacked = [features for image in images for features in (*image.classes.values(), image.background)]
    mean = np.concatenate(stacked).mean(axis=0) if stacked else np.zeros(0, np.float32)
    centred = [
        ImageTokens(
            {i: unit_features(f, mean) for i, f in image.classes.items()}, unit_features(image.background, mean)
        )
        for image in images
    ]
    found = {}
    for class_id in sorted({class_id for image in centred for class_id in image.classes}):
        inside = [image.classes[class_id] for image in centred if len(image.classes.get(class_id, ()))]
        outside = [image.background for image in centred if class_id not in image.classes]
        if min(len(inside), len(outside)) >= min_images:
            centres = spherical_kmeans(np.concatenate(inside), clusters, rng=rng)
            found[class_id] = _judged(centres, inside, outside, ratio=ratio, members=members)
    return Biases(mean, found, len(images))


def _judged(
    centres: np.ndarray, inside: list[np.ndarray], outside: list[np.ndarray], *, ratio: float, members: float
) -> ClassClusters:
    own = np.concatenate(inside)
    labels, cosines = nearest(own, centres), own @ centres.T
    nearness = np.array(
        [
            np.quantile(cosines[labels == k, k], 1 - members) if (labels == k).any() else np.inf
            for k in range(len(centres))
        ]
    )
    seen, seen_outside = (occurrences(regions, centres, nearness) for regions in (inside, outside))
    ratios = np.divide(seen_outside, seen, out=np.zeros(len(centres)), where=seen > 0)
    dropped = ratios >= ratio
    if dropped.all():
        dropped[ratios.argmin()] = False
    return ClassClusters(centres, ratios.astype(np.float32), dropped)


def occurrences(regions: list[np.ndarray], centres: Float32[np.ndarray, "K D"], nearness: np.ndarray) -> np.ndarray:
    """Share of the regions that hold a cell of each cluster.

    A cell counts for the nearest of the centres alone, if its cosine is at least `nearness`.

    Examples
    --------
    >>> region, other = np.array([[1, 0], [0.6, 0.8]], np.float32), np.array([[0, 1]], np.float32)
    >>> occurrences([region, other], np.eye(2, dtype=np.float32), np.array([0.5, 0.9]))
    array([0.5, 0.5])
    """
    counts = np.zeros(len(centres))
    for region in regions:
        cosines = region @ centres.T
        own = cosines.argmax(axis=1) if len(region) else np.zeros(0, int)
        near = cosines[np.arange(len(region)), own] >= nearness[own]
        counts[np.unique(own[near])] += 1
    return counts / max(len(regions), 1)


def unit_features(features: Float32[np.ndarray, "n D"], mean: Float32[np.ndarray, "D"]) -> Float32[np.ndarray, "n D"]:
    """Directions from the mean; features that are the mean stay zero."""
    centred = features - mean
    lengths = np.linalg.norm(centred, axis=1, keepdims=True)
    return np.divide(centred, lengths, out=np.zeros_like(centred), where=lengths > 0)
