"""The teacher's vectors: what they are of, and what the cache keeps and refuses."""

import numpy as np
import pytest

from labelgen.nets.zeroseg.teacher import TeacherVectors, tile_vectors
from tests.labelgen.nets.zeroseg.toys import Tower


def image_of(seed=0):
    return np.random.default_rng(seed).integers(0, 256, (16, 16, 3), np.uint8)


def test_vectors_are_of_the_tiles_in_their_order():
    image = np.zeros((4, 4, 3), np.uint8)
    image[:2, 2:] = 255  # one white tile of four
    vectors = tile_vectors(Tower(), image, (1, 2)).astype(float)
    white, black = np.array([1, 1, 1, 0, 0, 0]) / 3**0.5, np.array([0, 0, 0, 1, 1, 1]) / 3**0.5
    assert np.allclose(vectors[[1, 3, 4]], black, atol=1e-3)
    assert np.allclose(vectors[2], white, atol=1e-3)
    assert vectors.shape == (5, 6) and 0.2 < vectors[0] @ white < 0.6


def test_the_cache_is_asked_once_and_gives_the_same_bytes(tmp_path):
    tower = Tower()
    teacher = TeacherVectors(tower, (1, 2), tmp_path)
    first = teacher.of(image_of())
    again = TeacherVectors(tower, (1, 2), tmp_path).of(image_of())
    assert tower.asked == 5 and first.dtype == np.float16 and first.tobytes() == again.tobytes()
    assert [p.name for p in tmp_path.rglob("*.tmp")] == []


@pytest.mark.parametrize("change", ["image", "weights", "tiles"])
def test_another_image_model_or_grid_is_computed_anew(tmp_path, change):
    TeacherVectors(Tower(), (1, 2), tmp_path).of(image_of())
    tower = Tower(name="other" if change == "weights" else "tower")
    grids = (1, 3) if change == "tiles" else (1, 2)
    teacher = TeacherVectors(tower, grids, tmp_path)
    teacher.of(image_of(1 if change == "image" else 0))
    assert tower.asked == teacher.num_tiles


@pytest.mark.parametrize("damage", [b"", b"\x93NUMPY nonsense", "zeros", "short"])
def test_a_damaged_file_is_computed_again(tmp_path, damage, caplog):
    tower = Tower()
    teacher = TeacherVectors(tower, (1, 2), tmp_path)
    good = teacher.of(image_of())
    (path,) = tmp_path.rglob("*.npy")
    if isinstance(damage, bytes):
        path.write_bytes(damage)
    else:
        np.save(path, np.zeros_like(good) if damage == "zeros" else good[:-1])
    assert teacher.of(image_of()).tobytes() == good.tobytes()
    assert tower.asked == 10 and "computed again" in caplog.text
    assert np.load(path).tobytes() == good.tobytes()


def test_without_a_folder_nothing_is_kept():
    tower = Tower()
    teacher = TeacherVectors(tower, (1, 2))
    assert teacher.of(image_of()).tobytes() == teacher.of(image_of()).tobytes()
    assert tower.asked == 10
