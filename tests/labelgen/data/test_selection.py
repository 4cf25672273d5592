import pytest

from labelgen.data import open_data
from labelgen.data.selection import id_of_line
from labelgen.errors import DataError


def test_ids_file_and_limit(voc):
    ids_file = voc.lines("ids.txt", "", " b ", "a", "b")
    assert open_data(str(voc.root), ids_file=str(ids_file)).ids == ("a", "b")
    assert open_data(str(voc.root), ids_file=str(ids_file), limit=1).ids == ("a",)
    assert open_data(str(voc.root), limit=5).ids == ("a", "b")


def test_ids_outside_the_split_are_named(voc):
    ids_file = voc.lines("ids.txt", "a", "c", "z")
    with pytest.raises(DataError, match=r"2 ids of .*ids\.txt are not in split 'train' of .*: c, z"):
        open_data(str(voc.root), ids_file=str(ids_file))


def test_ids_file_missing_empty_or_binary(voc):
    with pytest.raises(DataError, match="list of ids cannot be read"):
        open_data(str(voc.root), ids_file=str(voc.root / "nowhere.txt"))
    with pytest.raises(DataError, match="no id in"):
        open_data(str(voc.root), ids_file=str(voc.lines("ids.txt", "")))
    (voc.root / "ids.txt").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(DataError, match="list of ids cannot be read"):
        open_data(str(voc.root), ids_file=str(voc.root / "ids.txt"))


def test_byte_order_mark_is_no_part_of_the_first_id(voc):
    (voc.root / "ids.txt").write_bytes(b"\xef\xbb\xbfa\r\nb\r\n")
    assert open_data(str(voc.root), ids_file=str(voc.root / "ids.txt")).ids == ("a", "b")


def test_lists_of_published_code_name_the_same_ids(voc):
    psa = voc.lines("psa.txt", "/JPEGImages/b.jpg /SegmentationClassAug/b.png", "/JPEGImages/a.jpg")
    assert open_data(str(voc.root), ids_file=str(psa)).ids == ("a", "b")
    with_classes = voc.lines("coco.txt", "b 0 14")
    assert open_data(str(voc.root), ids_file=str(with_classes)).ids == ("b",)


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("a.b", "a.b"),  # a dot is no suffix where no file is named
        ("/VOC2012/JPEGImages/x/2007.a.jpg", "x/2007.a"),
        ("/elsewhere/x.jpg /masks/y.png", "x"),
        ("name with blanks", "name with blanks"),
        ("x 3 71", "x"),
    ],
)
def test_id_of_a_line(line, expected):
    assert id_of_line(line) == expected
    assert id_of_line(line, {line}) == line
