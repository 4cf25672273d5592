"""The tables that come from the code itself: the map of the modules, and presets with their published figures."""

import ast

from markdown_table import ROOT, markdown


def code_map() -> str:
    """Every module of the two packages with the first line of its docstring; folders in one line."""
    lines = []
    for package in ("labelgen", "labelgen/nets", "segprobe"):
        for path in sorted((ROOT / package).iterdir()):
            if path.is_dir() and (path / "__init__.py").is_file():
                lines.append((f"{package}/{path.name}/", path / "__init__.py"))
            elif path.suffix == ".py" and not path.name.startswith("__") and "/" not in package:
                lines.append((f"{package}/{path.name}", path))
    rows = [
        [f"`{name}`", ast.get_docstring(ast.parse(p.read_text(encoding="utf-8"))).split("\n")[0]] for name, p in lines
    ]
    return "\n".join(["| where | what |", "|---|---|", *(f"| {name} | {sentence} |" for name, sentence in rows)])


def presets() -> str:
    """Published mIoU of each protocol that `labelgen clip --preset` knows."""
    from labelgen.methods.clip_presets import PRESETS

    split = [(name.partition("-"), preset.miou) for name, preset in PRESETS.items()]
    families = list(dict.fromkeys(family for (family, _, _), _ in split))
    benchmarks = list(dict.fromkeys(benchmark for (_, _, benchmark), _ in split))
    table = {(family, benchmark): f"{miou:.1f}" for (family, _, benchmark), miou in split}
    rows = [[f"`{family}-...`", *(table.get((family, b), "-") for b in benchmarks)] for family in families]
    return markdown(["`--preset`", *(f"`-{b}`" for b in benchmarks)], rows)
