"""The one place that writes files: whole or not at all, in an order that survives a power cut; nobody else writes."""

import ast
import importlib.util
import io
import os
import sys
from pathlib import Path

import pytest

from labelgen import writing
from labelgen.errors import RunFolderError
from labelgen.run import RunOptions, run_job
from labelgen.writing import (
    append,
    new_stream,
    sweep_temporaries,
    sync_files,
    temporary_files,
    write_atomic,
    write_once,
)

spec = importlib.util.spec_from_file_location("toy_run", Path(__file__).with_name("toy_run.py"))
toy = sys.modules.get("toy_run") or importlib.util.module_from_spec(spec)
if "toy_run" not in sys.modules:
    sys.modules["toy_run"] = toy  # dataclasses look their module up
    spec.loader.exec_module(toy)

ROOT = Path(__file__).resolve().parents[2]

WRITERS = {  # module: (calls that write in it, why they may)
    "labelgen/writing.py": ({"open", "os.open", "hardlink_to"}, "the one place"),
    "labelgen/locks.py": ({"os.open", "os.write"}, "a lock is no content: it is made, held and removed"),
    "labelgen/store/writer.py": ({"open"}, "the journal: lines are appended, and a torn one is redone"),
    "labelgen/nets/training.py": ({"open"}, "metrics: lines are appended, and cut back to the checkpoint"),
    "labelgen/formats/target.py": ({"write_bytes"}, "exports: a folder is renamed when all of it is written"),
    "labelgen/formats/coco_panoptic.py": ({"open"}, "within such a folder"),
    "labelgen/formats/label_studio.py": ({"open"}, "within such a folder"),
    "labelgen/formats/hf.py": ({"rename", "pa.OSFile"}, "within such a folder"),
    "labelgen/formats/webdataset.py": ({"tarfile.open"}, "within such a folder"),
    "labelgen/nets/shipped.py": ({"safetensors.torch.save_file"}, "makes the files that the package ships"),
    "labelgen/doctor/machine.py": ({"tempfile.NamedTemporaryFile"}, "asks whether a folder can be written"),
    "labelgen/commands/frame.py": ({"os.open"}, "the null device"),
    "segprobe/export/graphs.py": ({"onnx.save", "torch.export.save"}, "a file that the exporter renames when checked"),
    "segprobe/commands/tokens.py": ({"save"}, "a picture for people, asked for anew each time"),
}
BY_NAME = {"write_text", "write_bytes", "rename", "hardlink_to", "symlink_to", "touch"}
BY_PATH = {
    *("np.save", "np.savez", "np.savez_compressed", "torch.save", "cv2.imwrite", "onnx.save", "torch.export.save"),
    *("safetensors.torch.save_file", "os.open", "os.write", "os.rename", "os.replace", "os.link", "pa.OSFile"),
    *("tarfile.open", "zipfile.ZipFile", "tempfile.NamedTemporaryFile", "tempfile.mkstemp", "tempfile.mkdtemp"),
}
MEMORY = {"stream", "member"}  # names of files in memory


def dotted(node):
    if isinstance(node, ast.Attribute):
        return f"{dotted(node.value)}.{node.attr}"
    return node.id if isinstance(node, ast.Name) else "?"


def mode_of(call):
    """The mode that a file is opened with; reading where none is given."""
    given = [a for a in call.args if isinstance(a, ast.Constant)] + [k.value for k in call.keywords if k.arg == "mode"]
    texts = [node.value for node in given if isinstance(node, ast.Constant) and isinstance(node.value, str)]
    return next((text for text in texts if set(text) <= set("rwxabt+:|gz")), "r")


def write_of(call):
    """Name of the call if it writes a file, else nothing."""
    path = dotted(call.func)
    name = path.rpartition(".")[2]
    if {dotted(argument) for argument in call.args[:2]} & MEMORY or path == "safetensors.torch.save":  # to bytes
        return ""
    if path == "tarfile.open" or (name == "open" and path not in ("os.open", "Image.open", "zipfile.open")):
        return (path if path == "tarfile.open" else "open") if set(mode_of(call)) & set("wxa+") else ""
    if path == "zipfile.ZipFile":
        return path if set(mode_of(call)) & set("wxa") else ""
    if path in BY_PATH:
        return path
    if name == "save" and isinstance(call.func, ast.Attribute) and path not in BY_PATH:
        return "save" if call.args or call.keywords else ""
    return name if name in BY_NAME else ""


