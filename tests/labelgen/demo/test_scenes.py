import hashlib

import numpy as np
import pytest

from labelgen.demo.scenes import LANDSCAPE, PORTRAIT, SCENE_CLASSES, SPLITS, draw_scene

# The bytes of one scene; they must not change with the platform, nor with the releases of numpy and OpenCV.
IMAGE_SHA256 = "63a632ae9f783bd6109ae308d215dd1cf542895ca2ca7f1b88711bf813a94144"
LABELS_SHA256 = "66bace2376852bf26690caab288fd4fff0380d4f72278d7e2e2df9fa663166d7"


def test_scene_bytes_are_the_same_everywhere():
    scene = draw_scene("train", 3)
    assert hashlib.sha256(scene.image.tobytes()).hexdigest() == IMAGE_SHA256
    assert hashlib.sha256(scene.labels.tobytes()).hexdigest() == LABELS_SHA256


def test_scene_depends_on_split_number_and_seed_alone():
    scene = draw_scene("val", 5)
    draw_scene("train", 1)  # drawing another one in between changes nothing
    again = draw_scene("val", 5)
    assert np.array_equal(scene.image, again.image)
    assert np.array_equal(scene.instances, again.instances)
    for other in (draw_scene("train", 5), draw_scene("val", 6), draw_scene("val", 5, seed=1)):
        assert not np.array_equal(scene.image, other.image)


@pytest.mark.parametrize("index", range(6))
def test_truth_is_exact_and_without_void(index):
    scene = draw_scene("train", index)
    assert scene.image.dtype == np.uint8
    assert scene.labels.dtype == np.uint8
    assert scene.instances.dtype == np.int32
    assert scene.image.shape == (*scene.labels.shape, 3) == (*scene.instances.shape, 3)
    assert set(np.unique(scene.labels)) <= set(SCENE_CLASSES)
    assert np.array_equal(scene.labels == 0, scene.instances == 0)
    for number in np.unique(scene.instances[scene.instances > 0]):
        assert len(np.unique(scene.labels[scene.instances == number])) == 1


@pytest.fixture(scope="module")
def drawn():
    """All scenes of each split."""
    return {split: [draw_scene(split, index) for index in range(count)] for split, count in SPLITS.items()}


@pytest.mark.slow
def test_all_classes_and_both_shapes_occur_in_both_splits(drawn):
    for scenes in drawn.values():
        images_with = {class_id: sum(class_id in scene.labels for scene in scenes) for class_id in SCENE_CLASSES}
        assert min(images_with.values()) >= 5, images_with
        assert {scene.labels.shape for scene in scenes} == {LANDSCAPE, PORTRAIT}
        objects = [len(np.unique(scene.instances)) - 1 for scene in scenes]
        assert max(objects) == 4
        assert {1, 2, 3} <= set(objects)


def test_at_least_eight_classes_of_voc():
    assert SCENE_CLASSES[0] == 0
    assert len(SCENE_CLASSES) - 1 >= 8
    assert set(SCENE_CLASSES) <= set(range(21))


@pytest.mark.slow
def test_colour_alone_does_not_tell_the_classes(drawn):
    """Ridge regression on RGB and its products sees little of the foreground."""
    train, val = (drawn[split][:40] for split in ("train", "val"))
    pixels = np.concatenate([_colour_features(scene.image)[::37] for scene in train])
    labels = np.concatenate([scene.labels.ravel()[::37] for scene in train])
    # classes weighed equally, so that the large background does not swallow the others
    targets = (labels[:, None] == np.array(SCENE_CLASSES)).astype(np.float64)
    weight = (targets / targets.sum(axis=0)).sum(axis=1)
    gram = (pixels * weight[:, None]).T @ pixels + 1e-6 * np.eye(pixels.shape[1])
    solution = np.linalg.solve(gram, (pixels * weight[:, None]).T @ (targets - targets.mean(axis=0)))
    intersection, union = np.zeros(len(SCENE_CLASSES)), np.zeros(len(SCENE_CLASSES))
    for scene in val:
        predicted = np.array(SCENE_CLASSES)[(_colour_features(scene.image) @ solution).argmax(axis=1)]
        for position, class_id in enumerate(SCENE_CLASSES):
            here, there = predicted == class_id, scene.labels.ravel() == class_id
            intersection[position] += (here & there).sum()
            union[position] += (here | there).sum()
    foreground_iou = (intersection / union)[1:].mean()
    assert foreground_iou < 0.1


def _colour_features(image: np.ndarray) -> np.ndarray:
    red, green, blue = (image.reshape(-1, 3) / 255.0).T
    squares = [red * red, green * green, blue * blue, red * green, green * blue, red * blue]
    return np.stack([np.ones_like(red), red, green, blue, *squares], axis=1)
