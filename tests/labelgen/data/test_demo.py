import numpy as np
import pytest

from labelgen.data import open_data, reopen
from labelgen.errors import DataError


def test_scenes_have_image_truth_instances_and_tags():
    data = open_data("demo", split="val", limit=3)
    assert data.ids == ("val_0000", "val_0001", "val_0002")
    assert data.tags_source == "truth"
    sample = data.load("val_0001", {"image", "truth", "tags"})
    assert sample.image.shape == (*sample.size, 3)
    assert sample.truth.dtype == np.uint8
    assert sample.instances.dtype == np.int32
    assert sample.tags == set(np.unique(sample.truth)) - {0}
    assert np.array_equal(sample.instances > 0, sample.truth > 0)


def test_only_what_is_asked_for():
    data = open_data("demo", limit=1)
    sample = data.load(data.ids[0], {"tags"})
    assert sample.image is sample.truth is sample.instances is None
    assert sample.tags


def test_default_split_is_train_and_splits_differ():
    train, val = open_data("demo"), open_data("demo", split="val")
    assert train.spec.split == "train"
    assert not set(train.ids) & set(val.ids)


def test_more_scenes_begin_with_the_usual_ones():
    more, usual = open_data("demo:200", split="train"), open_data("demo", split="train")
    assert more.ids[:160] == usual.ids
    assert len(more.ids) == 200
    assert np.array_equal(more.truth("train_0003"), usual.truth("train_0003"))
    assert more.truth("train_0199").any()
    assert reopen(more.spec).ids == more.ids
    assert open_data("demo:3", split="val").ids == ("val_0000", "val_0001", "val_0002")


def test_what_is_returned_belongs_to_the_caller():
    data = open_data("demo", limit=1)
    data.image(data.ids[0])[:] = 0
    data.truth(data.ids[0])[:] = 0
    assert data.image(data.ids[0]).any()
    assert data.truth(data.ids[0]).any()


def test_voc20_makes_background_void():
    plain = open_data("demo", limit=1).truth("train_0000")
    shifted = open_data("demo", limit=1, vocabulary="voc20").truth("train_0000")
    assert np.array_equal(shifted, np.where(plain == 0, 255, plain - 1))


def test_unknown_split_and_id():
    with pytest.raises(DataError, match="split 'test' does not exist") as caught:
        open_data("demo", split="test")
    assert "train, val" in caught.value.hint
    with pytest.raises(DataError, match="no demo scene 'val_0000'"):
        open_data("demo").image("val_0000")


def test_unknown_field_is_a_bug():
    with pytest.raises(ValueError, match="got \\['depth'\\]"):
        open_data("demo").load("train_0000", {"depth"})
