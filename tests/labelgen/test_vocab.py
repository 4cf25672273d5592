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
VARIANTS = {  # prompts of the classes; the public lists have as many words
    "ade20k-ovss": 150,
    "cityscapes-ovss": 19,
    "coco-object-ovss": 87,
    "coco-object-ovss-single": 80,
    "coco-stuff-ovss": 171,
    "context59-ovss": 59,
    "context60-ovss": 59,
    "voc-ovss": 30,
    "voc-ovss-single": 20,
    "voc20-ovss": 30,
    "voc20-ovss-single": 20,
}
DIGESTS = {  # a word that changes changes every score: change it knowingly
    "ade20k": "bf35f354ccf47ba2",
    "ade20k-ovss": "043d8c074657794e",
    "camvid": "fbdb69b9bc6e719e",
    "cityscapes": "4ad77c9bf5566dae",
    "cityscapes-ovss": "c7df4ce8131ed04d",
    "coco-object": "0bf87ece4a518166",
    "coco-object-ovss": "9835fadb8f8b2d8d",
    "coco-object-ovss-single": "0e69f654ceb8b6be",
    "coco-stuff": "9a0aa7d905116773",
    "coco-stuff-ovss": "998f3bbe7afab3cd",
    "context59": "bf9c92c102ec0493",
    "context59-ovss": "0672c7cea48e7dbb",
    "context60": "b4f8f3d9508c9b48",
    "context60-ovss": "eb50c8b8ad118b89",
    "voc": "d3f36f329e50fc11",
    "voc-ovss": "3abcd150a8046e70",
    "voc-ovss-single": "68a34ab59d27f72a",
    "voc20": "f4b4f5904fb15b58",
    "voc20-ovss": "509b093701a43f14",
    "voc20-ovss-single": "d9cd6b9538c6d3b5",
}


def test_every_built_in_is_counted_here():
    assert set(COUNTS) | set(VARIANTS) == set(DIGESTS) == set(vocabulary_names())


@pytest.mark.parametrize(("name", "digest"), DIGESTS.items())
def test_words_are_pinned(name, digest):
    assert load_vocabulary(name).digest()[:16] == digest


@pytest.mark.parametrize(("name", "count"), VARIANTS.items())
def test_variants_say_the_base_in_other_words(name, count):
    variant, base = load_vocabulary(name), load_vocabulary(name.partition("-ovss")[0])
    assert variant.base_name == variant.base == base.name
    for same in ("classes", "background", "raw_ids", "void_ids", "colours", "aliases"):
        assert getattr(variant, same) == getattr(base, same)
    words = [word for c in variant.classes for word in variant.prompts.get(c, (c,))]
    assert len(words) - (variant.background is not None) == count


def test_words_of_the_public_lists():
    voc = load_vocabulary("voc-ovss")
    assert voc.prompts["boat"] == ("ship",) and voc.prompts["diningtable"] == ("table",)
    assert voc.prompts["person"][1] == "person in shirt" and len(voc.prompts["person"]) == 7
    assert len(voc.background_words) == 26 and voc.background_words[9] == "sands"
    assert "person" not in load_vocabulary("voc-ovss-single").prompts
    assert load_vocabulary("coco-object-ovss").prompts["person"][-1] == "body"
    assert len(load_vocabulary("coco-object-ovss-single").background_words) == 17
    assert load_vocabulary("ade20k-ovss").prompts["swivel chair"] == ("swivelchair",)
    assert load_vocabulary("coco-stuff-ovss").prompts["wine glass"] == ("wineglass",)
    assert "building-other" not in load_vocabulary("coco-stuff-ovss").prompts  # as it stands in the lists
    assert load_vocabulary("coco-stuff").prompts["building-other"] == ("building",)


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
        ('name = "x"', "must have classes, or a base to take them from, got neither in"),
        ('classes = ["a", "b"]\nbackground = "a"', "background must be the id of a class, got 'a' in"),
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
        ('classes = "ab"', "malformed"),
        ('classes = ["a"]\n[prompts]\na = "b"', "malformed"),
        ('classes = ["a"]\n[prompts]\na = []', r"words without space around them, got \(\) for 'a'"),
        ('classes = ["a"]\n[prompts]\na = ["b "]', "words without space around them"),
        ('classes = ["a"]\n[prompts]\na = ["b", "b"]', "must be given once"),
        ('classes = ["a"]\nbackground_words = ["b", "b"]', "must be given once.* for 'the background'"),
        ('classes = ["a", "b"]\nbackground = 0\n[prompts]\na = ["c"]', "the background has no prompts"),
        ('base = "vox"', "base must be a built-in vocabulary, got 'vox'"),
        ('base = "voc"\nclasses = ["a"]', "classes comes from the base"),
    ],
)
def test_malformed_user_file(tmp_path, content, message):
    path = tmp_path / "broken.toml"
    path.write_text(content, encoding="utf-8")
    with pytest.raises(VocabularyError, match=message):
        load_vocabulary(str(path))


def test_user_file_with_a_base(tmp_path):
    path = tmp_path / "mine.toml"
    path.write_text('base = "cityscapes"\n[prompts]\nrider = ["cyclist"]\n', encoding="utf-8")
    mine, base = load_vocabulary(str(path)), load_vocabulary("cityscapes")
    assert (mine.name, mine.base_name, mine.raw_ids) == ("mine", "cityscapes", base.raw_ids)
    assert mine.prompts == {"rider": ("cyclist",)}  # the table is replaced as a whole
    assert mine.digest() != base.digest()


@pytest.mark.parametrize("separator", [", ", "; ", ",", ";"])
def test_both_separators_of_public_lists_parse_to_the_same(tmp_path, separator):
    path = tmp_path / "words.txt"
    lines = [("sky", "wall", "tree"), ("ship",), ("person", "person in shirt"), ("tv monitor", "screen")]
    path.write_text("\n".join(separator.join(line) for line in lines), encoding="utf-8")  # no last newline
    words = load_vocabulary(str(path))
    assert words.name == "words" and words.background == 0
    assert words.classes == ("background", "ship", "person", "tv monitor")
    assert words.prompts == {"person": ("person", "person in shirt"), "tv monitor": ("tv monitor", "screen")}
    assert words.background_words == ("sky", "wall", "tree")


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
    with pytest.raises(VocabularyError, match=r"malformed in run\.json"):
        vocabulary_from_json({"name": "x"}, where="run.json")


def test_above_255_classes_void_is_16_bit():
    assert Vocabulary("many", tuple(map(str, range(255)))).ignore == 255
    assert Vocabulary("many", tuple(map(str, range(256)))).ignore == 65535
