"""Sets of templates and files of them."""

import open_clip
import pytest

from labelgen.errors import ConfigError
from labelgen.nets.clip.templates import TEMPLATE_SETS, load_templates


def test_the_sets_have_as_many_templates_as_their_names_say():
    counts = {name: len(load_templates(name)) for name in TEMPLATE_SETS}
    assert counts == {"imagenet80": 80, "imagenet7": 7, "simple": 1, "none": 1}


@pytest.mark.parametrize("name", TEMPLATE_SETS)
def test_every_template_has_one_place_for_the_name(name):
    templates = load_templates(name)
    assert all(template.count("{}") == 1 for template in templates)
    assert len(set(templates)) == len(templates)


def test_the_eighty_are_open_clips():
    filled = [template.replace("{}", "dog") for template in load_templates("imagenet80")]
    assert filled == [template("dog") for template in open_clip.OPENAI_IMAGENET_TEMPLATES]


def test_a_file_gives_its_lines_without_comments(tmp_path):
    path = tmp_path / "sky.txt"
    path.write_text("# from above\n\na satellite photo of {}.\n  {} seen from the air  \n", encoding="utf-8-sig")
    assert load_templates(str(path)) == ("a satellite photo of {}.", "{} seen from the air")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a {}\na photo\n", "'a photo' in line 2"),
        ("{} and {}\n", "exactly once, got '{} and {}' in line 1"),
        ("a {}\n# x\na {}\n", "must be there once, got 'a {}' in lines 1 and 3"),
        ("# nothing\n", "at least one template"),
    ],
)
def test_files_that_make_no_sense_are_refused(tmp_path, text, message):
    path = tmp_path / "a.txt"
    path.write_text(text)
    with pytest.raises(ConfigError, match=message):
        load_templates(str(path))


def test_files_that_cannot_be_read_are_refused(tmp_path):
    (tmp_path / "a.txt").write_bytes(b"\xff\xfe{}\xff")
    with pytest.raises(ConfigError, match="cannot be read"):
        load_templates(str(tmp_path / "a.txt"))


def test_an_unknown_set_is_answered_with_the_known_ones():
    with pytest.raises(ConfigError, match="imagenet80, imagenet7, simple, none or a text file, got 'imagenet'"):
        load_templates("imagenet")
