"""Start-up: what help pages and light commands import, asked of fresh processes by name, not by the clock."""

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
HEAVY = (
    "torch",
    "torchvision",
    "timm",
    "open_clip",
    "numba",
    "scipy",
    "cv2",
    "skimage",
    "matplotlib",
    "sklearn",
    "PIL",
    "ray",
)
NETWORKS = ("torch", "torchvision", "timm", "open_clip", "matplotlib", "ray")
COMPLETED = (["point", "--vocab", ""], ["point", "--refine", ""], ["sweep", ""], ["clip", "--model", ""])


def imported_by(code):
    """Heavy packages that a fresh process has imported after running some code."""
    script = f"{code}\nimport sys\nprint(*(m for m in {HEAVY!r} if m in sys.modules), file=sys.stderr)"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, cwd=ROOT, check=True)
    return done.stderr.splitlines()[-1].split()


def test_what_is_looked_for_would_be_found():
    assert imported_by("import PIL, scipy") == ["scipy", "PIL"]


@pytest.mark.slow
@pytest.mark.parametrize("program", ["labelgen", "segprobe"])
def test_no_help_page_imports_anything_heavy(program):
    """All pages in one process: the command that is to blame is named."""
    code = f"""
import contextlib, io, sys
from {program}.cli import app, main
for name in [each for each in app if not each.startswith("-")]:
    with contextlib.redirect_stdout(io.StringIO()) as page:
        assert main([name, "--help"]) == 0, name
    assert len(page.getvalue()) > 200, name
    found = [m for m in {HEAVY!r} if m in sys.modules]
    assert not found, (name, found)
"""
    assert imported_by(code) == []


@pytest.mark.slow
def test_settings_names_and_completion_import_no_network():
    """All in one process: the line that is to blame is named."""
    lines = [
        "import labelgen, segprobe",
        *(f"labelgen.cli.main(['__complete', *{words!r}])" for words in COMPLETED),
        "import labelgen.nets.dense_clip.names",
        "from segprobe.config import FitConfig",
        "FitConfig(loss='gce,q=0.5', terms=('tree',))",
    ]
    code = "import sys, labelgen.cli\n"
    for line in lines:
        code += f"{line}\nfound = [m for m in {NETWORKS!r} if m in sys.modules]\nassert not found, ({line!r}, found)\n"
    assert not set(NETWORKS) & set(imported_by(code))


@pytest.mark.slow
def test_the_library_imports_nothing_heavy_at_once():
    modules = "labelgen.run, labelgen.store, labelgen.pool, labelgen.writing, labelgen.locks, labelgen.masks"
    assert imported_by(f"import {modules}, labelgen.data") == []


@pytest.mark.slow
@pytest.mark.parametrize(
    "words",
    [
        ["corrupt", "demo:2", "--level", "0.2", "--out", "OUT", "--no-sheet"],
        ["scribble", "demo:2", "--out", "OUT", "--no-sheet"],
    ],
)
def test_methods_without_networks_never_import_torch(tmp_path, words):
    words = [str(tmp_path / "run") if word == "OUT" else word for word in words]
    quality = ["quality", str(tmp_path / "run")]
    verify = ["verify", str(tmp_path / "run")]
    code = f"from labelgen.cli import main\nfor words in {[words, quality, verify]!r}: assert main(words) == 0"
    assert not set(NETWORKS) & set(imported_by(code))
