"""Labels known only in part, or only at a coarse grain."""

from typing import Any

import cv2
import numpy as np

from labelgen.masks import LabelMap
from labelgen.methods.corruptions.scene import Scene, distance_within, find_objects

__all__ = ["band", "blocks", "interior", "resolution", "superpixel"]

BAND_WIDTH = 20.0  # pixels on each side of a boundary, at level 1
RESOLUTION_FACTOR = 64.0  # at level 1
FINEST_SUPERPIXELS = 5000  # towards level 0
COARSENESS = 100.0  # fewer superpixels at level 1, by this factor
SLIC_COMPACTNESS = 10.0  # colour against place, as its authors recommend
SLIC_STEPS = 5


def interior(scene: Scene, level: float, rng: np.random.Generator) -> tuple[LabelMap, dict[str, Any]]:
    """Take the `level` share of each region's pixels away that lie nearest to its boundary; background too."""
    regions = find_objects(scene.labels, skip=(scene.ignore,))
    labels = np.full_like(scene.labels, scene.ignore)
    for class_id in np.unique(regions.class_ids[1:]):
        depth = distance_within(scene.labels == class_id)
        for index in np.flatnonzero(regions.class_ids == class_id):
            if index == 0:
                continue
            crop = regions.crop(int(index))
            pixels = np.flatnonzero(regions.ids[crop] == index)
            count = int(np.floor((1 - level) * pixels.size + 0.5))
            kept = pixels[_deepest(depth[crop].reshape(-1)[pixels], count)]
            rows, cols = np.unravel_index(kept, regions.ids[crop].shape)
            labels[crop][rows, cols] = class_id
    return labels, {}


def _deepest(depth: np.ndarray, count: int) -> np.ndarray:
    """Indices of the `count` largest values; of equal ones at the limit the first."""
    if count in (0, depth.size):
        return np.arange(count)
    limit = np.partition(depth, depth.size - count)[depth.size - count]
    above = np.flatnonzero(depth > limit)
    return np.concatenate([above, np.flatnonzero(depth == limit)[: count - len(above)]])


def blocks(scene: Scene, level: float, rng: np.random.Generator) -> tuple[LabelMap, dict[str, Any]]:
    """Keep evenly spread square blocks that cover a share of 1 - `level` of the image; a checkerboard at one half.

    References
    ----------
    .. [1] Lin et al., "Block annotation", ICCV 2019, arXiv 2002.06626.
    """
    height, width = (-(-length // scene.block_size) for length in scene.labels.shape)
    order = np.roll(_dither(3), rng.integers(0, 8, 2).tolist(), axis=(0, 1))
    rank = np.tile(order, (-(-height // 8), -(-width // 8)))[:height, :width]
    kept = rank < np.floor((1 - level) * 64 + 0.5)
    kept = kept.repeat(scene.block_size, 0).repeat(scene.block_size, 1)[
        : scene.labels.shape[0], : scene.labels.shape[1]
    ]
    return np.where(kept, scene.labels, scene.labels.dtype.type(scene.ignore)), {}


def _dither(depth: int) -> np.ndarray:
    """Bayer's order of the cells of a square of side 2^depth: every prefix of it is spread evenly."""
    order = np.zeros((1, 1), np.int64)
    for _ in range(depth):
        order = np.block([[4 * order, 4 * order + 2], [4 * order + 3, 4 * order + 1]])
    return order


def band(scene: Scene, level: float, rng: np.random.Generator) -> tuple[LabelMap, dict[str, Any]]:
    """Leave a band along every boundary between classes unlabelled, `level` times 20 pixels to each side."""
    labels = scene.labels.copy()
    for class_id in np.flatnonzero(np.bincount(scene.labels.reshape(-1))):
        if class_id != scene.ignore:
            mask = scene.labels == class_id
            labels[mask & (distance_within(mask) <= level * BAND_WIDTH)] = scene.ignore
    return labels, {}


def resolution(scene: Scene, level: float, rng: np.random.Generator) -> tuple[LabelMap, dict[str, Any]]:
    """Reduce the map by 64 to the power of `level`, each cell to its most frequent class, and enlarge it again."""
    height, width = scene.labels.shape
    factor = RESOLUTION_FACTOR**level
    small = max(1, round(width / factor)), max(1, round(height / factor))
    present = np.flatnonzero(np.bincount(scene.labels.reshape(-1)))
    shares = [
        cv2.resize((scene.labels == class_id).astype(np.float32), small, interpolation=cv2.INTER_AREA)
        for class_id in present
    ]
    coarse = present[np.argmax(shares, axis=0)].astype(scene.labels.dtype)
    rows = (np.arange(height) * small[1] // height)[:, None]
    return coarse[rows, np.arange(width) * small[0] // width], {"factor": round(factor, 3)}


def superpixel(scene: Scene, level: float, rng: np.random.Generator) -> tuple[LabelMap, dict[str, Any]]:
    """Give each superpixel of the image the label of most of its pixels; 5000 superpixels towards level 0, 50 at 1.

    SLIC runs on the image at half size, for speed.

    References
    ----------
    .. [1] Achanta et al., "SLIC superpixels", TPAMI 2012.
    """
    from skimage.segmentation import slic

    assert scene.image is not None  # the builder asks for it
    height, width = scene.labels.shape
    half = cv2.resize(scene.image, (-(-width // 2), -(-height // 2)), interpolation=cv2.INTER_AREA)
    count = round(FINEST_SUPERPIXELS * COARSENESS**-level)
    segments = slic(half, count, compactness=SLIC_COMPACTNESS, max_num_iter=SLIC_STEPS, start_label=0)
    segments = segments.repeat(2, 0).repeat(2, 1)[:height, :width]
    present, votes = np.unique(scene.labels, return_inverse=True)
    counts = np.bincount(
        segments.reshape(-1) * len(present) + votes.reshape(-1), minlength=(int(segments.max()) + 1) * len(present)
    ).reshape(-1, len(present))
    return present[counts.argmax(axis=1)][segments], {"superpixels": len(counts)}
