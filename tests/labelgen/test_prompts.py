import pytest

from labelgen.errors import VocabularyError
from labelgen.prompts import (
    BACKGROUND_MODES,
    BACKGROUND_WORDS,
    UNLABELLED,
    PromptTable,
    parse_classes,
    parse_word_list,
    prompt_table,
    split_words,
)
from labelgen.vocab import Vocabulary, load_vocabulary

FARM = Vocabulary("farm", ("background", "cow", "bed"), 0, {"cow": ("cow", "cattle")})
LAND = Vocabulary("land", ("water", "sand"))


def pairs(table):
    return list(zip(table.prompts, table.class_of, strict=True))


def test_the_background_speaks_through_the_words_of_its_mode():
    foreground = [("cow", 1), ("cattle", 1), ("bed", 2)]
    for mode in BACKGROUND_MODES:
        expected = {"word": [("background", 0)], "words": [("sky", 0)], "words+threshold": [("sky", 0)]}.get(mode, [])
        assert pairs(prompt_table(FARM, background=mode, background_words=("sky",))) == foreground + expected


def test_words_come_from_the_user_then_the_vocabulary_then_the_public_list():
    own = Vocabulary("own", ("background", "cow"), 0, background_words=("mud",))
    assert prompt_table(own, background="words", background_words=("sky",)).prompts[1:] == ("sky",)
    assert prompt_table(own, background="words").prompts[1:] == ("mud",)
    plain = Vocabulary("plain", ("background", "cow"), 0)
    assert prompt_table(plain, background="words").prompts[1:] == BACKGROUND_WORDS
    assert len(BACKGROUND_WORDS) == len(set(BACKGROUND_WORDS)) == 26


def test_without_a_background_class_its_words_take_pixels_away():
    table = prompt_table(LAND, background="words", background_words=("sky",))
    assert pairs(table) == [("water", 0), ("sand", 1), ("sky", UNLABELLED)]
    assert table.class_ids == (0, 1, UNLABELLED)


def test_background_words_that_are_classes_are_left_out_with_a_warning():
    table = prompt_table(FARM, background="words", background_words=("Bed", "sky", "cattle"))
    assert table.prompts[3:] == ("sky",)
    assert table.warnings == ("background words that are classes were left out: Bed, cattle",)
    assert prompt_table(FARM, background="words", background_words=("sky",)).warnings == ()
    # the name of a class counts even where other words stand for it
    table = load_vocabulary("voc")
    assert prompt_table(table, background="words", background_words=("sofa", "pottedplant", "sky")).prompts[-1] == "sky"


def test_negative_prompts():
    as_background = prompt_table(FARM, negative=("shadow",))
    assert pairs(as_background)[-1] == ("shadow", 0)
    away = prompt_table(FARM, negative=("shadow",), negative_to="unlabelled")
    assert pairs(away)[-1] == ("shadow", UNLABELLED)
    assert pairs(prompt_table(LAND, negative=("shadow",)))[-1] == ("shadow", UNLABELLED)
    both = prompt_table(FARM, background="words", background_words=("sky",), negative=("sky", "mud", "mud"))
    assert both.prompts[3:] == ("sky", "mud")
    with pytest.raises(VocabularyError, match="cannot be a class as well, got 'cattle'"):
        prompt_table(FARM, negative=("cattle",))


def test_two_classes_with_one_prompt_are_refused():
    twice = Vocabulary("twice", ("sofa", "couch"), prompts={"couch": ("Sofa",)})
    with pytest.raises(VocabularyError, match="same prompt, got 'Sofa' for 'sofa' and 'couch'"):
        prompt_table(twice)
    with pytest.raises(VocabularyError, match="must have a class besides its background"):
        prompt_table(Vocabulary("empty", ("background",), 0))


@pytest.mark.parametrize("name", ["voc", "voc-ovss", "coco-stuff", "ade20k", "cityscapes", "context59"])
def test_the_index_is_explicit_for_every_class(name):
    vocabulary = load_vocabulary(name)
    table = prompt_table(vocabulary)
    assert set(table.class_of) == set(range(vocabulary.num_classes)) - {vocabulary.background}
    for class_id in table.class_ids:
        name = vocabulary.classes[class_id]
        expected = vocabulary.prompts.get(name, (name,))
        assert tuple(table.prompts[i] for i in table.prompts_of(class_id)) == expected


def test_digest_sees_words_and_classes():
    one = PromptTable(("cow", "sky"), (1, 0))
    assert one.digest() == PromptTable(("cow", "sky"), (1, 0), ("a warning",)).digest()
    assert (
        len({one.digest(), PromptTable(("sky", "cow"), (1, 0)).digest(), PromptTable(("cow", "sky"), (1, 2)).digest()})
        == 3
    )


def test_classes_in_one_line():
    classes = parse_classes(" rust ,paint=painted surface; peeling paint,concrete")
    assert classes.name == "classes" and classes.background is None
    assert classes.classes == ("rust", "paint", "concrete")
    assert classes.prompts == {"paint": ("painted surface", "peeling paint")}
    assert parse_classes("background, rust").background_words == ()
    assert load_vocabulary("classes:background, rust").classes == ("background", "rust")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "got '' in ''"),
        ("rust,,paint", "got '' in"),
        ("rust=", "got 'rust='"),
        ("rust=a;;b", "got 'rust=a;;b'"),
        ("=a", "got '=a'"),
        ("rust; paint", "got 'rust; paint'"),
        ("rust, rust", "unique, got rust twice"),
        ("rust=a; a", "must be given once"),
        ("rust, background", "must be the first class, got it as class 2"),
    ],
)
def test_malformed_classes(text, message):
    with pytest.raises(VocabularyError, match=message):
        parse_classes(text)


def test_word_lists():
    plain = parse_word_list("cow\n\ntraffic light\r\n", where="farm.txt")
    assert (plain.name, plain.classes, plain.background) == ("farm", ("cow", "traffic light"), None)
    named = parse_word_list("background; sky\ncow", where="farm.txt")
    assert (named.background, named.background_words) == (0, ("sky",))
    single = parse_word_list("wall\ncow", where="farm.txt")  # one word is a class, not a background list
    assert (single.classes, single.background) == (("wall", "cow"), None)
    with pytest.raises(VocabularyError, match=r"a word is empty in class 2 of farm\.txt"):
        parse_word_list("cow\nsheep,,lamb", where="farm.txt")
    with pytest.raises(VocabularyError, match="at least one class"):
        parse_word_list(" \n", where="farm.txt")


def test_words_in_one_line():
    assert split_words("sky, wall") == split_words("sky; wall;") == ("sky", "wall")
    assert split_words("rust, old; paint") == ("rust, old", "paint")