def test_every_file_is_written_in_the_one_place_or_for_a_stated_reason():
    found = {}
    for package in ("labelgen", "segprobe"):
        for path in sorted((ROOT / package).rglob("*.py")):
            tree = ast.parse(path.read_text(encoding="utf-8"))
            calls = {write_of(node) for node in ast.walk(tree) if isinstance(node, ast.Call)} - {""}
            if calls:
                found[path.relative_to(ROOT).as_posix()] = calls
    assert found == {module: calls for module, (calls, _) in WRITERS.items()}


@pytest.mark.parametrize(
    ("code", "name"),
    [
        ("path.open('wb')", "open"),
        ("open(path, mode='a')", "open"),
        ("path.open()", ""),
        ("path.open('rb')", ""),
        ("path.write_text('x')", "write_text"),
        ("np.save(path, x)", "np.save"),
        ("np.save(stream, x)", ""),
        ("cv2.imwrite(str(path), x)", "cv2.imwrite"),
        ("picture.save(path)", "save"),
        ("picture.save(stream, format='PNG')", ""),
        ("torch.save(x, path)", "torch.save"),
        ("tarfile.open(path, 'r:')", ""),
        ("zipfile.ZipFile(path)", ""),
    ],
)
def test_the_look_for_writers_sees_them(code, name):
    assert write_of(ast.parse(code).body[0].value) == name


@pytest.fixture
def calls(monkeypatch):
    """What is asked of the system, in order: a file is named by its name, a temporary one by `temporary`."""
    log, names = [], {}

    def name_of(path):
        path = Path(path)
        return "temporary" if path.name.endswith(".tmp") else path.name

    def hear(event, arguments):
        if not log_is_open:
            return
        if event == "open" and isinstance(arguments[2], int):
            names["last"] = name_of(arguments[0]) if isinstance(arguments[0], str) else "?"
            log.append(f"open {names['last']}")
        if event in ("os.rename", "os.link"):
            log.append(f"{event[3:]} {name_of(arguments[0])} to {name_of(arguments[1])}")
        if event == "os.mkdir":
            log.append(f"mkdir {name_of(arguments[0])}")

    def fsync(descriptor):
        log.append(f"fsync {names['last']}")

    log_is_open = [True]
    monkeypatch.setattr(os, "fsync", fsync)
    sys.addaudithook(hear)
    yield log
    log_is_open.clear()


@pytest.mark.skipif(sys.platform in ("win32", "darwin"), reason="folders have no fsync, or files another one")
def test_content_is_on_the_disk_before_the_name_and_the_name_before_the_call_returns(calls, tmp_path):
    calls.clear()
    write_atomic(tmp_path / "new" / "a.json", b"{}")
    assert calls == [
        "mkdir new",
        f"open {tmp_path.name}",
        f"fsync {tmp_path.name}",
        "open temporary",
        "fsync temporary",
        "rename temporary to a.json",
        "open new",
        "fsync new",
    ]
    calls.clear()
    write_atomic(tmp_path / "a.png", b"", durable=False)
    assert calls == ["open temporary", "rename temporary to a.png"]
    calls.clear()
    assert write_once(tmp_path / "b", b"") and not write_once(tmp_path / "b", b"other")
    here = tmp_path.name
    assert calls == ["open temporary", "fsync temporary", "link temporary to b", f"open {here}", f"fsync {here}"]


@pytest.mark.skipif(sys.platform in ("win32", "darwin"), reason="folders have no fsync, or files another one")
def test_a_run_is_flushed_before_it_is_called_complete(calls, tmp_path, monkeypatch):
    monkeypatch.setattr(writing, "FLUSHES", 1)
    run_job(toy.ToyData(3), toy.toy_job(), tmp_path / "run")
    flushed = [call for call in calls if call.startswith("fsync")]
    for name in ("00.png", "01.png", "02.png", "00.json", "a", "labels", "strokes"):
        assert calls.index(f"fsync {name}") < calls.index("rename temporary to manifest.jsonl"), name
    last = len(calls) - 1 - calls[::-1].index("rename temporary to run.json")
    assert calls.index("rename temporary to manifest.jsonl") < last
    assert calls[last + 1 : last + 3] == ["open run", "fsync run"] and len(flushed) > 12


