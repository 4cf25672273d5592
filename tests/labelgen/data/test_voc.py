import numpy as np
import pytest
from PIL import Image

from labelgen.data import open_data
from labelgen.errors import DataError, ShapeError


def test_split_ids_truth_and_image(voc):
    data = open_data(f"voc:{voc.root}", split="train")
    assert data.ids == ("a", "b")
    assert data.vocabulary.name == "voc"
    assert data.truth("a").tolist() == [[0, 15, 255], [0, 15, 3]]
    sample = data.load("a", {"image", "truth", "tags"})
    assert sample.size == (2, 3)
    assert sample.image.shape == (2, 3, 3)
    assert sample.tags == {3, 15}
    assert sample.instances is None


def test_default_split_is_train_else_the_only_one(voc):
    assert open_data(str(voc.root)).spec.split == "train"
    for name in ("train", "test"):
        (voc.root / f"ImageSets/Segmentation/{name}.txt").unlink()
    assert open_data(str(voc.root)).spec.split == "val"


def test_several_splits_without_train_must_be_chosen(voc):
    (voc.root / "ImageSets/Segmentation/train.txt").unlink()
    with pytest.raises(DataError, match="a split must be chosen") as caught:
        open_data(str(voc.root))
    assert "test, val" in caught.value.hint


def test_unknown_and_empty_split_list_those_there(voc):
    for split, message in (("trainval", "'trainval' does not exist"), ("test", "no image in split 'test'")):
        with pytest.raises(DataError, match=message) as caught:
            open_data(str(voc.root), split=split)
        assert "test, train, val" in caught.value.hint


def test_without_lists_all_masks_are_used(make):
    make.ids("SegmentationClass/x.png", [[0]])
    data = open_data(str(make.root))
    assert (data.spec.split, data.ids) == ("", ("x",))


def test_lists_of_paths_as_of_the_augmented_set(voc):
    voc.lines("ImageSets/Segmentation/train_aug.txt", "/JPEGImages/c.jpg /SegmentationClassAug/c.png")
    assert open_data(str(voc.root), split="train_aug").ids == ("c",)


def test_ids_with_dots_and_spaces(make):
    make.ids("SegmentationClass/frame 1.v2.png", [[0]])
    make.lines("ImageSets/Segmentation/train.txt", "frame 1.v2")
    assert open_data(str(make.root)).load("frame 1.v2", {"truth"}).size == (1, 1)


def test_augmented_masks_fill_gaps_only(voc):
    voc.ids("SegmentationClassAug/a.png", [[9, 9, 9], [9, 9, 9]])
    voc.ids("SegmentationClassAug/d.png", [[8, 8, 8], [8, 8, 8]])
    voc.lines("ImageSets/Segmentation/train_aug.txt", "a", "d")
    data = open_data(str(voc.root), split="train_aug")
    assert data.truth("a")[0, 1] == 15
    assert data.truth("d")[0, 1] == 8


def test_truth_alone_is_enough(voc):
    for path in (voc.root / "JPEGImages").iterdir():
        path.unlink()
    (voc.root / "JPEGImages").rmdir()
    data = open_data(str(voc.root))
    assert data.load("a", {"truth", "tags"}).size == (2, 3)
    assert data.load("a", set()).size == (2, 3)
    with pytest.raises(DataError, match=r"image of 'a' not found: looked for JPEGImages/a\.jpg"):
        data.load("a", {"image"})


def test_images_in_any_case(voc):
    (voc.root / "JPEGImages/a.jpg").rename(voc.root / "JPEGImages/a.JPEG")
    (voc.root / "JPEGImages/b.jpg").unlink()
    voc.image("JPEGImages/b.PNG")
    data = open_data(str(voc.root))
    assert data.image("a").shape == data.image("b").shape == (2, 3, 3)


def test_two_images_of_one_name_are_refused(voc):
    voc.image("JPEGImages/a.png")
    with pytest.raises(DataError, match="two files share the name 'a'"):
        open_data(str(voc.root))


