import numpy as np
import pytest

from labelgen.data import open_data
from labelgen.data.tags import open_tags
from labelgen.errors import DataError
from labelgen.vocab import load_vocabulary


def tags(voc, path, sample_id="a"):
    return open_data(str(voc.root), tags=str(path)).load(sample_id, {"tags"}).tags


def test_json_by_name_alias_and_id(voc):
    path = voc.lines("tags.json", '{"a": ["plane", "person"], "b": [3, 0]}')
    data = open_data(str(voc.root), tags=str(path))
    assert data.tags_source == str(path)
    assert data.load("a", {"tags"}).tags == {1, 15}
    assert data.load("b", {"tags"}).tags == {3}  # background is no tag


def test_csv_with_and_without_heading(voc):
    assert tags(voc, voc.lines("tags.csv", "id,classes", "a,person, dog", "b")) == {15, 12}
    assert tags(voc, voc.lines("tags.csv", "a,person", "b")) == {15}
    assert tags(voc, voc.lines("tags.csv", "a,person", "b"), "b") == frozenset()


def test_csv_of_one_class_a_line(voc):
    assert tags(voc, voc.lines("tags.csv", "a,person", "b,cat", "a,dog")) == {15, 12}


def vectors(voc, content):
    np.save(voc.root / "cls_labels.npy", content, allow_pickle=True)
    return voc.root / "cls_labels.npy"


def test_vectors_of_published_code(voc):
    of_a, of_b = np.zeros(20, np.float32), np.zeros(20, np.float32)
    of_a[[0, 14]] = 1  # numbered from 0 without background: aeroplane and person
    path = vectors(voc, {"a": of_a, "b": of_b})
    assert tags(voc, path) == {1, 15} and tags(voc, path, "b") == frozenset()
    irn = open_tags(str(vectors(voc, {2007000032: of_a})), load_vocabulary("voc"))
    assert irn is not None and irn.tags("2007_000032") == {1, 15}
    with pytest.raises(DataError, match=r"one number for each of the 20 classes.*shape \(21,\) for 'a'"):
        tags(voc, vectors(voc, {"a": np.zeros(21)}))
    with pytest.raises(DataError, match="must be a dictionary, got ndarray"):
        tags(voc, vectors(voc, np.zeros(20)))
    with pytest.raises(DataError, match=r"got builtins\.eval"):
        tags(voc, vectors(voc, {"a": Evil()}))


@pytest.mark.parametrize("number", [np.nan, np.inf, -np.inf])
def test_vectors_that_are_not_finite_are_refused(voc, number):
    vector = np.zeros(20, np.float32)
    vector[[0, 3]] = 1, number
    with pytest.raises(DataError, match=r"finite, got NaN or infinity for 'b' in .*cls_labels\.npy") as caught:
        tags(voc, vectors(voc, {"a": np.zeros(20), "b": vector}))
    assert "a dictionary of id: 20 numbers" in caught.value.hint


class Evil:
    def __reduce__(self):
        return eval, ("1",)


def test_voc_xml(voc):
    objects = "".join(f"<object><name>{n}</name><difficult>1</difficult></object>" for n in ("dog", "person", "dog"))
    voc.lines("Annotations/a.xml", f"<annotation>{objects}<part><name>head</name></part></annotation>")
    voc.lines("Annotations/b.xml", "<annotation>")
    folder = voc.root / "Annotations"
    assert tags(voc, folder) == {12, 15}
    with pytest.raises(DataError, match=r"cannot be read: .*b\.xml"):
        tags(voc, folder, "b")


def test_tags_from_a_file_need_no_truth(voc):
    path = voc.lines("tags.json", '{"a": ["dog"], "b": []}')
    (voc.root / "SegmentationClass/a.png").unlink()
    assert tags(voc, path) == {12}


def test_tags_are_derived_from_truth_otherwise(voc):
    data = open_data(str(voc.root))
    assert data.tags_source == "truth"
    assert data.load("a", {"tags"}).truth is None


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("tags.json", "{", "tags cannot be read"),
        ("tags.json", '["a"]', "must be an object"),
        ("tags.json", '{"a": "dog"}', "must be an object"),
        ("tags.json", '{"a": ["unicorn"]}', r"unknown class 'unicorn'.*tags\.json, 'a'"),
        ("tags.csv", "a,unicorn", "unknown class 'unicorn'"),
        ("tags.txt", "a", r"must be a \.json, \.csv or \.npy file"),
    ],
)
def test_malformed_tags(voc, name, content, message):
    path = voc.lines(name, content)
    with pytest.raises(DataError, match=message):
        open_data(str(voc.root), tags=str(path))


def test_missing_tags(voc):
    with pytest.raises(DataError, match="no tags for 'a'"):
        tags(voc, voc.lines("tags.json", '{"b": []}'))
    with pytest.raises(DataError, match="tags cannot be read"):
        tags(voc, voc.root / "nowhere.json")
    (voc.root / "empty").mkdir()
    with pytest.raises(DataError, match=r"no tags for 'a': .*a\.xml not found"):
        tags(voc, voc.root / "empty")


def test_demo_takes_tags_too(tmp_path):
    path = tmp_path / "tags.json"
    path.write_text('{"train_0000": ["sheep"]}', encoding="utf-8")
    assert open_data("demo", limit=1, tags=str(path)).load("train_0000", {"tags"}).tags == {17}
