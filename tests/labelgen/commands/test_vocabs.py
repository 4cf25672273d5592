import json

import pytest

from labelgen.commands.vocabs import vocabs
from labelgen.errors import VocabularyError
from labelgen.vocab import load_vocabulary, vocabulary_names


def test_list(capsys):
    vocabs()
    shown = capsys.readouterr().out
    assert all(name in shown for name in vocabulary_names())


def test_one(capsys):
    vocabs("cityscapes")
    shown = capsys.readouterr().out
    assert "bicycle" in shown
    assert "33" in shown
    assert "19 classes" in shown


def test_words_and_digest_are_shown(capsys):
    vocabs("voc-ovss")
    shown = " ".join(capsys.readouterr().out.split())
    assert "television monitor; tv monitor; monitor; television; screen" in shown
    assert "sky; wall; tree" in shown
    assert load_vocabulary("voc-ovss").digest() in shown


def test_classes_written_out(capsys):
    vocabs("classes:background=sky; wall, rust, paint=painted surface", as_json=True)
    document = json.loads(capsys.readouterr().out)
    assert document["classes"] == ["background", "rust", "paint"]
    assert document["background_words"] == ["sky", "wall"]
    assert document["prompts"] == {"paint": ["painted surface"]}


def test_json(capsys):
    vocabs("voc", as_json=True)
    document = json.loads(capsys.readouterr().out)
    assert document["classes"][15] == "person"
    assert document["num_classes"] == 21
    vocabs(as_json=True)
    assert [v["name"] for v in json.loads(capsys.readouterr().out)] == list(vocabulary_names())


def test_unknown():
    with pytest.raises(VocabularyError, match="unknown vocabulary 'nope'"):
        vocabs("nope")
