"""`labelgen report` as typed: what is on the page, escaping, size, runs without truth, several runs, bad input."""

import json
import os
import re
from html.parser import HTMLParser

import numpy as np
import pytest
from PIL import Image

from labelgen.cli import main
from labelgen.report.gallery import GalleryOptions, picks_of, share_out
from labelgen.report.measured import measured, rings
from labelgen.store import RunFolder
from tests.labelgen.report.small_data import write_data, write_labels, write_run

HOSTILE = "<script>alert(1)</script>"
VOID = {"meta", "link", "img", "br", "input"}


class Page(HTMLParser):
    """Tags, texts and addresses of a page; refuses tags that do not match."""

    def __init__(self, path):
        super().__init__()
        self.tags, self.open, self.addresses, self.texts = [], [], [], []
        self.source = path.read_text(encoding="utf-8")
        self.feed(self.source)
        assert self.open == []

    def handle_starttag(self, tag, attributes):
        self.tags.append(tag)
        found = dict(attributes)
        assert not any(name.startswith("on") for name in found)
        self.addresses += [found[name] for name in ("src", "href") if name in found]
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attributes):
        self.tags.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.texts += [data.strip()] if data.strip() else []

    def table(self, title):
        """Cells of the table under a heading, by row, the head left out."""
        part = self.source.split(f"<h3>{title}</h3>")[1].split("</table>")[0]
        rows = part.split("<tr>")[2:]
        return [re.findall(r"<t[hd][^>]*>([^<]*)</t[hd]>", row) for row in rows]


def reported(tmp_path, *words):
    out = tmp_path / "report"
    assert main(["report", *map(str, words), "--out", str(out)]) == 0
    return Page(out / "index.html")


@pytest.fixture
def demo_run(tmp_path):
    assert main(["corrupt", "demo:5", "--out", str(tmp_path / "runs" / "corrupt"), "--no-sheet"]) == 0
    return tmp_path / "runs" / "corrupt"


def test_the_page_says_where_a_run_comes_from_and_what_matters(demo_run, tmp_path, capsys):
    page = reported(tmp_path, demo_run)
    header = json.loads((demo_run / "run.json").read_text(encoding="utf-8"))
    for text in (
        "corrupt",
        "truth",
        header["data"]["ids_sha256"],
        header["versions"]["numpy"],
        str(demo_run.as_posix()),
    ):
        assert text in page.source
    for text in ("coverage", "pixel precision", "boundary IoU", "images with a missing class", "mIoU, labelled pixels"):
        assert text in page.texts
    for title in (
        "By class",
        "Confusion matrix",
        "Coverage against precision, by class",
        "Worst",
        "What other tools do",
    ):
        assert title in page.texts
    assert page.tags.count("script") == 1
    capsys.readouterr()
    assert main(["quality", str(demo_run), "--json"]) == 0
    (document,) = json.loads(capsys.readouterr().out)
    assert f"{document['miou']:.3f}" in page.texts and "0 of 5" in page.texts


def test_the_table_of_classes_is_that_of_quality(demo_run, tmp_path, capsys):
    rows = reported(tmp_path, demo_run).table("By class")
    capsys.readouterr()
    assert main(["quality", str(demo_run), "--json", "--boundary"]) == 0
    (document,) = json.loads(capsys.readouterr().out)
    there = [row for row in document["per_class"] if row["iou"] is not None]
    assert len(rows) == len(there) < len(document["per_class"]) == 21
    keys = ("coverage", "precision", "recall", "iou", "iou", "boundary_iou")  # dense labels: both IoUs are one
    for row, expected in zip(rows, there, strict=True):
        shown = ["-" if expected[key] is None else f"{expected[key]:.3f}" for key in keys]
        assert [row[0], *row[3:9]] == [expected["name"], *shown]
        assert int(row[1].replace("\N{NARROW NO-BREAK SPACE}", "")) == expected["truth_pixels"]


def test_pictures_lie_beside_the_page_and_it_is_small(demo_run, tmp_path):
    page = reported(tmp_path, demo_run)
    pictures = [address for address in page.addresses if address.startswith("pictures/")]
    assert len(pictures) == 5 * 4
    files = {f"pictures/{path.name}" for path in (tmp_path / "report" / "pictures").iterdir()}
    assert files == set(pictures)
    for name in files:
        with Image.open(tmp_path / "report" / name) as picture:
            assert max(picture.size) <= 320
    assert all(not a.startswith(("http", "//", "file")) for a in page.addresses)
    total = sum(path.stat().st_size for path in (tmp_path / "report").rglob("*") if path.is_file())
    assert 50_000 < total < 1_000_000


