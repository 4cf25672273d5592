"""Real scribbles: ScribbleSup XML and PNG files, read, shrunk, dropped and written."""

import dataclasses
import hashlib

import numpy as np
import pytest

from labelgen.data.sample import Sample
from labelgen.errors import ConfigError, DataError, ShapeError, VocabularyError
from labelgen.masks import harden, read_mask, write_mask
from labelgen.methods.scribble import SCRIBBLE, ScribbleConfig, make_scribble
from labelgen.methods.scribble_files import painted_strokes, parse_scribble_xml, scribble_xml
from labelgen.run import rng_for
from labelgen.strokes import Stroke
from labelgen.vocab import load_vocabulary

VOC = load_vocabulary("voc")
SIZE = (40, 60)

XML = """<annotation><folder>x</folder>
  <size><width>60</width><height>40</height><depth>3</depth></size>
  <polygon><tag>background</tag>
    <point><X>5</X><Y>5</Y></point><point><X>50</X><Y>5</Y></point></polygon>
  <polygon><tag>plane</tag><note>n</note>
    <point><X>20</X><Y>2</Y></point><point><X>20</X><Y>30</Y></point></polygon>
  <polygon><tag>person</tag><point><X>50</X><Y>30</Y></point></polygon>
  <polygon><tag>person</tag></polygon>
</annotation>"""


def parse(text, size=SIZE):
    return parse_scribble_xml(text.encode(), VOC, size=size, width=3.0, where="a.xml")


def labels_from(folder, **settings):
    config = ScribbleConfig(**settings)
    return harden(make_scribble(config, VOC)(Sample("a", SIZE), rng_for(0, "a")))


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "a.xml").write_text(XML, encoding="utf-8")
    return tmp_path


def test_strokes_in_file_order_with_short_names():
    strokes = parse(XML)
    assert [(s.class_id, len(s.points), s.style) for s in strokes] == [
        (0, 2, "human"),
        (1, 2, "human"),
        (15, 1, "human"),
    ]
    assert strokes[1].points.tolist() == [[2, 20], [30, 20]]


def test_the_size_node_may_be_missing():
    start, end = XML.index("<size>"), XML.index("</size>") + len("</size>")
    assert len(parse(XML[:start] + XML[end:])) == 3


def test_a_wrong_size_is_refused():
    with pytest.raises(ShapeError, match=r"size \(41, 60\) of their image, got \(40, 60\) in a.xml"):
        parse(XML, size=(41, 60))


def test_unknown_names_are_refused_with_the_known_ones():
    with pytest.raises(VocabularyError, match="unknown class 'zebra'") as caught:
        parse(XML.replace("plane", "zebra"))
    assert "aeroplane, bicycle, bird" in caught.value.hint


@pytest.mark.parametrize("encoding", ["utf-8", "utf-16"])
def test_entities_are_refused_before_they_are_expanded(encoding):
    bomb = f"""<?xml version="1.0" encoding="{encoding}"?><!DOCTYPE x [<!ENTITY a "lol">
    <!ENTITY b "&a;&a;&a;&a;">]><annotation><polygon><tag>&b;</tag></polygon></annotation>"""
    with pytest.raises(DataError, match="must not declare a document type"):
        parse_scribble_xml(bomb.encode(encoding), VOC, size=SIZE, width=3.0, where="a.xml")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (XML[:200], "not valid XML: a.xml"),
        ("", "not valid XML"),
        ("<html/>", "root <annotation>, got <html>"),
        (XML.replace("<X>20</X><Y>2</Y>", "<X>20</X><Y>left</Y>"), "<Y> must be a number, got 'left' in a.xml"),
        (XML.replace("<X>20</X><Y>2</Y>", "<X>20</X>"), "<Y> must be a number, got None"),
        (XML.replace("<X>20</X>", "<X>nan</X>"), "<X> must be a number, got 'nan'"),
    ],
)
def test_malformed_files(text, message):
    with pytest.raises(DataError, match=message):
        parse(text)


@pytest.mark.parametrize("pen", ["round", "rloss", "tel"])
def test_later_strokes_overwrite_earlier_ones(folder, pen):
    labels = labels_from(folder, from_xml=str(folder), pen=pen)
    assert labels[5, 10] == 0
    assert labels[5, 20] == 1  # where the two lines cross
    assert labels[30, 50] == 15
    assert set(np.unique(labels)) == {0, 1, 15, 255}


def test_pens_differ_in_their_ends(folder):
    counts = {pen: (labels_from(folder, from_xml=str(folder), pen=pen) == 1).sum() for pen in ("round", "rloss", "tel")}
    assert counts["rloss"] == 29 * 3
    assert counts["tel"] == 29 * 3 + 2


