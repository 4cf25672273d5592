import json

import pytest

from labelgen.cli import main
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


def test_show_check_and_hash(capsys, tmp_path):
    assert main(["vocabs", "show", "voc", "--json"]) == 0
    shown = json.loads(capsys.readouterr().out)
    assert main(["vocabs", "voc", "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == shown
    assert main(["vocabs", "hash", "voc", "voc-ovss"]) == 0
    lines = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert lines == [[load_vocabulary(name).digest(), name] for name in ("voc", "voc-ovss")]
    assert main(["vocabs", "hash", "voc", "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == {"voc": load_vocabulary("voc").digest()}


def test_check_of_a_file(capsys, tmp_path):
    path = tmp_path / "farm.toml"
    path.write_text('classes = ["ground", "cow", "bull"]\nbackground = 0\nprompts = {bull = ["Cow", "ox"]}\n')
    assert main(["vocabs", "check", str(path)]) == 0
    out = capsys.readouterr().out
    assert f"{path} is sound: 3 classes, background ground" in out
    assert "warning: classes cow and bull share the word 'cow'" in out
    path.write_text('classes = ["a", "b"]\npalette = [[1, 2, 3], [1, 2, 3]]\naliases = {b = "a"}\n')
    assert main(["vocabs", "check", str(path), "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert document["sound"] and document["warnings"] == [
        "classes a and b have the same colour",
        "the alias 'b' is also the name of a class",
    ]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ('classes = ["a", "a"]', "class names must be unique"),
        ("classes = [", "not valid TOML"),
        ("x = 1", "unknown key"),
    ],
)
def test_check_of_a_file_that_cannot_be_used(content, message, capsys, tmp_path):
    path = tmp_path / "farm.toml"
    path.write_text(content)
    assert main(["vocabs", "check", str(path)]) == 1
    error, hint = capsys.readouterr().err.splitlines()
    assert error.startswith("error: ") and message in error and hint.startswith("hint: ")
    assert main(["vocabs", "check", str(path), "--json"]) == 1
    document = json.loads(capsys.readouterr().out)
    assert document["sound"] is False and message in document["error"]


def test_wrong_words(capsys):
    assert main(["vocabs", "check"]) == 2
    assert main(["vocabs", "voc", "voc20"]) == 2
    assert main(["vocabs", "hash", "nope"]) == 1
    assert "error: unknown vocabulary 'nope'" in capsys.readouterr().err


def test_every_built_in_is_sound(capsys):
    for name in vocabulary_names():
        assert main(["vocabs", "check", name, "--json"]) == 0
