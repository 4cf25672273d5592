"""Right outlines with wrong classes, and objects that are missing or made up."""

from typing import Any

import numpy as np

from labelgen.masks import LabelMap
from labelgen.methods.corruptions.scene import Scene

__all__ = ["add", "classes", "drop", "pixels"]


def pixels(scene: Scene, level: float, rng: np.random.Generator) -> tuple[LabelMap, dict[str, Any]]:
    """Flip each pixel with probability `level`: background to a random class, a class to background.

    Without a background class, to another random class.
    """
    flipped = (rng.random(scene.labels.shape, np.float32) < level) & (scene.labels != scene.ignore)
    old = scene.labels[flipped].astype(np.int64)
    steps = rng.integers(1, scene.num_classes, old.size)
    new = (old + steps) % scene.num_classes
    if scene.background is not None:
        new[old != scene.background] = scene.background
    labels = scene.labels.copy()
    labels[flipped] = new
    return labels, {}


def classes(scene: Scene, level: float, rng: np.random.Generator) -> tuple[LabelMap, dict[str, Any]]:
    """Give each object, with probability `level`, a class that its own is taken for; see `Scene.confusion`."""
    objects = scene.objects
    table = objects.class_ids.astype(scene.labels.dtype)
    chosen = rng.random(len(table)) < level
    draws = rng.random(len(table))
    changed = 0
    for index in objects.indices:
        row = scene.confusion[objects.class_ids[index]]
        if not chosen[index] or not row.any():
            continue
        table[index] = min(int(np.searchsorted(row.cumsum(), draws[index], side="right")), int(row.nonzero()[0][-1]))
        changed += 1
    labels = np.where(objects.ids > 0, table[objects.ids], scene.labels)
    return labels, {"objects": len(objects.indices), "objects_changed": changed}


def drop(scene: Scene, level: float, rng: np.random.Generator) -> tuple[LabelMap, dict[str, Any]]:
    """Forget each object with probability `level`."""
    objects = scene.objects
    lost = rng.random(len(objects.class_ids)) < level
    lost[0] = False
    labels = scene.labels.copy()
    labels[lost[objects.ids]] = scene.empty
    return labels, {"objects": len(objects.indices), "objects_dropped": int(lost.sum())}


def add(scene: Scene, level: float, rng: np.random.Generator) -> tuple[LabelMap, dict[str, Any]]:
    """Copy each object, with probability `level`, to a random place of the background, mirrored or not.

    Only shapes of the same image can be copied: a method sees one image at a time. Without a background class the
    copy covers whatever is there.
    """
    objects = scene.objects
    free = scene.labels == scene.background if scene.background is not None else np.ones(scene.labels.shape, bool)
    others = _absent_classes(scene)
    labels = scene.labels.copy()
    added = 0
    for index in objects.indices:
        if rng.random() >= level:
            continue
        shape = objects.ids[objects.crop(index)] == index
        if rng.random() < 0.5:
            shape = shape[:, ::-1]
        top = int(rng.integers(labels.shape[0] - shape.shape[0] + 1))
        left = int(rng.integers(labels.shape[1] - shape.shape[1] + 1))
        crop = slice(top, top + shape.shape[0]), slice(left, left + shape.shape[1])
        same = scene.false_class == "same" or not len(others)
        labels[crop][shape & free[crop]] = objects.class_ids[index] if same else rng.choice(others)
        added += bool((shape & free[crop]).any())
    return labels, {"objects": len(objects.indices), "objects_added": added}


def _absent_classes(scene: Scene) -> np.ndarray:
    """Classes that are not in the label map, background left out."""
    present = {int(i) for i in scene.objects.class_ids[1:]} | {scene.background}
    return np.array([i for i in range(scene.num_classes) if i not in present], np.int64)
