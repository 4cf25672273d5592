"""What the tables of the documents are made of: result files, Markdown, a share and an origin in words."""

import json
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
RESULTS = ROOT / "benchmarks" / "results"
Table = tuple[list[str], list[list[str]], *tuple[str, ...]]
"""Header, rows, and what is said below them."""


def markdown(header: list[str], rows: list[list[str]]) -> str:
    """Write a Markdown table; the first column is left-aligned, the others right."""
    rule = ["---", *["---:"] * (len(header) - 1)]
    return "\n".join("| " + " | ".join(cells) + " |" for cells in (header, rule, *rows))


def percent(share: float) -> str:
    """Three digits that mean something, also for a few clicks in a large image."""
    return f"{100 * share:.3g} %"


def load(name: str) -> dict:
    """Read one result file."""
    return json.loads((RESULTS / f"{name}.json").read_text(encoding="utf-8"))


def source(result: dict) -> str:
    """Say where the figures come from: machine, seeds, commit."""
    seeds = len(result.get("seeds", []))
    return f"*{result['machine']}; {seeds} seed{'s' if seeds != 1 else ''}; commit {result['commit']}.*"
