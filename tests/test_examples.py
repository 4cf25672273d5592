"""Every example runs as its docstring says and prints what it promises."""

import subprocess
import sys
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).resolve().parent.parent / "examples"
RUNS = {
    "01_scribbles_from_truth.py": "every 40th row: coverage",
    "02_clip_zero_shot.py": "patches by word: {'aeroplane': ",
    "04_score_labels.py": "mIoU 0.516",
    "05_train_probe.py": "val mIoU 0.",
}


@pytest.mark.slow
@pytest.mark.parametrize("name", RUNS)
def test_example_runs(name, tmp_path):
    words = [sys.executable, str(EXAMPLES / name)]
    run = subprocess.run(words, cwd=tmp_path, capture_output=True, text=True, timeout=120, check=False)
    assert run.returncode == 0, run.stderr
    assert RUNS[name] in run.stdout


def test_every_numbered_example_is_run():
    assert {path.name for path in EXAMPLES.glob("[0-9]*.py")} == set(RUNS)
