"""Background where the labels show none: clicks on objects only say where the objects are.

A head that never sees background never predicts it, and every pixel of every image would become an object. So, when
the vocabulary has a background class and no label of the whole run shows it, some pixels are taken for background:

far
    the pixels of each image whose features are least like those of the clicked pixels of that image. It rests on what
    frozen self-supervised features are good at: tokens of one object are alike.
border
    the pixels along the edge of each image, unless they look like a clicked pixel. Photographers put objects in the
    middle.
none
    nothing; the head then only tells objects apart.

`auto` is `far` where background is missing and nothing elsewhere. The rule that was used is kept in the probe.

Measured with a frozen MobileNetV2 and clicks on objects only, val mIoU by rule (share of the image that stands in): on
the demo scenes none .11, border .18, far .27 (0.3), .29 (0.5), .31 (0.7), against .26 with one true background click an
image; on real human clicks on VOC animals far .343 (0.3), .347 (0.5), against .41 with true background clicks. Hence
`far` and a share of one half, which also holds for images that an object fills.
"""

import logging
from dataclasses import replace

import numpy as np
import torch
from jaxtyping import Float, Int64
from torch import Tensor

from labelgen.nets.geometry import Geometry
from segprobe.batches import FeatureSource
from segprobe.labels import ImageLabels, LabelSet
from segprobe.sampling import bilinear_corners, read_logits

__all__ = ["add_background", "background_rule", "far_pixels", "token_pixels"]

log = logging.getLogger(__name__)

MARGIN = 0.05  # of a side, for the rule `border`


def background_rule(rule: str, labels: LabelSet) -> str:
    """The rule in force: none, far or border."""
    missing = labels.vocabulary.background is not None and not labels.counts[labels.vocabulary.background]
    if not missing:
        return "none"
    return "far" if rule == "auto" else rule


def add_background(labels: LabelSet, source: FeatureSource, *, rule: str, share: float) -> LabelSet:
    """Add pixels that are taken for background to every image.

    Parameters
    ----------
    rule
        far or border.
    share
        How many of the tokens of an image become background.
    """
    background = labels.vocabulary.background
    assert background is not None  # background_rule saw to it
    mean, std = (torch.as_tensor(values) for values in (source.mean, source.std))
    images: dict[str, ImageLabels] = {}
    counts = labels.counts.copy()
    for sample_id, image in labels.images.items():
        found = source.features(sample_id, 0)
        rows = (found.tokens.reshape(-1, found.tokens.shape[-1]).float() - mean) / std
        pixels = token_pixels(found.geometry)
        likeness = likeness_to_labels(rows, found.geometry, image, pixels)
        if rule == "border":
            pixels, likeness = _at_border(pixels, likeness, image.size)
        chosen = far_pixels(pixels, likeness, share=share)
        images[sample_id] = image.with_pixels(chosen, background)
        counts[background] += int((images[sample_id].labelled()[1] == background).sum())
    return replace(labels, images=images, counts=counts)


def token_pixels(geometry: Geometry) -> Int64[np.ndarray, "T"]:
    """One pixel of the original image for each token that lies in it: the one nearest to the token's centre."""
    height, width = geometry.size
    u, _ = geometry.token_coordinates(np.arange(height, dtype=np.float64), np.zeros(height))
    _, v = geometry.token_coordinates(np.zeros(width), np.arange(width, dtype=np.float64))
    rows = _nearest(u, geometry.grid[0])
    cols = _nearest(v, geometry.grid[1])
    return (rows[:, None] * width + cols[None, :]).reshape(-1)


def _nearest(positions: Float[np.ndarray, "K"], length: int) -> Int64[np.ndarray, "n"]:
    """Index of the position nearest to each of 0, 1, ..., without those that are more than half a step away."""
    distance = np.abs(positions[None, :] - np.arange(length)[:, None])
    nearest = distance.argmin(axis=1)
    return np.unique(nearest[distance.min(axis=1) <= 0.5])


def likeness_to_labels(
    rows: Float[Tensor, "T D"], geometry: Geometry, labels: ImageLabels, pixels: Int64[np.ndarray, "P"]
) -> Float[np.ndarray, "P"]:
    """Highest cosine similarity of each pixel to a labelled pixel of the same image."""
    labelled, _ = labels.labelled()
    here = _unit_features(rows, geometry, pixels)
    there = _unit_features(rows, geometry, labelled)
    return (here @ there.T).max(dim=1).values.numpy()


def _unit_features(rows: Float[Tensor, "T D"], geometry: Geometry, pixels: np.ndarray) -> Float[Tensor, "P D"]:
    corners, weights = bilinear_corners(geometry, pixels)
    values = read_logits(rows, torch.from_numpy(corners), torch.from_numpy(weights))
    return torch.nn.functional.normalize(values, dim=1)


def far_pixels(
    pixels: Int64[np.ndarray, "P"], likeness: Float[np.ndarray, "P"], *, share: float
) -> Int64[np.ndarray, "K"]:
    """The pixels of least likeness, at least one.

    Examples
    --------
    >>> far_pixels(np.array([10, 11, 12, 13]), np.array([0.9, -0.2, 0.1, 0.8]), share=0.5)
    array([11, 12])
    """
    count = max(1, round(share * len(pixels)))
    return np.sort(pixels[np.argsort(likeness, kind="stable")[:count]])


def _at_border(pixels: np.ndarray, likeness: np.ndarray, size: tuple[int, int]) -> tuple[np.ndarray, np.ndarray]:
    rows, cols = np.divmod(pixels, size[1])
    margin = max(1, round(MARGIN * min(size)))
    inside = (rows >= margin) & (rows < size[0] - margin) & (cols >= margin) & (cols < size[1] - margin)
    if inside.all():  # tokens wider than the margin: take the outermost
        inside = (rows > rows.min()) & (rows < rows.max()) & (cols > cols.min()) & (cols < cols.max())
    return pixels[~inside], likeness[~inside]
