"""Completion by Tab: candidates, and the scripts that shells load."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from labelgen.cli import app, main
from labelgen.methods import METHODS
from labelgen.refine import REFINERS
from labelgen.vocab import vocabulary_names
from segprobe.cli import main as segprobe

ROOT = Path(__file__).resolve().parents[3]


@pytest.fixture(autouse=True)
def empty_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


def offered(capfd, *words, run=main):
    assert run(["__complete", *words]) == 0
    return capfd.readouterr().out.partition("\x1fbegin\n")[2].splitlines()


def test_values_that_the_package_knows(capfd):
    assert offered(capfd, "scribble", "--vocab", "")[: len(vocabulary_names())] == list(vocabulary_names())
    assert offered(capfd, "scribble", "--refine", "") == sorted(REFINERS)
    assert offered(capfd, "refine", "--with", "") == sorted(REFINERS)
    assert "pamr,steps=" in offered(capfd, "refine", "--with", "pamr,")
    assert offered(capfd, "sweep", "") == sorted(METHODS)
    assert offered(capfd, "point", "--per", "") == ["class", "component", "instance"]
    assert offered(capfd, "vocabs", "")[:3] == ["show", "check", "hash"]
    assert "show" not in offered(capfd, "vocabs", "show", "")
    assert offered(capfd, "refiners", "") == sorted(REFINERS)
    assert offered(capfd, "point", "--n", "") == []


def test_values_that_segprobe_knows(capfd):
    assert "demo-ssvt" in offered(capfd, "fit", "--backbone", "", run=segprobe)
    assert "linear" in offered(capfd, "fit", "--head", "", run=segprobe)
    assert "gce" in offered(capfd, "fit", "--loss", "", run=segprobe)
    assert "tree" in offered(capfd, "fit", "--term", "", run=segprobe)
    assert offered(capfd, "fit", "", run=segprobe)[0] == "truth"


def test_what_lies_in_the_folder(capfd, tmp_path):
    (tmp_path / "runs" / "scribble").mkdir(parents=True)
    (tmp_path / "runs" / "scribble" / "run.json").touch()
    (tmp_path / "own.toml").touch()
    assert offered(capfd, "quality", "") == ["runs/scribble", "runs/"]
    assert offered(capfd, "quality", "runs/s") == ["runs/scribble", "runs/scribble/"]
    assert "own.toml" in offered(capfd, "point", "--vocab", "o")
    assert {"demo", "voc:", "runs/"} <= set(offered(capfd, "point", ""))
    assert offered(capfd, "point", "voc:r") == ["voc:runs/"]


@pytest.mark.slow
@pytest.mark.parametrize("run", [main, segprobe], ids=["labelgen", "segprobe"])
@pytest.mark.parametrize("shell", ["bash", "zsh", "fish", "powershell"])
def test_scripts_are_written_for_every_shell(shell, run, capsys, tmp_path):
    assert run(["--install-completion", "--shell", shell, "--output", "deep/script"]) == 0
    out, err = capsys.readouterr()
    assert out.strip() == str(tmp_path / "deep" / "script") and "have your shell read this file" in err
    assert "--show-config" not in out
    text = (tmp_path / "deep" / "script").read_text(encoding="utf-8")
    assert "__complete" in text and ("refine" in text if run is main else "predict" in text)


def test_a_script_for_this_shell_lands_where_it_looks(capsys, tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setattr(Path, "home", lambda: tmp_path)
    (tmp_path / ".bashrc").write_text("# mine\n")
    for _ in range(2):
        assert main(["--install-completion", "--shell", "bash"]) == 0
    script = tmp_path / ".local/share/bash-completion/completions/labelgen"
    assert capsys.readouterr().out.splitlines()[0] == str(script)
    lines = (tmp_path / ".bashrc").read_text()
    assert lines.startswith("# mine\n") and lines.count(str(script)) == 2  # one line, which names it twice


def test_a_file_that_cannot_be_written(capsys, tmp_path):
    (tmp_path / "file").touch()
    assert main(["--install-completion", "--shell", "bash", "--output", "file/script"]) == 2
    assert "hint: give --output FILE" in capsys.readouterr().err
    assert main(["--install-completion", "--shell", "tcsh"]) == 2


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32" or shutil.which("bash") is None, reason="no bash here")
def test_bash_completes(tmp_path):
    (tmp_path / "script").write_text(app.generate_completion(shell="bash"))
    (tmp_path / "labelgen").write_text(
        f'#!/bin/sh\nPYTHONPATH="{ROOT}" exec "{sys.executable}" -m labelgen "$@"\n', encoding="utf-8"
    )
    (tmp_path / "labelgen").chmod(0o755)
    lines = [f'export PATH="{tmp_path}:$PATH"', f'. "{tmp_path}/script"']
    for words in (["verif"], ["point", "--rad"], ["point", "--where", "bor"], ["point", "--vocab", "voc-ovss-"]):
        typed = " ".join(f'"{word}"' for word in ["labelgen", *words])
        lines += [f"COMP_WORDS=({typed}); COMP_CWORD={len(words)}; COMPREPLY=(); _labelgen", 'echo "${COMPREPLY[@]}"']
    done = subprocess.run(["bash", "-c", "\n".join(lines)], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines() == ["verify", "--radius", "border", "voc-ovss-single"], done.stderr