def test_standalone_is_one_file(demo_run, tmp_path):
    page = reported(tmp_path, demo_run, "--standalone")
    assert [path.name for path in (tmp_path / "report").iterdir()] == ["index.html"]
    inside = [address for address in page.addresses if address.startswith("data:image/jpeg;base64,")]
    assert len(inside) == 20


def test_the_same_run_gives_the_same_page_and_old_pictures_go(demo_run, tmp_path):
    first = reported(tmp_path, demo_run).source
    (tmp_path / "report" / "pictures" / "mine.png").write_bytes(b"kept")
    fewer = reported(tmp_path, demo_run, "--worst", "1", "--median", "0", "--best", "0")
    names = sorted(path.name for path in (tmp_path / "report" / "pictures").iterdir())
    assert len(names) == 5 and "mine.png" in names
    assert fewer.source != first == reported(tmp_path, demo_run).source


def test_the_size_is_kept_by_leaving_images_out(tmp_path, capsys):
    ids = [f"{number:02d}" for number in range(12)]
    truth = write_data(tmp_path, ids, ["ground", "cat", "dog"])
    labels = write_labels(tmp_path, ids)
    for path in sorted((tmp_path / "data" / "images").iterdir()):  # noise is what compresses worst
        noise = np.random.default_rng(int(path.stem)).integers(256, size=(240, 320, 3)).astype(np.uint8)
        Image.fromarray(noise).save(path)
        for folder in ("data/masks", "labels"):
            mask = Image.open(tmp_path / folder / path.name)
            mask.resize((320, 240), Image.Resampling.NEAREST).save(tmp_path / folder / path.name)
    capsys.readouterr()
    for words in (["--standalone"], []):
        out = tmp_path / f"out{len(words)}"
        command = ["report", str(labels), "--truth", *truth, "--out", str(out), "--max-mb", "1", "--json", *words]
        assert main(command) == 0
        document = json.loads(capsys.readouterr().out)
        size = sum(path.stat().st_size for path in out.rglob("*") if path.is_file())
        assert size == document["bytes"] <= 1_000_000
        text = (out / "index.html").read_text(encoding="utf-8")
        assert "more are left out to keep the page small" in text
        assert text.count('class="card"') >= 3


@pytest.mark.skipif(os.name == "nt", reason="such names are not allowed there")
def test_text_from_data_is_escaped(tmp_path):
    ids = ["<img src=x onerror=alert(2)>", "b&quot;'\"><script>alert(3)<script>"]
    truth = write_data(tmp_path, ids, ["ground", HOSTILE, "a & b"])
    labels = write_labels(tmp_path, ids)
    hostile = labels.rename(tmp_path / "<b>labels{{ 7*7 }}")
    page = reported(tmp_path, hostile, "--truth", *truth)
    assert page.tags.count("script") == 1 and page.tags.count("b") == 0
    assert page.tags.count("img") == 8  # and no attribute that runs anything: see Page
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in page.source
    assert HOSTILE in page.texts and ids[0] in page.texts and "<b>labels{{ 7*7 }}" in page.texts


def test_settings_of_a_run_are_escaped(demo_run, tmp_path):
    header = json.loads((demo_run / "run.json").read_text(encoding="utf-8"))
    header["config"]["kind"], header["models"] = HOSTILE, {HOSTILE: {"sha256": "0"}}
    (demo_run / "run.json").write_text(json.dumps(header), encoding="utf-8")
    page = reported(tmp_path, demo_run)
    assert page.tags.count("script") == 1 and HOSTILE in page.texts


def test_a_run_without_truth_gets_a_page_that_says_so(tmp_path, capsys):
    run = write_run(tmp_path, ["a", "b", "c"], ["ground", "cat", "dog"])
    capsys.readouterr()
    page = reported(tmp_path, run)
    assert "no truth to compare with" in capsys.readouterr().err
    assert any("There is no truth to compare with" in text for text in page.texts)
    for title in ("Confusion matrix", "Errors by distance from the boundary", "Worst", "errors", "truth"):
        assert title not in page.texts
    assert "Least labelled" in page.texts and "Labelled share of each image" in page.texts
    assert len([a for a in page.addresses if a.startswith("pictures/")]) == 2 * 3


