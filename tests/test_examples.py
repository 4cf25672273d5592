"""Every example runs as its docstring says and prints what it promises; the pages type commands that exist."""

from pathlib import Path

import pytest
from processes import Command

from tests.typed import check_commands, commands_in, dead_links, parse

EXAMPLES = Path(__file__).resolve().parent.parent / "examples"
RUNS = {
    "01_scribbles_from_truth.py": "every 40th row: coverage",
    "02_clip_zero_shot.py": "patches by word: {'aeroplane': ",
    "04_score_labels.py": "mIoU 0.516",
    "05_train_probe.py": "val mIoU 0.",
    "draw_own_data.py": "16 images and masks in mydata",
}
PAGES = sorted(EXAMPLES.glob("*.md"))
EACH_PAGE = pytest.mark.parametrize("page", PAGES, ids=[page.stem for page in PAGES])
MOST_BYTES = 200_000  # of a picture


@pytest.mark.slow
@pytest.mark.parametrize("name", RUNS)
def test_example_runs(name, tmp_path):
    assert RUNS[name] in Command([str(EXAMPLES / name)], tmp_path).done()


def test_every_numbered_example_is_run():
    assert {path.name for path in EXAMPLES.glob("[0-9]*.py")} == {name for name in RUNS if name[0].isdigit()}


def test_there_are_pages():
    assert {"own_data", "sweep", "review", "scale"} <= {page.stem for page in PAGES}


@EACH_PAGE
def test_commands_of_a_page_can_be_typed(page):
    """Each parses, flags and their values included; nothing is run."""
    check_commands(page, least=4)


@EACH_PAGE
def test_links_and_pictures_of_a_page_are_there(page):
    assert dead_links(page) == []
    assert "](../README.md)" in page.read_text(encoding="utf-8")


def test_pictures_are_small_and_shown():
    shown = "".join(page.read_text(encoding="utf-8") for page in [*PAGES, EXAMPLES.parent / "README.md"])
    pictures = [path for path in (EXAMPLES / "pictures").iterdir() if path.suffix in (".jpg", ".png")]
    assert pictures
    for path in pictures:
        assert path.stat().st_size <= MOST_BYTES and f"pictures/{path.name}" in shown, path.name


def test_a_wrong_line_and_a_dead_link_are_found(tmp_path):
    page = tmp_path / "page.md"
    typed = (
        "$ labelgen point --n 3 | tail -1   # three\nlabelgen is output here\n$ labelgen quality \\\n    --worst 3\n"
    )
    text = f"```console\n{typed}```\n"
    page.write_text(f"labelgen prose\n{text}[a](gone.md) ![b](page.md) [c](https://example.org/x)", encoding="utf-8")
    assert commands_in(text) == ["labelgen point --n 3 | tail -1   # three", "labelgen quality      --worst 3"]
    assert dead_links(page) == ["gone.md"]
    for wrong in ("labelgen pount", "labelgen point --nn 3", "labelgen point --n three"):
        with pytest.raises(Exception, match=r"pount|nn|three"):
            parse(wrong)
