import numpy as np
import pytest

from labelgen.demo import captions
from labelgen.demo.backgrounds import PLACES
from labelgen.demo.compose import KINDS
from labelgen.prompts import prompt_table
from labelgen.vocab import load_vocabulary


def many(place, classes, count=300, **options):
    return [captions.caption(np.random.default_rng(seed), place, classes, **options) for seed in range(count)]


def test_every_drawn_class_and_every_place_has_words():
    assert set(captions.NAMES) == set(KINDS)
    assert set(captions.PLACE_CONCEPTS) == set(captions.PLACE_PHRASES) == set(PLACES)
    said = {concept for concepts in captions.PLACE_CONCEPTS.values() for concept in concepts}
    assert said == set(captions.BACKGROUNDS)


def test_no_word_means_two_things():
    lists = (*captions.NAMES.values(), *captions.BACKGROUNDS.values(), captions.NEVER_DRAWN)
    words = [word for words in lists for word in words]
    assert len(words) == len(set(words))


@pytest.mark.parametrize("name", ["voc", "voc-ovss"])
def test_every_prompt_of_voc_is_said_somewhere(name):
    """Ten classes are drawn, ten are named as never drawn, so that no prompt meets the model for the first time."""
    table = prompt_table(load_vocabulary(name), background="words")
    assert set(table.prompts) <= set(captions.all_words())


@pytest.mark.parametrize(("place", "classes"), [("lake", {4}), ("street", {6, 7, 15}), ("room", set())])
def test_captions_are_true_of_what_they_describe(place, classes):
    shown = captions.concepts_of(place, classes)
    for caption in many(place, classes):
        assert caption.concepts and caption.concepts <= shown


def test_words_and_concepts_of_a_caption_agree():
    for caption in many("street", {6, 7, 15}):
        for class_id, names in captions.NAMES.items():
            named = any(f" {name} " in f" {caption.text.replace(',', ' ').replace('.', ' ')} " for name in names)
            assert named == (str(class_id) in caption.concepts), caption


def test_captions_name_one_object_several_or_the_background():
    sizes = [len(caption.concepts & {"6", "7", "15"}) for caption in many("street", {6, 7, 15}, count=600)]
    shares = np.bincount(sizes, minlength=4) / 600
    assert 0.5 < shares[1] < 0.75 and shares[3] > 0.1 and 0.08 < shares[0] < 0.22


def test_a_place_without_objects_is_described_by_its_background():
    texts = {caption.text for caption in many("room", set(), templates=("{}",))}
    assert texts == {*captions.BACKGROUNDS["wall"], *captions.BACKGROUNDS["floor"], *captions.BACKGROUNDS["window"]}


def test_false_texts_name_only_what_is_never_drawn():
    texts = {captions.false_text(np.random.default_rng(seed), templates=("{}",)) for seed in range(400)}
    assert texts == set(captions.NEVER_DRAWN)