def test_what_a_power_cut_took_is_made_again(tmp_path):
    """The names are there and the line in the journal is, but the content never reached the disk."""
    data, run = toy.ToyData(4), tmp_path / "run"
    run_job(data, toy.toy_job(), tmp_path / "whole")
    report = run_job(data, toy.toy_job(), run, RunOptions(shard=(1, 2)))
    assert not report.complete and report.done == 2
    (run / "labels/a/02.png").write_bytes(b"")
    report = run_job(data, toy.toy_job(), run, RunOptions(shard=(2, 2)))
    assert not report.complete  # another process does not take the line at its word either
    report = run_job(data, toy.toy_job(), run, RunOptions(shard=(1, 2)))
    assert report.complete and report.done == 1
    files = [path.relative_to(run) for path in run.rglob("*") if path.is_file()]
    assert len(files) == 10 and all((run / f).read_bytes() == (tmp_path / "whole" / f).read_bytes() for f in files)


def test_an_error_names_the_file_and_leaves_nothing(tmp_path, monkeypatch):
    def full(stream, content):
        stream.write(content[:1])
        raise OSError(28, "No space left on device")

    (tmp_path / "a").write_bytes(b"old")
    with monkeypatch.context() as patch:
        patch.setattr(writing, "_put", full)
        for write in (write_atomic, write_once):
            with pytest.raises(OSError, match="No space left on device") as caught:
                write(tmp_path / ("a" if write is write_atomic else "b"), b"new")
            assert Path(caught.value.filename).name in ("a", "b")
    assert [path.name for path in tmp_path.iterdir()] == ["a"] and (tmp_path / "a").read_bytes() == b"old"
    with pytest.raises(KeyboardInterrupt), new_stream(tmp_path / "a") as stream:
        stream.write(b"half")
        raise KeyboardInterrupt
    assert [path.name for path in tmp_path.iterdir()] == ["a"] and (tmp_path / "a").read_bytes() == b"old"


def test_a_line_that_the_disk_takes_in_part_is_an_error(tmp_path):
    class Short(io.FileIO):
        def write(self, content):
            return super().write(content[:-1])

    with Short(tmp_path / "m.jsonl", "wb") as stream, pytest.raises(OSError, match="No space left") as caught:
        append(stream, b"{}\n")
    assert caught.value.filename == str(tmp_path / "m.jsonl")


def test_names_as_long_as_the_file_system_allows(tmp_path):
    write_atomic(tmp_path / ("x" * 251 + ".png"), b"1")
    write_atomic(tmp_path / ("\N{SNOWMAN}" * 83 + ".png"), b"2")
    assert temporary_files(tmp_path) == [] and len(list(tmp_path.iterdir())) == 2


def test_temporary_files_are_swept_and_others_stay(tmp_path):
    for name in (".a.json.7-0123abcd.tmp", ".a.json.b.7-0123abcd.tmp", ".b.old.tmp", "c.tmp", ".hidden"):
        (tmp_path / name).write_bytes(b"")
    assert [path.name for path in temporary_files(tmp_path, name="a.json")] == [".a.json.7-0123abcd.tmp"]
    sweep_temporaries(tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == [".hidden", "c.tmp"]


def test_files_that_are_gone_need_no_flush(tmp_path):
    (tmp_path / "a").mkdir()
    (tmp_path / "a/1").write_bytes(b"1")
    sync_files([tmp_path / "a/1", tmp_path / "a/2", tmp_path / "b/3"], below=tmp_path)


@pytest.mark.parametrize("moved", [False, True])
def test_an_export_that_was_killed_is_put_back_or_made_anew(tmp_path, moved):
    """Between its two renames the old folder has a hidden name, and there is none under its own."""
    from labelgen.formats.target import MARKER, new_folder

    out = tmp_path / "export"
    with new_folder(out, {"n": 1}) as folder:
        (folder / "old").write_text("old")
    with pytest.raises(RunFolderError, match="exists"), new_folder(out, {"n": 2}):
        raise AssertionError("not reached")
    if moved:
        out.rename(tmp_path / ".export.old.tmp")
    (tmp_path / ".export.new.tmp").mkdir()
    (tmp_path / ".export.new.tmp/half").write_text("half")
    with pytest.raises(RunFolderError, match="exists"), new_folder(out, {"n": 2}):
        raise AssertionError("not reached")
    assert sorted(path.name for path in out.iterdir()) == [MARKER, "old"]
    with new_folder(out, {"n": 2}, overwrite=True) as folder:
        (folder / "new").write_text("new")
    assert sorted(path.name for path in out.iterdir()) == [MARKER, "new"]
    assert [path.name for path in tmp_path.iterdir()] == ["export"]
