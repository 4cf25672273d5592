import pickle

import pytest

from labelgen.errors import VocabularyError
from labelgen.vocab import Vocabulary, colour_map, load_vocabulary, vocabulary_from_json, vocabulary_names

COUNTS = {
    "ade20k": 150,
    "camvid": 11,
    "cityscapes": 19,
    "coco-object": 81,
    "coco-stuff": 171,
    "context59": 59,
    "context60": 60,
    "voc": 21,
    "voc20": 20,
}


def test_every_built_in_is_counted_here():
    assert set(COUNTS) <= set(vocabulary_names())


@pytest.mark.parametrize("name", vocabulary_names())
def test_built_in_is_consistent(name):
    vocabulary = load_vocabulary(name)
    assert vocabulary.name == name
    assert len(set(vocabulary.classes)) == vocabulary.num_classes
    assert all(c == c.strip() and c for c in vocabulary.classes)
    assert len(vocabulary.colours) == vocabulary.num_classes
    assert vocabulary.background == (0 if "background" in vocabulary.classes else None)
    if vocabulary.raw_ids:
        assert len(set(vocabulary.raw_ids)) == vocabulary.num_classes
        assert list(vocabulary.raw_ids) == sorted(vocabulary.raw_ids)
    assert pickle.loads(pickle.dumps(vocabulary)) == vocabulary


@pytest.mark.parametrize(("name", "count"), COUNTS.items())
def test_built_in_has_the_official_number_of_classes(name, count):
    assert load_vocabulary(name).num_classes == count


@pytest.mark.parametrize(
    ("name", "class_id", "expected"),
    [
        ("voc", 15, "person"),
        ("voc", 20, "tvmonitor"),
        ("voc20", 14, "person"),
        ("context60", 59, "wood"),
        ("context59", 22, "dog"),
        ("coco-object", 1, "person"),
        ("coco-object", 80, "toothbrush"),
        ("coco-stuff", 80, "banner"),
        ("coco-stuff", 170, "wood"),
        ("ade20k", 0, "wall"),
        ("ade20k", 12, "person"),
        ("ade20k", 149, "flag"),
        ("cityscapes", 13, "car"),
        ("camvid", 3, "road"),
    ],
)
def test_order_is_the_official_one(name, class_id, expected):
    assert load_vocabulary(name).classes[class_id] == expected


def test_vocabularies_without_background_are_the_tail_of_those_with_it():
    for whole, tail in (("voc", "voc20"), ("context60", "context59")):
        assert load_vocabulary(whole).classes[1:] == load_vocabulary(tail).classes
        assert load_vocabulary(whole).colours[1:] == load_vocabulary(tail).colours
    things = load_vocabulary("coco-object")
    assert things.classes[1:] == load_vocabulary("coco-stuff").classes[:80]


@pytest.mark.parametrize(
    ("name", "class_name", "raw_id"),
    [
        ("cityscapes", "car", 26),
        ("cityscapes", "bicycle", 33),
        ("ade20k", "wall", 1),
        ("coco-object", "toothbrush", 90),
        ("coco-object", "stop sign", 13),
        ("coco-stuff", "stop sign", 12),  # the pixel maps hold the category id minus 1
        ("coco-stuff", "wood", 181),
    ],
)
def test_raw_ids_are_those_of_the_files(name, class_name, raw_id):
    vocabulary = load_vocabulary(name)
    assert vocabulary.raw_ids[vocabulary.id_of(class_name)] == raw_id


def test_void_ids():
    assert load_vocabulary("camvid").void_ids == (11,)
    assert load_vocabulary("ade20k").void_ids == (0,)
    assert set(load_vocabulary("cityscapes").void_ids) | set(load_vocabulary("cityscapes").raw_ids) == set(range(34))