def test_shrink_and_drop_of_real_strokes(folder):
    config = ScribbleConfig(from_xml=str(folder), shrink=0.5)
    mask = make_scribble(config, VOC)(Sample("a", SIZE), rng_for(0, "a"))
    assert [s.length for s in mask.strokes] == [22.5, 14, 0]
    assert mask.strokes[1].full.tolist() == [[2, 20], [30, 20]]
    none = make_scribble(ScribbleConfig(from_xml=str(folder), drop=1.0), VOC)(Sample("a", SIZE), rng_for(0, "a"))
    path = folder / "a.xml"
    assert none.details["inputs"] == {path.as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()}
    assert none.class_ids == ()
    assert none.details["classes_lost"] == ["background", "aeroplane", "person"]
    assert none.warnings == ("no stroke in this image",)


def test_real_scribbles_need_strokes_and_not_the_truth(folder):
    assert SCRIBBLE.supervision(ScribbleConfig(from_xml=str(folder))) == {"strokes"}
    assert SCRIBBLE.supervision(ScribbleConfig()) == {"truth"}
    config = ScribbleConfig(from_xml=str(folder), width=5.0)
    assert ScribbleConfig(**dataclasses.asdict(config)) == config


def test_missing_files_and_folders(tmp_path, folder):
    with pytest.raises(ConfigError, match="--from-xml must name a folder"):
        make_scribble(ScribbleConfig(from_xml=str(tmp_path / "none")), VOC)
    with pytest.raises(DataError, match=r"scribble file cannot be read: .*b\.xml"):
        make_scribble(ScribbleConfig(from_xml=str(folder)), VOC)(Sample("b", SIZE), rng_for(0, "b"))


def test_xml_round_trip():
    strokes = [
        Stroke(0, np.array([[1.4, 2.0], [1.4, 2.2], [9.6, 30.0]])),
        Stroke(5, np.array([[3.0, 3.0]]), dropped=True),
        Stroke(20, np.array([[7.0, 8.0]])),
    ]
    text = scribble_xml(strokes, VOC, size=SIZE)
    assert b"<tag>monitor</tag>" in text
    back = parse_scribble_xml(text, VOC, size=SIZE, width=3.0, where="a.xml")
    assert [s.points.tolist() for s in back] == [[[1, 2], [10, 30]], [[7, 8]]]
    assert scribble_xml(back, VOC, size=SIZE) == text


def painted():
    labels = np.full(SIZE, 255, np.uint8)
    labels[10:13, 5:55] = 0
    labels[20:35, 20:23] = 7
    labels[38, 58] = 15
    return labels


def test_strokes_of_painted_labels():
    bar, pole, dot = painted_strokes(painted(), ignore=255)
    assert (bar.stroke.class_id, pole.stroke.class_id, dot.stroke.class_id) == (0, 7, 15)
    assert bar.stroke.length == pytest.approx(48, abs=2)
    assert bar.stroke.width == pytest.approx(3, abs=0.4)
    assert dot.stroke.points.tolist() == [[38, 58]]
    assert dot.stroke.width == 1


def test_whole_painted_strokes_keep_their_pixels_and_shrunk_ones_are_parts(tmp_path):
    write_mask(tmp_path / "a.png", painted())
    before = labels_from(tmp_path, from_png=str(tmp_path))
    assert np.array_equal(before, painted())
    for shrink in (0.2, 0.5, 1.0):
        now = labels_from(tmp_path, from_png=str(tmp_path), shrink=shrink)
        assert (now[now != 255] == painted()[now != 255]).all()
        assert (now == 0).sum() <= (before == 0).sum()
        before = now
    half = labels_from(tmp_path, from_png=str(tmp_path), shrink=0.5)
    assert (half == 0).any(axis=0).sum() == pytest.approx(0.5 * 50, abs=4)


def test_painted_labels_of_another_size_or_vocabulary(tmp_path):
    write_mask(tmp_path / "a.png", painted()[:, :-1])
    with pytest.raises(ShapeError, match=r"size \(40, 60\) of their image, got \(40, 59\)"):
        labels_from(tmp_path, from_png=str(tmp_path))
    with pytest.raises(DataError, match=r"scribble file cannot be read: .*b\.png") as caught:
        make_scribble(ScribbleConfig(from_png=str(tmp_path)), VOC)(Sample("b", SIZE), rng_for(0, "b"))
    assert caught.value.hint == "check --from-png; files are named ID.png"
    foreign = painted()
    foreign[0, 0] = 99
    write_mask(tmp_path / "a.png", foreign)
    with pytest.raises(DataError, match="ids < 21 or 255, got 99"):
        labels_from(tmp_path, from_png=str(tmp_path))
    assert read_mask(tmp_path / "a.png")[0, 0] == 99
