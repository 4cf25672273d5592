"""Put the tables of benchmarks/results into README.md; `--check` only says whether they are stale."""

import argparse
import json
import re
import sys
from collections.abc import Callable
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
RESULTS = ROOT / "benchmarks" / "results"


def markdown(header: list[str], rows: list[list[str]]) -> str:
    """Write a Markdown table; the first column is left-aligned, the others right."""
    rule = ["---", *["---:"] * (len(header) - 1)]
    return "\n".join("| " + " | ".join(cells) + " |" for cells in (header, rule, *rows))


def load(name: str) -> dict:
    """Read one result file."""
    return json.loads((RESULTS / f"{name}.json").read_text(encoding="utf-8"))


def source(result: dict) -> str:
    """Say where the figures come from: machine, seeds, commit."""
    seeds = len(result.get("seeds", []))
    return f"*{result['machine']}; {seeds} seed{'s' if seeds != 1 else ''}; commit {result['commit']}.*"


TABLES: dict[str, Callable[[], str]] = {}


def render(text: str) -> str:
    """Replace what stands between the markers of every known table."""
    for name, table in TABLES.items():
        pattern = rf"(<!-- table: {name} -->\n).*?(<!-- end -->)"
        body = table() + "\n"
        text, count = re.subn(pattern, lambda m, body=body: m[1] + body + m[2], text, flags=re.DOTALL)
        if count != 1:
            sys.exit(f"error: README.md must hold the markers of table {name!r} once, found {count}")
    return text


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true", help="change nothing; exit 1 when README.md is stale")
    check = parser.parse_args().check
    readme = ROOT / "README.md"
    old = readme.read_text(encoding="utf-8")
    new = render(old)
    if check:
        sys.exit("error: README.md is stale; run python benchmarks/table.py" if new != old else 0)
    readme.write_text(new, encoding="utf-8")


if __name__ == "__main__":
    main()
