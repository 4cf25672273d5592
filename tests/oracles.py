"""Libraries that cannot share an environment with this one, run in one of their own.

label-studio-sdk and datumaro pin opencv-python-headless, which owns the same files as opencv-python, and older versions
of numpy and Pillow. So they are no extra; they are the dependency group `oracles` of pyproject.toml:

    python -m venv .venv-oracles
    .venv-oracles/bin/pip install --group oracles

Another place is named by the environment variable LABELGEN_ORACLES, the path of its Python.
"""

import functools
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
HOME = ROOT / ".venv-oracles" / ("Scripts/python.exe" if sys.platform == "win32" else "bin/python")


@functools.cache
def _python_with(package):
    python = os.environ.get("LABELGEN_ORACLES", str(HOME))
    if not Path(python).is_file():
        return ""
    script = f"from importlib.metadata import version; version({package!r})"
    return python if subprocess.run([python, "-c", script], capture_output=True, check=False).returncode == 0 else ""


def ask(package, script, *arguments):
    """What a script prints that runs with a library; skips where the library is not installed."""
    python = _python_with(package)
    if not python:
        pytest.skip(f"{package} pins opencv-python-headless, so it has an environment of its own: see tests/oracles.py")
    environment = {k: v for k, v in os.environ.items() if k != "PYTHONPATH"} | {"PYTHONIOENCODING": "utf-8"}
    done = subprocess.run(
        [python, "-c", script, *map(str, arguments)],
        capture_output=True,
        encoding="utf-8",
        env=environment,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout
