"""Objects drawn too small or too large, relative to their own size."""

from typing import Any

import numpy as np

from labelgen.masks import LabelMap
from labelgen.methods.corruptions.scene import Scene, distance_within, nearest_values

__all__ = ["dilate", "erode", "mixed"]

MIXED_STEPS = (2, 3, 4)  # ADELE draws 2 to 4 iterations on objects scaled to 1000 pixels


def erode(scene: Scene, level: float, rng: np.random.Generator) -> tuple[LabelMap, dict[str, Any]]:
    """Take a rim off each object: `level` times the radius of the disk of its area, where the image goes on."""
    objects = scene.objects
    depth = np.zeros(scene.labels.shape, np.float32)
    for class_id in np.unique(objects.class_ids[1:]):
        mask = scene.labels == class_id
        depth[mask] = distance_within(mask)[mask]
    reach = (level * objects.radii).astype(np.float32)
    lost = (objects.ids > 0) & (depth <= reach[objects.ids])
    labels = scene.labels.copy()
    labels[lost] = scene.empty
    return labels, {}


def dilate(scene: Scene, level: float, rng: np.random.Generator) -> tuple[LabelMap, dict[str, Any]]:
    """Grow each object over the background by `level` times the radius of the disk of its area."""
    objects = scene.objects
    labels = scene.labels.copy()
    if not objects.indices:
        return labels, {}
    nearest, distance = nearest_values(objects.ids, objects.ids > 0)
    reach = (level * objects.radii).astype(np.float32)
    gained = (scene.labels == scene.background) & (distance <= reach[nearest])
    labels[gained] = objects.class_ids[nearest[gained]]
    return labels, {}


def mixed(scene: Scene, level: float, rng: np.random.Generator) -> tuple[LabelMap, dict[str, Any]]:
    """Erode or dilate the whole image, by the toss of a coin, at 2, 3 or 4 quarters of `level`.

    References
    ----------
    .. [1] Liu et al., "Adaptive early-learning correction" (ADELE), CVPR 2022, arXiv 2110.03740: the noise of its
       medical data, there made by iterations of a 3x3 kernel on each class scaled to 1000 pixels; here by radius.
    """
    direction = (erode, dilate)[int(rng.integers(2))]
    strength = level * int(rng.choice(MIXED_STEPS)) / max(MIXED_STEPS)
    labels, _ = direction(scene, strength, rng)
    return labels, {"direction": direction.__name__, "strength": strength}
