"""README.md and the pages of examples/ say what benchmarks/results and the code say."""

import importlib.util
import re
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent


def table_module(monkeypatch):
    monkeypatch.syspath_prepend(ROOT / "benchmarks")
    spec = importlib.util.spec_from_file_location("table", ROOT / "benchmarks" / "table.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_tables_and_map_are_those_of_the_tree(monkeypatch):
    table = table_module(monkeypatch)
    documents = table.documents()
    rendered = table.render(documents)
    stale = [path.name for path, text in documents.items() if rendered[path] != text]
    assert not stale, "run python benchmarks/table.py"


def test_commands_exist():
    from labelgen.cli import app as labelgen
    from segprobe.cli import app as segprobe

    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    blocks = "\n".join(re.findall(r"```console\n(.*?)```", readme, flags=re.DOTALL))
    commands = set(re.findall(r"^(labelgen|segprobe) ([\w-]+)", blocks, flags=re.MULTILINE))
    assert len(commands) >= 8
    for package, name in commands:
        assert name in {"labelgen": labelgen, "segprobe": segprobe}[package]