def test_a_run_whose_data_are_gone_still_has_its_labels(demo_run, tmp_path, capsys):
    header = json.loads((demo_run / "run.json").read_text(encoding="utf-8"))
    header["data"].update(kind="voc", root=str(tmp_path / "moved"))
    (demo_run / "run.json").write_text(json.dumps(header), encoding="utf-8")
    page = reported(tmp_path, demo_run)
    assert "cannot be opened" in capsys.readouterr().err
    assert any("There is no truth to compare with" in text for text in page.texts)
    assert main(["report", str(demo_run), "--truth", f"voc:{tmp_path / 'moved'}", "--out", str(tmp_path / "o")]) == 1


def test_several_runs_stand_side_by_side(tmp_path):
    names = []
    for level in ("0.1", "0.3"):
        names.append(tmp_path / "runs" / f"c{level}")
        assert main(["corrupt", "demo:4", "--level", level, "--out", str(names[-1]), "--no-sheet"]) == 0
    page = reported(tmp_path, *names)
    first, second = page.table("Figures")
    assert [first[0], second[0]] == ["c0.1", "c0.3"]
    change = float(second[2]) - float(first[2])
    assert second[3] == f"▼ {change:+.3f}" or abs(float(second[3].split()[1]) - change) < 0.0011
    assert "Over level" in page.texts and "Where the runs differ most" in page.texts
    assert {"c0.1", "c0.3"} <= set(page.texts)
    by_class = page.table("IoU by class")
    assert all(len(row) == 4 for row in by_class) and by_class[0][0] == "background"


def test_plain_folders_and_their_ids_need_a_truth(tmp_path, capsys):
    write_data(tmp_path, ["a"], ["ground", "cat"])
    labels = write_labels(tmp_path, ["a"])
    assert main(["report", str(labels), "--out", str(tmp_path / "o")]) == 2
    assert "its truth must be named" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "code", "message"),
    [
        (["--worst", "-1"], 2, "--worst must be >= 0"),
        (["--max-mb", "0"], 2, "--max-mb must be"),
        (["--out", "taken"], 1, "was not made by labelgen"),
        (["nowhere"], 1, "nowhere"),
    ],
)
def test_what_is_refused(words, code, message, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "taken").mkdir()
    (tmp_path / "taken" / "index.html").write_text("<html>my thesis</html>", encoding="utf-8")
    assert main(["report", *words]) == code
    error, hint = capsys.readouterr().err.splitlines()[-2:]
    assert message in error and hint.startswith("hint: ")
    assert (tmp_path / "taken" / "index.html").read_text(encoding="utf-8") == "<html>my thesis</html>"


def test_rings_add_up_to_the_whole(demo_run):
    from labelgen.data.open import reopen

    run = RunFolder.open(demo_run)
    found = measured(run, reopen(run.spec), workers=1)
    assert found.evaluation is not None and found.document is not None
    parts = rings(found.evaluation)
    total = sum(ring.pixels for ring in parts)
    assert total == found.evaluation.matrix.sum()
    wrong = sum(ring.pixels * ring.wrong for ring in parts if ring.pixels)
    assert wrong / total == pytest.approx(1 - found.document["pixel_accuracy"])
    assert [ring.name for ring in parts][:5] == ["1", "2", "3", "4-5", "6-8"] and parts[-1].name == "> 50"


def test_galleries_hold_the_worst_the_middle_and_the_best(demo_run):
    from labelgen.data.open import reopen

    run = RunFolder.open(demo_run)
    found = measured(run, reopen(run.spec), workers=1)
    assert found.evaluation is not None
    picks = picks_of(found, GalleryOptions(2, 1, 1))
    ranked = [row.id for row in sorted(found.evaluation.images, key=lambda row: row.miou)]
    assert {title: [pick.id for pick in part] for title, part in picks.items()} == {
        "Worst": ranked[:2],
        "Around the median": [ranked[2]],
        "Best": [ranked[-1]],
    }
    assert sum(map(len, picks_of(found, GalleryOptions()).values())) == 5


def test_shares_are_never_more_than_there_are():
    for available in range(40):
        found = share_out(available, (20, 10, 5))
        assert sum(found) == min(available, 35) and all(0 <= f <= w for f, w in zip(found, (20, 10, 5)))