def test_palettes():
    assert load_vocabulary("voc").colours[15] == (192, 128, 128)
    assert load_vocabulary("cityscapes").colours[0] == (128, 64, 128)
    assert load_vocabulary("ade20k").colours[2] == (6, 230, 230)
    assert load_vocabulary("camvid").colours[1] == (128, 0, 0)
    assert len(set(colour_map(256))) == 256


def test_id_of_takes_names_aliases_and_numbers():
    voc = load_vocabulary("voc")
    assert voc.id_of("aeroplane") == voc.id_of("plane") == voc.id_of("1") == 1
    with pytest.raises(VocabularyError, match="unknown class 'unicorn'") as caught:
        voc.id_of("unicorn")
    assert "aeroplane" in caught.value.hint
    with pytest.raises(VocabularyError, match="unknown class '21'"):
        voc.id_of("21")


def test_user_file(tmp_path):
    path = tmp_path / "cells.toml"
    path.write_text(
        'classes = ["nothing", "nucleus", "wall"]\nbackground = 0\nraw_ids = [0, 128, 200]\nvoid_ids = [7]\n'
        '[aliases]\nkernel = "nucleus"\n[prompts]\nnucleus = ["a cell nucleus", "nuclei"]\n',
        encoding="utf-8",
    )
    vocabulary = load_vocabulary(str(path))
    assert vocabulary.name == "cells"
    assert vocabulary.raw_ids == (0, 128, 200)
    assert vocabulary.void_ids == (7,)
    assert vocabulary.id_of("kernel") == 1
    assert vocabulary.prompts["nucleus"] == ("a cell nucleus", "nuclei")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("classes = [", "not valid TOML"),
        ('name = "x"', "malformed"),
        ("classes = []", "at least one class"),
        ('classes = ["a", "a"]', "unique, got a twice"),
        ('classes = ["a"]\nbackground = 1', "background must be an id < 1, got 1"),
        ('classes = ["a"]\nclases = 2', "unknown key 'clases'"),
        ('classes = ["a"]\n[aliases]\nb = "c"', "must name known classes, got 'c'"),
        ('classes = ["a"]\n[prompts]\nb = ["c"]', "must name known classes, got 'b'"),
        ('classes = ["a", "b"]\npalette = [[1, 2, 3]]', "palette must hold 2 colours, got 1"),
        ('classes = ["a", "b"]\nraw_ids = [3, 3]', "raw_ids must hold 2 different ids, got 1"),
        ('classes = ["a", "b"]\nraw_ids = [3, 70000]', r"must lie in \[0, 65535\]"),
        ('classes = ["a", "b"]\nvoid_ids = [1]', "both a class and void, got 1"),
        ('classes = ["a", "b"]\npalette = [[1, 2], [1, 2]]', "malformed"),
    ],
)
def test_malformed_user_file(tmp_path, content, message):
    path = tmp_path / "broken.toml"
    path.write_text(content, encoding="utf-8")
    with pytest.raises(VocabularyError, match=message):
        load_vocabulary(str(path))


def test_unknown_name_lists_the_built_ins():
    with pytest.raises(VocabularyError, match="unknown vocabulary 'vox'") as caught:
        load_vocabulary("vox")
    assert "coco-stuff" in caught.value.hint


def test_missing_file():
    with pytest.raises(VocabularyError, match="cannot be read"):
        load_vocabulary("nowhere.toml")


def test_json_round_trip_keeps_what_masks_need():
    voc = load_vocabulary("voc20")
    again = vocabulary_from_json(voc.to_json(), where="run.json")
    assert (again.name, again.classes, again.background, again.colours, again.ignore) == (
        voc.name,
        voc.classes,
        voc.background,
        voc.colours,
        255,
    )
    assert again.digest() == voc.digest()
    with pytest.raises(VocabularyError, match=r"malformed in run\.json"):
        vocabulary_from_json({"name": "x"}, where="run.json")


def test_above_255_classes_void_is_16_bit():
    assert Vocabulary("many", tuple(map(str, range(255)))).ignore == 255
    assert Vocabulary("many", tuple(map(str, range(256)))).ignore == 65535
