"""README.md and the pages of examples/ say what benchmarks/results and the code say."""

import importlib.util
from pathlib import Path

from tests.typed import check_commands, dead_links

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


def test_commands_can_be_typed():
    """Each parses, flags and their values included; nothing is run."""
    check_commands(ROOT / "README.md", least=8)


def test_links_lead_somewhere():
    assert dead_links(ROOT / "README.md") == []
