"""Folders of pictures without any truth."""

import numpy as np
import pytest
from PIL import Image

from labelgen.data.open import open_data
from labelgen.errors import DataError, SplitError, VocabularyError


@pytest.fixture
def photos(tmp_path):
    for name, mode in (("b.JPG", "RGB"), ("a/c.png", "L"), ("a/d.jpeg", "RGB")):
        path = tmp_path / "photos" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.full((4, 6), 90, np.uint8)).convert(mode).save(path)
    (tmp_path / "photos" / "notes.txt").write_text("not a picture")
    return tmp_path / "photos"


def test_every_picture_below_the_folder_is_an_image(photos):
    data = open_data(str(photos), vocabulary="voc")
    assert data.spec.kind == "images" and data.ids == ("a/c", "a/d", "b")
    sample = data.load("a/c", {"image"})
    assert sample.size == (4, 6) and sample.image.shape == (4, 6, 3) and sample.truth is None


def test_there_is_no_truth_and_no_split(photos):
    data = open_data(f"images:{photos}", vocabulary="voc")
    with pytest.raises(DataError, match="no ground truth"):
        data.load("b", {"truth"})
    with pytest.raises(SplitError, match="'val' does not exist"):
        open_data(f"images:{photos}", vocabulary="voc", split="val")


def test_the_classes_must_be_named(photos):
    with pytest.raises(VocabularyError, match="must be named"):
        open_data(str(photos))
    (photos / "classes.txt").write_text("rust\npaint\n")
    assert open_data(str(photos)).vocabulary.classes == ("rust", "paint")


def test_a_folder_without_pictures_is_refused(tmp_path):
    with pytest.raises(DataError, match="no picture in"):
        open_data(f"images:{tmp_path}", vocabulary="voc")
