"""ADE20K, Cityscapes and CamVid."""

import numpy as np
import pytest
from PIL import Image

from labelgen.data import open_data
from labelgen.errors import DataError


@pytest.fixture
def ade20k(make):
    make.image("images/training/t1.jpg", (1, 3))
    make.ids("annotations/training/t1.png", [[0, 1, 150]])
    make.image("images/validation/v1.jpg", (1, 3))
    make.ids("annotations/validation/v1.png", [[0, 13, 151]])
    return make


def test_ade20k_raw_zero_is_void(ade20k):
    data = open_data(str(ade20k.root))
    assert (data.spec.kind, data.spec.split, data.ids) == ("ade20k", "train", ("t1",))
    assert data.truth("t1").tolist() == [[255, 0, 149]]
    assert data.load("t1", {"tags"}).tags == {0, 149}


def test_ade20k_split_names_and_foreign_id(ade20k):
    data = open_data(str(ade20k.root), split="validation")
    assert data.spec.split == open_data(str(ade20k.root), split="val").spec.split == "val"
    with pytest.raises(DataError, match=r"the ids 0-150, 255, got 151 in .*v1\.png"):
        data.truth("v1")
    with pytest.raises(DataError, match="split 'test' does not exist"):
        open_data(str(ade20k.root), split="test")


def test_ade20k_in_its_download_folder(ade20k):
    outer = ade20k.root.parent / "outer"
    outer.mkdir()
    ade20k.root.rename(outer / "ADEChallengeData2016")
    assert open_data(str(outer)).ids == ("t1",)


def test_ade20k_wrong_folder(tmp_path):
    with pytest.raises(DataError, match="no ADE20K data"):
        open_data(f"ade20k:{tmp_path}")


@pytest.fixture
def cityscapes(make):
    stem = "aachen/aachen_000000_000019"
    make.image(f"leftImg8bit/train/{stem}_leftImg8bit.png", (1, 4))
    make.ids(f"gtFine/train/{stem}_gtFine_labelIds.png", [[7, 26, 3, 33]])
    make.ids(f"gtFine/train/{stem}_gtFine_instanceIds.png", [[7, 26001, 3, 33000]], np.uint16)
    make.image("leftImg8bit/val/bonn/bonn_000001_000019_leftImg8bit.png", (1, 2))
    make.ids("gtFine/val/bonn/bonn_000001_000019_gtFine_labelTrainIds.png", [[18, 255]])
    return make


def test_cityscapes_label_ids_and_instances(cityscapes):
    data = open_data(str(cityscapes.root))
    assert (data.spec.kind, data.spec.split) == ("cityscapes", "train")
    assert data.ids == ("aachen/aachen_000000_000019",)
    sample = data.load(data.ids[0], {"image", "truth"})
    assert sample.truth.tolist() == [[0, 13, 255, 18]]
    assert sample.instances.tolist() == [[0, 26001, 0, 33000]]


def test_cityscapes_train_ids(cityscapes):
    data = open_data(str(cityscapes.root), split="val")
    assert data.truth("bonn/bonn_000001_000019").tolist() == [[18, 255]]
    assert data.load("bonn/bonn_000001_000019", {"truth"}).instances is None


def test_cityscapes_foreign_id(cityscapes):
    path = "gtFine/train/aachen/aachen_000000_000019_gtFine_labelIds.png"
    cityscapes.ids(path, [[7, 26, 3, 34]])
    with pytest.raises(DataError, match="got 34"):
        open_data(str(cityscapes.root)).truth("aachen/aachen_000000_000019")


def test_cityscapes_split_without_files(cityscapes):
    (cityscapes.root / "leftImg8bit/test").mkdir()
    with pytest.raises(DataError, match="no image in split 'test'") as caught:
        open_data(str(cityscapes.root), split="test")
    assert "test, train, val" in caught.value.hint


@pytest.fixture
def camvid(make):
    for split in ("train", "val"):
        make.image(f"{split}/{split}1.png", (1, 3))
        make.ids(f"{split}annot/{split}1.png", [[0, 10, 11]])
    return make


def test_camvid_eleven_is_void(camvid):
    data = open_data(str(camvid.root))
    assert (data.spec.kind, data.spec.split, data.ids) == ("camvid", "train", ("train1",))
    assert data.truth("train1").tolist() == [[0, 10, 255]]


def test_camvid_colour_masks_are_refused(camvid):
    Image.new("RGB", (3, 1)).save(camvid.root / "valannot/val1.png")
    with pytest.raises(DataError, match="mode RGB"):
        open_data(str(camvid.root), split="val").truth("val1")


def test_camvid_unknown_split(camvid):
    with pytest.raises(DataError, match="split 'test' does not exist") as caught:
        open_data(str(camvid.root), split="test")
    assert "train, val" in caught.value.hint
