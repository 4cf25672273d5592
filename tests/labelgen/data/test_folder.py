import pytest

from labelgen.data import open_data
from labelgen.errors import DataError, VocabularyError


@pytest.fixture
def folder(make):
    make.image("images/x.jpg")
    make.image("images/deep/er/y.PNG")
    make.ids("masks/x.png", [[0, 1, 255], [0, 1, 1]])
    make.ids("masks/deep/er/y.png", [[0, 0, 0], [2, 2, 2]])
    make.lines("classes.txt", "background", "leaf", "stone")
    return make


def test_pairs_by_relative_name(folder):
    data = open_data(str(folder.root))
    assert data.spec.kind == "folder"
    assert data.ids == ("deep/er/y", "x")
    assert data.vocabulary.classes == ("background", "leaf", "stone")
    assert data.vocabulary.background == 0
    assert data.load("deep/er/y", {"image", "tags"}).tags == {2}


def test_classes_must_be_named(folder):
    (folder.root / "classes.txt").unlink()
    with pytest.raises(VocabularyError, match="must be named") as caught:
        open_data(str(folder.root))
    assert "--vocab" in caught.value.hint
    assert open_data(str(folder.root), vocabulary="voc").vocabulary.name == "voc"


def test_classes_without_background(folder):
    folder.lines("classes.txt", "sky", "leaf", "stone")
    assert open_data(str(folder.root)).vocabulary.background is None


def test_a_blank_line_among_the_classes_would_shift_ids(folder):
    folder.lines("classes.txt", "background", "", "stone")
    with pytest.raises(VocabularyError, match=r"line 2 is blank in .*classes\.txt"):
        open_data(str(folder.root))
    folder.lines("classes.txt", "background", "leaf", "stone", "", " ")
    assert open_data(str(folder.root)).vocabulary.classes == ("background", "leaf", "stone")


def test_classes_that_are_no_text(folder):
    (folder.root / "classes.txt").write_bytes(b"\xff\xfe\xff")
    with pytest.raises(VocabularyError, match=r"class names cannot be read: .*classes\.txt"):
        open_data(str(folder.root))


def test_toml_in_the_folder_says_which_ids_the_files_hold(folder):
    folder.lines("vocabulary.toml", 'classes = ["leaf", "stone"]', "raw_ids = [1, 2]", "void_ids = [0]")
    assert open_data(str(folder.root)).truth("x").tolist() == [[255, 0, 255], [255, 0, 0]]


def test_binary_masks_of_0_and_255(folder):
    folder.lines("vocabulary.toml", 'classes = ["background", "leaf"]', "background = 0", "raw_ids = [0, 255]")
    folder.ids("masks/x.png", [[0, 255, 255], [0, 0, 255]])
    assert open_data(str(folder.root)).truth("x").tolist() == [[0, 1, 1], [0, 0, 1]]


def test_built_in_vocabulary_means_vocabulary_ids(folder):
    """Predictions and converted masks hold ids as they are used, not those of the original files."""
    assert open_data(str(folder.root), vocabulary="ade20k").truth("x").tolist() == [[0, 1, 255], [0, 1, 1]]


def test_splits_as_subfolders(make):
    for split, name in (("train", "a"), ("val", "b")):
        make.image(f"img_dir/{split}/{name}.jpg")
        make.ids(f"ann_dir/{split}/{name}.png", [[0, 1, 1], [0, 1, 1]])
    data = open_data(str(make.root), vocabulary="voc")
    assert (data.spec.split, data.ids) == ("train", ("a",))
    assert open_data(str(make.root), vocabulary="voc", split="val").ids == ("b",)
    with pytest.raises(DataError, match="split 'test' does not exist") as caught:
        open_data(str(make.root), vocabulary="voc", split="test")
    assert "train, val" in caught.value.hint


def test_splits_as_lists(folder):
    folder.lines("val.txt", "x")
    data = open_data(str(folder.root), split="val")
    assert data.ids == ("x",)
    assert data.load("x", {"image", "truth"}).size == (2, 3)


def test_wanted_split_where_there_is_none(folder):
    with pytest.raises(DataError, match="split 'val' does not exist") as caught:
        open_data(str(folder.root), split="val")
    assert caught.value.hint == "it has no splits: leave --split out"


def test_masks_alone_and_images_alone(folder):
    for path in (folder.root / "images").rglob("*.*"):
        path.unlink()
    data = open_data(str(folder.root))
    assert data.load("x", {"truth"}).size == (2, 3)
    for path in (folder.root / "masks").rglob("*.png"):
        path.unlink()
    folder.image("images/z.jpg")
    data = open_data(str(folder.root))
    assert data.load("z", {"image"}).size == (2, 3)
    with pytest.raises(DataError, match="no ground truth for 'z'") as caught:
        data.load("z", {"tags"})
    assert "--tags" in caught.value.hint


def test_an_image_without_mask_is_an_error_of_that_image(folder):
    folder.image("images/lonely.jpg")
    data = open_data(str(folder.root))
    assert "lonely" in data.ids
    with pytest.raises(DataError, match=r"mask of 'lonely' not found: looked for masks/lonely\.png"):
        data.truth("lonely")


def test_nothing_matches(make):
    make.image("images/a.jpg")
    make.ids("masks/a_mask.png", [[0]])
    with pytest.raises(DataError, match=r"no image has a mask of the same name .* images/a\.jpg") as caught:
        open_data(str(make.root), vocabulary="voc")
    assert "masks/a_mask.png" in caught.value.hint


def test_empty_folder(make):
    (make.root / "images").mkdir(parents=True)
    with pytest.raises(DataError, match="no image in"):
        open_data(str(make.root), vocabulary="voc")


def test_hidden_files_do_not_count(folder):
    folder.lines("images/._x.jpg", "resource fork")
    assert open_data(str(folder.root)).ids == ("deep/er/y", "x")
