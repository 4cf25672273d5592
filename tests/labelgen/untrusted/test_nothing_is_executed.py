"""No line of the packages hands a file to code that executes it: read from the source, call by call."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[3]
FILES = sorted(path for package in ("labelgen", "segprobe") for path in (ROOT / package).rglob("*.py"))
UNPICKLERS = {"labelgen/data/pickled.py", "labelgen/nets/clip/script_archive.py"}  # restricted ones, with find_class
CHILD = "labelgen/doctor/child.py"  # runs checks of the doctor that it was given as text, from no file
EXECUTES = {
    *("eval", "exec", "compile", "__import__"),
    *("os.system", "os.popen", "os.execv", "subprocess.getoutput"),
    *("pickle.load", "pickle.loads", "cPickle.load", "dill.load", "dill.loads", "joblib.load", "cloudpickle.load"),
    *("marshal.load", "marshal.loads", "shelve.open", "pandas.read_pickle", "pd.read_pickle"),
    *("yaml.load", "yaml.unsafe_load", "yaml.full_load"),
    *("torch.jit.load", "torch.package.PackageImporter", "torch.hub.load", "numpy.lib.format.read_array"),
    *("zipfile.ZipFile.extractall", "tarfile.TarFile.extractall", "shutil.unpack_archive"),
}
MUST_SAY = {  # call: the argument that must be there, and its value
    "torch.load": ("weights_only", True),
    "np.load": ("allow_pickle", False),
    "numpy.load": ("allow_pickle", False),
    "np.lib.format.read_array": ("allow_pickle", False),
}


def dotted(node):
    if isinstance(node, ast.Attribute):
        return f"{dotted(node.value)}.{node.attr}"
    return node.id if isinstance(node, ast.Name) else "?"


def calls(text):
    return [node for node in ast.walk(ast.parse(text)) if isinstance(node, ast.Call)]


def dangerous(text, path=""):
    """What is wrong with a source, call by call."""
    found = []
    for call in calls(text):
        name = dotted(call.func)
        if name in EXECUTES and not (path == CHILD and name in ("exec", "compile")):
            found.append(f"{path}:{call.lineno} calls {name}")
        if name.endswith((".extractall", ".extract")) or (
            name.endswith("subprocess.run") and _says(call, "shell", True)
        ):
            found.append(f"{path}:{call.lineno} calls {name}")
        if name in MUST_SAY and not _says(call, *MUST_SAY[name]):
            found.append(f"{path}:{call.lineno} calls {name} without {MUST_SAY[name][0]}={MUST_SAY[name][1]}")
        if name.endswith("Unpickler") and path not in UNPICKLERS:
            found.append(f"{path}:{call.lineno} makes an unpickler")
    return found


def _says(call, argument, value):
    return any(
        word.arg == argument and isinstance(word.value, ast.Constant) and word.value.value is value
        for word in call.keywords
    )


@pytest.mark.parametrize(
    "line",
    [
        "torch.load(path)",
        "torch.load(path, weights_only=False)",
        "torch.load(path, weights_only=flag)",
        "np.load(path)",
        "np.load(path, allow_pickle=True)",
        "pickle.loads(content)",
        "yaml.load(text)",
        "eval(text)",
        "torch.jit.load(path)",
        "archive.extractall(folder)",
        "subprocess.run(line, shell=True)",
        "pickle.Unpickler(stream).load()",
    ],
)
def test_the_rule_sees_such_calls(line):
    assert len(dangerous(line, "x.py")) == 1


def test_no_file_is_executed():
    assert [line for p in FILES for line in dangerous(p.read_text("utf-8"), p.relative_to(ROOT).as_posix())] == []


def test_unpicklers_say_what_they_know():
    for name in UNPICKLERS:
        classes = [n for n in ast.walk(ast.parse((ROOT / name).read_text("utf-8"))) if isinstance(n, ast.ClassDef)]
        unpicklers = [c for c in classes if any(dotted(base) == "pickle.Unpickler" for base in c.bases)]
        assert unpicklers
        for found in unpicklers:
            assert {"find_class", "persistent_load"} <= {f.name for f in found.body if isinstance(f, ast.FunctionDef)}
