"""labelgen scribble --stats, --real and --xml, as typed."""

import json

import numpy as np
import pytest

from labelgen.cli import main
from labelgen.masks import write_mask
from labelgen.store import RunFolder


@pytest.fixture
def data(tmp_path):
    """A folder of two masks without images, in the layout of PASCAL VOC."""
    rows, cols = np.mgrid[:90, :120]
    root = tmp_path / "voc"
    for number, sample_id in enumerate(("a", "b")):
        labels = np.zeros((90, 120), np.uint8)
        labels[np.hypot(rows - 45, cols - 40 - 30 * number) < 25] = 15
        write_mask(root / "SegmentationClass" / f"{sample_id}.png", labels)
    lists = root / "ImageSets" / "Segmentation"
    lists.mkdir(parents=True)
    (lists / "train.txt").write_text("a\nb\n", encoding="utf-8")
    return f"voc:{root}"


def run(capsys, *arguments):
    code = main(list(arguments))
    return code, capsys.readouterr()


@pytest.mark.slow
def test_stats_xml_and_real_in_one_document(data, tmp_path, capsys):
    first, xml = tmp_path / "first", tmp_path / "xml"
    code, _ = run(capsys, "scribble", data, "--split", "train", "--out", str(first), "--xml", str(xml))
    assert code == 0
    assert sorted(p.name for p in xml.iterdir()) == ["a.xml", "b.xml"]
    second = tmp_path / "second"
    flags = ("--split", "train", "--out", str(second), "--shrink", "0.5", "--stats", "--real", str(xml), "--json")
    code, printed = run(capsys, "scribble", data, *flags)
    assert code == 0
    document = json.loads(printed.out)
    assert document["done"] == 2
    assert document["stats"]["wrong"]["mean"] == 0
    assert document["real"]["strokes"]["distance"] == 0
    assert document["real"]["coverage"]["distance"] == 1  # half of each stroke is missing
    # the same figures come out when the other side is a run
    third = tmp_path / "third"
    flags = ("--split", "train", "--out", str(third), "--shrink", "0.5", "--stats", "--real", str(first), "--json")
    code, printed = run(capsys, "scribble", data, *flags)
    assert json.loads(printed.out)["real"]["strokes"]["distance"] == 0


@pytest.mark.slow
def test_the_table(data, tmp_path, capsys):
    code, printed = run(capsys, "scribble", data, "--split", "train", "--out", str(tmp_path / "run"), "--stats")
    assert code == 0
    assert "length / longest path" in printed.out
    assert "0.8 to 1.3" in printed.out


@pytest.mark.slow
def test_written_xml_is_read_back_as_the_same_strokes(data, tmp_path, capsys):
    out, xml, back = tmp_path / "out", tmp_path / "xml", tmp_path / "back"
    run(capsys, "scribble", data, "--split", "train", "--out", str(out), "--xml", str(xml))
    code, _ = run(capsys, "scribble", data, "--split", "train", "--out", str(back), "--from-xml", str(xml))
    assert code == 0
    before, after = RunFolder.open(out), RunFolder.open(back)
    assert after.header["supervision"] == ["strokes"]
    for sample_id in ("a", "b"):
        ours, theirs = before.strokes(sample_id), after.strokes(sample_id)
        assert len(ours) == len(theirs)
        for one, other in zip(ours, theirs, strict=True):
            assert np.abs(one.points[[0, -1]] - other.points[[0, -1]]).max() <= 0.5
            assert one.class_id == other.class_id


def test_contradictions_are_refused_before_anything_is_labelled(data, tmp_path, capsys):
    for flags in (("--real", str(tmp_path)), ("--stats", "--real", "nowhere")):
        code, printed = run(capsys, "scribble", data, "--split", "train", "--out", str(tmp_path / "x"), *flags)
        assert code == 2
        assert "--real" in printed.err
    assert not (tmp_path / "x").exists()


@pytest.mark.slow
def test_an_unknown_class_name_stops_with_two_lines(data, tmp_path, capsys):
    folder = tmp_path / "xml"
    folder.mkdir()
    text = "<annotation><polygon><tag>zebra</tag><point><X>1</X><Y>1</Y></point></polygon></annotation>"
    (folder / "a.xml").write_text(text, encoding="utf-8")
    code, printed = run(
        capsys, "scribble", data, "--split", "train", "--out", str(tmp_path / "x"), "--from-xml", str(folder)
    )
    assert code == 1
    assert "unknown class 'zebra'" in printed.err
    assert "known classes: background, aeroplane" in printed.err


def test_xml_files_that_cannot_be_written_leave_the_run(data, tmp_path, capsys):
    (tmp_path / "xml").mkdir()
    (tmp_path / "xml" / "a.xml").mkdir()  # a folder stands where the file has to be
    out = tmp_path / "run"
    code, printed = run(capsys, "scribble", data, "--split", "train", "--out", str(out), "--xml", str(tmp_path / "xml"))
    assert code == 1
    assert "error: cannot write XML files into" in printed.err and "hint: choose another --xml" in printed.err
    assert RunFolder.open(out).complete
