"""Put the tables of benchmarks/results into README.md and examples/*.md; `--check` only says whether they are stale."""

import argparse
import re
import sys
from collections.abc import Callable
from pathlib import Path

import compare_tables
import demo_tables
import photo_tables
import run_tables
from code_tables import code_map, presets
from markdown_table import ROOT, Table, load, markdown, source
from speed_tables import speed

OF_ONE_RESULT: dict[str, Callable[[dict], Table]] = {
    "demo": demo_tables.demo,
    "demo_ssvt": demo_tables.demo_ssvt,
    "demo_clip": demo_tables.demo_clip,
    "refiners": demo_tables.refiners,
    "zeroseg_demo": demo_tables.zeroseg_demo,
    "cam_demo": demo_tables.cam_demo,
    "cam_voc_animals": photo_tables.cam_voc_animals,
    "probe_voc_animals": photo_tables.probe_voc_animals,
    "rank_voc_animals": photo_tables.rank_voc_animals,
    "compare_demo": compare_tables.frozen_and_tuned,
    "compare_voc_animals": compare_tables.frozen_and_tuned,
    "compare_photo_ssvt": compare_tables.frozen_and_tuned,
    "promotion": compare_tables.promotion,
    "terms": compare_tables.terms,
    "scale": run_tables.scale,
    "crash": run_tables.crash,
    "memory": run_tables.memory,
}
"""Named as the result file."""
OTHERS: dict[str, Callable[[], str]] = {"map": code_map, "presets": presets, "speed": speed}


def rendered(name: str) -> str:
    """One table with what is said below it."""
    if name in OTHERS:
        return OTHERS[name]()
    result = load(name)
    header, rows, *notes = OF_ONE_RESULT[name](result)
    return "\n\n".join([markdown(header, rows), *notes, source(result)])


def documents() -> dict[Path, str]:
    """README.md and the pages of examples/, as they are."""
    paths = [ROOT / "README.md", *sorted((ROOT / "examples").glob("*.md"))]
    return {path: path.read_text(encoding="utf-8") for path in paths}


def render(texts: dict[Path, str]) -> dict[Path, str]:
    """Replace what stands between the markers of every known table, each of which is in one of the documents."""
    texts = dict(texts)
    for name in (*OF_ONE_RESULT, *OTHERS):
        pattern = re.compile(rf"(<!-- table: {name} -->\n).*?(<!-- end -->)", flags=re.DOTALL)
        found = [path for path, text in texts.items() for _ in pattern.finditer(text)]
        if len(found) != 1:
            sys.exit(f"error: one document must hold the markers of table {name!r} once, found {len(found)}")
        body = rendered(name) + "\n"
        texts[found[0]] = pattern.sub(lambda m, body=body: m[1] + body + m[2], texts[found[0]])
    return texts


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true", help="change nothing; exit 1 when a document is stale")
    if parser.parse_args().check:
        stale = stale_documents()
        names = ", ".join(path.relative_to(ROOT).as_posix() for path in stale)
        sys.exit(f"error: stale: {names}; run python benchmarks/table.py" if stale else 0)
    write()


def stale_documents() -> dict[Path, str]:
    """What the documents should say that say something else."""
    old = documents()
    return {path: text for path, text in render(old).items() if text != old[path]}


def write() -> None:
    """Put all tables where they belong."""
    for path, text in stale_documents().items():
        path.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
