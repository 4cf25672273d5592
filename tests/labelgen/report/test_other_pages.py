"""`--html` of quality and sweep as typed: one file, the figures of the command, refused places."""

import json

import pytest

from labelgen.cli import main
from labelgen.report.comparison import swept_setting
from labelgen.report.html import Cell, Page, Section, Table, change, fraction, render, write_page
from labelgen.report.sweep_page import sweep_page
from labelgen.sweep.table import means_of
from tests.labelgen.report.test_report import Page as Parsed


@pytest.fixture
def run(tmp_path):
    assert main(["corrupt", "demo:3", "--out", str(tmp_path / "runs" / "corrupt"), "--no-sheet"]) == 0
    return tmp_path / "runs" / "corrupt"


def test_the_page_of_quality_is_one_file_with_its_figures(run, tmp_path, capsys):
    target = tmp_path / "pages" / "quality.html"
    capsys.readouterr()
    assert main(["quality", str(run), "--html", str(target), "--json"]) == 0
    captured = capsys.readouterr()
    (document,) = json.loads(captured.out)
    assert captured.err == f"page: {target.as_posix()}\n"
    page = Parsed(target)
    low, high = document["intervals"]["miou"]
    assert low <= document["miou"] <= high
    assert f"{document['miou']:.3f}" in page.texts and f"{document['boundary']['miou']:.3f}" in page.texts
    assert any(text.startswith(f"{low:.3f} to {high:.3f} (95 %)") for text in page.texts)
    assert "Worst" not in page.texts and all(a.startswith(("#", "data:,")) for a in page.addresses)
    assert [path.name for path in target.parent.iterdir()] == ["quality.html"]


def test_without_html_quality_is_what_it_was(run, capsys):
    capsys.readouterr()
    assert main(["quality", str(run), "--json"]) == 0
    (document,) = json.loads(capsys.readouterr().out)
    assert "intervals" not in document and document["boundary"] is None and document["trimap"] is None


def test_other_rules_for_unlabelled_pixels_are_named(run, tmp_path):
    target = tmp_path / "q.html"
    assert main(["quality", str(run), "--unlabelled", "exclude", "--html", str(target)]) == 0
    assert any("take unlabelled pixels as left out" in text for text in Parsed(target).texts)


@pytest.mark.parametrize("command", [["quality", "RUN"], ["sweep", "corrupt", "demo:2", "--level", "0.1,0.2"]])
def test_a_file_of_somebody_else_is_refused_before_anything_is_done(command, run, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "thesis.html").write_text("<html>mine</html>", encoding="utf-8")
    words = [str(run) if word == "RUN" else word for word in command]
    assert main([*words, "--html", "thesis.html"]) == 1
    assert "was not made by labelgen" in capsys.readouterr().err
    assert main([*words, "--html", str(tmp_path)]) == 1
    assert "must be a file, got the folder" in capsys.readouterr().err
    assert not (tmp_path / "runs" / "sweep").exists()


def test_the_page_of_a_sweep_has_curves_with_intervals(tmp_path, capsys):
    target = tmp_path / "sweep.html"
    words = ["sweep", "corrupt", "demo:3", "--level", "0.1,0.4", "--out", str(tmp_path / "runs"), "--no-sheet"]
    assert main([*words, "--html", str(target), "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    page = Parsed(target)
    assert page.source.count('class="whisker') == 2 * 3 and "Over level" in page.texts
    rows = page.table("Settings")
    for row, mean, found in zip(rows, document["means"], document["rows"], strict=True):
        low, high = found["intervals"]["miou"]
        assert low < found["miou"] < high
        assert row[:3] == [mean["settings"]["level"], "1", f"{mean['miou']['mean']:.4f} ({low:.3f} to {high:.3f})"]
    assert not list((tmp_path / "runs").rglob("*.jpg"))


def row_of_sweep(value, seed, miou):
    return {
        "run": f"runs/{value}-{seed}",
        "sweeps": ["kind"],
        "settings": {"kind": value},
        "seed": seed,
        "miou": miou,
        "miou_labelled": miou,
        "miou_background": None,
        "accuracy_labelled": 1.0,
        "coverage": 1.0,
        "missed_classes": 0.0,
        "strokes": 0,
        "intervals": None,
        "images": 4,
        "failed": 1,
    }


def test_sweeps_over_names_and_seeds():
    rows = [row_of_sweep(name, seed, 0.5 + 0.1 * seed) for name in ("flip", "<b>") for seed in (0, 1)]
    html = render(sweep_page("corrupt", "demo", rows, means_of(rows)))
    assert "0.5500 (0.500 to 0.600)" in html and "&lt;b&gt;" in html and "<b>" not in html
    assert "range over seeds" in html and "4 images could not be labelled" in html


def test_one_setting_apart_is_a_sweep():
    assert swept_setting([{"a": [1], "b": 0}, {"a": [2], "b": 0}]) == "a"
    assert swept_setting([{"a": 1}, {"a": 1, "b": 2}]) == "b"


def test_cells_say_what_they_mean_without_colour():
    assert [change(v).text[0] for v in (0.1, -0.1, 0.0)] == ["▲", "▼", "±"]
    assert fraction(None) == Cell("-", None, "missing")


def test_values_to_sort_by_are_whole(tmp_path):
    table = Table("t", [], [[Cell("name", "name"), Cell("0.123", 0.123456789), Cell("-", None)]])
    write_page(tmp_path / "a.html", Page("a", "b", [Section("s", "s", tables=[table])]))
    text = (tmp_path / "a.html").read_text(encoding="utf-8")
    assert 'data-value="0.123456789"' in text and 'data-value=""' in text
    write_page(tmp_path / "a.html", Page("a", "c", []))  # our own page may be replaced