def test_objects_give_instances(voc):
    voc.ids("SegmentationObject/a.png", [[0, 1, 255], [0, 1, 2]])
    data = open_data(str(voc.root))
    assert data.load("a", {"truth"}).instances.tolist() == [[0, 1, 0], [0, 1, 2]]
    assert data.load("b", {"truth"}).instances is None
    assert data.load("a", {"image"}).instances is None


def test_objects_of_another_size(voc):
    voc.ids("SegmentationObject/a.png", [[0, 1]])
    with pytest.raises(ShapeError, match=r"instances must have the size of their image, 2 x 3 .* got 1 x 2"):
        open_data(str(voc.root)).load("a", {"truth"})


@pytest.mark.parametrize("fields", [{"truth"}, {"truth", "image"}, {"tags"}])
def test_mask_of_another_size_is_refused_even_when_only_truth_is_read(voc, fields):
    voc.ids("SegmentationClass/a.png", [[0, 15], [0, 15], [0, 15]])
    with pytest.raises(ShapeError, match=r"its image, 2 x 3 .* got 3 x 2 .* in .*a\.png") as caught:
        open_data(str(voc.root)).load("a", fields)
    assert "a.jpg" in caught.value.hint


def test_foreign_id_names_id_file_and_cure(voc):
    voc.ids("SegmentationClass/a.png", [[0, 21, 255], [0, 137, 3]])
    with pytest.raises(DataError, match=r"the ids 0-20, 255, got 21, 137 in .*a\.png") as caught:
        open_data(str(voc.root)).truth("a")
    assert "--vocab" in caught.value.hint


def test_missing_mask(voc):
    (voc.root / "SegmentationClass/a.png").unlink()
    data = open_data(str(voc.root))
    assert data.load("a", {"image"}).size == (2, 3)
    expected = r"mask of 'a' not found: looked for SegmentationClass/a\.png or SegmentationClassAug/a\.png"
    with pytest.raises(DataError, match=expected):
        data.load("a", {"truth"})


def test_rgb_and_truncated_masks(voc):
    Image.new("RGB", (3, 2)).save(voc.root / "SegmentationClass/a.png")
    path = voc.root / "SegmentationClass/b.png"
    path.write_bytes(path.read_bytes()[:-25])
    data = open_data(str(voc.root))
    with pytest.raises(DataError, match="mode RGB"):
        data.truth("a")
    with pytest.raises(DataError, match=r"cannot be read: .*b\.png"):
        data.truth("b")


def test_truncated_image(voc):
    path = voc.root / "JPEGImages/a.jpg"
    path.write_bytes(path.read_bytes()[:10])
    data = open_data(str(voc.root))
    for fields in ({"image"}, {"truth"}, set()):
        with pytest.raises(DataError, match=r"image cannot be read: .*a\.jpg"):
            data.load("a", fields)


def test_voc20_has_no_background(voc):
    data = open_data(str(voc.root), vocabulary="voc20")
    assert data.truth("a").tolist() == [[255, 14, 255], [255, 14, 2]]
    assert data.load("a", {"tags"}).tags == {14, 2}


def test_context_reads_its_own_folders(voc):
    voc.ids("SegmentationClassContext/p.png", [[0, 59, 1]])
    voc.lines("ImageSets/SegmentationContext/train.txt", "p")
    assert open_data(str(voc.root), vocabulary="context60").truth("p").tolist() == [[0, 59, 1]]
    assert open_data(str(voc.root), vocabulary="context59").truth("p").tolist() == [[255, 58, 0]]


def test_download_folder_around_it(voc):
    outer = voc.root.parent / "outer" / "VOCdevkit"
    outer.mkdir(parents=True)
    voc.root.rename(outer / "VOC2012")
    assert open_data(str(outer.parent)).ids == ("a", "b")
    assert open_data(str(outer)).ids == ("a", "b")


def test_wrong_folder(make):
    make.lines("readme.txt", "nothing")
    with pytest.raises(DataError, match="no VOC data in") as caught:
        open_data(f"voc:{make.root}")
    assert "SegmentationClass/" in caught.value.hint


def test_returned_truth_is_writable(voc):
    truth = open_data(str(voc.root)).truth("a")
    truth[0, 0] = 255
    assert truth.dtype == np.uint8
