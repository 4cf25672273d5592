"""The rules of the code base that can be checked by reading it: direction of imports, randomness, printing, length."""

import ast
import builtins
import dis
import functools
import importlib
import types
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PACKAGES = ("labelgen", "segprobe")
FILES = sorted(p for package in PACKAGES for p in (ROOT / package).rglob("*.py"))
LONGEST = 400
LAYERS = (  # of labelgen: a module imports its own layer and those above it in this list
    ("errors", "settings", "threads", "processes", "writing"),
    ("locks",),
    ("untrusted",),
    ("engine",),
    ("cluster",),
    ("strokes",),
    ("masks",),
    ("vocab",),
    ("prompts",),
    ("demo", "geometry"),
    ("data",),
    ("store",),
    ("seeds",),
    ("quality", "refine", "nets", "correct"),
    ("methods",),
    ("job",),
    ("job_builders",),
    ("pipeline", "pool", "pool_ray", "run", "promote", "sweep", "estimate"),
    ("report", "export", "formats", "doctor", "regenerate"),
    ("commands",),
    ("cli",),
    ("__main__",),
)
RANDOM_OBJECTS = {"Generator", "BitGenerator", "SeedSequence", "PCG64", "default_rng"}


def module_of(path):
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


MODULES = {module_of(path): path for path in FILES}


@functools.cache
def trees(package):
    return [
        (name, ast.parse(path.read_text(encoding="utf-8"))) for name, path in MODULES.items() if inside(name, package)
    ]


def inside(name, package):
    return name == package or name.startswith(package + ".")


def imported(tree):
    """Full names that a module imports, anywhere in it."""
    names = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "imports are absolute"
            names |= {f"{node.module}.{alias.name}" for alias in node.names}
    return names


def module_named(name):
    """The module of this project that an imported name is or lies in."""
    while name and name not in MODULES:
        name = name.rpartition(".")[0]
    return name


def imported_at_once(tree):
    """Modules of this project that are imported when the module is, not later inside a function or for types only."""
    body = [node for node in tree.body if isinstance(node, ast.Import | ast.ImportFrom)]
    return {module_named(name) for name in imported(ast.Module(body, []))} - {""}


def layer_of(module):
    part = module.split(".")[1]
    return next((number for number, layer in enumerate(LAYERS) if part in layer), None)


def test_the_rules_see_the_code():
    assert {"labelgen.store.writer", "labelgen.cli", "segprobe"} <= set(MODULES)


def test_labelgen_never_imports_segprobe():
    assert [name for name, tree in trees("labelgen") if any(inside(i, "segprobe") for i in imported(tree))] == []


def test_every_module_of_labelgen_has_a_layer():
    assert [name for name in MODULES if name.startswith("labelgen.") and layer_of(name) is None] == []


def test_imports_within_labelgen_never_point_upward():
    # A module may import a higher layer inside a function only if that is the table that it looks things up in.
    upward = [
        f"{name} imports {other}"
        for name, tree in trees("labelgen")
        if "." in name
        for other in sorted(imported_at_once(tree))
        if "." in other and layer_of(other) > layer_of(name)
    ]
    assert upward == []


def test_no_import_cycles():
    graph = {name: imported_at_once(tree) - {name} for package in PACKAGES for name, tree in trees(package)}
    finished = set()

    def visit(name, path):
        assert name not in path, " -> ".join([*path[path.index(name) :], name])
        if name not in finished:
            for other in sorted(graph[name]):
                visit(other, [*path, name])
            finished.add(name)

    for name in graph:
        visit(name, [])


def dotted(node):
    if isinstance(node, ast.Attribute):
        return f"{dotted(node.value)}.{node.attr}"
    return node.id if isinstance(node, ast.Name) else "?"


def test_all_randomness_comes_from_generators_that_are_passed_in():
    found = []
    for package in PACKAGES:
        for name, tree in trees(package):
            chains = {dotted(node) for node in ast.walk(tree) if isinstance(node, ast.Attribute)}
            globals_ = {c for c in chains if c.startswith("np.random.") and c.split(".")[2] not in RANDOM_OBJECTS}
            found += [f"{name} uses {chain}" for chain in sorted(globals_)]
            found += [f"{name} imports random" for i in imported(tree) if i == "random" or i.startswith("random.")]
    assert found == []


def test_library_code_does_not_print():
    found = [
        f"{name}:{node.lineno}"
        for package in PACKAGES
        for name, tree in trees(package)
        if not any(part in ("commands", "cli", "__main__") for part in name.split("."))
        for node in ast.walk(tree)
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "print"
    ]
    assert found == []


def test_annotations_are_not_strings_everywhere():
    # jaxtyping cannot check shapes under it
    assert [name for p in PACKAGES for name, tree in trees(p) if "__future__.annotations" in imported(tree)] == []


def test_files_are_short_enough_to_read():
    lengths = {name: len(path.read_text(encoding="utf-8").splitlines()) for name, path in MODULES.items()}
    assert {name: length for name, length in lengths.items() if length > LONGEST} == {}


def test_every_name_that_a_function_takes_from_its_module_is_there():
    """Linters cannot look for undefined names here: they take the shapes in annotations for such."""
    missing = []
    for name, path in MODULES.items():
        if name.endswith("__main__"):
            continue
        module, code = importlib.import_module(name), compile(path.read_bytes(), str(path), "exec")
        for function in code_objects(code):
            wanted = {i.argval for i in dis.get_instructions(function) if i.opname == "LOAD_GLOBAL"}
            missing += [(name, each) for each in wanted if not hasattr(module, each) and not hasattr(builtins, each)]
    assert set(missing) <= {("labelgen.locks", "msvcrt")}  # which Windows has


def code_objects(code):
    yield code
    for constant in code.co_consts:
        if isinstance(constant, types.CodeType):
            yield from code_objects(constant)
